"""`person_small`: the recipe of the detector that ships in the package.

A backbone that knows ImageNet learns people from varied still pictures, from the labelled frames
of JHMDB-21 (split 1, training videos; one person per clip is labelled, so other people are neither
taught nor punished) and from a few playground people.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from tubelet.data.tables import read_ava_csv, video_path
from tubelet.errors import Stopped
from tubelet.media.video import Video
from tubelet.people.detectors.base import Image, PersonDetector
from tubelet.people.detectors.small import SmallDetectorConfig
from tubelet.people.given import GivenPeople
from tubelet.people.measure import PersonReport, measure
from tubelet.people.stills import Still, read_stills
from tubelet.people.training.pictures import Augmentation, Picture
from tubelet.people.training.train_person import PersonRecipe, Report, train_person
from tubelet.playground import PlaygroundConfig, render_window
from tubelet.types import Key, People

FRAME_MS = 10  # less than half a frame at 30 per second
HELD_OUT = 10  # one still in so many is kept for measuring


def person_small() -> PersonRecipe:
    """2750 steps of 16 canvases: 76 minutes on one core of an EPYC."""
    return PersonRecipe(
        augment=Augmentation(
            canvases_hw=((256, 256), (224, 320), (320, 224), (320, 320)),
            grids=(0.55, 0.4, 0.05),
            anywhere=0.15,
            min_side_px=4.0,
        ),
        reading=SmallDetectorConfig(short_side=320, long_side=512, threshold=0.3),
        steps=2750,
        batch=16,
        lr=2e-3,
        imagenet=True,
        backbone_lr_share=0.15,
        frozen_stages=2,
    )


def train(
    persons: Path,
    jhmdb: Path,
    out: Path,
    *,
    recipe: PersonRecipe | None = None,
    resume: bool = False,
    report: Report | None = None,
    stop: Callable[[], Stopped | None] | None = None,
) -> Path:
    """Train on `persons` (stills, `people.stills`) and `jhmdb` (its `annotations` and `videos`
    folders); the path of the weights."""
    pictures = [still_picture(s) for s in read_stills(persons) if not is_held_out(s.name)]
    truth = jhmdb / "annotations" / "jhmdb21_train_split1.csv"
    pictures += [
        picture_of(image, people, complete=False)
        for image, people in labelled_frames(truth, jhmdb / "videos", every=40)
    ]
    pictures += list(playground_pictures(150, seed=7))
    return train_person(
        recipe or person_small(), pictures, out, resume=resume, report=report, stop=stop
    )


def is_held_out(name: str) -> bool:
    """Whether a still is kept for measuring: by a checksum of its name, so that the choice is the
    same everywhere and does not move when pictures join."""
    return zlib.crc32(name.encode()) % HELD_OUT == 0


def still_picture(still: Still) -> Picture:
    """A still to learn from. Lenses and viewing angles stretch people by a fifth or so; a restored
    aspect may be off by a quarter more."""
    image = still.image()
    scale = np.tile(np.array(image.shape[1::-1], np.float32), 2)
    return Picture(
        image=image,
        boxes_px=still.people * scale,
        ignored_px=still.ignored * scale,
        complete=not still.pseudo,
        stretch=1.5 if still.guessed_aspect else 1.2,
    )


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
