"""Identities a real person on real films: on keyframes only, and followed between them.

    python benchmarks/nine_films.py --data ../shared/data [--detector person_small] [--rate 5]

The people were counted by eye on contact sheets. Counted as an identity: who is seen in three looks
or more when followed, everybody on keyframes, as `tubelet detect` shows them. Seconds are of the
processor, for finding and following people in one second of film, without decoding.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tubelet.boxes import short_side_hw
from tubelet.labels import LabelSpace
from tubelet.media.frames import open_film
from tubelet.media.sampling import hole_ms, keyframe_times
from tubelet.media.video import Frame
from tubelet.media.watching import moments_between, watched
from tubelet.people.detectors.base import PersonDetector
from tubelet.people.linking import Linker
from tubelet.people.named import person_detector
from tubelet.people.tracking import Follower, Tracker, passers_by
from tubelet.results import Detections
from tubelet.types import Key, People

SHORT_SIDE = 480
LABELS = LabelSpace.of(["person"])
PEOPLE = {
    "misc/intel_classroom_from_gif": 4,
    "misc/intel_face-demographics-walking-and-pause_from_gif": 3,
    "misc/intel_face-demographics-walking_from_gif": 2,
    "misc/intel_head-pose-face-detection-female-and-male_from_gif": 2,
    "misc/intel_one_by_one_768x432_139s": 6,
    "misc/intel_worker-zone-detection_from_gif": 1,
    "misc/man_juggling_football_1280x720": 1,
    "misc/street_crowd_1080p_3fps_8frames": 45,
    "misc/two_children_jumping_bed_960x540": 2,
    "ucf24/v_Basketball_g01_c02": 2,
    "ucf24/v_Basketball_g07_c04": 2,
    "ucf24/v_SkateBoarding_g02_c01": 9,
}


@dataclass(frozen=True, kw_only=True)
class Count:
    """Identities and what they cost a second of film; `looks` of each identity."""

    looks: Counter[int]
    ids: int
    seconds: float


def followed(path: Path, detector: PersonDetector, rate: float) -> Count:
    """The identities of a film that is followed `rate` times a second; 0: on keyframes."""
    seen: list[tuple[int, People]] = []
    spent = 0.0
    with open_film(path, threads=1) as film:
        info, keys = film.info, keyframe_times(film.info, 1000)
        hw = short_side_hw(info.hw, min(SHORT_SIDE, *info.hw))
        follower = Follower(detector, Tracker(), lambda ms, people: seen.append((ms, people)))
        linker = Linker()

        def look(time_ms: int, frame: Frame) -> None:
            nonlocal spent
            image = frame.resized(hw)
            begin = time.process_time()
            if rate:
                follower.look(time_ms, image)
            else:
                people = detector(image)
                seen.append((time_ms, _linked(linker, time_ms, people)))
            spent += time.process_time() - begin

        moments = moments_between(keys, info, rate) if rate else ((ms, True) for ms in keys)
        for _ in watched(film.frames(hw), moments, look, longest_ms=hole_ms(info)):
            pass
    looks = Counter(i for _, people in seen for i in people.track_ids.tolist())
    gone = passers_by(seen) if rate else set()
    return Count(looks=looks, ids=len(looks.keys() - gone), seconds=1000 * spent / info.duration_ms)


def _linked(linker: Linker, time_ms: int, people: People) -> People:
    moment = Detections(
        key=Key(video="film", time_ms=time_ms), boxes=people.boxes, labels=LABELS,
        person_scores=people.scores, track_ids=people.track_ids,
        action_scores=np.zeros((len(people), 1), np.float32),
    )  # fmt: skip
    return People.of(people.boxes, people.scores, linker.identify(moment))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--detector", default="person_small")
    parser.add_argument("--rate", type=float, default=5.0)
    parser.add_argument("--only", default="", help="part of a film's name")
    options = parser.parse_args()
    detector = person_detector(options.detector)
    print("| film | people | ids, keyframes | ids, followed | a person | s per s of film |")
    print("|---|---|---|---|---|---|")
    for name, people in PEOPLE.items():
        if options.only not in name:
            continue
        path = options.data / "clips" / f"{name}.mp4"
        before = followed(path, detector, 0)
        after = followed(path, detector, options.rate)
        print(
            f"| {path.stem} | {people} | {before.ids} | {after.ids} | "
            f"{before.ids / people:.2f} → {after.ids / people:.2f} | "
            f"{before.seconds:.2f} → {after.seconds:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
