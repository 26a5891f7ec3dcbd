"""Where each mechanism is the only way: relations, memory and context on three small worlds.

    python -m benchmarks.mechanisms --out results.jsonl          # everything, 3 seeds, resumable
    python -m benchmarks.mechanisms --out results.jsonl --table  # only print what is there

Each world of the playground is balanced so that a model without the mechanism stays at 50 %:
`partner` (does the other one, far away, make the same gesture?), `event` (which gesture did I make,
up to four keyframes ago? five keyframes per video, so N = 5 reaches all of it) and `scene` (what
colour has the lamp at the edge, outside what a person's features see?).

All variants stand on one trained backbone, that of the shipped playground model, frozen, and have
the same clips, steps and optimiser. Its maps are computed once and kept in --work (8 GB), and so is
what each head pools from them; collaborative memory, which comes before pooling, works on the
means of maps over time. Steps, rate and collaborative memory's form were chosen on validation
clips (--tune). The accuracy is that of the two classes in question, on test clips, given true
boxes. Seeds differ in the first weights and in the order of the clips, not in the clips.

Superseded by `benchmarks.claims` (`make claims`), which trains end to end, chooses each variant's
rate and states intervals over five seeds; kept because docs/experiments.md has its rows.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from torch import Tensor, nn

import tubelet
from tubelet.batch import Batch, FeatureMap, Rois, Sample, collate
from tubelet.config import encode
from tubelet.data.annotations import Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.dataset import ClipDataset
from tubelet.data.keyframes import KeyframesByVideo
from tubelet.files import atomic_path
from tubelet.media.transforms import Augment, boxes_in_clip
from tubelet.models.backbones.base import FeatureSpec, as_maps
from tubelet.models.detector import ActionModel, MemoryConfig
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.relation import SpatialRelationHeadConfig, TemporalRelationHeadConfig
from tubelet.models.inference import Inference
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.memory.stream import scores_with_memory
from tubelet.models.weights import load_model, weights_hash
from tubelet.playground import PlaygroundConfig, clip_seed, label_space, world_of
from tubelet.playground.dataset import PlaygroundDataset
from tubelet.train.data.groups import samples_around
from tubelet.train.learning.banks import build_bank, online_bank, recipe_hash
from tubelet.train.learning.learners import (
    BankLearner,
    CollaborativeLearner,
    Learner,
    PlainLearner,
)
from tubelet.train.learning.losses import ActionLoss
from tubelet.train.loop.schedules import CosineSchedule
from tubelet.types import InputSpec, Key, People

BATCH = 30  # clips per step; divides by N = 1, 3 and 5
RATE, DECAY = 1e-3, 0.02
SHIPPED = Path(tubelet.__file__).parent / "weights" / "playground_small.safetensors"
_COLUMNS = {"partner": (0, 1), "event": (2, 3), "scene": (0, 1)}
_WORLDS = {
    "partner": PlaygroundConfig(
        task="partner", seconds=4.0, people=(2, 2), height=128, width=256, occluders=0.0
    ),
    "event": PlaygroundConfig(
        task="event", seconds=6.0, people=(1, 1), height=128, width=128, occluders=0.0
    ),
    "scene": PlaygroundConfig(
        task="scene", seconds=2.0, people=(1, 2), height=128, width=384, occluders=0.0
    ),
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
    return CollaborativeMemoryConfig(
        clips=clips, reduction=8, infusion="residual", positions="sum", norm="none"
    )


def _bank(seconds: int) -> MemoryBankConfig:
    return MemoryBankConfig(before_ms=1000 * seconds, after_ms=1000 * seconds, people=4)


LINEAR = LinearHeadConfig(dropout=0.1)
S_ONLY = SpatialRelationHeadConfig(width=64, heads=4, mlp=2, dropout=0.1)
T_ONLY = TemporalRelationHeadConfig(width=64, heads=4, mlp=2, dropout=0.1)
T_TIMED = replace(T_ONLY, time_encoding=True)
CONTEXT = NonlocalContextHeadConfig(width=32, dropout=0.1)
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
        Variant(name="T-only, bank of ±1 s", head=T_TIMED, memory=_bank(1), bank="offline"),
        Variant(name="T-only, bank of ±2 s", head=T_TIMED, memory=_bank(2), bank="offline"),
        Variant(name="T-only, bank of ±4 s", head=T_TIMED, memory=_bank(4), bank="offline"),
        Variant(
            name="T-only, bank of ±4 s, no times", head=T_ONLY, memory=_bank(4), bank="offline"
        ),
        Variant(name="T-only, online bank of ±4 s", head=T_TIMED, memory=_bank(4), bank="online"),
    ),
    "scene": (
        Variant(name="linear", head=LINEAR),
        Variant(name="S-only", head=S_ONLY),
        Variant(name="nonlocal context, whole picture", head=CONTEXT),
        Variant(name="nonlocal context, 4 × 4 parts", head=replace(CONTEXT, grid=4)),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """How much one task's runs are: films drawn for training and for testing, steps."""

    videos: int
    test_videos: int
    steps: int


WORK = {
    "partner": Work(videos=500, test_videos=100, steps=600),
    "event": Work(videos=400, test_videos=100, steps=400),
    "scene": Work(videos=1000, test_videos=300, steps=600),
}
QUICK = {name: Work(videos=4, test_videos=2, steps=3) for name in WORK}


class Recalled(nn.Module):
    """A frozen backbone's maps, kept: a "clip" is the number of one, written in its only pixel."""

    def __init__(
        self, outputs: Sequence[FeatureSpec], maps: Sequence[np.ndarray] | Sequence[Joined]
    ) -> None:
        super().__init__()
        self.outputs = outputs
        self._maps = maps

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        rows = numbers_of(clip).numpy()
        return as_maps([torch.from_numpy(m[rows]).float() for m in self._maps], self.outputs)


class Numbers(nn.Module):
    """Passes the numbers of clips on to `RecalledPeople`."""

    def __init__(self, outputs: Sequence[FeatureSpec]) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        numbers = numbers_of(clip).view(-1, 1, 1, 1, 1)
        return (FeatureMap(values=numbers, time_stride=1, space_stride=1),)


class RecalledPeople:
    """A head's pooling of frozen maps, kept: it has no weights, so it need be done only once."""

    def __init__(self, people: Sequence[Tensor]) -> None:
        self._people = people

    def __call__(self, maps: Sequence[FeatureMap], rois: Rois | None = None) -> Tensor:
        return torch.cat([self._people[n] for n in maps[0].values.flatten().tolist()]).float()


def number_pixel(number: int) -> Tensor:
    """`number` as a clip u8 `(3, 1, 1, 1)`."""
    digits = [number % 256, number // 256 % 256, number // 65536]
    return torch.tensor(digits, dtype=torch.uint8).view(3, 1, 1, 1)


def numbers_of(clips: Tensor) -> Tensor:
    """Clips `(B, 3, 1, 1, 1)` → numbers int64 `(B,)`."""
    low, middle, high = clips[:, :, 0, 0, 0].long().unbind(1)
    return low + 256 * middle + 65536 * high


class Kept(ClipDataset):
    """A dataset whose samples hold, in place of their frames, the number of their kept maps."""

    def __init__(self, dataset: ClipDataset, samples: list[Sample]) -> None:
        self.name, self.labels = dataset.name, dataset.labels
        self._dataset, self.samples = dataset, samples

    def __len__(self) -> int:
        return len(self.samples)

    def key(self, index: int) -> Key:
        return self._dataset.key(index)

    def label_ids(self, index: int) -> tuple[int, ...]:
        return self._dataset.label_ids(index)

    def truth(self) -> Annotations | ClipLabels:
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
    """What all variants of a task share: data sets, the maps of all their clips (on disk), those
    maps' means over time, and what each kind of head pools from them."""

    train: Kept
    test: Kept
    maps: list[Joined]
    means: list[np.ndarray] = field(default_factory=list)
    people: dict[str, list[Tensor]] = field(default_factory=dict)


def prepare(task: str, work: Work, trained: ActionModel, folder: Path, *, tune: bool) -> Stage:
    """Draw the clips of a task and compute their maps; maps that are there already are read."""
    world, split = _WORLDS[task], "val" if tune else "test"
    seeds = (clip_seed("train", 0, 0), clip_seed(split, 100 if tune else 1, 0))  # type: ignore[arg-type]
    kept, maps = [], []
    first = 0
    for first_seed, count in zip(seeds, (work.videos, work.test_videos), strict=True):
        dataset = PlaygroundDataset(world=world, clips=count, first_seed=first_seed)
        stamp = recipe_hash([encode(world), first_seed, count, weights_hash(trained)])
        maps.append(maps_of(dataset, trained, folder / stamp[:16]))
        like = dataset.sample(0, spec=trained.input)
        samples = [undrawn(dataset, world, i, like, first + i) for i in range(len(dataset))]
        kept.append(Kept(dataset, samples))
        first += len(dataset)
    return Stage(
        train=kept[0],
        test=kept[1],
        maps=[Joined(parts) for parts in zip(*maps, strict=True)],
    )


class Joined:
    """Two arrays on disk, read as one."""

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self._parts = parts

    def over_time(self) -> np.ndarray:
        """Maps `(n, C, T, h, w)` → their means over time `(n, C, 1, h, w)`, in memory."""
        rows = (row for part in self._parts for row in part)
        return np.stack([row.astype(np.float32).mean(axis=1, keepdims=True) for row in rows])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        first, second = self._parts
        late = rows >= len(first)
        found = np.empty((len(rows), *first.shape[1:]), first.dtype)
        found[~late], found[late] = first[rows[~late]], second[rows[late] - len(first)]
        return found


@torch.inference_mode()
def maps_of(dataset: ClipDataset, trained: ActionModel, folder: Path) -> list[np.ndarray]:
    """The backbone's maps of every sample, fp16 `(n, C, T, h, w)`, mapped from `folder`."""
    files = [folder / f"{i}.npy" for i in range(len(trained.backbone.outputs))]
    if not all(f.is_file() for f in files):
        with ExitStack() as stack:
            parts = [stack.enter_context(atomic_path(f)) for f in files]
            arrays: list[np.ndarray] = []
            for index in range(len(dataset)):
                sample = dataset.sample(index, spec=trained.input)
                found = [m.values[0].half().numpy() for m in trained.features(sample.frames[None])]
                if not arrays:
                    arrays = [
                        open_memmap(p, "w+", np.float16, (len(dataset), *f.shape))
                        for p, f in zip(parts, found, strict=True)
                    ]
                for array, values in zip(arrays, found, strict=True):
                    array[index] = values
            for array in arrays:
                array.flush()  # type: ignore[attr-defined]
    return [np.load(file, mmap_mode="r") for file in files]


def undrawn(
    dataset: PlaygroundDataset, world: PlaygroundConfig, index: int, like: Sample, number: int
) -> Sample:
    """The people and labels of a sample, without a picture; `like` is any sample of the set."""
    key = dataset.key(index)
    seed = int(key.video.removeprefix("playground_"))
    boxes, ids, targets = world_of(seed, world).annotate(np.array([key.time_ms / 1000]))
    people = People.of(boxes[0], track_ids=ids[0])
    boxes_px, _ = boxes_in_clip(people.boxes, like.geometry, InputSpec())
    return replace(
        like,
        key=key,
        frames=number_pixel(number),
        people=people,
        boxes_px=torch.from_numpy(boxes_px),
        targets=torch.from_numpy(targets[0]),
    )


def model_of(task: str, variant: Variant, trained: ActionModel, stage: Stage) -> ActionModel:
    """The variant's own layers, on the kept maps or on what its head pools from them."""
    labels = replace(label_space(task), exclusive=True)  # type: ignore[arg-type]
    model = replace(trained.config, head=variant.head, memory=variant.memory, labels=labels).build()
    model.normalise = lambda frames: frames  # type: ignore[method-assign]
    outputs = trained.backbone.outputs
    if model.memory is not None:  # its layers come before pooling; the head wants means over time
        if not stage.means:
            stage.means.extend(m.over_time() for m in stage.maps)
        model.backbone = Recalled(outputs, stage.means)  # type: ignore[assignment]
        return model
    kind = type(variant.head).__name__ + str(getattr(variant.head, "grid", ""))
    if kind not in stage.people:
        model.backbone = Recalled(outputs, stage.maps)  # type: ignore[assignment]
        stage.people[kind] = pooled(model, stage)
    model.backbone = Numbers(outputs)  # type: ignore[assignment]
    model.head.pool = RecalledPeople(stage.people[kind])  # type: ignore[method-assign]
    return model


@torch.no_grad()
def pooled(model: ActionModel, stage: Stage) -> list[Tensor]:
    """What the head pools of the people of every clip, in order of the clips' numbers."""
    found: list[Tensor] = []
    for sample in (*stage.train.samples, *stage.test.samples):
        one = collate([sample])
        found.append(model.pool(model.features(one.frames), one.rois).half())
    return found


def train(model: ActionModel, learner: Learner, batches: Iterator[Batch], count: int) -> None:
    """AdamW under a cosine."""
    schedule = CosineSchedule(warmup=0.05)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY)
    for number, batch in enumerate(itertools.islice(batches, count)):
        for group in optimizer.param_groups:
            group["lr"] = RATE * schedule.at(number, count)
        optimizer.zero_grad(set_to_none=True)
        learner.backward(batch)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()


def batches_of(model: ActionModel, data: Kept, *, seed: int) -> Iterator[Batch]:
    """Endless batches of the same number of clips: single ones, or N about each moment drawn."""
    memory, moments = model.config.memory, KeyframesByVideo(data)
    clips = memory.clips if isinstance(memory, CollaborativeMemoryConfig) else 1
    rng = np.random.default_rng(seed)
    order = itertools.chain.from_iterable(rng.permutation(len(data)) for _ in itertools.count())
    while True:
        anchors = [data.key(int(i)) for i in itertools.islice(order, BATCH // clips)]
        groups = [samples_around(moments, k, clips=clips, stride_ms=1000) for k in anchors]
        batch = collate([data.samples[i] for group in groups for i in group])
        number = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        yield replace(batch, group=torch.from_numpy(number))


def learner_of(variant: Variant, model: ActionModel, data: Kept, folder: Path) -> Learner:
    """As `train.run` chooses."""
    loss = ActionLoss()
    bank = folder / f"bank_{os.getpid()}"  # two runs may share a folder
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
    right, count = 0, 0
    for sample, scores in scored(model.eval(), data):
        assert sample.targets is not None
        truth = sample.targets[:, columns]
        asked = truth.sum(1) > 0
        right += int((scores[:, columns].argmax(1) == truth.argmax(1))[asked].sum())
        count += int(asked.sum())
    return right / max(1, count)


@torch.inference_mode()
def scored(model: ActionModel, data: Kept) -> Iterator[tuple[Sample, Tensor]]:
    """Every sample with its people's scores; with memory, film by film."""
    if model.config.memory is not None:
        moments = KeyframesByVideo(data)
        for video in moments.videos():
            film = [data.samples[i] for i in moments.samples(video)]
            yield from scores_with_memory(Inference(model, device=torch.device("cpu")), film)
        return
    for sample in data.samples:
        one = collate([sample])
        yield sample, model.scores(model(one.frames, one.rois))


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
    model = model_of(task, variant, trained, stage)
    learner = learner_of(variant, model, stage.train, folder)
    model.train()
    train(model, learner, batches_of(model, stage.train, seed=seed), work.steps)
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
    parser.add_argument(
        "--tune", action="store_true", help="test on validation clips, to choose settings"
    )
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
            stages[task] = prepare(task, work[task], trained, folder, tune=given.tune)
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
