"""A reader follows a recipe downwards: no call on the way to the first step climbs back up."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.trace_training import Call, Calls, climbs, listed, trace


@pytest.mark.parametrize("recipe", ["playground_small", "cofinetune_b224_k400_mit_ava_alternating"])
def test_no_call_climbs_on_the_way_to_the_first_step(recipe: str, tmp_path: Path) -> None:
    if recipe == "playground_small":
        quick = (
            "stages.0.steps=1",
            "stages.0.batch=2",
            "stages.0.data.clips=2",
            "stages.0.precision=fp32",
        )
        options = [part for setting in quick for part in ("--set", setting)]
    else:
        options = ["--smoke"]
    calls = trace(["train", recipe, "--out", str(tmp_path / "run"), *options])
    assert climbs(calls) == []
    order = list(calls.order)
    assert order.index("train.run:run") < order.index("train.loop.fit:fit")
    assert listed(calls)[-1].strip() == "train.model.sharding.clip_gradients"


def test_a_call_that_climbs_is_found() -> None:
    up = Call(2, "train.loop.fit:fit", "train.run:run", True)
    down = Call(2, "train.run:run", "train.loop.fit:fit", True)
    assert climbs(Calls(found=[down, up])) == ["train.loop.fit:fit → train.run:run"]
