"""Where each mechanism is the only way: relations, memory and context on three small worlds.

    python -m benchmarks.mechanisms --out results.jsonl          # everything, 3 seeds, resumable
    python -m benchmarks.mechanisms --out results.jsonl --table  # only print what is there

Each world of the playground is balanced so that a model without the mechanism stays at 50 %:
`partner` (does the other one make the same gesture?), `event` (which gesture did I make, up to
four seconds ago?) and `scene` (what colour has the lamp at the edge of the picture?). Every variant
stands on one trained backbone, that of the shipped playground model, frozen; its maps are computed
once and kept. All have the same clips, steps and optimiser. The accuracy is that of the two classes
in question, on clips never seen, given the people's true boxes. The clips are the same for every
seed: seeds differ in the head's first weights and in the order of the clips.
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
from torch import Tensor, nn

import tubelet
from tubelet.batch import FeatureMap, Sample
from tubelet.checkpoints import atomic_path
from tubelet.data.annotations import Annotations
from tubelet.data.dataset import ClipDataset, PlaygroundDataset
from tubelet.media.transforms import Augment
from tubelet.models.backbones.base import as_maps
from tubelet.models.detector import ActionModel, HeadConfig, MemoryConfig
from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.relation import SpatialRelationHeadConfig, TemporalRelationHeadConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.weights import load_model, weights_hash
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
SHIPPED = Path(tubelet.__file__).parent / "weights" / "playground_small.safetensors"
_BANK = MemoryBankConfig(before_ms=4000, after_ms=4000, people=4)
_COLUMNS = {"partner": (0, 1), "event": (2, 3), "scene": (0, 1)}
_WORLDS = {
    "partner": PlaygroundConfig(task="partner", seconds=4.0, people=(2, 2)),
    "event": PlaygroundConfig(task="event", seconds=10.0, people=(1, 1)),
    "scene": PlaygroundConfig(task="scene", seconds=2.0, people=(1, 2)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One row of the table. `bank`: "offline" (extracted before training, as in 000's second stage)
    or "online" (written meanwhile)."""

    name: str
    head: HeadConfig
    memory: MemoryConfig | None = None
    bank: str | None = None


def _cm(clips: int) -> CollaborativeMemoryConfig:
    return CollaborativeMemoryConfig(clips=clips, reduction=8)


LINEAR = LinearHeadConfig(dropout=0.1)
S_ONLY = SpatialRelationHeadConfig(width=64, heads=4, mlp=2, dropout=0.1)
T_ONLY = TemporalRelationHeadConfig(width=64, heads=4, mlp=2, dropout=0.1)
T_TIMED = replace(T_ONLY, time_encoding=True)
VARIANTS: dict[str, tuple[Variant, ...]] = {
    "partner": (
        Variant(name="linear", head=LINEAR),
        Variant(name="S-only", head=S_ONLY),
        Variant(name="T-only", head=T_ONLY),
    ),
    "event": (
        Variant(name="linear, no memory", head=LINEAR),
        Variant(name="CM, N = 1", head=LINEAR, memory=_cm(1)),
        Variant(name="CM, N = 3", head=LINEAR, memory=_cm(3)),
        Variant(name="CM, N = 5", head=LINEAR, memory=_cm(5)),
        Variant(name="T-only, no bank", head=T_ONLY),
        Variant(name="T-only, bank", head=T_ONLY, memory=_BANK, bank="offline"),
        Variant(
            name="T-only, bank, time encoding",
            head=T_TIMED,
            memory=_BANK,
            bank="offline",
        ),
        Variant(
            name="T-only, online bank, time encoding",
            head=T_TIMED,
            memory=_BANK,
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
    """How much one task's runs are: videos drawn for training and testing, steps."""

    videos: int
    test_videos: int
    steps: int


WORK = {
    "partner": Work(videos=120, test_videos=50, steps=1000),
    "event": Work(videos=60, test_videos=25, steps=1000),
    "scene": Work(videos=150, test_videos=100, steps=1000),
}
QUICK = {name: Work(videos=4, test_videos=2, steps=3) for name in WORK}


class Recalled(nn.Module):
    """A frozen backbone's maps, kept: a "clip" is the number of one, written in its only pixel."""

    def __init__(self, backbone: nn.Module, maps: list[np.ndarray]) -> None:
        super().__init__()
        self.outputs = backbone.outputs
        self._maps = maps

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        low, middle, high = clip[:, :, 0, 0, 0].long().unbind(1)
        rows = (low + 256 * middle + 65536 * high).numpy()
        return as_maps([torch.from_numpy(m[rows]).float() for m in self._maps], self.outputs)


class Kept(ClipDataset):
    """A dataset whose samples hold, in place of their frames, the number of their kept maps."""

    def __init__(self, dataset: ClipDataset, samples: list[Sample]) -> None:
        self.name, self.labels = dataset.name, dataset.labels
        self._dataset, self.samples = dataset, samples

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all variants of a task share: data sets, and the maps of all their clips."""

    train: Kept
    test: Kept
    maps: list[np.ndarray]


@torch.inference_mode()
def prepare(task: str, work: Work, trained: ActionModel, folder: Path) -> Stage:
    """Draw the clips of a task and compute their maps; maps that are there already are read."""
    folder.mkdir(parents=True, exist_ok=True)
    spec, world = trained.input, _WORLDS[task]
    sets = [
        PlaygroundDataset(world=world, clips=count, first_seed=clip_seed(split, 0, 0))  # type: ignore[arg-type]
        for split, count in (("train", work.videos), ("test", work.test_videos))
    ]
    files = [folder / f"{len(sets[0])}_{len(sets[1])}_{i}.npy" for i in range(2)]
    there = all(f.is_file() for f in files)
    kept: list[list[Sample]] = [[], []]
    maps: list[list[np.ndarray]] = [[] for _ in files]
    number = 0
    for place, dataset in enumerate(sets):
        for index in range(len(dataset)):
            sample = _empty(dataset, index, spec) if there else dataset.sample(index, spec=spec)
            if not there:
                for found, m in zip(maps, trained.features(sample.frames[None]), strict=True):
                    found.append(m.values[0].half().numpy())
            digits = [number % 256, number // 256 % 256, number // 65536]
            pixel = torch.tensor(digits, dtype=torch.uint8).view(3, 1, 1, 1)
            kept[place].append(replace(sample, frames=pixel))
            number += 1
    if not there:
        for file, found in zip(files, maps, strict=True):
            with atomic_path(file) as part, part.open("wb") as opened:
                np.save(opened, np.stack(found))
    return Stage(
        train=Kept(sets[0], kept[0]),
        test=Kept(sets[1], kept[1]),
        maps=[np.load(file, mmap_mode="r") for file in files],
    )


def _empty(dataset: PlaygroundDataset, index: int, spec: InputSpec) -> Sample:
    """The people and labels of a sample; one frame is the least that can be drawn."""
    return dataset.sample(index, spec=replace(spec, frames=1))


def model_of(
    task: str, variant: Variant, trained: ActionModel, maps: list[np.ndarray]
) -> ActionModel:
    """The variant's own layers on the kept maps."""
    labels = replace(label_space(task), exclusive=True)  # type: ignore[arg-type]
    model = replace(trained.config, head=variant.head, memory=variant.memory, labels=labels).build()
    model.backbone = Recalled(model.backbone, maps)
    model.normalise = lambda frames: frames  # type: ignore[method-assign]
    return model


def train(model: ActionModel, learner: Learner, steps: Iterator[Step], count: int) -> None:
    """AdamW under a cosine."""
    schedule, rate = CosineSchedule(warmup=0.05), 1e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.02)
    for number in range(count):
        for group in optimizer.param_groups:
            group["lr"] = rate * schedule.at(number, count)
        optimizer.zero_grad(set_to_none=True)
        learner.backward(next(steps).batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()


def steps_of(model: ActionModel, dataset: ClipDataset, *, seed: int, count: int) -> Iterator[Step]:
    memory, spec = model.config.memory, model.input
    if isinstance(memory, CollaborativeMemoryConfig):
        groups = GroupStream(
            dataset=dataset, spec=spec, augment=None, seed=seed,
            clips=memory.clips, stride_ms=memory.stride_ms,
        )  # fmt: skip
        return group_batches(groups, videos=BATCH // memory.clips, start=0, stop=count, workers=0)
    stream = SampleStream(dataset=dataset, spec=spec, augment=None, seed=seed)
    return batches(stream, batch=BATCH, start=0, stop=count, workers=0)


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
    work: Work,
    folder: Path,
    stage: Stage,
    trained: ActionModel,
) -> dict[str, object]:
    """Train and test one variant; returns its line of the results."""
    began = time.process_time()
    torch.manual_seed(seed)
    model = model_of(task, variant, trained, stage.maps)
    learner = learner_of(variant, model, stage.train, folder)
    model.train()
    steps = steps_of(model, stage.train, seed=seed, count=work.steps)
    train(model, learner, steps, work.steps)
    return {
        "task": task,
        "variant": variant.name,
        "seed": seed,
        "accuracy": accuracy(model, stage.test, _COLUMNS[task]),
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_seconds": round(time.process_time() - began, 1),
        "work": asdict(work),
        "backbone": weights_hash(trained)[:12],
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
    parser.add_argument(
        "--weights", type=Path, default=SHIPPED, help="the trained backbone's model"
    )
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
    trained, stages = load_model(given.weights), {}
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
        folder = (given.work or given.out.with_suffix(".work")) / task
        if task not in stages:
            stages[task] = prepare(task, work[task], trained, folder)
        for variant in left:
            row = run_one(
                task,
                variant,
                seed,
                work=work[task],
                folder=folder,
                stage=stages[task],
                trained=trained,
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
