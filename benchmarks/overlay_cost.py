"""What an overlay costs: processor seconds with nobody, 10 and 200 people a frame, alternating.

    python benchmarks/overlay_cost.py film.mp4 [rounds]

Prints JSON: medians in seconds, and the ratio of 200 people to 10.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from tubelet.labels import LabelSpace
from tubelet.media.video import Video
from tubelet.render.overlay import write_overlay
from tubelet.results import Tube

LABELS = LabelSpace.of(["walk", "talk to (someone)", "wave", "sit"])


def crowd(count: int, film: Path) -> list[Tube]:
    """So many people of a tenth of the height, who wander and change their actions each second."""
    with Video(film, threads=1) as video:
        times = np.arange(0, video.info.duration_ms, 1000) + video.info.start_ms
    rng = np.random.default_rng(0)
    tubes = []
    for number in range(count):
        steps = rng.normal(0, 0.005, (len(times), 2))
        corner = np.clip(rng.uniform(0.05, 0.9, 2) + np.cumsum(steps, axis=0), 0, 0.9)
        tubes.append(
            Tube(
                video=film.stem,
                track_id=number,
                times_ms=times,
                boxes=np.hstack([corner, corner + np.array((0.04, 0.1))]).astype(np.float32),
                person_scores=np.ones(len(times), np.float32),
                action_scores=rng.uniform(0.2, 0.9, (len(times), 4)).astype(np.float32),
                labels=LABELS,
            )
        )
    return tubes


def seconds_of(film: Path, people: int | None, folder: Path) -> float:
    """Processor seconds of one overlay, or of decoding alone where `people` is None."""
    tubes = crowd(people or 0, film)
    begun = time.process_time()
    if people is None:
        with Video(film) as video:
            for _ in video.yuv_frames((video.info.height & ~1, video.info.width & ~1)):
                pass
    else:
        write_overlay(film, tubes, folder / "overlay.mp4", every_ms=1000)
    return time.process_time() - begun


def main() -> None:
    film = Path(sys.argv[1])
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    cases = {"decode": None, "nobody": 0, "10 people": 10, "200 people": 200}
    found: dict[str, list[float]] = {name: [] for name in cases}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for name, people in cases.items():
                found[name].append(seconds_of(film, people, Path(folder)))
    medians = {name: round(median(values), 2) for name, values in found.items()}
    ratio = round(medians["200 people"] / medians["10 people"], 2)
    print(json.dumps({"cpu_seconds": medians, "200 to 10": ratio, "machine": platform.processor()}))


if __name__ == "__main__":
    main()
