"""The key lists of thirty public PySlowFast configurations: recognised, mapped, counted."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch
from tests.published_files import vmz_blobs

from tubelet.convert import Facts, Said, convert_state
from tubelet.convert.families import pyslowfast, vmz
from tubelet.errors import OpenQuestions
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.slowfast import SlowFastConfig

FACTS = Facts(
    exclusive=True,
    colour="rgb",
    frames=32,
    stride=2,
    alpha=4,
    aligned=True,
    train_crop=224,
    nonlocal_kind="softmax",
    nonlocal_pool=(1, 2, 2),
)
"""What no key list says; facts about parts that a network lacks mean nothing to it."""
KEYS = Path(__file__).resolve().parents[3] / "shared" / "golden" / "keys"


def read(file: Path) -> tuple[dict[str, torch.Tensor], int]:
    with gzip.open(file) as opened:
        about = json.load(opened)
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in about["state_dict"].items()}
    return state, about["params"]


@pytest.mark.parametrize("name", sorted(p.name for p in KEYS.glob("*.json.gz")) or ["none"])
def test_every_key_finds_its_place(name: str, shared: Path) -> None:
    state, parameters = read(shared / "golden" / "keys" / name)
    expected: Literal["detection", "classification"]
    expected = "detection" if name.startswith("AVA") else "classification"
    facts = replace(FACTS, task=expected)
    converted = convert_state(state, said=[Said(source="this test", facts=facts)])
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    assert parameters == sum(
        t.numel() for n, t in converted.state.items() if not n.endswith(buffers)
    )
    assert converted.dropped == {}
    assert (converted.config.input.crop is None) == (expected == "detection")
    backbone = converted.config.backbone
    if isinstance(backbone, SlowFastConfig) and "R101" in name:
        limits = {"50_50": (6, 6), "50_101": (6, None)}
        found = next((v for k, v in limits.items() if f"R101_{k}" in name), (None, None))
        assert (backbone.slow_temporal, backbone.fast_temporal) == found


def test_c2d_does_not_say_whether_it_pools_time(shared: Path) -> None:
    """C2D is I3D without a temporal kernel, and has the same names."""
    state, _ = read(shared / "golden" / "keys" / "Kinetics__I3D_8x8_R50.json.gz")
    state = {n: t[:, :, :1] if t.ndim == 5 else t for n, t in state.items()}
    facts = replace(FACTS, task="classification")
    with pytest.raises(OpenQuestions) as asked:
        convert_state(state, said=[Said(source="this test", facts=facts)])
    assert [question.key for question in asked.value.questions] == ["time_strides"]


@pytest.mark.parametrize("network", ["vmz_ir_csn_152", "vmz_ip_csn_152"])
def test_blobs_of_vmz_are_their_pytorch_twins(network: str, shared: Path) -> None:
    about = json.loads((shared / "golden" / f"{network}.json").read_text())
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in about["state_dict"].items()}
    blobs = vmz_blobs(state)
    assert vmz.is_caffe2(blobs) and not pyslowfast.is_caffe2(blobs)
    names = vmz.caffe2_names(blobs)
    assert {names[blob]: t.shape for blob, t in blobs.items()} == {
        name: t.shape for name, t in state.items() if not name.endswith("num_batches_tracked")
    }
    assert vmz.caffe2_names(["comp_99_conv_1_w", "lr"]) == {
        "comp_99_conv_1_w": "comp_99_conv_1_w",
        "lr": "lr",
    }


def test_c2d_without_its_pool_pads_its_stem(shared: Path) -> None:
    """MMAction2's two "nopool" files are its 2-D ResNet: MaxPool2d(3, 2, padding=1)."""
    about = json.loads((shared / "golden" / "more" / "mm_c2d_r50_cls_64.json").read_text())
    with torch.device("meta"):
        state = {name: torch.empty(shape) for name, shape in about["state_dict"].items()}
    padding = {}
    for after in (1, 2):
        facts = Facts(
            time_strides=(1, 1, after), exclusive=True, frames=8, stride=8, task="classification"
        )
        backbone = convert_state(state, said=[Said(source="row", facts=facts)]).config.backbone
        assert isinstance(backbone, ResNet3dConfig)
        padding[backbone.pool_time] = backbone.stem_padding
    assert padding == {True: 0, False: 1}
