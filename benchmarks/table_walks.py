"""How long the walks over large tables take: video mAP of detections, and their keyframes.

`python benchmarks/table_walks.py [--rows 4_000_000]`: detections like those of UCF101-24, people of
many films scored for 24 classes on every keyframe, against one true action a person. Prints
processor seconds of each step and the peak of memory.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from tubelet.data.annotations import Annotations
from tubelet.evaluate.scoring import score_tubes, tubes_of
from tubelet.labels import LabelSpace

T = TypeVar("T")
CLASSES, PEOPLE, MOMENTS = 24, 1, 100


def tables(rows: int) -> tuple[Annotations, Annotations]:
    """Detections of about `rows` rows, and the truth of their people."""
    rng = np.random.default_rng(0)
    films = max(1, rows // (CLASSES * PEOPLE * MOMENTS))
    corner = rng.random((films, 1, PEOPLE, 2)) * 0.5
    drift = np.cumsum(rng.normal(0, 0.002, (films, MOMENTS, PEOPLE, 2)), axis=1)
    start = np.clip(corner + drift, 0, 0.75)
    boxes = np.concatenate([start, start + 0.2], axis=-1).round(6)
    film = np.char.add("film_", np.arange(films).astype(str))
    times = np.arange(MOMENTS) * 200_000
    shape = (films, MOMENTS, PEOPLE)
    video = np.broadcast_to(film[:, None, None], shape)
    time_us = np.broadcast_to(times[None, :, None], shape)
    action = rng.integers(1, CLASSES + 1, (films, 1, PEOPLE))
    truth = Annotations.of(
        video=video.reshape(-1).tolist(),
        time_us=time_us.reshape(-1),
        boxes=boxes.reshape(-1, 4),
        label=np.broadcast_to(action, shape).reshape(-1),
        person=np.broadcast_to(np.arange(PEOPLE), shape).reshape(-1),
    )
    seen = np.clip(boxes + rng.normal(0, 0.01, boxes.shape), 0, 1).round(6)
    found = Annotations.of(
        video=np.repeat(video.reshape(-1), CLASSES).tolist(),
        time_us=np.repeat(time_us.reshape(-1), CLASSES),
        boxes=np.repeat(seen.reshape(-1, 4), CLASSES, axis=0),
        label=np.tile(np.arange(1, CLASSES + 1), films * MOMENTS * PEOPLE),
        score=rng.random(films * MOMENTS * PEOPLE * CLASSES).round(6),
    )
    return found, truth


def timed(what: str, work: Callable[[], T]) -> T:
    started = time.process_time()
    result = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{what}: {time.process_time() - started:.2f} s of processor time, peak {peak:.0f} MiB")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=4_000_000)
    options = parser.parse_args()
    found, truth = timed("drawing the tables", lambda: tables(options.rows))
    labels = LabelSpace(
        ids=tuple(range(1, CLASSES + 1)), names=tuple(f"class {i}" for i in range(1, CLASSES + 1))
    )
    print(f"{len(found):,} rows of detections, {len(truth):,} of truth")
    tubes = timed("linking the detections into tubes", lambda: tubes_of(found, labels))
    report = timed("video mAP of the tubes", lambda: score_tubes(tubes, truth, labels))
    print(f"video mAP at 0.5: {report.map[0.5]:.6f}, 0.5:0.95: {report.map_50_95:.6f}")
    count = timed("keyframes of the detections", lambda: sum(1 for _ in found.keyframes()))
    print(f"{count:,} keyframes")


if __name__ == "__main__":
    main()
