"""004's claims that are computed: what the memory costs, and that its two ways of training are one.

The two ways train the same network on the same clips from the same weights, in double precision, so
that what differs is the algorithm and not the order of its sums.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import torch
from benchmarks.claims.claim import Arm, Claim, Experiment, Outcome, Side, Trial
from benchmarks.claims.training import fit, macs_of, parameters_of
from benchmarks.claims.video_memory import MODEL, accuracy, batches, tested, videos_of
from benchmarks.memory_growth import ALLOCATOR, MODES
from torch import Tensor

from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.cost import count
from tubelet.models.create import model_config
from tubelet.models.detector import ActionModel
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.train.learning.learners import CollaborativeLearner
from tubelet.train.learning.losses import ActionLoss
from tubelet.train.learning.multi_clip import CollaborativeTraining
from tubelet.train.loop.optim import Optimizer

BACKBONES = (
    "slow_r50_8x8",
    "i3d_r50_nl_32x2",
    "r2plus1d_r50_16x2",
    "slowfast_r50_4x16",
    "slowfast_r50_8x8",
)
STEPS, VIDEOS, CLIPS = 60, 4, 5
NET = replace(
    MODEL,
    backbone=ResNet3dConfig(blocks=(1, 1, 1, 1), width=4),
    memory=CollaborativeMemoryConfig(clips=CLIPS),
)


def added_cost(trial: Trial) -> Outcome:
    """Multiply-adds of one view with memory over those without, in percent more."""
    figures = {}
    for name in BACKBONES:
        plain = model_config(name, task="classification", labels=400)
        full = replace(plain, memory=CollaborativeMemoryConfig())
        without, within = (count(config, size=256).macs for config in (plain, full))
        figures[name] = 100 * (within / without - 1)
    return Outcome(figures={"most": max(figures.values()), **figures})


def both_ways(trial: Trial) -> Outcome:
    """Two whole runs, and how far apart they end: of the weights' way, in percent, and in points of
    accuracy."""
    train = videos_of("train", 1_000_000 + 10_000 * trial.seed, 60)
    torch.manual_seed(trial.seed)
    first = NET.build().double()
    start = _weights(first)
    ends, found = [], []
    for mode in ("batch_reduction", "multi_iteration"):
        model = NET.build().double()
        model.load_state_dict(first.state_dict())
        training = CollaborativeTraining(mode=mode, video_weight=1.0)
        fit(
            model.train(),
            CollaborativeLearner(model=model, loss=ActionLoss(), training=training),
            batches(train, model, clips=CLIPS, videos=VIDEOS, seed=trial.seed),
            steps=STEPS,
            rate=trial.rate,
            optimizer=Optimizer(kind="sgd", weight_decay=1e-4),
        )
        ends.append(_weights(model))
        found.append(accuracy(model.eval(), tested(trial.phase)))
    way = float((ends[0] - start).norm())
    return Outcome(
        figures={
            "test": found[1],
            "batch reduction": found[0],
            "apart, % of the way": 100 * float((ends[1] - ends[0]).norm()) / way,
            "apart, points": abs(found[1] - found[0]),
        },
        macs=macs_of(NET, size=16, clips=VIDEOS * CLIPS),
        parameters=parameters_of(first),
    )


def _weights(model: ActionModel) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def peak_memory(mode: str, trial: Trial) -> Outcome:
    """Memory of one training step of Slow-50 with nine clips of a video over that with one, in
    percent; each in a process of its own."""
    peaks = [_peak(mode, clips) for clips in (1, 9)]
    return Outcome(
        figures={
            "nine clips, % of one": 100 * peaks[1] / peaks[0],
            **dict(zip(("MiB, one", "MiB, nine"), peaks, strict=True)),
        }
    )


def _peak(mode: str, clips: int) -> float:
    script = Path(__file__).parents[1] / "memory_growth.py"
    command = [sys.executable, str(script), "--frames", "4", "--size", "160"]
    done = subprocess.run(
        [*command, "--child", mode, str(clips)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | ALLOCATOR,
    )
    return float(json.loads(done.stdout)["peak_mib"])


_COST, _RUNS = "cost of the memory", "batch reduction and multi-iteration"
COST = Experiment(
    name=_COST,
    setting=f"""\
The five backbones of 004's Table 1 ({", ".join(BACKBONES)}) with and without the default memory,
one view of 256 pixels, multiply-adds counted operator by operator. Percent more.""",
    unit="%",
    seeds=(0,),
    quick_seeds=1,
    arms=(Arm(name="with memory", run=added_cost, rates=(0.0,)),),
    claims=(
        Claim(
            asked="5",
            paper="004 Table 1",
            text="the memory adds at most 3 % of multiply-adds",
            more=3.0,
            less=Side("with memory", "most"),
            exact=True,
        ),
    ),
)
EXPERIMENT = Experiment(
    name=_RUNS,
    version=2,
    setting=f"""\
The same films; ResNet of one block a stage, width 4, whose batch norms train; {STEPS} steps of
{VIDEOS} videos × {CLIPS} clips, SGD with momentum, twice from one start in double precision.
"Apart" is the distance of the two ends as a share of the way that training went. The rate is low
because with batch norms over four clips rounding alone (the loss is in single precision) grows to
3 % at 0.01. Memory: one step
of Slow-50, 4 frames of 160 pixels, peak of a process over what model and clips need before.""",
    arms=(
        Arm(name="both ways", run=both_ways, rates=(0.003,)),
        *(
            Arm(name=f"memory of {mode}", run=functools.partial(peak_memory, mode), rates=(0.0,))
            for mode in MODES
        ),
    ),
    claims=(
        Claim(
            asked="exactness",
            paper="004 Table 2e",
            text="multi-iteration ends where batch reduction ends (at most 0.001 % apart)",
            more=0.001,
            less=Side("both ways", "apart, % of the way"),
            exact=True,
        ),
        Claim(
            asked="exactness",
            paper="004 §3.3",
            text="multi-iteration's memory is flat: nine clips take at most 125 % of one",
            more=125.0,
            less=Side("memory of multi_iteration", "nine clips, % of one"),
            exact=True,
        ),
    ),
)
