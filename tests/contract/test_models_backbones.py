"""The list that every backbone passes, at widths small enough to run in a second."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Rois
from tubelet.config import decode, encode
from tubelet.models.backbones import BACKBONES as FAMILIES
from tubelet.models.backbones.base import BackboneConfig
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.backbones.r2plus1d import R2Plus1dConfig
from tubelet.models.backbones.resnet3d import C2D, FAST, I3D, ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.backbones.vit import ViTConfig
from tubelet.models.backbones.vivit import ViViTConfig
from tubelet.models.create import create_model, model_config, variants
from tubelet.models.detector import ActionModel, ActionModelConfig
from tubelet.models.folding import folded
from tubelet.models.layers.resnet3d import ConvNorm, NonLocalConfig
from tubelet.models.weights import load_model, save_model
from tubelet.plugins import families

RECORDED = Path(__file__).with_name("models_state_dict_names.json")
BLOCKS = (1, 1, 2, 1)
HALVING = ((1, 1), (2, 2), (2, 2), (2, 2))
PECULIAR: dict[str, BackboneConfig] = {
    "slowfast": SlowFastConfig(blocks=BLOCKS, width=8, beta_inv=4),
    "slowfast_nl": SlowFastConfig(
        blocks=BLOCKS,
        width=8,
        beta_inv=2,
        alpha=8,
        fusion_kernel=5,
        nonlocal_res4=(1,),
        slow_temporal=1,
    ),
    "slowfast_mmaction": SlowFastConfig(
        blocks=BLOCKS,
        width=8,
        beta_inv=4,
        lateral_norm=False,
        slow_select="stride",
        res5_dilation=1,
    ),
    "slow": ResNet3dConfig(blocks=BLOCKS, width=8),
    "fast": ResNet3dConfig(blocks=BLOCKS, width=8, temporal=FAST, stem_temporal=5),
    "i3d_nl": ResNet3dConfig(
        blocks=BLOCKS,
        width=8,
        temporal=I3D,
        stem_temporal=5,
        pool_time=True,
        nonlocal_after=((), (0,), (1,), ()),
        attention=NonLocalConfig(kind="softmax"),
    ),
    "r2plus1d_basic": R2Plus1dConfig(
        depth=18, blocks=BLOCKS, width=8, split_stem=True, matched=True, stage_strides=HALVING
    ),
    "r2plus1d_vmz": R2Plus1dConfig(
        blocks=BLOCKS,
        width=8,
        split_stem=True,
        stem_pool=True,
        matched=True,
        stage_strides=HALVING,
        norm_eps=1e-3,
    ),
    "r2plus1d_ptv": R2Plus1dConfig(blocks=BLOCKS, width=8, time_first=True),
    "r2plus1d_mmaction": R2Plus1dConfig(
        depth=34,
        blocks=BLOCKS,
        width=8,
        split_stem=True,
        stem_planes=7,
        stem_pool=True,
        split_shortcut=True,
        matched=True,
        own_planes=True,
        stage_strides=HALVING,
        norm_eps=1e-3,
        middle_eps=1e-5,
    ),
    "i3d_mmaction": ResNet3dConfig(
        blocks=BLOCKS,
        width=8,
        temporal=I3D,
        stem_temporal=5,
        stem_time_strides=(2, 2),
        pool_time=True,
        nonlocal_after=((), (0,), (1,), ()),
        attention=NonLocalConfig(kind="gaussian", pool_projected=True, output_bias=False),
    ),
    "c2d_mmaction": ResNet3dConfig(
        blocks=BLOCKS, width=8, temporal=C2D, stem_padding=0, pool_time=True
    ),
    "ir_csn": CSNConfig(blocks=BLOCKS, width=8),
    "ip_csn": CSNConfig(blocks=BLOCKS, width=8, preserved=True),
    "vivit": ViViTConfig(
        width=32, layers=2, heads=2, mlp=64, temporal_layers=1, positions=(4, 4, 4)
    ),
    "vivit_joint": ViViTConfig(
        width=32, layers=2, heads=2, mlp=64, temporal_layers=0, positions=(4, 4, 4)
    ),
    "vit": ViTConfig(width=32, layers=2, heads=2, mlp=64, positions=(4, 4, 4)),
    "vit_learned": ViTConfig(
        width=32,
        layers=2,
        heads=2,
        mlp=64,
        tubelet=(1, 16, 16),
        positions=(4, 4, 4),
        learned=True,
        layer_scale=0.1,
        drop_path=0.1,
    ),
}
# Every family of the list (and of plugins), and forms that their defaults do not show.
BACKBONES: dict[str, BackboneConfig] = {
    **{one.title(): one().tiny() for one in families(BackboneConfig, FAMILIES)},
    **PECULIAR,
}
FRAMES = 8
every_backbone = pytest.mark.parametrize("name", BACKBONES)
# Exporting takes ten seconds and more; variants of a family differ in numbers, not in operators.
every_family = pytest.mark.parametrize(
    "name", [n for n in BACKBONES if n not in PECULIAR] + ["slowfast_nl", "r2plus1d_basic"]
)


def rois(boxes: Sequence[Sequence[float]], clip: Sequence[int]) -> Rois:
    px = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Rois(boxes_px=px, boxes_norm=px / 64, clip=torch.tensor(clip, dtype=torch.int64))


TWO_PEOPLE = rois([[4, 6, 40, 60], [20.5, 3, 63, 50]], [0, 1])
NOBODY = rois([], [])


def model_of(name: str, labels: int = 5) -> ActionModel:
    """A tiny detector whose residual branches are open, so that every parameter matters."""
    torch.manual_seed(0)
    model = create_model(backbone=BACKBONES[name], labels=labels)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1)
    return model.eval()


def frames(size: tuple[int, int], batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, 3, FRAMES, *size), generator=generator).byte()


def forms() -> dict[str, BackboneConfig]:
    """Both forms of each variant of each family in the small, equal ones once."""
    found: dict[str, BackboneConfig] = {}
    for name, row in variants().items():
        for form, config in (("sparse", row.backbone), ("dense", row.detection)):
            if config.tiny() not in found.values():
                found[f"{name} {form}"] = config.tiny()
    return found


def check_maps(config: BackboneConfig, size: tuple[int, int]) -> None:
    backbone = config.build().eval()
    with torch.inference_mode():
        maps: tuple[FeatureMap, ...] = backbone(torch.randn(2, 3, FRAMES, *size))
    assert len(maps) == len(backbone.outputs)
    for found, spec in zip(maps, backbone.outputs, strict=True):
        cells = [-(-side // spec.space_stride) for side in size]
        time = found.values.shape[2]
        cut = (-(-FRAMES // spec.time_stride), FRAMES - 1)  # by frames, or by their pairs
        assert spec.whole or time in cut
        expected = (2, spec.channels, *((1, 1, 1) if spec.whole else (time, *cells)))
        assert tuple(found.values.shape) == expected
        assert (found.time_stride, found.space_stride) == (spec.time_stride, spec.space_stride)


@every_backbone
@pytest.mark.parametrize("size", [(64, 64), (64, 96), (57, 75)])
def test_maps_are_as_declared(name: str, size: tuple[int, int]) -> None:
    check_maps(BACKBONES[name], size)
    assert all(spec.space_stride <= 16 for spec in BACKBONES[name].build().outputs)


@pytest.mark.parametrize("name", forms())
def test_maps_of_every_variant_are_as_declared(name: str) -> None:
    check_maps(forms()[name], (57, 75))
    # What classified clips is fine-tuned to find people on the maps of its dense form.
    for spec in forms()[name].dense().build().outputs:
        assert spec.space_stride <= 16 and not spec.whole


@pytest.mark.parametrize("name", [n for n, c in PECULIAR.items() if hasattr(c, "detection")])
def test_sparse_maps_are_as_declared(name: str) -> None:
    check_maps(replace(PECULIAR[name], detection=False), (57, 75))  # type: ignore[call-arg]


@every_backbone
def test_people_nobody_and_many(name: str) -> None:
    model = model_of(name)
    with torch.inference_mode():
        maps = model.features(frames((64, 64)))
        assert model.classify(model.pool(maps, NOBODY)).shape == (0, 5)
        two = model.classify(model.pool(maps, TWO_PEOPLE))
        many = rois([[4, 6, 40, 60]] * 200, [0] * 200)
        crowd = model.classify(model.pool(maps, many))
    assert two.shape == (2, 5) and crowd.shape == (200, 5)
    torch.testing.assert_close(crowd, two[:1].expand(200, -1), rtol=1e-4, atol=1e-5)


@every_backbone
def test_folded_is_equal_and_leaves_the_model(name: str) -> None:
    model = model_of(name)
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    twin = folded(model.train())
    assert model.training and not twin.training
    norms = [layer.norm for layer in twin.modules() if isinstance(layer, ConvNorm)]
    assert all(isinstance(norm, nn.Identity) for norm in norms)
    after = model.eval().state_dict()
    assert before.keys() == after.keys() and all(before[k].equal(after[k]) for k in before)
    with torch.inference_mode():
        expected = model(frames((64, 64)), TWO_PEOPLE)
        torch.testing.assert_close(
            twin(frames((64, 64)), TWO_PEOPLE), expected, rtol=1e-4, atol=1e-5
        )


@every_backbone
def test_gradient_reaches_every_parameter(name: str) -> None:
    model = model_of(name)
    model(frames((64, 64)), TWO_PEOPLE).square().sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # A softmax takes no notice of what all its scores share, so the keys' bias has no gradient.
    assert [n for n in silent if not n.endswith("phi.bias")] == []


@every_backbone
def test_compiles_as_one_graph(name: str) -> None:
    model = model_of(name)
    torch._dynamo.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.inference_mode():
        expected = model(frames((64, 64)), TWO_PEOPLE)
        torch.testing.assert_close(compiled(frames((64, 64)), TWO_PEOPLE), expected)


class Flat(nn.Module):
    """The model with tensors alone at its border, as an exported program has them."""

    def __init__(self, model: ActionModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, clip: Tensor, boxes: Tensor, index: Tensor) -> Tensor:
        out: Tensor = self.model(clip, Rois(boxes_px=boxes, boxes_norm=boxes, clip=index))
        return out


@every_family
def test_exports_with_any_number_of_people(name: str) -> None:
    model = Flat(model_of(name)).eval()
    people = torch.export.Dim("people", min=2, max=300)
    three = rois([[4, 6, 40, 60], [20, 3, 63, 50], [0, 0, 64, 64]], [0, 1, 1])
    program = torch.export.export(
        model,
        (frames((64, 64)), three.boxes_px, three.clip),
        dynamic_shapes=({}, {0: people}, {0: people}),
    )
    with torch.inference_mode():
        arguments = (frames((64, 64)), TWO_PEOPLE.boxes_px, TWO_PEOPLE.clip)
        torch.testing.assert_close(program.module()(*arguments), model(*arguments))


@every_backbone
def test_bf16_autocast_stays_near(name: str) -> None:
    model = model_of(name)
    with torch.inference_mode():
        expected = model(frames((64, 64)), TWO_PEOPLE)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = model(frames((64, 64)), TWO_PEOPLE)
    assert (found.float() - expected).norm() / expected.norm() < 0.05


@every_backbone
def test_survives_saving(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    save_model(tmp_path / "model.safetensors", model)
    again = load_model(tmp_path / "model.safetensors")
    assert again.config == model.config
    with torch.inference_mode():
        assert torch.equal(again(frames((64, 64)), TWO_PEOPLE), model(frames((64, 64)), TWO_PEOPLE))


def names_of(config: ActionModelConfig) -> list[str]:
    with torch.device("meta"):
        return sorted(config.build().state_dict())


@pytest.mark.parametrize("name", PECULIAR)
def test_names_of_tensors_are_the_recorded_ones(name: str) -> None:
    recorded = json.loads(RECORDED.read_text())
    assert names_of(model_config(backbone=PECULIAR[name], labels=5)) == recorded[name]


@pytest.mark.parametrize("name", [n for n in forms() if n.endswith("sparse")])
def test_classifies_whole_clips(name: str) -> None:
    backbone = forms()[name]
    model = create_model(backbone=backbone, task="classification", labels=7).eval()
    with torch.inference_mode():
        scores = model.scores(model(frames((64, 96))))
    assert scores.shape == (2, 7)
    torch.testing.assert_close(scores.sum(1), torch.ones(2))
    assert model.task == "classification"


@pytest.mark.parametrize("name", variants())
def test_named_variants_travel_as_json(name: str) -> None:
    config = model_config(name)
    assert decode(ActionModelConfig, json.loads(json.dumps(encode(config)))) == config
