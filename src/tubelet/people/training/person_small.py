"""`person_small`: the recipe of the detector that ships in the package.

Trained from scratch on the labelled frames of JHMDB-21 (split 1, training videos; one person
per clip is labelled, so other people are neither taught nor punished) and on playground people.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from tubelet.data.tables import read_ava_csv, video_path
from tubelet.errors import Stopped
from tubelet.media.video import Video
from tubelet.people.detectors.base import Image, PersonDetector
from tubelet.people.given import GivenPeople
from tubelet.people.measure import PersonReport, measure
from tubelet.people.training.pictures import Picture
from tubelet.people.training.train_person import PersonRecipe, Report, train_person
from tubelet.playground import PlaygroundConfig, render_window
from tubelet.types import Key, People

FRAME_MS = 10  # less than half a frame at 30 per second


def person_small() -> PersonRecipe:
    """5000 steps of 16 canvases: 50 minutes on one core with AMX."""
    return PersonRecipe(steps=5000, batch=16, lr=1e-3)


def train(
    jhmdb: Path,
    out: Path,
    *,
    resume: bool = False,
    report: Report | None = None,
    stop: Callable[[], Stopped | None] | None = None,
) -> Path:
    """Train on `jhmdb` (its `annotations` and `videos` folders); the path of the weights."""
    truth = jhmdb / "annotations" / "jhmdb21_train_split1.csv"
    pictures = [
        picture_of(image, people, complete=False)
        for image, people in labelled_frames(truth, jhmdb / "videos", every=3)
    ]
    pictures += list(playground_pictures(1500, seed=7))
    return train_person(person_small(), pictures, out, resume=resume, report=report, stop=stop)


def score(
    detector: PersonDetector,
    truth: Path,
    videos: Path,
    *,
    every: int = 1,
    names: Iterable[str] | None = None,
) -> PersonReport:
    """AP and recall at IoU 0.5 on labelled frames; give the detector a low threshold for the AP."""
    frames = labelled_frames(truth, videos, every=every, names=names)
    return measure((detector(image), people.boxes) for image, people in frames)


def labelled_frames(
    truth: Path, videos: Path, *, every: int = 1, names: Iterable[str] | None = None
) -> Iterator[tuple[Image, People]]:
    """(image u8 (H, W, 3), people) of every `every`-th frame that the AVA-format file labels.

    `names`: the videos to read, default all; InputError if one of them is not in `videos`.
    """
    given = GivenPeople(
        ((m.key, m.people) for m in read_ava_csv(truth).keyframes()), tolerance_ms=FRAME_MS
    )
    for name in given.videos() if names is None else names:
        with Video(video_path(videos, name), threads=1) as video:
            for number, frame in enumerate(video.frames()):
                people = given(Key(video=name, time_ms=frame.time_ms))
                if number % every == 0 and len(people):
                    yield frame.image, people


def playground_pictures(count: int, *, seed: int) -> Iterator[Picture]:
    """Single frames of rendered people in two sizes, every person labelled."""
    for number in range(count):
        rng = np.random.default_rng((seed, number))
        height, width = ((96, 128), (192, 256))[number % 2]
        config = PlaygroundConfig(
            height=height, width=width, people=(1, 4), person_height=(0.3, 0.85)
        )
        index = int(rng.integers(config.frame_count))
        window = render_window(number, int(config.times_ms([index])[0]), [index], config)
        yield picture_of(window.frames[0], window.people, complete=True)


def picture_of(image: Image, people: People, *, complete: bool) -> Picture:
    height, width = image.shape[:2]
    scale = np.array([width, height, width, height], np.float32)
    return Picture(image=image, boxes_px=people.boxes * scale, complete=complete)
