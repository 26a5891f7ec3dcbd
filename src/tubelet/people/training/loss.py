"""The loss of a dense person detector: which cells are assigned to which person, and their loss.

Assignment is task-aligned (TOOD, Feng et al., ICCV 2021, §3.2): the cells inside a person's box
that already score and fit best answer for that person, and the score they are taught is how well
they fit. The score's loss is the quality focal loss (Li et al., NeurIPS 2020), the box's is GIoU.

Shape legend: A cells of one image, N people in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tubelet.people.detectors.dense import DenseBoxes
from tubelet.people.training.pictures import Canvas


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonLoss:
    """Settings of the loss; call it with the network's output and the canvases behind it.

    `cells` answer for each person, ranked by score^`score_power` · IoU^`iou_power`. In a picture
    whose people are not all labelled, background that scores above `unsure_above` weighs
    `unsure_weight` instead of 1.
    """

    cells: int = 10
    score_power: float = 0.5
    iou_power: float = 6.0
    box_weight: float = 2.0
    unsure_above: float = 0.4
    unsure_weight: float = 0.15

    def __call__(self, dense: DenseBoxes, canvases: Sequence[Canvas]) -> dict[str, Tensor]:
        """`{"score", "box", "total"}`: scalars, each a mean over the quality that was assigned."""
        scores, boxes, qualities = [], [], []
        for logits, predicted, canvas in zip(dense.logits, dense.boxes_px, canvases, strict=True):
            with torch.no_grad():
                quality, owner = self.assign(logits, predicted, dense.centres_px, canvas.people_px)
                weight = self._weight(logits, quality, dense.centres_px, canvas)
            scores.append((quality_focal(logits, quality) * weight).sum())
            answer = quality > 0
            loss = 1 - giou(predicted[answer], canvas.people_px[owner[answer]])
            boxes.append((loss * quality[answer]).sum())
            qualities.append(quality.sum())
        share = torch.stack(qualities).sum().clamp(min=1)
        score, box = torch.stack(scores).sum() / share, torch.stack(boxes).sum() / share
        return {"score": score, "box": box, "total": score + self.box_weight * box}

    def assign(
        self, logits: Tensor, predicted: Tensor, centres: Tensor, people: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Per cell, the quality to teach `(A,)`, 0 for background, and its person `(A,)`."""
        if not len(people):
            return torch.zeros_like(logits), torch.zeros_like(logits, dtype=torch.int64)
        inside = (centres[None] > people[:, None, :2]) & (centres[None] < people[:, None, 2:])
        iou = _iou(people[:, None], predicted[None]).clamp(min=0)
        fit = logits.sigmoid() ** self.score_power * iou**self.iou_power * inside.all(-1)
        best = fit.topk(min(self.cells, fit.shape[1]), dim=1)
        chosen = torch.zeros_like(fit).scatter_(1, best.indices, (best.values > 0).float())
        # A cell that two people want answers for the one it overlaps more.
        owner = (iou * chosen).argmax(0)
        chosen *= F.one_hot(owner, len(people)).T
        fit, iou = fit * chosen, iou * chosen
        scale = iou.amax(1, keepdim=True) / fit.amax(1, keepdim=True).clamp(min=1e-12)
        return (fit * scale).amax(0), owner

    def _weight(self, logits: Tensor, quality: Tensor, centres: Tensor, canvas: Canvas) -> Tensor:
        weight = torch.ones_like(logits)
        unsure = _within(centres, canvas.unsure_px) & (logits.sigmoid() > self.unsure_above)
        weight[unsure] = self.unsure_weight
        weight[_within(centres, canvas.ignored_px)] = 0
        weight[quality > 0] = 1
        return weight


def quality_focal(logits: Tensor, quality: Tensor) -> Tensor:
    """Cross entropy with a soft target, scaled by the squared error of the score; shape kept."""
    error = (quality - logits.sigmoid()).abs()
    return error.square() * F.binary_cross_entropy_with_logits(logits, quality, reduction="none")


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of paired boxes `(…, 4)` → `(…,)` in (−1, 1] (Rezatofighi et al., 2019)."""
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1)
    overlap, union = _overlap(a, b)
    return overlap / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)


def _iou(a: Tensor, b: Tensor) -> Tensor:
    overlap, union = _overlap(a, b)
    return overlap / union.clamp(min=1e-6)


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    corner = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    overlap = corner.clamp(min=0).prod(-1)
    areas = [(x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b)]
    return overlap, areas[0] + areas[1] - overlap


def _within(centres: Tensor, regions: Tensor) -> Tensor:
    """Which centres `(A, 2)` lie in any of the regions `(M, 4)`."""
    inside = (centres[:, None] >= regions[:, :2]) & (centres[:, None] <= regions[:, 2:])
    return inside.all(-1).any(-1)
