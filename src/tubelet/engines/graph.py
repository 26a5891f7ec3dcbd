"""A model as one graph: clips and boxes in, probabilities out, RoIAlign inside.

Shape legend: B clips, T frames, R people of all clips, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tubelet.batch import Rois
from tubelet.errors import ConfigError, ShapeError
from tubelet.models.detector import ActionModel
from tubelet.models.folding import folded
from tubelet.types import InputSpec

if TYPE_CHECKING:
    from torch.export import ExportedProgram

INPUTS = ("frames", "boxes", "clip", "picture")
OUTPUT = "scores"
_TRIAL_SIDE = 96  # pixels: what a graph of any size is traced on, a multiple of patches and strides


class ScoringGraph(nn.Module):
    """frames `(B, 3, T, H, W)`, boxes in clip pixels `(R, 4)` and the clip of each `(R,)` →
    probabilities `(R, K)`; a classifier takes frames alone → `(B, K)`. Where clips are padded,
    `picture (R, 2)` says where the picture of each person's clip ends."""

    def __init__(self, model: ActionModel) -> None:
        super().__init__()
        self.model = folded(model)

    def forward(
        self,
        frames: Tensor,
        boxes: Tensor | None = None,
        clip: Tensor | None = None,
        picture: Tensor | None = None,
    ) -> Tensor:
        rois = None
        if boxes is not None and clip is not None:  # no head asks for normalised boxes
            rois = Rois(boxes_px=boxes, boxes_norm=boxes, clip=clip, picture_px=picture)
        return self.model.scores(self.model(frames, rois), abstain=True)


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """An input to trace or to try a graph with."""

    frames: Tensor
    rois: Rois

    @classmethod
    def of(cls, model: ActionModel, hw: tuple[int, int], *, clips: int, people: int) -> Trial:
        """Noise, and boxes all over it, the same each time; a person in every clip at least."""
        dice = torch.Generator().manual_seed(clips * 100 + people)
        shape = (clips, 3, model.input.frames, *hw)
        frames = torch.randint(0, 256, shape, generator=dice, dtype=torch.uint8)
        corners = torch.rand(people, 2, 2, generator=dice).sort(dim=1).values
        size = torch.tensor([hw[1], hw[0]] * 2, dtype=torch.float32)
        rois = Rois(
            boxes_px=corners.flatten(1) * size,
            boxes_norm=corners.flatten(1),
            clip=torch.arange(people) * clips // people,
            picture_px=size[:2].expand(people, 2),
        )
        return cls(frames.to(frame_type(model.input)), rois)


def input_names(model: ActionModel) -> tuple[str, ...]:
    """Which of `INPUTS` the graph of `model` has."""
    if model.task == "classification":
        return INPUTS[:1]
    return INPUTS if model.input.multiple > 1 else INPUTS[:3]


def arguments(names: Sequence[str], frames: Tensor, rois: Rois | None) -> tuple[Tensor, ...]:
    """The inputs of these names. Raises ShapeError where people are missing."""
    found = {"frames": frames}
    if rois is not None:
        found |= {"boxes": rois.boxes_px, "clip": rois.clip}
        if rois.picture_px is not None:
            found["picture"] = rois.picture_px
    missing = [name for name in names if name not in found]
    if missing:
        raise ShapeError("missing inputs of this graph", expected=list(names), got=list(found))
    return tuple(found[name] for name in names)


def frame_type(spec: InputSpec) -> torch.dtype:
    """The type of the clips that `media.transforms.prepare` makes: bytes, or grey levels with
    fractions where a project's kernel or padding makes them."""
    rules = spec.preprocessing
    fractions = rules.kernel == "torch" or (rules.padding == "mean" and spec.multiple > 1)
    return torch.float32 if fractions else torch.uint8


def own_hw(spec: InputSpec) -> tuple[int, int]:
    """Height and width of the clip of a square film, which a graph of one size is made for."""
    side = spec.crop or -(-spec.short_side // spec.multiple) * spec.multiple
    return side, side


def traced(model: ActionModel, *, any_size: bool = True) -> ExportedProgram:
    """`ScoringGraph` of `model`, whose batch and people may be any number, and with `any_size` the
    picture any size. Raises ConfigError where torch cannot trace it so."""
    if model.config.memory is not None:
        raise ConfigError(
            "a model with memory cannot be exported: it scores a clip with its neighbours, and the "
            "graph sees one clip",
            got=type(model.config.memory).__name__,
            hint="run it in torch, or export a model without memory",
        )
    from torch.export import Dim, export  # takes long to import

    hw = (_TRIAL_SIDE, _TRIAL_SIDE + 32) if any_size else own_hw(model.input)
    # Numbers of 0 and 1 would be taken for constants.
    trial = Trial.of(model, hw, clips=2, people=3)
    given = arguments(input_names(model), trial.frames, trial.rois)
    sizes = {3: Dim.AUTO, 4: Dim.AUTO} if any_size else {}
    people = {0: Dim.AUTO}
    free = [{0: Dim.AUTO, **sizes}, people, people, people][: len(given)]
    graph = ScoringGraph(model.cpu()).eval()
    try:
        with torch.no_grad():
            program = export(graph, given, dynamic_shapes=tuple(free))
    except Exception as error:  # torch raises many kinds for what cannot be traced
        raise _untraceable(model, any_size, str(error).strip().splitlines()[0]) from error
    fixed = _fixed(program, free)
    if fixed:
        raise _untraceable(model, any_size, f"the graph fixes {', '.join(fixed)}")
    return program


def _fixed(program: ExportedProgram, free: Sequence[Mapping[int, object]]) -> list[str]:
    """Axes of the inputs that should be free and became constants."""
    nodes = {n.name: n for n in program.graph.nodes if n.op == "placeholder"}
    return [
        f"axis {axis} of {name}"
        for name, axes in zip(INPUTS, free, strict=False)
        for axis in axes
        if isinstance(nodes[name].meta["val"].shape[axis], int)
    ]


def _untraceable(model: ActionModel, any_size: bool, got: str) -> ConfigError:
    return ConfigError(
        "this model cannot be traced as one graph" + (" for any size" if any_size else ""),
        where=f"{model.config.backbone.title()} with the head {model.config.head.title()}",
        got=got,
        hint="run it in torch",
    )
