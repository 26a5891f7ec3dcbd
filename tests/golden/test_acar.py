"""ACAR-Net's two networks: its own logits and scores, which `benchmarks/originals_acar.py` kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from benchmarks.originals_acar import NETWORKS, facts_of, ours
from tests.originals import TOLERANCE, filled
from tests.published_files import kept_networks

from tubelet.convert import Said, convert_state
from tubelet.errors import OpenQuestions
from tubelet.labelsets import label_set
from tubelet.models.heads.hr2o import HR2OHeadConfig

KEPT = kept_networks("acar")


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_scores_are_the_originals(
    name: str, report: Callable[[str, float], None]
) -> None:
    state, select = filled(KEPT[name]["state_dict"]), NETWORKS[name]["slow_select"]
    for found, kept in zip(ours(state, select), ("logits", "scores"), strict=True):
        truth = torch.tensor(KEPT[name][kept])
        report(f"{name} {kept}", float((found - truth).norm() / truth.norm()))
    scores = torch.tensor(KEPT[name]["scores"])
    assert torch.allclose(scores[:, :13].sum(1), torch.ones(3), atol=1e-4)
    other = "stride" if select == "linspace" else "linspace"
    wrong, _ = ours(state, other)
    truth = torch.tensor(KEPT[name]["logits"])
    assert (wrong - truth).norm() / truth.norm() > 5 * TOLERANCE


def test_what_tensors_do_not_say_is_asked() -> None:
    with torch.device("meta"):
        shapes = KEPT["acar_slowfast_r50"]["state_dict"]
        state = {name: torch.empty(shape) for name, shape in shapes.items()}
    known = replace(facts_of("linspace"), pose_softmax=None, slow_select=None)
    with pytest.raises(OpenQuestions) as asked:
        convert_state(state, said=[Said(source="this test", facts=known)])
    assert [question.key for question in asked.value.questions] == ["pose_softmax", "slow_select"]
    facts = replace(facts_of("linspace"), labels=label_set("ava60"))
    config = convert_state(state, said=[Said(source="row", facts=facts)]).config
    assert isinstance(config.head, HR2OHeadConfig) and config.head.depth == 2
    poses = [config.labels.names[config.labels.column(i)] for i in config.labels.groups["pose"]]
    assert config.labels.exclusive_groups == ("pose",) and len(poses) == 13
    assert poses[0].startswith("bend") and poses[-1].startswith("walk")
    sigmoids = replace(facts, pose_softmax=False)
    plain = convert_state(state, said=[Said(source="row", facts=sigmoids)]).config
    assert plain.labels.exclusive_groups == ()
