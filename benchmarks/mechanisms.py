"""Where each mechanism is the only way: relations, memory and context on three small worlds.

    python -m benchmarks.mechanisms --out results.jsonl          # everything, 3 seeds, resumable
    python -m benchmarks.mechanisms --out results.jsonl --table  # only print what is there

Each world of the playground is balanced so that a model without the mechanism stays at 50 %:
`partner` (does the other one make the same gesture?), `event` (which gesture did I make, up to
four seconds ago?) and `scene` (what colour has the lamp at the edge of the picture?). As in the
papers, every variant of a seed starts from one trained backbone, here trained to name gestures,
and has the same clips, steps and optimiser. The accuracy is that of the two classes in question,
on clips never seen, given the people's true boxes. One core, about ten minutes a seed.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from tubelet.batch import Sample
from tubelet.data.annotations import Annotations
from tubelet.data.dataset import ClipDataset, PlaygroundDataset
from tubelet.media.transforms import Augment
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.detector import ActionModel, ActionModelConfig, HeadConfig, MemoryConfig
from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.mlp import MlpHeadConfig
from tubelet.models.heads.relation import SpatialRelationHeadConfig, TemporalRelationHeadConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.weights import load_model, save_model
from tubelet.playground import PlaygroundConfig, clip_seed, label_space
from tubelet.train.banks import build_bank, online_bank
from tubelet.train.groups import GroupStream, group_batches
from tubelet.train.learners import (
    BankLearner,
    CollaborativeLearner,
    Learner,
    PlainLearner,
)
from tubelet.train.loader import SampleStream, Step, batches
from tubelet.train.losses import ActionLoss
from tubelet.train.predict import predict
from tubelet.train.schedules import CosineSchedule
from tubelet.types import InputSpec, Key

BATCH = 15  # divides by N = 1, 3 and 5
SPEC = InputSpec(frames=4, stride=2, fps=8.0, short_side=64)
BACKBONE = ResNet3dConfig(blocks=(1, 1, 1, 1), width=12)
_BANK = MemoryBankConfig(before_ms=4000, after_ms=4000, people=4)
_SECONDS = {"partner": 4.0, "event": 10.0, "scene": 3.0}
_PEOPLE = {"partner": (2, 2), "event": (1, 1), "scene": (1, 2)}
_COLUMNS = {"partner": (0, 1), "event": (2, 3), "scene": (0, 1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row of the table. `frozen`: the backbone stays as it is, as in 000's second stage.
    `bank`: "offline" (tokens extracted before training) or "online" (written meanwhile)."""

    name: str
    head: HeadConfig
    memory: MemoryConfig | None = None
    frozen: bool = False
    bank: str | None = None


def _cm(clips: int) -> CollaborativeMemoryConfig:
    return CollaborativeMemoryConfig(clips=clips, reduction=2)


LINEAR = LinearHeadConfig(dropout=0.1)
S_ONLY = SpatialRelationHeadConfig(width=64, heads=4, mlp=2, dropout=0.1)
T_ONLY = TemporalRelationHeadConfig(width=64, heads=4, mlp=2, dropout=0.1)
T_TIMED = replace(T_ONLY, time_encoding=True)
VARIANTS: dict[str, tuple[Variant, ...]] = {
    "partner": (
        Variant(name="linear", head=LINEAR, frozen=True),
        Variant(name="mlp", head=MlpHeadConfig(hidden=64, dropout=0.1), frozen=True),
        Variant(name="S-only", head=S_ONLY, frozen=True),
        Variant(name="T-only", head=T_ONLY, frozen=True),
    ),
    "event": (
        Variant(name="linear, no memory", head=LINEAR),
        Variant(name="CM, N = 1", head=LINEAR, memory=_cm(1)),
        Variant(name="CM, N = 3", head=LINEAR, memory=_cm(3)),
        Variant(name="CM, N = 5", head=LINEAR, memory=_cm(5)),
        Variant(name="T-only, no bank", head=T_ONLY, frozen=True),
        Variant(name="T-only, bank", head=T_ONLY, memory=_BANK, frozen=True, bank="offline"),
        Variant(
            name="T-only, bank, time encoding",
            head=T_TIMED,
            memory=_BANK,
            frozen=True,
            bank="offline",
        ),
        Variant(
            name="T-only, online bank, time encoding",
            head=T_TIMED,
            memory=_BANK,
            frozen=True,
            bank="online",
        ),
    ),
    "scene": (
        Variant(name="linear", head=LINEAR),
        Variant(name="S-only", head=S_ONLY),
        Variant(name="nonlocal context", head=NonlocalContextHeadConfig(width=32, dropout=0.1)),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How much one task's runs are: videos drawn for training and testing, clips trained on."""

    videos: int
    test_videos: int
    clips: int


WORK = {
    "gestures": Work(videos=4500, test_videos=0, clips=4500),
    "partner": Work(videos=500, test_videos=100, clips=6000),
    "event": Work(videos=200, test_videos=60, clips=3000),
    "scene": Work(videos=400, test_videos=150, clips=1500),
}
QUICK = {name: Work(videos=6, test_videos=3, clips=45) for name in WORK}


class Kept(ClipDataset):
    """A dataset whose samples are drawn once and kept: the variants of a seed share them."""

    def __init__(self, dataset: ClipDataset, *, spec: InputSpec) -> None:
        self.name, self.labels = dataset.name, dataset.labels
        self._dataset = dataset
        self.samples = [dataset.sample(i, spec=spec) for i in range(len(dataset))]

    def __len__(self) -> int:
        return len(self.samples)

    def key(self, index: int) -> Key:
        return self._dataset.key(index)

    def truth(self) -> Annotations:
        return self._dataset.truth()

    def sample(
        self,
        index: int,
        *,
        spec: InputSpec,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        return self.samples[index]


def world_of(task: str, **changes: object) -> PlaygroundConfig:
    """The small pictures of one task, with little to distract."""
    plain = PlaygroundConfig(
        height=64, width=96, fps=8.0, seconds=_SECONDS[task], people=_PEOPLE[task],
        task=task, clutter=0.3, occluders=0.0, camera=0.3, lighting=0.5, noise=0.5,
    )  # type: ignore[arg-type]  # fmt: skip
    return replace(plain, **changes)  # type: ignore[arg-type]


def kept(task: str, *, split: str, seed: int, videos: int) -> Kept:
    """Videos of one world; test videos are never those of training."""
    first = clip_seed(split, seed, 0)  # type: ignore[arg-type]
    dataset = PlaygroundDataset(world=world_of(task), clips=videos, first_seed=first)
    return Kept(dataset, spec=SPEC)


def config_of(task: str, head: HeadConfig, memory: MemoryConfig | None) -> ActionModelConfig:
    labels = replace(label_space(task), exclusive=True)  # type: ignore[arg-type]
    return ActionModelConfig(backbone=BACKBONE, head=head, input=SPEC, labels=labels, memory=memory)


def train(
    model: ActionModel, learner: Learner, steps: Iterator[Step], count: int, rate: float
) -> None:
    """AdamW under a cosine; the new layers learn four times as fast as the trained backbone."""
    schedule = CosineSchedule(warmup=0.05)
    trained = [p for p in model.backbone.parameters() if p.requires_grad]
    fresh = [p for n, p in model.named_parameters() if not n.startswith("backbone.")]
    groups = [{"params": fresh, "lr": rate, "base": rate}]
    if trained:
        groups.append({"params": trained, "lr": rate / 4, "base": rate / 4})
    optimizer = torch.optim.AdamW(groups, weight_decay=0.02)
    for number in range(count):
        for group in optimizer.param_groups:
            group["lr"] = group["base"] * schedule.at(number, count)
        optimizer.zero_grad(set_to_none=True)
        learner.backward(next(steps).batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()


def steps_of(model: ActionModel, dataset: ClipDataset, *, seed: int, count: int) -> Iterator[Step]:
    memory = model.config.memory
    if isinstance(memory, CollaborativeMemoryConfig):
        groups = GroupStream(
            dataset=dataset, spec=SPEC, augment=None, seed=seed,
            clips=memory.clips, stride_ms=memory.stride_ms,
        )  # fmt: skip
        return group_batches(groups, videos=BATCH // memory.clips, start=0, stop=count, workers=0)
    stream = SampleStream(dataset=dataset, spec=SPEC, augment=None, seed=seed)
    return batches(stream, batch=BATCH, start=0, stop=count, workers=0)


def pretrained(seed: int, work: Work, folder: Path) -> Path:
    """A model that names the gesture of a single clip, trained on clips that it never sees twice:
    the first second of `event`, in which everybody gestures."""
    path = folder.parent / f"gestures_{seed}_{work.clips}.safetensors"
    if path.is_file():
        return path
    torch.manual_seed(seed)
    model = config_of("event", LINEAR, None).build().train()
    world = world_of("event", seconds=2.0, people=(2, 2))
    first = clip_seed("train", seed + 100, 0)
    data = PlaygroundDataset(world=world, clips=work.videos, first_seed=first)
    count = work.clips // BATCH
    learner = PlainLearner(model=model, loss=ActionLoss())
    train(model, learner, steps_of(model, data, seed=seed, count=count), count, 4e-3)
    save_model(path, model)
    return path


def learner_of(variant: Variant, model: ActionModel, data: Kept, folder: Path) -> Learner:
    """As `train.run` chooses."""
    loss = ActionLoss()
    bank = folder / "bank"
    shutil.rmtree(bank, ignore_errors=True)
    if variant.bank == "offline":
        built = build_bank(model, data, bank, recipe="mechanisms", batch=30)
        return BankLearner(model=model, loss=loss, bank=built)
    if variant.bank == "online":
        empty = online_bank(model, data, bank, recipe="mechanisms")
        return BankLearner(model=model, loss=loss, bank=empty)
    if isinstance(variant.memory, CollaborativeMemoryConfig):
        return CollaborativeLearner(model=model, loss=loss)
    return PlainLearner(model=model, loss=loss)


def keep_norms_frozen(model: ActionModel) -> None:
    """Batch norms of the trained backbone stay as they are, as in the detection recipes."""
    for module in model.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.eval()


def accuracy(model: ActionModel, data: Kept, columns: tuple[int, int]) -> float:
    """Share of people whose likelier class of the two is the true one."""
    targets = {s.key: s.targets.numpy() for s in data.samples if s.targets is not None}
    right, count = 0, 0
    for found in predict(model, data, batch=30):
        truth = targets[found.key][:, columns]
        asked = truth.sum(1) > 0
        guess = found.action_scores[:, columns].argmax(1)
        right += int((guess == truth.argmax(1))[asked].sum())
        count += int(asked.sum())
    return right / max(1, count)


def run_one(
    task: str,
    variant: Variant,
    seed: int,
    *,
    work: dict[str, Work],
    folder: Path,
    train_set: Kept,
    test_set: Kept,
) -> dict[str, object]:
    """Train and test one variant; returns its line of the results."""
    start = load_model(pretrained(seed, work["gestures"], folder))
    began = time.process_time()
    torch.manual_seed(seed)
    model = config_of(task, variant.head, variant.memory).build()
    model.backbone.load_state_dict(start.backbone.state_dict())
    model.backbone.requires_grad_(not variant.frozen)
    learner = learner_of(variant, model, train_set, folder)
    model.train()
    keep_norms_frozen(model)
    count = work[task].clips // BATCH
    train(model, learner, steps_of(model, train_set, seed=seed, count=count), count, 2e-3)
    return {
        "task": task,
        "variant": variant.name,
        "seed": seed,
        "accuracy": accuracy(model, test_set, _COLUMNS[task]),
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_seconds": round(time.process_time() - began, 1),
        "work": asdict(work[task]),
        "commit": _commit(),
    }


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True
    )
    return found.stdout.strip() or "unknown"


def table(rows: list[dict[str, object]]) -> str:
    """Mean ± half the 95 % interval (Student's t) over the seeds, as Markdown."""
    lines = ["| task | variant | accuracy, % | seeds |", "|---|---|---|---|"]
    for task, variants in VARIANTS.items():
        for variant in variants:
            scores = [
                100 * float(r["accuracy"])  # type: ignore[arg-type]
                for r in rows
                if (r["task"], r["variant"]) == (task, variant.name)
            ]
            if scores:
                lines.append(f"| {task} | {variant.name} | {_interval(scores)} | {len(scores)} |")
    return "\n".join(lines)


def _interval(scores: list[float]) -> str:
    mean = statistics.fmean(scores)
    if len(scores) < 2:
        return f"{mean:.1f}"
    student = {2: 12.71, 3: 4.303, 4: 3.182, 5: 2.776}.get(len(scores), 1.96)
    return f"{mean:.1f} ± {student * statistics.stdev(scores) / math.sqrt(len(scores)):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument(
        "--out", type=Path, required=True, help="JSON lines; finished runs are kept"
    )
    parser.add_argument("--work", type=Path, help="scratch folder (default: beside --out)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--tasks", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument(
        "--variants", nargs="+", help="only variants whose name contains one of these"
    )
    parser.add_argument("--table", action="store_true", help="print the table and stop")
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that all runs")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = _read(given.out)
    if not given.table:
        _run_all(given, rows)
    print(table(rows))


def _run_all(given: argparse.Namespace, rows: list[dict[str, object]]) -> None:
    work = QUICK if given.quick else WORK
    done = {(r["task"], r["variant"], r["seed"]) for r in rows}
    for seed, task in itertools.product(given.seeds, given.tasks):
        names = given.variants or [""]
        left = [
            v
            for v in VARIANTS[task]
            if any(part in v.name for part in names) and (task, v.name, seed) not in done
        ]
        if not left:
            continue
        folder = (given.work or given.out.with_suffix(".work")) / f"{task}_{seed}"
        train_set = kept(task, split="train", seed=seed, videos=work[task].videos)
        test_set = kept(task, split="test", seed=seed, videos=work[task].test_videos)
        for variant in left:
            row = run_one(
                task,
                variant,
                seed,
                work=work,
                folder=folder,
                train_set=train_set,
                test_set=test_set,
            )
            rows.append(row)
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)


def _read(path: Path) -> list[dict[str, object]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line]


if __name__ == "__main__":
    main()
