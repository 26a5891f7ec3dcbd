"""Facts that tensors do not hold: asked where nobody states them, right to the last digit where
somebody does, and visibly wrong with another answer.

Each network here once converted without a word into one that computes something else.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.originals import TOLERANCE, build, filled, logits_of, relative_error
from torch import Tensor

from tubelet.convert import Converted, Facts, Said, convert, convert_state
from tubelet.errors import CheckpointError, OpenQuestions
from tubelet.models.heads.clip import join_positions

MM = Facts(frames=32, stride=2, exclusive=True)
MM_PEOPLE = replace(MM, exclusive=False, background=True, temporal_pool="mean")
SF = Facts(frames=32, stride=2, colour="rgb")
SF_PEOPLE = replace(SF, task="detection", exclusive=False, aligned=False)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """`asked`: the fact that decides, for which `known` has the right answer and `wrong` another.
    `suffix` of the golden arrays."""

    network: str
    asked: str
    known: Facts
    wrong: Any
    suffix: str = ""

    def __str__(self) -> str:
        return f"{self.network}-{self.asked}"


FAULTS = (
    Fault(
        network="mm_slowfast_r50_4x16_cls_64",
        asked="join",
        known=replace(MM, alpha=8, join="fast_slow"),
        wrong="slow_fast",
    ),
    Fault(
        network="mm_AVA_slowfast_r50_8x8_tmax_focal",
        asked="temporal_pool",
        known=replace(MM_PEOPLE, alpha=4, temporal_pool="max"),
        wrong="mean",
    ),
    Fault(
        network="mm_AVA_slowonly_k700_r50_8x8_context_tmax",
        asked="temporal_pool",
        known=replace(MM_PEOPLE, frames=8, stride=8, temporal_pool="max", context="frame"),
        wrong="mean",
    ),
    Fault(
        network="mm_MultiSports_slowfast_r50_4x16",
        asked="exclusive",
        known=replace(MM_PEOPLE, alpha=8, background=False, exclusive=True),
        wrong=False,
    ),
    Fault(
        network="mm_i3d_r50_cls_64",
        asked="time_strides",
        known=replace(MM, time_strides=(2, 2, 2)),
        wrong=(1, 1, 2),
    ),
    Fault(
        network="mm_i3d_r50_nl_dot_product_cls_64",
        asked="nonlocal_kind",
        known=replace(MM, time_strides=(2, 2, 2), nonlocal_kind="dot_product"),
        wrong="softmax",
    ),
    Fault(
        network="sf_AVA_SLOWFAST_64x2_R101_50_50",
        asked="aligned",
        known=replace(SF_PEOPLE, alpha=4, nonlocal_kind="dot_product", nonlocal_pool=(2, 2, 2)),
        wrong=True,
    ),
    Fault(
        network="sf_Charades_SLOWFAST_16x8_R50_cls_64",
        asked="exclusive",
        known=replace(
            SF, task="classification", exclusive=False, colour="bgr", alpha=4, train_crop=64
        ),
        wrong=True,
        suffix="_rgb",
    ),
    Fault(
        network="sf_Charades_SLOWFAST_16x8_R50_cls_64",
        asked="colour",
        known=replace(
            SF, task="classification", exclusive=False, colour="bgr", alpha=4, train_crop=64
        ),
        wrong="rgb",
        suffix="_rgb",
    ),
)


def outputs(converted: Converted, about: dict[str, Any], clip: Tensor) -> tuple[Tensor, Tensor]:
    """(logits, scores) of the converted model for the normalised clip."""
    model = build(converted)
    logits = logits_of(model, clip, about.get("boxes"))
    joined = logits
    if about.get("boxes") is None:
        joined = join_positions(logits, exclusive=converted.config.labels.exclusive)
    return logits, model.scores(joined)


@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_fact_is_asked_and_decides(
    fault: Fault, shared: Path, report: Callable[[str, float], None]
) -> None:
    folder = shared / "golden" / "more"
    about = json.loads((folder / f"{fault.network}.json").read_text())
    state, truth = filled(about["state_dict"]), np.load(folder / f"{fault.network}.npz")
    clip = torch.randn(*about["input_shape"], generator=torch.Generator().manual_seed(0))
    expected = [truth[f"gs_f64_{what}{fault.suffix}"] for what in ("logits", "output")]
    if fault.known.background:
        expected = [array[:, 1:] for array in expected]

    unsaid = replace(fault.known, **{fault.asked: None})
    with pytest.raises(OpenQuestions) as open_:
        convert_state(state, said=[Said(source="this test", facts=unsaid)])
    assert [question.key for question in open_.value.questions] == [fault.asked]

    right = convert_state(state, said=[Said(source="this test", facts=fault.known)])
    errors = map(relative_error, outputs(right, about, clip), expected)
    report(str(fault), max(errors))

    other = replace(fault.known, **{fault.asked: fault.wrong})
    wrong = convert_state(state, said=[Said(source="this test", facts=other)])
    assert max(map(relative_error, outputs(wrong, about, clip), expected)) > 5 * TOLERANCE


def test_the_clip_is_asked_and_travels(shared: Path) -> None:
    """Slow-only is published as 4×16, 8×8 and 16×4 under the same names and shapes."""
    name = "mm_AVA_slowonly_k700_r50_8x8_context_tmax"
    about = json.loads((shared / "golden" / "more" / f"{name}.json").read_text())
    known = replace(MM_PEOPLE, frames=None, stride=None, temporal_pool="max", context="frame")
    with torch.device("meta"):
        state = {n: torch.empty(s) for n, s in about["state_dict"].items()}
    with pytest.raises(OpenQuestions) as asked:
        convert_state(state, said=[Said(source="this test", facts=known)])
    assert [question.key for question in asked.value.questions] == ["frames", "stride"]
    stated = Said(source="this test", facts=replace(known, frames=16, stride=4))
    spec = convert_state(state, said=[stated]).config.input
    assert (spec.frames, spec.stride) == (16, 4)


def test_a_feature_bank_is_not_taken_for_the_frame(
    shared: Path, report: Callable[[str, float], None]
) -> None:
    """LFB's average and maximum have no tensors of their own: names and shapes are those of a
    "context" model, whose classifier reads the whole frame beside the person."""
    name = "mm_AVA_slowonly_k700_r50_8x8_context"
    folder = shared / "golden" / "more"
    about = json.loads((folder / f"{name}.json").read_text())
    state, truth = filled(about["state_dict"]), np.load(folder / f"{name}.npz")
    with pytest.raises(OpenQuestions) as asked:
        convert_state(state, said=[Said(source="this test", facts=MM_PEOPLE)])
    (question,) = asked.value.questions
    assert question.key == "context" and set(question.choices) == {"frame", "feature_bank"}
    bank = Said(source="this test", facts=replace(MM_PEOPLE, context="feature_bank"))
    with pytest.raises(CheckpointError, match="feature bank, which is not in the checkpoint"):
        convert_state(state, said=[bank])
    frame = Said(source="this test", facts=replace(MM_PEOPLE, context="frame"))
    clip = torch.randn(*about["input_shape"], generator=torch.Generator().manual_seed(0))
    logits, _ = outputs(convert_state(state, said=[frame]), about, clip)
    report(f"{name}-context", relative_error(logits, truth["gs_f64_logits"][:, 1:]))


def test_multisports_keeps_all_its_columns(shared: Path) -> None:
    name = "mm_MultiSports_slowfast_r50_4x16"
    about = json.loads((shared / "golden" / "more" / f"{name}.json").read_text())
    known = replace(MM_PEOPLE, alpha=8, exclusive=True, background=None)
    with torch.device("meta"):
        state = {n: torch.empty(s) for n, s in about["state_dict"].items()}
    with pytest.raises(OpenQuestions) as asked:
        convert_state(state, said=[Said(source="this test", facts=known)])
    assert [question.key for question in asked.value.questions] == ["background"]
    kept = convert_state(
        state, said=[Said(source="this test", facts=replace(known, background=False))]
    )
    assert len(kept.config.labels) == 66 and kept.dropped == {}


@pytest.mark.parametrize(
    "name, aligned, exclusive, frames",
    [
        ("sf_AVA_SLOWFAST_64x2_R101_50_50", False, False, 64),
        ("sf_Charades_SLOWFAST_16x8_R50_cls_64", None, False, 64),
    ],
)
def test_a_torch_file_named_pkl_with_its_config_asks_nothing(
    name: str, aligned: bool | None, exclusive: bool, frames: int, shared: Path, tmp_path: Path
) -> None:
    about = json.loads((shared / "golden" / "more" / f"{name}.json").read_text())
    state = {n: torch.zeros(s, dtype=torch.float16) for n, s in about["state_dict"].items()}
    torch.save({"model_state": state, "cfg": about["cfg_text"], "epoch": 1}, tmp_path / "a.pkl")
    converted = convert(tmp_path / "a.pkl")
    config = converted.config
    assert getattr(config.head, "aligned", None) == aligned
    assert (config.labels.exclusive, config.input.frames) == (exclusive, frames)
    assert converted.notes == ()
