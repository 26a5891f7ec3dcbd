"""Every backbone × head × memory: forward and backward, or a refusal with a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tubelet.batch import Memory, Rois
from tubelet.config import decode, encode
from tubelet.labels import LabelSpace
from tubelet.models import ActionModelConfig
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.backbones.descriptors import DescriptorsConfig
from tubelet.models.backbones.r2plus1d import R2Plus1dConfig
from tubelet.models.backbones.resnet3d import FAST, I3D, ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.backbones.vit import ViTConfig
from tubelet.models.backbones.vivit import ViViTConfig
from tubelet.models.detector import BackboneConfig, HeadConfig, MemoryConfig
from tubelet.models.heads.acrn import ACRNHeadConfig
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.models.heads.fusion import FusionConfig
from tubelet.models.heads.grid import GridHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.mlp import MlpHeadConfig
from tubelet.models.heads.none import NoHeadConfig
from tubelet.models.heads.relation import (
    RelationHead,
    SpatialRelationHeadConfig,
    TemporalRelationHeadConfig,
)
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.parts import HEADS as NAMED
from tubelet.models.parts import MEMORIES as REMEMBERED
from tubelet.models.parts import head_named, memory_named
from tubelet.types import ConfigError, InputSpec

FEW = (1, 1, 1, 1)
BACKBONES: dict[str, BackboneConfig] = {
    "slowfast": SlowFastConfig(blocks=FEW, width=8, alpha=2, beta_inv=4, fusion_kernel=3),
    "slow": ResNet3dConfig(blocks=FEW, width=4),
    "fast": ResNet3dConfig(blocks=FEW, width=4, temporal=FAST, stem_temporal=5),
    "i3d": ResNet3dConfig(blocks=FEW, width=4, temporal=I3D, stem_temporal=5, pool_time=True),
    "r2plus1d": R2Plus1dConfig(blocks=FEW, width=4),
    "csn": CSNConfig(blocks=FEW, width=4),
    "vivit": ViViTConfig(
        width=8, layers=1, heads=2, mlp=8, temporal_layers=1, positions=(2, 2, 2), detection=True
    ),
    "vit": ViTConfig(width=8, layers=1, heads=2, mlp=8, positions=(2, 2, 2)),
    "descriptors": DescriptorsConfig(),
    "descriptors_extended": DescriptorsConfig(extended=True, root=True),
}
SMALL = {"width": 8, "heads": 2, "mlp": 1}
HEADS: dict[str, HeadConfig] = {
    "linear": LinearHeadConfig(),
    "whole_frame": LinearHeadConfig(whole_frame=True),
    "max_hidden": LinearHeadConfig(temporal_pool="max", hidden=4, enlarge=(0.05, 0.025)),
    "grid": GridHeadConfig(),
    "grid_hidden": GridHeadConfig(scene=2, hidden=4, standardise=True),
    "mlp": MlpHeadConfig(hidden=4),
    "acrn": ACRNHeadConfig(width=4),
    "context": NonlocalContextHeadConfig(width=4, grid=2),
    "spatial": SpatialRelationHeadConfig(**SMALL),  # type: ignore[arg-type]
    "spatial_fusion": SpatialRelationHeadConfig(**SMALL, fusion=FusionConfig(width=4)),  # type: ignore[arg-type]
    "temporal": TemporalRelationHeadConfig(**SMALL, aggregate="max"),  # type: ignore[arg-type]
    "temporal_fusion": TemporalRelationHeadConfig(
        **SMALL,  # type: ignore[arg-type]
        fusion=FusionConfig(width=4),
        time_encoding=True,
    ),
    "none": NoHeadConfig(),
}
MEMORIES: dict[str, MemoryConfig | None] = {
    "alone": None,
    "associative": CollaborativeMemoryConfig(clips=2),
    "avgpool": CollaborativeMemoryConfig(kind="avgpool", infusion="residual", clips=2),
    "bank": MemoryBankConfig(before_ms=2000, after_ms=2000),
}
GROUP = torch.tensor([0, 1, 0])
FRAMES = torch.randint(
    0, 256, (3, 3, 4, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
)


def config_of(backbone: str, head: HeadConfig, memory: str) -> ActionModelConfig:
    return ActionModelConfig(
        backbone=BACKBONES[backbone],
        head=head,
        input=InputSpec(frames=4, stride=1, short_side=32),
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
    if memory == "bank" and not head.startswith("temporal"):
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
    width = sum(o.channels for o in model.backbone.outputs) if head == "none" else 2
    assert logits.shape == (4, width)
    logits.square().sum().backward()
    missing = [n for n, p in model.named_parameters() if p.grad is None]
    assert missing == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    nobody = model.eval()(FRAMES, rois_of([]), group=GROUP)
    assert nobody.shape == (0, width)


@pytest.mark.parametrize("memory", ["alone", "associative", "avgpool"])
@pytest.mark.parametrize("backbone", [b for b in BACKBONES if not b.startswith("descriptors")])
def test_classification_composes_with_collaborative_memory(backbone: str, memory: str) -> None:
    config = config_of(backbone, ClipHeadConfig(), memory)
    sparse = replace(config.backbone, detection=False)  # type: ignore[arg-type]
    model = replace(config, backbone=sparse).build().train()
    logits = model(FRAMES, group=GROUP)
    assert logits.shape == (3, 2)
    logits.sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_a_bank_is_refused_in_classification() -> None:
    with pytest.raises(ConfigError, match="tokens it can join"):
        config_of("slow", ClipHeadConfig(), "bank")


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("memory", ["associative", "bank"])
def test_configurations_survive_being_written(head: str, memory: str) -> None:
    kind = HEADS[head] if memory != "bank" else HEADS["temporal_fusion"]
    config = config_of("slowfast", kind, memory)
    assert decode(ActionModelConfig, encode(config)) == config


def test_a_configuration_from_before_memory_still_reads() -> None:
    written = encode(config_of("slow", HEADS["linear"], "alone"))
    del written["memory"]
    assert decode(ActionModelConfig, written).memory is None


def test_relation_tokens_are_as_many_as_the_stamp_says() -> None:
    from tubelet.train.learning.banks import bank_stamp

    for backbone in BACKBONES:
        model = config_of(backbone, HEADS["temporal_fusion"], "bank").build().eval()
        assert isinstance(model.head, RelationHead)
        with torch.no_grad():
            tokens = model.pool(model.features(FRAMES), rois_of([0]))
        stamp = bank_stamp(model, recipe="")
        assert tokens.shape[1:] == (stamp.positions, stamp.width)


def test_every_kind_of_head_and_memory_has_a_name() -> None:
    assert {type(h) for h in NAMED.values()} >= {type(h) for h in HEADS.values()}
    assert {type(m) for m in REMEMBERED.values()} == {type(m) for m in MEMORIES.values()}
    assert head_named("temporal_relation") == TemporalRelationHeadConfig()
    with pytest.raises(ConfigError, match="did you mean temporal_relation"):
        head_named("temporal")
    with pytest.raises(ConfigError, match="no memory is called"):
        memory_named("elephant")
