"""Every reference network: convert its key list, fill, run, compare with the original's output."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.originals import TOLERANCE, build, filled, logits_of, relative_error
from torch import Tensor

from tubelet.convert import Converted, Facts, Said, convert_state
from tubelet.models.backbones.vivit import ViViTConfig
from tubelet.models.create import model_config
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.clip import join_positions

CLIP = Facts(frames=32, stride=2)
"""What the forward passes below do not depend on, and a converter has to be told all the same."""
SF_CLIPS = replace(CLIP, task="classification", exclusive=True, colour="rgb")
SF_PEOPLE = replace(CLIP, task="detection", exclusive=False, colour="rgb", aligned=True)
PTV_CLIPS = replace(CLIP, exclusive=True, colour="rgb", train_crop=256)
PTV_PEOPLE = replace(CLIP, exclusive=False, colour="rgb", aligned=False)
MM_PEOPLE = replace(CLIP, exclusive=False, background=True, temporal_pool="mean")
VMZ = replace(CLIP, exclusive=True)
NETWORKS = {
    # The pooling window follows the training crop: 96 // 32 cells, 64 // 32 cells.
    "sf_SLOWFAST_4x16_R50_cls": replace(SF_CLIPS, alpha=8, train_crop=96),
    "sf_SLOWFAST_8x8_R50_cls_64": replace(SF_CLIPS, alpha=4, train_crop=64),
    "sf_SLOWFAST_8x8_R101_101_101_cls_64": replace(SF_CLIPS, alpha=4, train_crop=64),
    "sf_SLOW_8x8_R50_cls_64": replace(SF_CLIPS, train_crop=64),
    "sf_I3D_8x8_R50_cls_64": replace(SF_CLIPS, train_crop=64),
    "sf_I3D_NLN_8x8_R50_cls_64": replace(
        SF_CLIPS, train_crop=64, nonlocal_kind="softmax", nonlocal_pool=(1, 2, 2)
    ),
    "sf_AVA_SLOWFAST_32x2_R50_SHORT": replace(SF_PEOPLE, alpha=4),
    "sf_AVA_SLOW_4x16_R50": SF_PEOPLE,
    "ptv_CSN_32x2_R101_cls_64": PTV_CLIPS,
    "ptv_R2PLUS1D_16x4_R50_cls_64": PTV_CLIPS,
    "ptv_hub_slow_r50_detection": PTV_PEOPLE,
    "ptv_hub_slowfast_r50_detection": replace(PTV_PEOPLE, alpha=4),
    "mm_AVA_slowfast_r50_4x16": replace(MM_PEOPLE, alpha=8),
    "mm_AVA_slowfast_r50_context": replace(MM_PEOPLE, alpha=8),
    "mm_AVA_slowfast_acrn_r50_8x8": replace(MM_PEOPLE, alpha=4),
    "mm_AVA_slowonly_r50_4x16": MM_PEOPLE,
    "mm_AVA_slowonly_r50_nl_4x16": replace(MM_PEOPLE, nonlocal_kind="softmax"),
    "tv_r2plus1d_18": replace(VMZ, norm_eps=1e-5),
    "vmz_ip_csn_152": VMZ,
    "vmz_ir_csn_152": VMZ,
    "vmz_r2plus1d_152": VMZ,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_equal_the_originals(
    name: str, shared: Path, report: Callable[[str, float], None]
) -> None:
    about = json.loads((shared / "golden" / f"{name}.json").read_text())
    converted = convert_state(
        filled(about["state_dict"]), said=[Said(source="this test", facts=NETWORKS[name])]
    )
    model = build(converted)
    assert sum(p.numel() for p in model.parameters()) == about["params"] - dropped(converted)
    generator = torch.Generator().manual_seed(0)
    crop = about["crop"]
    clip = torch.randn(1, 3, about["frames"], crop, crop, generator=generator)
    logits = logits_of(model, clip, about.get("boxes"))
    truth = np.load(shared / "golden" / f"{name}.npz")
    expected = truth["gs_f64_logits"]
    if name.startswith("mm_"):
        expected = expected[:, 1:]
    report(name, relative_error(logits, expected))
    if name.startswith(("sf_", "ptv_")):
        joined = logits if about.get("boxes") else join_positions(logits, exclusive=True)
        assert relative_error(model.scores(joined), truth["gs_f64_output"]) < TOLERANCE


def dropped(converted: Converted) -> int:
    """Parameters of MMAction2's background row."""
    if not converted.dropped:
        return 0
    return converted.state["head.classifier.weight"].shape[1] + 1


def test_networks_listed_here_are_all_there_are(shared: Path) -> None:
    found = {p.stem for p in (shared / "golden").glob("*.json")} - {"costs"}
    assert found == {*NETWORKS, "hf_vivit_tiny", "scenic_vivit"}


TINY = ViViTConfig(
    width=48, layers=2, heads=3, mlp=96, temporal_layers=2, positions=(4, 4, 4), detection=False
)


def tiny(backbone: ViViTConfig) -> ActionModelConfig:
    return model_config(backbone=backbone, task="classification", labels=10)


def test_hugging_face_vivit(shared: Path, report: Callable[[str, float], None]) -> None:
    about = json.loads((shared / "golden" / "hf_vivit_tiny.json").read_text())
    model = build(
        convert_state(filled(about["state_dict"]), config=tiny(replace(TINY, temporal_layers=0)))
    )
    clip = torch.randn(1, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    truth = np.load(shared / "golden" / "hf_vivit_tiny.npz")["gs_f64_logits"]
    report("hf_vivit_tiny", relative_error(logits_of(model, clip, None), truth))


def fill_flax(name: str, shape: list[int]) -> Tensor:
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if name.endswith("scale"):
        return 0.5 + torch.rand(shape, generator=generator)
    if name.endswith(("bias", "pos_embedding")) or name.startswith("cls"):
        return 0.1 * torch.randn(shape, generator=generator)
    qkv = any(f"/{part}/kernel" in name for part in ("query", "key", "value"))
    fan_in = shape[0] if qkv else math.prod(shape[:-1])
    return torch.randn(shape, generator=generator) * math.sqrt(2 / fan_in)


@pytest.mark.parametrize("form, layers", [("fe", 2), ("un", 0)])
def test_scenic_vivit(
    form: str, layers: int, shared: Path, report: Callable[[str, float], None]
) -> None:
    about = json.loads((shared / "golden" / "scenic_vivit.json").read_text())
    state = {n: fill_flax(n, s) for n, s in about["tiny"][f"tree_{form}"].items()}
    model = build(convert_state(state, config=tiny(replace(TINY, temporal_layers=layers))))
    clip = torch.randn(1, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    truth = np.load(shared / "golden" / "scenic_vivit_tiny.npz")
    report(
        f"scenic_vivit_{form}",
        relative_error(logits_of(model, clip, None), truth[f"tiny_{form}_f64_logits"]),
    )


@pytest.mark.parametrize(
    "tree, parameters, heads",
    [
        ("vivit_base_factorised_encoder", 115_062_928, 12),
        ("vivit_large_factorised_encoder", 606_827_920, 16),
        ("vivit_base_k400 (unfactorised)", 88_954_000, 12),
    ],
)
def test_full_scenic_trees_are_read_from_their_shapes(
    tree: str, parameters: int, heads: int, shared: Path
) -> None:
    about = json.loads((shared / "golden" / "scenic_vivit.json").read_text())
    shapes = about["full_param_trees"][tree]["tree"]
    with torch.device("meta"):
        facts = Facts(exclusive=True, heads=heads, frames=32, stride=2)
        state = {n: torch.zeros(s) for n, s in shapes.items()}
        converted = convert_state(state, said=[Said(source="this test", facts=facts)])
    assert sum(t.numel() for t in converted.state.values()) == parameters
