"""People found of those who can be seen, and ghosts, in sampled frames of films without labels.

    python benchmarks/people_visible.py --films ../shared/data/clips/misc [--detector NAME]…
        [--sheet FILE.png]

`people_visible.csv` holds who can be seen: boxes drawn by eye on contact sheets, a row without a
box where nobody is. A box of IoU 0.3 or more finds a person (the drawn ones are rough); one that
takes nobody and lies by less than half on somebody is a ghost. Frames are shown to a detector as
`tubelet detect` shows them. `--sheet`: the frames with what each detector found, for looking.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw

from tubelet.api import KEYFRAME_SHORT_SIDE
from tubelet.boxes import short_side_hw
from tubelet.media.frames import open_film
from tubelet.media.sampling import centre
from tubelet.people.detectors.base import Image
from tubelet.people.measure import match
from tubelet.people.named import person_detector
from tubelet.types import Floats

SEEN = Path(__file__).with_name("people_visible.csv")
IOU = 0.3
COLOURS = ("lime", "red", "cyan", "yellow", "magenta")
Moment = tuple[str, int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--films", type=Path, required=True)
    parser.add_argument("--detector", action="append", default=[])
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    names = options.detector or ["person_small"]
    seen = visible(SEEN)
    frames = {moment: frame(options.films, *moment) for moment in seen}
    counts: dict[tuple[str, str], np.ndarray[tuple[int], np.dtype[np.int64]]] = {}
    pictures = {moment: drawn(frames[moment], seen[moment], "white") for moment in seen}
    for name, colour in zip(names, COLOURS, strict=False):
        find = person_detector(name)
        find(next(iter(frames.values())))  # the first call prepares
        spent = 0.0
        for moment, people in seen.items():
            started = time.process_time()
            found = find(frames[moment])
            spent += time.process_time() - started
            result = match(found, people, people, iou=IOU)
            row = np.array([result.hits.sum(), (~result.hits).sum()])
            for film in (moment[0], ""):
                counts[film, name] = counts.get((film, name), np.zeros(2, np.int64)) + row
            pictures[moment] = drawn(pictures[moment], found.boxes, colour)
        print(f"{name}: {1000 * spent / len(seen):.0f} ms of processor time a frame")
    print(f"\n| film | frames | visible | {' | '.join(f'{n}: found | ghosts' for n in names)} |")
    print("|---|" + "---|" * (2 + 2 * len(names)))
    for film in [*dict.fromkeys(film for film, _ in seen), ""]:
        of = [moment for moment in seen if moment[0] == film or not film]
        figures = [f"{counts[film, name][0]} | {counts[film, name][1]}" for name in names]
        people_of = sum(len(seen[moment]) for moment in of)
        print(f"| {film or 'all'} | {len(of)} | {people_of} | {' | '.join(figures)} |")
    if options.sheet:
        sheet([pictures[moment] for moment in seen]).save(options.sheet)


def visible(table: Path) -> dict[Moment, Floats]:
    """Who can be seen at each moment `(film, ms)`: boxes `(N, 4)` in [0, 1]."""
    boxes: dict[Moment, list[list[float]]] = defaultdict(list)
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            found = boxes[row["film"], int(row["time_ms"])]
            if row["x1"]:
                found.append([float(row[side]) for side in ("x1", "y1", "x2", "y2")])
    return {moment: np.array(rows, np.float32).reshape(-1, 4) for moment, rows in boxes.items()}


def frame(films: Path, film: str, time_ms: int) -> Image:
    """The frame on show at `time_ms`, in the size in which `tubelet detect` looks at it."""
    with open_film(films / f"{film}.mp4") as opened:
        hw = short_side_hw(opened.info.hw, min(KEYFRAME_SHORT_SIDE, *opened.info.hw))
        times = [one.time_ms for one in opened.frames((16, 16))]
        at = centre(times, time_ms)
        return next(f.image for n, f in enumerate(opened.frames(hw)) if n == at)


def drawn(image: Image, boxes: Floats, colour: str) -> Image:
    """A copy of `image` with `boxes` in it."""
    picture = Pictures.fromarray(image)
    pen = ImageDraw.Draw(picture)
    for box in boxes * np.array([picture.width, picture.height] * 2):
        pen.rectangle(tuple(box.tolist()), outline=colour, width=2)
    return np.asarray(picture)


def sheet(images: list[Image], columns: int = 5, width: int = 380) -> Pictures.Image:
    """All pictures on one, `columns` in a row."""
    height = width * 9 // 16
    whole = Pictures.new("RGB", (columns * width, height * -(-len(images) // columns)))
    for n, image in enumerate(images):
        small = Pictures.fromarray(image).resize((width, height))
        whole.paste(small, (n % columns * width, n // columns * height))
    return whole


if __name__ == "__main__":
    main()
