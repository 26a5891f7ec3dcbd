"""What the shipped action models' answers are worth: on their own data and on other films.

    python -m benchmarks.honesty --data ../shared/data --cache /tmp/honesty
        [--pictures docs/pictures]

The answer about a person is the class with the highest score; it is right if it is one of those
they do. Scores are those of `tubelet detect`, "none of these" included. What people do in films
without labels is in `honest_truth.csv`, by eye and by film, not by person: the table is generous.
The cache holds logits, by the weights' tensors; the first run takes some minutes of processor time.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from benchmarks.honesty_charts import Line, Panel, chart

from tubelet.answers import Answers
from tubelet.api import ActionDetector, load
from tubelet.batch import collate
from tubelet.data.annotations import Annotations
from tubelet.data.dataset import ClipDataset
from tubelet.data.sources import VideoSource
from tubelet.evaluate.boxtable import F64, Bools
from tubelet.evaluate.confidence.calibration import (
    abstention,
    fit_platt,
    logits_of,
    reliability,
)
from tubelet.evaluate.scoring import evaluate_tables
from tubelet.files import make_folder, write_text
from tubelet.playground.sources import PlaygroundSource
from tubelet.recipes.jhmdb import jhmdb21_small
from tubelet.recipes.playground import playground_small
from tubelet.types import Floats

TRUTH = Path(__file__).with_name("honest_truth.csv")
DETECTOR = "person_small"
BINS = 5
THRESHOLDS = (0.3, 0.5, 0.7, 0.8, 0.9, 0.95)
SAME = {
    "walk": "walk", "run": "run/jog", "jump": "jump/leap", "sit": "sit down", "stand": "get up",
    "wave": "hand wave", "clap": "hand clap",
}  # fmt: skip
"""JHMDB's classes and the playground's for the same thing (to JHMDB, sitting is sitting down)."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """People of a set: film and milliseconds `(N,)`, boxes `(N, 4)`, logits `(N, K)` without
    calibration, and what they do `(N, K)`, by the model's classes."""

    film: npt.NDArray[np.str_]
    time_ms: npt.NDArray[np.int64]
    boxes: Floats
    logits: Floats
    targets: Floats

    def only(self, rows: Bools) -> Seen:
        return Seen(**{name: getattr(self, name)[rows] for name in self.__dataclass_fields__})


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A model's people, from the cache where they are there."""

    name: str
    detector: ActionDetector
    data: Path
    cache: Path

    def seen(self, called: str, rows: Iterable[tuple[object, ...]]) -> Seen:
        state = self.detector.model.state_dict().items()
        tensors = hashlib.sha256(b"".join(t.numpy().tobytes() for _, t in sorted(state)))
        path = self.cache / f"{called}_{tensors.hexdigest()[:12]}.npz"
        if not path.exists():
            columns = [np.array(column) for column in zip(*rows, strict=True)]
            fields = dict(zip(Seen.__dataclass_fields__, columns, strict=True))
            with path.open("wb") as file:
                np.savez(file, allow_pickle=False, **fields)
        with np.load(path, allow_pickle=False) as kept:
            return Seen(**dict(kept))

    @torch.inference_mode()
    def labelled(
        self, dataset: ClipDataset, indices: Iterable[int]
    ) -> Iterator[tuple[object, ...]]:
        """The annotated people of a dataset; their targets in the order of this model's classes,
        by `SAME` where the dataset has others."""
        model = self.detector.model
        columns = same(dataset.labels.names, model.labels.names)
        for index in indices:
            sample = dataset.sample(index, spec=model.input)
            if not len(sample.people) or sample.targets is None:
                continue
            batch = collate([sample])
            logits = model(batch.frames, batch.rois).float().numpy()
            targets = np.zeros(logits.shape, np.float32)
            for theirs, ours in columns:
                targets[:, ours] = sample.targets[:, theirs]
            for row, box in enumerate(sample.people.boxes):
                yield sample.key.video, sample.key.time_ms, box, logits[row], targets[row]

    def films(self) -> Iterator[tuple[object, ...]]:
        """UCF101-24's people every 0.24 s in their true boxes, and those whom `DETECTOR` finds
        every second in the other films."""
        model, truth = self.detector.model, hand_made(self.name)
        answers, model.answers = model.answers, Answers(none=model.answers.none)
        clips = self.data / "clips"
        for path in sorted([*clips.glob("ucf24/*.mp4"), *clips.glob("misc/*.mp4")]):
            own = path.parent.name == "ucf24"
            boxes = self.boxes(path) if own else DETECTOR
            for found in self.detector.detect(path, people=boxes, track_rate=0):
                logits = logits_of(
                    found.action_scores, exclusive=model.labels.exclusive, none=model.answers.none
                )
                does = truth(path.stem, found.key.time_ms / 1000)
                targets = np.array([name in does for name in model.labels.names], np.float32)
                for row, box in enumerate(found.boxes):
                    yield path.stem, found.key.time_ms, box, logits[row].astype("f4"), targets
        model.answers = answers

    def boxes(self, path: Path) -> Path:
        """A CSV of the film's true boxes of every sixth frame."""
        with (path.parent / "gt_all_frames.csv").open(newline="") as file:
            rows = [row for row in csv.reader(file) if row[0] == path.stem]
        kept = [row for row in rows if round(float(row[1]) * 25) % 6 == 0]
        out = self.cache / f"{path.stem}.csv"
        write_text(out, "".join(",".join(row[:6]) + ",1\n" for row in kept))
        return out


def same(theirs: tuple[str, ...], ours: tuple[str, ...]) -> list[tuple[int, int]]:
    """Columns of classes that mean the same."""
    pairs = [*SAME.items(), *((b, a) for a, b in SAME.items())] if theirs != ours else []
    pairs += [(name, name) for name in theirs] if theirs == ours else []
    return [(theirs.index(a), ours.index(b)) for a, b in pairs if a in theirs and b in ours]


def hand_made(model: str) -> Callable[[str, float], set[str]]:
    """What people do in a film at a time, by the table."""
    with TRUTH.open(newline="") as file:
        rows = list(csv.DictReader(file))

    def at(film: str, second: float) -> set[str]:
        fits = [
            row
            for row in rows
            if row["film"] == film and float(row["begin_s"]) <= second < float(row["end_s"])
        ]
        if len(fits) != 1:
            raise SystemExit(f"{TRUTH}: {len(fits)} rows for {film} at {second} s")
        return set(fits[0][model].split("|"))

    return at


def middles(dataset: ClipDataset) -> list[int]:
    """The middle keyframe of each film."""
    films: dict[str, list[int]] = {}
    for index in range(len(dataset)):
        films.setdefault(dataset.key(index).video, []).append(index)
    return [own[len(own) // 2] for own in films.values()]


def fitted(film: str) -> bool:
    """Whether a validation clip is of the half that the calibration was fitted on, by the film it
    was cut from."""
    source = film.rsplit("_", 6)[0]
    return int(hashlib.md5(source.encode()).hexdigest(), 16) % 2 == 0


def scored(detector: ActionDetector, logits: Floats) -> Floats:
    scores: Floats = detector.model.scores(torch.from_numpy(logits), abstain=True).numpy()
    return scores


def best(p: F64 | Floats, targets: Floats) -> tuple[F64, Bools]:
    """Confidence and correctness of each person's best class."""
    first = p.argmax(axis=1)
    rows = np.arange(len(p))
    return p[rows, first].astype(np.float64), targets[rows, first] > 0


def report(reader: Reader, sets: dict[str, Seen], pictures: Path | None) -> None:
    detector = reader.detector
    panels = (
        Panel(title="reliability", x="confidence", y="right"),
        Panel(title="abstention", x="share of people answered", y="right of those"),
    )
    for called, seen in sets.items():
        p = scored(detector, seen.logits)
        confidence, right = best(p, seen.targets)
        bins, curve = reliability(confidence, right, bins=BINS), abstention(confidence, right)
        print(f"\n{reader.name}, {called}: {len(right)} people, {right.mean():.3f} right")
        print(f"  expected calibration error {reliability(confidence, right).error:.3f}; "
              f"the surest {confidence.max():.3f}")  # fmt: skip
        used = bins.count > 0
        for place in np.flatnonzero(used):
            low, high = place / BINS, (place + 1) / BINS
            print(
                f"  {low:.1f} to {high:.1f}: {bins.count[place]:4d} people, confidence "
                f"{bins.confidence[place]:.3f}, right {bins.accuracy[place]:.3f}"
            )
        for threshold in sorted({*THRESHOLDS, detector.threshold}):
            share, precision = curve.at(threshold)
            shown = " (shown from here)" if threshold == detector.threshold else ""
            print(f"  from {threshold:.2f}: {share:.3f} answered, {precision:.3f} right{shown}")
        panels[0].lines.append(Line(called, bins.confidence[used], bins.accuracy[used], dots=True))
        enough = np.arange(len(right)) >= min(4, len(right) - 1)  # fewer people say nothing
        panels[1].lines.append(Line(called, curve.share[enough], curve.precision[enough]))
    if pictures is not None:
        out = pictures / f"honesty_{reader.name}.svg"
        write_text(out, chart(reader.name, panels))


def maps(detector: ActionDetector, seen: Seen) -> None:
    """mAP among the 21, and with "none of these" in the scores."""
    space = detector.model.labels
    people, classes = seen.logits.shape
    truth = Annotations.of(
        video=seen.film.tolist(),
        time_us=seen.time_ms * 1000,
        boxes=seen.boxes,
        label=np.array(space.ids)[seen.targets.argmax(axis=1)],
    )
    for called, abstain in (("among the classes", False), ("with none of these", True)):
        p = detector.model.scores(torch.from_numpy(seen.logits), abstain=abstain).numpy()
        table = Annotations.of(
            video=np.repeat(seen.film, classes).tolist(),
            time_us=np.repeat(seen.time_ms * 1000, classes),
            boxes=np.repeat(seen.boxes, classes, axis=0),
            label=np.tile(space.ids, people),
            score=p.reshape(-1).astype(np.float64),
        )
        figure = evaluate_tables(table, truth, space).map
        print(f"mAP {called}, {people} validation keyframes, one view: {figure:.4f}")


def platt(detector: ActionDetector, val: Seen, test: Seen) -> None:
    """What fitting slopes and offsets on the playground's validation films would be worth."""
    slopes, offsets = fit_platt(val.logits, val.targets)
    print("\nplayground_small, Platt on", len(val.film), "people of validation films")
    print("  slopes", tuple(round(float(s), 4) for s in slopes))
    print("  offsets", tuple(round(float(o), 4) for o in offsets))
    for called, z in (("before", test.logits), ("after", test.logits * slopes + offsets)):
        p = 1 / (1 + np.exp(-np.asarray(z, np.float64)))
        pairs = reliability(p.reshape(-1), test.targets.reshape(-1)).error
        top = reliability(*best(p, test.targets)).error
        shown = abstention(p.reshape(-1), test.targets.reshape(-1))
        least = shown.least(0.9, answers=20)
        print(
            f"  {called}: calibration error {top:.4f} of best classes, {pairs:.4f} of all; rows "
            f"from 0.3 {shown.at(0.3)[1]:.3f} right; 0.9 right from a score of {least:.3f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--pictures", type=Path)
    options = parser.parse_args()
    make_folder(options.cache)

    def reader(name: str) -> Reader:
        detector = load(name, device="cpu", precision="fp32")
        return Reader(name=name, detector=detector, data=options.data, cache=options.cache)

    source = jhmdb21_small().tests[0].data
    world = playground_small().tests[0].data
    assert isinstance(source, VideoSource) and isinstance(world, PlaygroundSource)
    val = source.build(options.data)
    played = replace(world, clips=25).build(options.data)
    fitting = replace(world, clips=40, split="val").build(options.data)
    one, two = reader("jhmdb21_small"), reader("playground_small")
    print(f"people in the films without boxes: those that {DETECTOR} finds, every second")
    own = one.seen("jhmdb_val", one.labelled(val, middles(val)))
    maps(one.detector, own)
    foreign = one.seen("jhmdb_play", one.labelled(played, middles(played)))
    sets = {
        "JHMDB validation, the half not fitted": own.only(~np.array([*map(fitted, own.film)])),
        "playground": foreign,
        "16 films of other sources": one.seen("jhmdb_films", one.films()),
    }
    report(one, sets, options.pictures)
    tested = two.seen("play_test", two.labelled(played, range(len(played))))
    platt(two.detector, two.seen("play_val", two.labelled(fitting, range(len(fitting)))), tested)
    both = {val.labels.ids[val.labels.column_of(name)] for name in SAME}
    known = [index for index in middles(val) if both.intersection(val.label_ids(index))]
    real = two.seen("play_jhmdb", two.labelled(val, known))
    sets = {
        "playground test": tested,
        "JHMDB validation, seven classes both know": real,
        "16 films of other sources": two.seen("play_films", two.films()),
    }
    report(two, sets, options.pictures)


if __name__ == "__main__":
    main()
