"""torchvision's R3D-18 and MC3-18: logits that `benchmarks/originals_torchvision.py` kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from benchmarks.originals_torchvision import FACTS, NETWORKS, ours
from tests.originals import filled
from tests.published_files import kept_networks

from tubelet.convert import Said, convert_state
from tubelet.errors import OpenQuestions
from tubelet.models.backbones.r3d import R3dConfig

KEPT = kept_networks("torchvision")


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_the_originals(name: str, report: Callable[[str, float], None]) -> None:
    truth = torch.tensor(KEPT[name]["logits"], dtype=torch.float64)
    error = (ours(filled(KEPT[name]["state_dict"])) - truth).norm() / truth.norm()
    report(name, float(error))


def test_they_are_told_apart_and_ask_for_the_epsilon() -> None:
    """Once taken for ir-CSN by their names, and refused at the count."""
    kernels = {}
    for name in NETWORKS:
        with torch.device("meta"):
            state = {n: torch.empty(s) for n, s in KEPT[name]["state_dict"].items()}
        converted = convert_state(state, said=[Said(source="row", facts=FACTS)])
        assert isinstance(converted.config.backbone, R3dConfig)
        kernels[name] = converted.config.backbone.temporal
        with pytest.raises(OpenQuestions) as asked:
            facts = replace(FACTS, norm_eps=None)
            convert_state(state, said=[Said(source="row", facts=facts)])
        assert [question.key for question in asked.value.questions] == ["norm_eps"]
    assert kernels == {"r3d_18": (3, 3, 3, 3), "mc3_18": (3, 1, 1, 1)}
