"""From a film to scores as the originals go: numbers that their own loaders and networks gave.

`originals.json` comes from `benchmarks/originals.py --keep`, which runs PySlowFast, MMAction2 and
PyTorchVideo on two films with given people, and from `benchmarks/originals_vit.py --keep`, which
runs UMT's and VideoMAE's detectors; docs/parity.md has the figures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.originals import INPUTS, Film, converted, films_in, mine, taken
from tests.originals import filled

from tubelet.convert.facts import Facts

KEPT: dict[str, Any] = json.loads(Path(__file__).with_name("originals.json").read_text())
# Name in the comparison → our name of its input.
PROJECTS = {
    "PyTorchVideo hub, slow_r50_detection": "ptv_slow",
    "PySlowFast AVA, SlowFast R50 32×2": "sf_slowfast",
    "MMAction2 AVA, slowfast_kinetics400-pretrained-r50_8xb16-4x16x1-20e_ava21-rgb": "mm_slowfast",
    "UMT AVA, ViT 192 wide": "umt_vit",
    "VideoMAE AVA, ViT 192 wide": "videomae_vit",
}
NETWORKS = {
    "ptv_slow": (
        "ptv_hub_slow_r50_detection",
        "detection_head.proj",
        Facts(aligned=False, colour="rgb"),
    ),
    "sf_slowfast": (
        "sf_AVA_SLOWFAST_32x2_R50_SHORT",
        "head.projection",
        Facts(aligned=True, alpha=4, colour="rgb"),
    ),
    "mm_slowfast": (
        "mm_AVA_slowfast_r50_4x16",
        "roi_head.bbox_head.fc_cls",
        Facts(background=True, temporal_pool="mean", alpha=8),
    ),
    "umt_vit": ("more/umt_AVA_vit_b16_w192_d4", "head", Facts()),
    "videomae_vit": ("more/umt_AVA_vit_b16_w192_d4", "head", Facts()),
}
TUBELETS = {"videomae_vit": 2}
"""Frames of a tubelet, where they are not the list's: the two detectors have one code."""


def film_of(shared: Path, number: int) -> Film:
    return films_in(shared / "data" / "clips")[number]


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("project", PROJECTS)
def test_clips_and_boxes_are_the_originals(shared: Path, project: str, number: int) -> None:
    film = film_of(shared, number)
    kept = KEPT[project]["films"][film.path.name]
    own = taken(INPUTS[PROJECTS[project]], film)
    assert own.frames == kept["frames"]
    count, height, width = own.clip.shape[1:]
    assert [height, width] == kept["size"]
    places = [(0, 0, 0), (count // 2, height // 2, width // 2), (count - 1, height - 1, width - 1)]
    pixels = [own.clip[:, t, y, x].tolist() for t, y, x in places]
    np.testing.assert_allclose(pixels, kept["pixels"], atol=2e-3)
    assert float(own.clip.sum()) == pytest.approx(kept["level_sum"], rel=1e-6)
    np.testing.assert_allclose(own.boxes_px, kept["boxes_px"], atol=1e-3)


@pytest.mark.parametrize("project", PROJECTS)
def test_scores_are_the_originals(shared: Path, project: str) -> None:
    """The seeded checkpoint in the original's layout, converted, on the first film."""
    name, last, facts = NETWORKS[PROJECTS[project]]
    about = json.loads((shared / "golden" / f"{name}.json").read_text())
    shapes = dict(about["state_dict"])
    if (frames := TUBELETS.get(PROJECTS[project])) is not None:
        shapes["patch_embed.proj.weight"][2] = frames
    state = filled(shapes)
    state[f"{last}.weight"] *= KEPT[project]["gain"]
    state[f"{last}.bias"] = torch.tensor(KEPT[project]["bias"])
    film = film_of(shared, 0)
    own = mine(converted(state, INPUTS[PROJECTS[project]], facts), film)
    expected = torch.tensor(KEPT[project]["films"][film.path.name]["scores"])
    assert expected.std() > 0.2  # stretched, so that a wrong frame or kernel shows
    assert (own.scores[:, : expected.shape[1]] - expected).abs().max() < 1e-3
