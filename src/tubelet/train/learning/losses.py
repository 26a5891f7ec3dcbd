"""The loss of people's logits.

Shape legend: R people, K classes. `known (R, K)` marks the classes that a person's dataset
annotates; the others neither help nor hurt.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionLoss:
    """Mean loss per person: cross-entropy where classes exclude one another, else binary.

    `label_smoothing`: ε of the target moved to the other classes (exclusive) or towards ½
    (binary). `focal_gamma`: (1−p)^γ weighting of binary terms (Lin et al. 2017; 004 B.4), 0 off.
    """

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0

    def __call__(
        self, logits: Tensor, targets: Tensor, known: Tensor, *, exclusive: bool
    ) -> Tensor:
        """`logits`, `targets`, `known` `(R, K)` → scalar; 0 (with a graph) if none is known."""
        logits = logits.float()
        if exclusive:
            blocked = logits.masked_fill(~known, float("-inf"))
            labelled = targets.sum(1) > 0
            if not bool(labelled.any()):
                return logits.sum() * 0
            return F.cross_entropy(
                blocked[labelled], targets[labelled].argmax(1), label_smoothing=self.label_smoothing
            )
        smooth = targets * (1 - self.label_smoothing) + self.label_smoothing / 2
        terms = F.binary_cross_entropy_with_logits(logits, smooth, reduction="none")
        if self.focal_gamma:
            chance = logits.sigmoid()
            miss = targets * (1 - chance) + (1 - targets) * chance
            terms = terms * miss.pow(self.focal_gamma)
        return (terms * known).sum() / known.sum().clamp(min=1)
