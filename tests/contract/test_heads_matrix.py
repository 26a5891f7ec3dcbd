"""Every backbone × head × memory: forward and backward, or a refusal with a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tubelet.batch import Memory, Rois
from tubelet.config import decode, encode
from tubelet.errors import ConfigError
from tubelet.labels import LabelSpace
from tubelet.models import ActionModelConfig
from tubelet.models.backbones import BACKBONES as BACKBONE_FAMILIES
from tubelet.models.backbones.base import BackboneConfig
from tubelet.models.backbones.descriptors import DescriptorsConfig
from tubelet.models.backbones.resnet3d import FAST, I3D, ResNet3dConfig
from tubelet.models.detector import MemoryConfig
from tubelet.models.heads import HEADS as HEAD_FAMILIES
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.fusion import FusionConfig
from tubelet.models.heads.grid import GridHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.relation import SpatialRelationHeadConfig, TemporalRelationHeadConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.relabel import replace_labels
from tubelet.plugins import families
from tubelet.types import InputSpec

FEW = (1, 1, 1, 1)
# Every family of the list (and of plugins), and forms that their defaults do not show.
BACKBONES: dict[str, BackboneConfig] = {
    **{one.title(): one().tiny() for one in families(BackboneConfig, BACKBONE_FAMILIES)},
    "fast": ResNet3dConfig(blocks=FEW, width=4, temporal=FAST, stem_temporal=5),
    "i3d": ResNet3dConfig(blocks=FEW, width=4, temporal=I3D, stem_temporal=5, pool_time=True),
    "descriptors_extended": DescriptorsConfig(extended=True, root=True),
}
SMALL = {"width": 8, "heads": 2, "mlp": 1}
LISTED = [one().tiny() for one in families(HeadConfig, HEAD_FAMILIES)]
HEADS: dict[str, HeadConfig] = {
    **{one.title(): one for one in LISTED if one.task == "detection"},
    "whole_frame": LinearHeadConfig(whole_frame=True, resolution=8, aligned=False),
    "max_hidden": LinearHeadConfig(temporal_pool="max", hidden=4, enlarge=(0.05, 0.025)),
    "grid_hidden": GridHeadConfig(scene=2, hidden=4, standardise=True),
    "spatial_fusion": SpatialRelationHeadConfig(**SMALL, fusion=FusionConfig(width=4)),  # type: ignore[arg-type]
    "temporal_fusion": TemporalRelationHeadConfig(
        **SMALL,  # type: ignore[arg-type]
        fusion=FusionConfig(width=4),
        time_encoding=True,
    ),
}
CLIP_HEADS = {one.title(): one for one in LISTED if one.task == "classification"}
MEMORIES: dict[str, MemoryConfig | None] = {
    "alone": None,
    "associative": CollaborativeMemoryConfig(clips=2),
    "avgpool": CollaborativeMemoryConfig(kind="avgpool", infusion="residual", clips=2),
    "bank": MemoryBankConfig(before_ms=2000, after_ms=2000),
}
GROUP = torch.tensor([0, 1, 0])
FRAMES = torch.randint(
    0, 256, (3, 3, 8, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def config_of(backbone: str, head: HeadConfig, memory: str) -> ActionModelConfig:
    return ActionModelConfig(
        backbone=BACKBONES[backbone],
        head=head,
        input=InputSpec(frames=8, stride=1, short_side=32),
        labels=LabelSpace.of(["a", "b"]),
        memory=MEMORIES[memory],
    )


def rois_of(clip: list[int]) -> Rois:
    boxes = torch.tensor([[2.0, 3, 17, 22], [9, 0, 31, 30], [0, 0, 10, 12], [3, 3, 20, 31]])
    boxes = boxes[: len(clip)]
    return Rois(boxes_px=boxes, boxes_norm=boxes / 32, clip=torch.tensor(clip, dtype=torch.int64))


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_combination_learns_or_is_refused(backbone: str, head: str, memory: str) -> None:
    if memory == "bank" and not HEADS[head].remembers:
        with pytest.raises(ConfigError, match=r"tokens it can join[\s\S]*temporal_relation"):
            config_of(backbone, HEADS[head], memory)
        return
    config = config_of(backbone, HEADS[head], memory)
    torch.manual_seed(0)
    model = config.build().train()
    rois, bank = rois_of([0, 0, 2, 2]), None
    if memory == "bank":
        with torch.no_grad():
            tokens = model.pool(model.features(FRAMES), rois)
        bank = Memory(
            values=tokens[:3].flatten(1).half(),
            group=torch.tensor([0, 2, 0]),
            delta_ms=torch.tensor([-2000, 1000, 500]),
        )
    logits = model(FRAMES, rois, group=GROUP, memory=bank)
    width = 2
    if not HEADS[head].label_layers:  # features instead of classes
        width = sum(o.channels for o in model.backbone.outputs)
    assert logits.shape == (4, width)
    logits.square().sum().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert missing == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    nobody = model.eval()(FRAMES, rois_of([]), group=GROUP)
    assert nobody.shape == (0, width)


@pytest.mark.parametrize("memory", ["alone", "associative", "avgpool"])
@pytest.mark.parametrize("head", CLIP_HEADS)
@pytest.mark.parametrize("family", families(BackboneConfig, BACKBONE_FAMILIES))
def test_classification_composes_with_collaborative_memory(
    family: type[BackboneConfig], head: str, memory: str
) -> None:
    sparse = [row.backbone for row in family.variants().values()] or [family()]
    config = config_of("ResNet3d", CLIP_HEADS[head], memory)
    model = replace(config, backbone=sparse[0].tiny()).build().train()
    logits = model(FRAMES, group=GROUP)
    assert logits.shape == (3, 2)
    logits.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("head", CLIP_HEADS)
def test_a_bank_is_refused_in_classification(head: str) -> None:
    with pytest.raises(ConfigError, match="tokens it can join"):
        config_of("ResNet3d", CLIP_HEADS[head], "bank")


@pytest.mark.parametrize("head", [*HEADS, *CLIP_HEADS])
def test_another_label_set_replaces_the_label_layers_and_no_other(head: str) -> None:
    config = config_of("ResNet3d", (HEADS | CLIP_HEADS)[head], "alone")
    model = config.build()
    if not config.head.label_layers:
        with pytest.raises(ConfigError, match="no classifier"):
            replace_labels(model, ["x", "y", "z"])
        return
    changed, report = replace_labels(model, ["x", "y", "z"])
    old, new = model.state_dict(), changed.state_dict()
    assert {n for n in new if n not in report.replaced} == old.keys() - set(report.replaced)
    assert all(torch.equal(new[n], old[n]) for n in old if n not in report.replaced)
    rois = rois_of([0, 0, 2, 2]) if model.task == "detection" else None
    assert changed.eval()(FRAMES, rois).shape[1] == 3


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("memory", ["associative", "bank"])
def test_configurations_survive_being_written(head: str, memory: str) -> None:
    kind = HEADS[head] if memory != "bank" else HEADS["temporal_fusion"]
    config = config_of("SlowFast", kind, memory)
    assert decode(ActionModelConfig, encode(config)) == config


def test_a_configuration_from_before_memory_still_reads() -> None:
    written = encode(config_of("ResNet3d", HEADS["Linear"], "alone"))
    del written["memory"]
    assert decode(ActionModelConfig, written).memory is None


@pytest.mark.parametrize("head", [name for name, one in HEADS.items() if one.remembers])
def test_tokens_are_as_many_as_the_stamp_says(head: str) -> None:
    from tubelet.train.learning.banks import bank_stamp

    for backbone in BACKBONES:
        model = config_of(backbone, HEADS[head], "bank").build().eval()
        with torch.no_grad():
            tokens = model.pool(model.features(FRAMES), rois_of([0]))
        stamp = bank_stamp(model, recipe="")
        assert tokens.shape[1:] == (stamp.positions, stamp.width)


@pytest.mark.parametrize("one", [*BACKBONE_FAMILIES, *HEAD_FAMILIES])
def test_listed_families_say_what_they_are(one: type[BackboneConfig] | type[HeadConfig]) -> None:
    assert one.summary and not one.summary.endswith(".") and len(one.summary) <= 72
