"""How well people are followed: HOTA, IDF1 and switches of identity, at several rates.

    python benchmarks/tracking.py --data ../shared/data [--detector person_small]

Everybody is compared with the truth ten times a second; who is looked for less often is drawn
between, as on the overlay. `keyframes` is one look a second (`--track-rate 0`), `linker` is
`tubelet.people.linking` at a higher rate, `tracker` is `tubelet.people.tracking`. Where the package
`trackers` is installed, its own are measured too, on the same boxes.

UCF101-24 and JHMDB label the actors only, so others who are found count as false.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.boxes import short_side_hw
from tubelet.data.tables import read_ava_csv
from tubelet.labels import LabelSpace
from tubelet.media.frames import open_film
from tubelet.people.detectors.base import Image, PersonDetector
from tubelet.people.identity import Moment, measure_tracks
from tubelet.people.linking import Linker, link
from tubelet.people.named import person_detector
from tubelet.people.tracking import Tracker
from tubelet.playground.make import make_clip
from tubelet.playground.world import PlaygroundConfig
from tubelet.results import Detections
from tubelet.types import Key, People

STEP_MS = 100
SURE = 0.46  # the threshold of person_small, which the trackers of others are told
LABELS = LabelSpace.of(["person"])
WORLD = PlaygroundConfig(
    height=240, width=320, fps=20.0, seconds=8.0, people=(3, 6), occluders=2.5, camera=3.0
)
Looks = list[tuple[int, People]]
Update = Callable[[int, People, Image], People]


@dataclass(frozen=True, kw_only=True)
class Film:
    """What lies `STEP_MS` apart in a film: times, pictures, true people, found people."""

    name: str
    set: str
    times_ms: list[int]
    images: list[Image]
    truth: list[People]
    found: list[People]

    def every(self, ms: int) -> list[int]:
        """The places of the moments `ms` apart; of a shorter film the middle one."""
        step, count = ms // STEP_MS, len(self.times_ms)
        return list(range(0, count, step)) if count > step else [count // 2]


def labelled_films(
    name: str, table: Path, folder: Path, detector: PersonDetector, limit: int, short: int
) -> Iterator[Film]:
    """The first films of an AVA table with person ids; moments without a label are left out."""
    truth: dict[str, dict[int, People]] = defaultdict(dict)
    for moment in read_ava_csv(table).keyframes():
        truth[moment.key.video][moment.key.time_ms] = moment.people
    here = [video for video in truth if (folder / f"{video}.mp4").exists()]
    for video in here[:limit]:
        at = truth[video]
        times: list[int] = []
        images: list[Image] = []
        people: list[People] = []
        with open_film(folder / f"{video}.mp4") as film:
            hw = short_side_hw(film.info.hw, min(short, *film.info.hw))
            for frame in film.frames(hw):
                nearest = min(at, key=lambda ms: abs(ms - frame.time_ms))
                due = not times or frame.time_ms >= times[0] + STEP_MS * len(times) - 2
                if due and abs(nearest - frame.time_ms) <= 20:
                    times.append(frame.time_ms)
                    images.append(frame.image)
                    people.append(at[nearest])
        yield Film(
            name=video, set=name, times_ms=times, images=images, truth=people,
            found=[detector(image) for image in images],
        )  # fmt: skip


def rendered_films(detector: PersonDetector, count: int) -> Iterator[Film]:
    """Clips of the playground with people behind each other and a camera that pans and shakes."""
    step = round(STEP_MS * WORLD.fps / 1000)
    for seed in range(count):
        clip = make_clip(90_000 + seed, WORLD)
        frames = range(0, len(clip.frames), step)
        images = [clip.frames[i] for i in frames]
        yield Film(
            name=str(seed), set="playground", images=images,
            times_ms=[int(clip.times_ms[i]) for i in frames],
            truth=[People.of(clip.boxes[i], None, clip.person_ids[i]) for i in frames],
            found=[detector(image) for image in images],
        )  # fmt: skip


def moments_of(film: Film, period_ms: int, update: Update) -> list[Moment]:
    """Everybody of a film looked at each `period_ms`, beside the truth of every moment."""
    seen: Looks = []
    for i in film.every(period_ms):
        time_ms = film.times_ms[i]
        seen.append((time_ms, update(time_ms, film.found[i], film.images[i])))
    tubes = link([_detections(ms, people) for ms, people in seen], seen=seen)
    end = film.times_ms[-1] + STEP_MS
    moments = []
    for time_ms, truth in zip(film.times_ms, film.truth, strict=True):
        there = [(t.track_id, t.box_at(time_ms, period_ms, end)) for t in tubes]
        shown = [(i, box) for i, box in there if box is not None]
        found = People.of([box for _, box in shown], None, [i for i, _ in shown])
        moments.append((truth, found))
    return moments


def _detections(time_ms: int, people: People) -> Detections:
    return Detections(
        key=Key(video="film", time_ms=time_ms), boxes=people.boxes, person_scores=people.scores,
        action_scores=np.zeros((len(people), 1), np.float32), track_ids=people.track_ids,
        labels=LABELS,
    )  # fmt: skip


def linker() -> Update:
    """`Linker`, which knows neither camera nor looks."""
    one = Linker()

    def update(time_ms: int, people: People, image: Image) -> People:
        ids = one.identify(_detections(time_ms, people))
        return People.of(people.boxes, people.scores, ids)

    return update


class _Still(Tracker):
    """A tracker that takes no notice of the camera."""

    def _move_with_camera(self, image: Image) -> None:
        pass


def foreign(make: Callable[[], Any]) -> Update:
    """A tracker of the package `trackers`."""
    supervision = import_module("supervision")  # comes with trackers
    one = make()

    def update(time_ms: int, people: People, image: Image) -> People:
        size = np.array(image.shape[1::-1] * 2)
        given = supervision.Detections(
            xyxy=people.boxes.astype(np.float64) * size, confidence=people.scores.astype(float)
        )
        frame = image if one.tracker_id == "botsort" else None
        found = one.update(given, frame=frame)
        known = found.tracker_id >= 0
        boxes = np.clip(found.xyxy[known] / size, 0, 1)
        return People.of(boxes, found.confidence[known], found.tracker_id[known])

    return update


def methods() -> dict[str, tuple[int, Callable[[], Update]]]:
    """What is compared: the period in ms, and how a film's tracker is made."""
    ours = {
        "keyframes": (1000, linker),
        "linker 5 Hz": (200, linker),
        "tracker 2 Hz": (500, lambda: Tracker().see),
        "tracker 5 Hz": (200, lambda: Tracker().see),
        "tracker 10 Hz": (100, lambda: Tracker().see),
        "tracker 5 Hz, no camera": (200, lambda: _Still().see),
    }
    if find_spec("trackers") is None:
        return ours
    trackers = import_module("trackers")
    for kind in (trackers.ByteTrackTracker, trackers.OCSORTTracker, trackers.BoTSORTTracker):
        for rate in (5, 10):
            # Defaults are for 30 frames a second, and wait some frames before a track.
            given = {"high_conf_det_threshold": SURE, "lost_track_buffer": 90}
            if kind is not trackers.OCSORTTracker:
                given["track_activation_threshold"] = SURE
            make = partial(kind, frame_rate=float(rate), minimum_consecutive_frames=1, **given)
            name = f"{kind.tracker_id} {rate} Hz"
            ours[name] = (1000 // rate, partial(foreign, make))
    return ours


def films_of(data: Path, detector: PersonDetector, short: int = 240) -> list[Film]:
    """Three sets: 8 mosaics of JHMDB, seven clips of UCF101-24, 4 clips of the playground."""
    mosaics = data / "jhmdb21_mosaic_val"
    ucf = data / "clips" / "ucf24"
    return [
        *labelled_films(
            "jhmdb mosaics", mosaics / "mosaic_val.csv", mosaics / "videos", detector, 8, short
        ),
        *labelled_films("ucf24", ucf / "gt_all_frames.csv", ucf, detector, 7, short),
        *rendered_films(detector, 4),
    ]


def show(films: list[Film], chosen: dict[str, tuple[int, Callable[[], Update]]]) -> None:
    """A row of the table for each set and method."""
    print("| set | method | HOTA | DetA | AssA | IDF1 | switches | ids a person | ms a look |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in dict.fromkeys(film.set for film in films):
        for method, (period_ms, make) in chosen.items():
            own = [film for film in films if film.set == name]
            begin = time.process_time()
            found = [moments_of(film, period_ms, make()) for film in own]
            cost = (time.process_time() - begin) / sum(len(f.every(period_ms)) for f in own)
            r = measure_tracks(found)
            print(
                f"| {name} | {method} | {r.hota:.3f} | {r.detection:.3f} | {r.association:.3f} | "
                f"{r.idf1:.3f} | {r.switches} | {r.ids / max(1, r.people):.2f} | "
                f"{1000 * cost:.1f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--detector", default="person_small")
    options = parser.parse_args()
    show(films_of(options.data, person_detector(options.detector)), methods())


if __name__ == "__main__":
    main()
