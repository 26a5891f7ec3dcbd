"""What the converter has to know about one upstream project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from torch import Tensor

from tubelet.convert.facts import Facts
from tubelet.convert.rules import Rule, Table
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.backbones.r2plus1d import R2Plus1dConfig
from tubelet.models.backbones.r3d import R3dConfig
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.backbones.vit import ViTConfig
from tubelet.models.backbones.vivit import ViViTConfig
from tubelet.models.backbones.x3d import X3DConfig
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.types import InputSpec

PublishedBackboneConfig = (
    SlowFastConfig
    | ResNet3dConfig
    | R2Plus1dConfig
    | R3dConfig
    | CSNConfig
    | X3DConfig
    | ViViTConfig
    | ViTConfig
)
"""The backbones that foreign weights were released for."""
NORM = r"(?P<param>weight|bias|running_mean|running_var|num_batches_tracked)"
STEPS = {str(n): str(n - 1) for n in range(1, 9)}
"""Names that count from one → ours, from zero."""
STAGES = {str(n): str(n - 2) for n in range(2, 6)}
"""res2…res5 → 0…3."""


def unchanged(backbone: PublishedBackboneConfig, detection: bool) -> PublishedBackboneConfig:
    """A project whose released configurations add nothing."""
    return backbone


def nothing(config: ActionModelConfig) -> Facts:
    """A project whose tensors leave everything in `asked` open."""
    return Facts()


def slowfast_alpha(backbone: PublishedBackboneConfig, detection: bool) -> PublishedBackboneConfig:
    """α of a SlowFast network by the released configurations: kernel 5 at R50 is 4×16, α = 8."""
    if isinstance(backbone, SlowFastConfig) and backbone.depth == 50:
        return replace(backbone, alpha=8 if backbone.fusion_kernel == 5 else 4)
    return backbone


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One kind of checkpoint: a source name matches each of `marks` and none matches `absent`, and
    the convolution that `kernel` names by its pattern has that kernel.

    `backbone`, `detection_head`, `clip_head`, `input` hold the project's conventions, which its
    tensors do not determine; `asked` names those that vary within the project, as keys of `Facts`:
    some source has to state them. `settles(config)` states what follows from this project's code
    and these shapes. `detection`: a pattern of the source names that only detectors have; None if
    the names do not tell; `classifies` says that there are no detectors of this project at all.
    `habits(backbone, detection)` is what its released configurations mostly have, for the reader of
    a question. `computed`: our name → (whether a tensor holds no more than we compute, and the
    reason to leave it out then).
    """

    name: str
    marks: tuple[str, ...]
    absent: tuple[str, ...] = ()
    kernel: tuple[str, tuple[int, ...]] | None = None
    table: Table
    backbone: PublishedBackboneConfig
    input: InputSpec
    detection_head: HeadConfig = field(default_factory=LinearHeadConfig)
    clip_head: ClipHeadConfig = field(default_factory=ClipHeadConfig)
    detection: str | None = None
    classifies: bool = False
    asked: tuple[str, ...] = ()
    settles: Callable[[ActionModelConfig], Facts] = nothing
    habits: Callable[[PublishedBackboneConfig, bool], PublishedBackboneConfig] = field(
        default=unchanged
    )
    computed: Mapping[str, tuple[Callable[[Tensor], bool], str]] = field(default_factory=dict)


def conv_norm(
    source: str, target: str, conv: str, norm: str, operation: str = "copy"
) -> tuple[Rule, Rule]:
    """The two rules of a convolution and its batch norm, both found under `source`; `operation` is
    the convolution's."""
    return (
        Rule(
            source=rf"{source}{conv}\.weight", target=f"{target}.conv.weight", operation=operation
        ),
        Rule(source=rf"{source}{norm}\.{NORM}", target=target + ".norm.{param}"),
    )


def linear(source: str, target: str, operation: str = "copy") -> tuple[Rule, ...]:
    """Weight and bias of a linear layer or of a biased convolution."""
    return tuple(
        Rule(source=rf"{source}\.{p}", target=f"{target}.{p}", operation=operation)
        for p in ("weight", "bias")
    )
