"""Feature fusion: a person's tube and the whole clip, concatenated and convolved (000 §2.1).

The paper says no more than that. Our reading brings the clip's map to the grid of the person's RoI
(the P×P average of the whole picture, frame by frame), so that both are `(C, T, P, P)`.

Shape legend: R people, B clips, C channels, T frames, P bins per side, D the fused width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionConfig:
    """`width` D of the fused features; `kernel`: spatial size of the second convolution."""

    width: int = 512
    kernel: int = 3


class Fusion(nn.Module):
    """concat → 1×1×1 → ReLU → 1×k×k → ReLU.

    The first convolution of a concatenation is a sum of two, so the clip's half is computed once
    per clip by `scene`, not once per person.
    """

    def __init__(self, config: FusionConfig, *, channels: int) -> None:
        super().__init__()
        width, k = config.width, config.kernel
        self.person = nn.Conv3d(channels, width, 1)
        self.clip = nn.Conv3d(channels, width, 1, bias=False)
        self.mix = nn.Conv3d(width, width, (1, k, k), padding=(0, k // 2, k // 2))
        # torch's own initialisation shrinks a signal at each ReLU: on features whose mean is five
        # times their variation the head then learns nothing for hundreds of steps.
        for layer in (self.person, self.clip, self.mix):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def scene(self, clips: Tensor, size: int) -> Tensor:
        """The clip's half, from maps `(B, C, T, h, w)` → `(B, D, T, P, P)`."""
        batch, channels, frames = clips.shape[:3]
        pooled = F.adaptive_avg_pool2d(clips.flatten(1, 2), size)
        half: Tensor = self.clip(pooled.view(batch, channels, frames, size, size))
        return half

    def forward(self, people: Tensor, scene: Tensor) -> Tensor:
        """People `(R, C, T, P, P)`, their clip's half `(1, D, T, P, P)` → `(R, D, T, P, P)`."""
        joined = torch.relu(self.person(people) + scene)
        return torch.relu(self.mix(joined))
