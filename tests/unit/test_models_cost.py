"""The counter against hand counts, and the recorded table against papers and reference counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.cost_table import line

from tubelet.models import create
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.vivit import ViViTConfig
from tubelet.models.cost import count
from tubelet.models.create import (
    COSTS,
    TASKS,
    count_variant,
    model_config,
    model_records,
    variants,
)
from tubelet.recipes import records

RECORDED = json.loads(COSTS.read_text())


def test_convolutions_by_hand() -> None:
    config = model_config(
        backbone=ResNet3dConfig(blocks=(1, 1, 1, 1), width=4, detection=False),
        task="classification",
        labels=10,
    )
    cost = count(config, size=64, frames=2)
    cells = {0: 16 * 16, 1: 8 * 8, 2: 4 * 4, 3: 2 * 2}  # after the stem and its pool: 16×16
    expected = 4 * 3 * 49 * 2 * 32 * 32
    inputs = 4
    for stage, area in cells.items():
        inner, outputs = 4 * 2**stage, 16 * 2**stage
        before = cells[max(0, stage - 1)]  # the first 1×1×1 runs before the stride
        kernel = 3 if stage >= 2 else 1
        expected += 2 * inputs * inner * kernel * before
        expected += 2 * inner * inner * 9 * area
        expected += 2 * inner * outputs * area
        expected += 2 * inputs * outputs * area  # the shortcut
        inputs = outputs
    assert cost.operators["convolution"] == expected
    assert cost.operators["linear"] == 128 * 10
    assert cost.macs == expected + 1280


def test_attention_by_hand() -> None:
    config = model_config(
        backbone=ViViTConfig(
            width=8,
            layers=3,
            heads=2,
            mlp=16,
            temporal_layers=0,
            positions=(2, 2, 2),
            detection=False,
        ),
        task="classification",
        labels=5,
    )
    cost = count(config, size=32, frames=4)
    tokens = 1 + 2 * 2 * 2
    assert cost.operators["matmul"] == 3 * 2 * tokens * tokens * 8
    assert cost.operators["linear"] == 3 * tokens * (4 * 8 * 8 + 2 * 8 * 16) + 8 * 5
    assert cost.operators["convolution"] == 8 * 8 * 3 * 2 * 16 * 16
    assert cost.norm == 0


def test_roi_align_is_left_out() -> None:
    config = model_config(backbone=ResNet3dConfig(blocks=(1, 1, 1, 1), width=4), labels=80)
    cost = count(config, size=64, frames=2)
    assert set(cost.operators) == {"convolution", "linear"}
    assert cost.operators["linear"] == 128 * 80


def test_every_model_is_recorded() -> None:
    assert set(RECORDED) == set(variants())


@pytest.mark.parametrize(
    "name", ["slowfast_r50_4x16", "i3d_r50_nl_8x8", "r2plus1d_r18_16x2", "vivit_b_16x2"]
)
@pytest.mark.parametrize("task", TASKS)
def test_the_record_is_what_is_counted(name: str, task: str) -> None:
    assert count_variant(name, task) == RECORDED[name][task]


@pytest.mark.parametrize("name", variants())
def test_the_docs_table_has_the_recorded_costs(name: str) -> None:
    page = Path(__file__).parents[2] / "docs" / "models-cost.md"
    assert line(name, RECORDED[name]) in page.read_text(encoding="utf-8")


def test_costs_that_nobody_recorded_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = tmp_path / "costs.json"
    nothing.write_text("{}")
    name, recipe = "slow_r50_4x16", "finetune_b224_k400"
    known = model_records(name, "detection"), records.recipe_records(recipe)
    monkeypatch.setattr(create, "COSTS", nothing)
    monkeypatch.setattr(records, "COSTS", nothing)
    assert (model_records(name, "detection"), records.recipe_records(recipe)) == known


@pytest.mark.parametrize("name", variants())
def test_published_costs_are_met_within_two_per_cent(name: str) -> None:
    row = variants()[name]
    for published in row.published:
        if published.gflops is not None and published.size == row.cost_size:
            ours = RECORDED[name]["classification"]["gflops"]
            assert ours == pytest.approx(published.gflops, rel=0.02), published.source


REFERENCES = {
    "slowfast_r50_4x16": "SLOWFAST_4x16_R50",
    "slowfast_r50_8x8": "SLOWFAST_8x8_R50",
    "slowfast_r50_nl_4x16": "SLOWFAST_NLN_4x16_R50",
    "slowfast_r50_nl_8x8": "SLOWFAST_NLN_8x8_R50",
    "slowfast_r101_8x8": "SLOWFAST_8x8_R101_50_50 (c2)",
    "slowfast_r101_16x8": "SLOWFAST_16x8_R101_50_50 (c2)",
    "slowfast_r101_101_8x8": "SLOWFAST_8x8_R101_101_101 (c2)",
    "slowfast_r101_nl_8x8": "*derived SLOWFAST_NLN_8x8_R101_50_50 NLpool222",
    "slowfast_r101_nl_16x8": "*derived SLOWFAST_NLN_16x8_R101_50_50 NLpool222",
    "slowfast_r101_101_nl_8x8": "*derived SLOWFAST_NLN_8x8_R101_101_101 NLpool222",
    "slowfast_r101_101_nl_16x8": "*derived SLOWFAST_NLN_16x8_R101_101_101 NLpool222",
    "slow_r50_4x16": "SLOW_4x16_R50",
    "slow_r50_8x8": "SLOW_8x8_R50",
    "slow_r50_nl_8x8": "SLOW_NLN_8x8_R50",
    "fast_r101_nl_32x2": "*derived FAST-ONLY beta=1 32x2 R101_101_101+NL cls",
    "i3d_r50_8x8": "I3D_8x8_R50",
    "i3d_r101_8x8": "I3D_8x8_R101",
    "i3d_r50_nl_8x8": "I3D_NLN_8x8_R50",
    "i3d_r101_nl_8x8": "I3D_NLN_8x8_R101",
    "r2plus1d_r50_16x4": "R2PLUS1D_16x4_R50 (ptv)",
    "r2plus1d_r101_32x2": "*derived R2PLUS1D_32x2_R101 (ptv builder, depth 101)",
    "csn_r101_32x2": "CSN_32x2_R101 (ptv)",
    "ir_csn_r152_32x2": "*derived CSN_32x2_R152 (ptv builder, depth 152)",
}
DETECTORS = {
    "slowfast_r50_8x8": "AVA SLOWFAST_32x2_R50_SHORT",
    "slowfast_r50_4x16": "*derived AVA SLOWFAST 4x16 R50 (alpha 8)",
    "slowfast_r101_nl_8x8": "AVA c2/SLOWFAST_32x2_R101_50_50 (v2.2)",
    "slowfast_r101_nl_16x8": "AVA c2/SLOWFAST_64x2_R101_50_50",
    "slowfast_r101_8x8": "*derived AVA SLOWFAST_32x2_R101_50_50 no NL",
    "slowfast_r101_101_8x8": "*derived AVA SLOWFAST_32x2_R101_101_101 no NL",
    "slow_r50_4x16": "AVA SLOW_8x8_R50_SHORT (really 4x16)",
    "slow_r50_8x8": "*derived AVA SLOW 8x8 (8 frames)",
    "fast_r101_nl_32x2": "*derived FAST-ONLY beta=1 32x2 R101_101_101+NL AVA (res5 stride1 dil2)",
}


def test_reference_counts_are_met_exactly(shared: Path) -> None:
    reference = json.loads((shared / "golden" / "costs.json").read_text())["pyslowfast"]
    for task, names in (("classification", REFERENCES), ("detection", DETECTORS)):
        for ours, theirs in names.items():
            assert RECORDED[ours][task]["parameters"] == reference[theirs]["params"], ours
            stated = reference[theirs]["gflops256_conv_linear_matmul"]
            assert RECORDED[ours][task]["gflops"] == pytest.approx(stated, abs=0.011), ours


def test_other_reference_counts_are_met(shared: Path) -> None:
    """The VMZ and torchvision networks, at 112 and 256 pixels."""
    others = json.loads((shared / "golden" / "costs.json").read_text())["others (noBN, withBN)"]
    for ours, theirs, size in (
        ("ir_csn_r152_32x2", "vmz ir_csn_152 32f", "256"),
        ("ip_csn_r152_32x2", "vmz ip_csn_152 32f", "256"),
        ("r2plus1d_r34_32x2", "vmz r2plus1d_34 32f", "112"),
        ("r2plus1d_r152_32x2", "vmz r2plus1d_152 32f", "112"),
        ("r2plus1d_r18_16x2", "tv r2plus1d_18 16f", "112"),
        ("vivit_b_16x2_joint", "hf vivit-b 16x2 (unfactorised) 32f", "224"),
    ):
        found = RECORDED[ours]["classification"]
        assert found["parameters"] == others[theirs]["params"], ours
        assert found["gflops"] == pytest.approx(others[theirs][size][0], abs=0.011), ours
