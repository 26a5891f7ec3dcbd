"""A run that was interrupted under an older version goes on under this one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from tubelet.config import decode
from tubelet.train.loop.state import TrainState
from tubelet.train.recipe import Recipe
from tubelet.train.reporters import Silent
from tubelet.train.run import run

KEPT = Path(__file__).parent.parent / "fixtures" / "state_b893a55.pt.gz"
# What b893a55 itself reported of the step after the checkpoint.
LOSS = 0.6757774949073792


def test_a_checkpoint_of_before_the_walls_moved_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    path.write_bytes(gzip.decompress(KEPT.read_bytes()))
    state = TrainState.load(path)
    assert state.step == 2 and state.average is not None
    assert {name.partition(".")[0] for name in state.model} == {"main", "others"}
    (tmp_path / "one.jsonl").write_text("{}\n{}\n")
    outcome = run(
        decode(Recipe, state.recipe),
        out=tmp_path,
        root=tmp_path,
        device=torch.device("cpu"),
        resume=True,
        reporter=Silent(),
    )
    *before, last = (tmp_path / "one.jsonl").read_text().splitlines()
    assert len(before) == 2
    assert json.loads(last)["loss"] == pytest.approx(LOSS, rel=1e-4)
    assert outcome.weights.is_file() and (tmp_path / "model_events.safetensors").is_file()
