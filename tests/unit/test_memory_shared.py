"""One memory bank of several training processes."""

from __future__ import annotations

import multiprocessing
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from tubelet.batch import collate
from tubelet.models import ActionModel, ActionModelConfig
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.heads.relation import TemporalRelationHeadConfig
from tubelet.models.memory.bank import BankReader, Remembered
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.memory.online import OnlineBank, SharedBank
from tubelet.playground import PlaygroundConfig, label_space
from tubelet.playground.dataset import PlaygroundDataset
from tubelet.train.learning.banks import build_bank, online_bank
from tubelet.train.learning.learners import BankLearner
from tubelet.train.learning.losses import ActionLoss
from tubelet.types import InputSpec

WORLD = PlaygroundConfig(
    height=32, width=48, fps=4.0, seconds=6.0, people=(1, 2), task="event", occluders=0.0
)
SPEC = InputSpec(frames=2, stride=1, fps=4.0, short_side=32)
DATA = PlaygroundDataset(world=WORLD, clips=2, first_seed=0)  # five keyframes each
STEPS = (((0, 1), (5, 6)), ((2, 3), (7, 2)), ((1, 4), (0, 9)))
"""The samples of each step, for one process and the other; number 2 comes to both at once."""


def model() -> ActionModel:
    torch.manual_seed(0)
    return ActionModelConfig(
        backbone=ResNet3dConfig(blocks=(1, 1, 1, 1), width=4),
        head=TemporalRelationHeadConfig(width=8, heads=2, mlp=1),
        input=SPEC,
        labels=label_space("event"),
        memory=MemoryBankConfig(before_ms=5000, after_ms=5000, people=3),
    ).build().eval()  # fmt: skip


def train(bank: OnlineBank | SharedBank, own: list[tuple[int, ...]]) -> list[float]:
    learner = BankLearner(model=model(), loss=ActionLoss(), bank=bank)
    samples = [[DATA.sample(i, spec=SPEC) for i in step] for step in own]
    return [float(learner.backward(collate(some))) for some in samples]


def contents(bank: BankReader) -> list[Remembered]:
    keys = [DATA.key(i) for i in range(len(DATA))]
    return [bank.window(k, before_ms=9000, after_ms=9000, people=5) for k in keys]


def _process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2,
        timeout=timedelta(minutes=10),
    )  # fmt: skip
    bank = online_bank(model(), DATA, folder / "bank", recipe="r")
    assert isinstance(bank, SharedBank)
    losses = train(bank, [step[rank] for step in STEPS])
    built = build_bank(model(), DATA, folder / "built", recipe="r", batch=5)
    torch.save((losses, contents(bank), contents(built)), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_have_the_bank_that_one_would_have(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_process, args=(r, tmp_path)) for r in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [p.exitcode for p in processes] == [0, 0]
    found = [torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2)]

    alone = online_bank(model(), DATA, tmp_path / "alone", recipe="r")
    # Both processes' clips in one batch: each sees what was known before the step, as they did.
    together = train(alone, [first + second for first, second in STEPS])
    for step, (loss, *parts) in enumerate(zip(together, *(f[0] for f in found), strict=True)):
        people = [sum(len(DATA.sample(i, spec=SPEC).people) for i in own) for own in STEPS[step]]
        assert np.average(parts, weights=people) == pytest.approx(loss, rel=1e-4)
    expected = contents(alone)
    assert max(len(r.delta_ms) for r in expected) > 3
    built = build_bank(model(), DATA, tmp_path / "built alone", recipe="r", batch=5)
    assert len(built.videos()) == 2
    for _, online, offline in found:
        assert_same(online, expected)
        assert_same(offline, contents(built))


def assert_same(found: list[Remembered], expected: list[Remembered]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a.tokens, b.tokens, rtol=2e-3, atol=1e-4)
        assert torch.equal(a.delta_ms, b.delta_ms)
        torch.testing.assert_close(a.boxes, b.boxes)
