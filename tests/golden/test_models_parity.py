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
import torch.nn.functional as F
from tests.originals import TOLERANCE, build, filled, logits_of, relative_error
from tests.references import (
    ELSEWHERE,
    FACTS,
    PAST_THE_PICTURE,
    convert_network,
    errors,
    network,
    parameters,
)
from torch import Tensor

from tubelet.batch import Rois
from tubelet.convert import Facts, Said, convert_state
from tubelet.models.backbones.vivit import ViViTConfig
from tubelet.models.create import model_config
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.linear import LinearHead


@pytest.mark.parametrize("name", FACTS)
def test_logits_and_outputs_equal_the_originals(
    name: str, shared: Path, report: Callable[[str, float], None]
) -> None:
    for error in errors(network(shared / "golden", name)):
        report(error.run, max(error.logits, error.output))


@pytest.mark.parametrize("name", FACTS)
def test_parameters_are_as_many_as_the_originals(name: str, shared: Path) -> None:
    reference = network(shared / "golden", name)
    with torch.device("meta"):
        state = {n: torch.empty(s) for n, s in reference.about["state_dict"].items()}
        said = [Said(source="the reference", facts=reference.facts)]
        converted = convert_state(state, said=said)
        model = converted.config.build()
    assert sum(p.numel() for p in model.parameters()) == parameters(reference, converted)


def test_networks_listed_are_all_there_are(shared: Path) -> None:
    folders = (shared / "golden", shared / "golden" / "more")
    found = {path.stem for folder in folders for path in folder.glob("*.json")}
    assert found == {*FACTS, *ELSEWHERE, "costs"}


def test_a_box_past_the_picture(shared: Path) -> None:
    """The one box whose samples lie beyond the picture, by the references' RoIAlign: a map that
    repeats its last cells, on which every sample is inside."""
    (name, row), *_ = PAST_THE_PICTURE.items()
    reference = network(shared / "golden", name.removesuffix("_sin_224"))
    model = build(convert_network(reference, "_sin"))
    run = next(run for run in reference.runs() if run.suffix == "_sin_224")
    assert run.boxes is not None and isinstance(model.head, LinearHead)
    clip = torch.randn(*run.shape, generator=torch.Generator().manual_seed(0))
    box = torch.tensor(run.boxes[row : row + 1])
    rois = Rois(boxes_px=box[:, 1:], boxes_norm=box[:, 1:], clip=box[:, 0].long())
    with torch.inference_mode():
        (found,) = model.backbone(clip)
        repeated = F.pad(found.values, (0, 2, 0, 2, 0, 0), mode="replicate")
        logits = model.head(model.pool([replace(found, values=repeated)], rois))
    truth = np.load(reference.arrays)["gs_f64_logits_sin_224"][row : row + 1, 1:]
    assert relative_error(logits, truth) < TOLERANCE


TINY = ViViTConfig(
    width=48, layers=2, heads=3, mlp=96, temporal_layers=2, positions=(4, 4, 4), detection=False
)


def tiny(backbone: ViViTConfig) -> ActionModelConfig:
    return model_config(backbone=backbone, task="classification", labels=10)


@pytest.mark.parametrize("name", ["hf_vivit_tiny", "more/hf_vivit_cls_tiny_module_names"])
def test_hugging_face_vivit(name: str, shared: Path, report: Callable[[str, float], None]) -> None:
    about = json.loads((shared / "golden" / f"{name}.json").read_text())
    model = build(
        convert_state(filled(about["state_dict"]), config=tiny(replace(TINY, temporal_layers=0)))
    )
    clip = torch.randn(1, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))
    truth = np.load(shared / "golden" / f"{name}.npz")
    logits = logits_of(model, clip, None)
    report(name, relative_error(logits, truth["gs_f64_logits"]))
    # The first golden keeps what the original returns, its logits; the later ones probabilities.
    output = logits.softmax(-1) if name.startswith("more/") else logits
    report(f"{name} output", relative_error(output, truth["gs_f64_output"]))


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
