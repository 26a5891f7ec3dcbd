"""Person tubes reduced to tokens, a bounded number of people at a time.

A tube is the clip's map under one person's box on every frame, `(C, T, P, P)`. Of 200 people that
is gigabytes, so tubes are made in chunks and only their tokens are kept; while training, the
chunks are recomputed in the backward pass.

Shape legend: B clips, R people, C channels, T frames, P bins per side, S tokens per person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tubelet.batch import FeatureMap, Rois
from tubelet.errors import ShapeError
from tubelet.models.heads.fusion import Fusion
from tubelet.models.roi import roi_align
from tubelet.numerics.layers import exporting

Along = Literal["space", "time"]
Aggregate = Literal["mean", "max"]
CHUNK_VALUES = 1 << 24
"""Tube values held at once: 64 MiB in fp32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TubeTokens:
    """How tubes become tokens: one per spatial bin (`along` "space", aggregated over time) or one
    per frame ("time", aggregated over space), by `aggregate`; `resolution` P, `aligned` as
    RoIAlign."""

    along: Along
    aggregate: Aggregate
    resolution: int
    aligned: bool

    def __call__(
        self, maps: Sequence[FeatureMap], rois: Rois, fusion: Fusion | None = None
    ) -> Tensor:
        """Tokens `(R, S, C)` in the order of `rois`; with a fusion C is its width."""
        clips, stride = join_pathways(maps), maps[0].space_stride
        if self.along == "space" and self.aggregate == "mean" and fusion is None:
            clips = clips.mean(dim=2, keepdim=True)  # RoIAlign is linear, so this may come first
        scene = None if fusion is None else fusion.scene(clips, self.resolution)
        if exporting():  # in one call, whoever is in which clip
            own = None if scene is None else scene[rois.clip]
            return self._tokens(clips, rois.boxes_px, stride, fusion, own, rois.clip)
        per_person = clips.shape[1] * clips.shape[2] * self.resolution**2
        chunk = max(1, CHUNK_VALUES // per_person)
        rows = _by_clip(rois.clip, len(clips))
        many = len(rois) > chunk
        parts = []
        for index, members in rows:
            for some in torch.split(members, chunk):
                part = slice(index, index + 1)
                half = None if scene is None else scene[part]
                args = (clips[part], rois.boxes_px[some], stride, fusion, half)
                if many and torch.is_grad_enabled():
                    parts.append(checkpoint(self._tokens, *args, use_reentrant=False))
                else:
                    parts.append(self._tokens(*args))
        tokens, order = torch.cat(parts), torch.cat([members for _, members in rows])
        return tokens[torch.argsort(order)]

    def _tokens(
        self,
        clip: Tensor,
        boxes_px: Tensor,
        stride: int,
        fusion: Fusion | None,
        scene: Tensor | None,
        own: Tensor | None = None,
    ) -> Tensor:
        """Tokens of people of one clip `(1, C, T, h, w)`, or of the clips `own (R,)` of several."""
        channels, frames = clip.shape[1:3]
        if own is None:
            own = torch.zeros(len(boxes_px), dtype=torch.int64, device=clip.device)
        pooled = roi_align(
            clip.flatten(1, 2),
            boxes_px,
            own,
            size=self.resolution,
            stride=stride,
            aligned=self.aligned,
        ).view(-1, channels, frames, self.resolution, self.resolution)
        if fusion is not None and scene is not None:
            pooled = fusion(pooled, scene)
        over = (2,) if self.along == "space" else (3, 4)
        reduced = pooled.mean(dim=over) if self.aggregate == "mean" else pooled.amax(dim=over)
        tokens: Tensor = reduced.flatten(2).transpose(1, 2)
        return tokens


def join_pathways(maps: Sequence[FeatureMap]) -> Tensor:
    """The pathways' maps as one `(B, ΣC, T, h, w)`, T of the slowest; faster ones are averaged."""
    frames = min(m.values.shape[2] for m in maps)
    parts = []
    for m in maps:
        batch, channels, fast, height, width = m.values.shape
        ratio, rest = divmod(fast, frames)
        if rest:
            raise ShapeError(
                "the pathways' numbers of frames do not divide",
                expected=f"a multiple of {frames}",
                got=fast,
            )
        split = m.values.reshape(batch, channels, frames, ratio, height, width)
        parts.append(split.mean(dim=3))
    return torch.cat(parts, dim=1)


def _by_clip(clip: Tensor, clips: int) -> list[tuple[int, Tensor]]:
    """Row numbers of the people of each clip that shows anybody; at least one clip."""
    if clips == 1:  # nothing to look up, so this also runs on the meta device
        return [(0, torch.arange(len(clip), device=clip.device))]
    rows = [(i, (clip == i).nonzero()[:, 0]) for i in range(clips)]
    return [(i, members) for i, members in rows if len(members)] or rows[:1]
