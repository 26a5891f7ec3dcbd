"""The smallest package that adds to tubelet: one backbone, head, data source, detector and format.

    pip install examples/toy_plugin
    tubelet models list toy
    tubelet data convert labels.csv labels.toy --to toy
    tubelet detect film.mp4 --model runs/toy/model.safetensors --people toy_square

Every class is found because it subclasses a base of tubelet's and is imported: by you, or by the
entry point in pyproject.toml. The contract tests of a checkout of tubelet test it too:

    TUBELET_PLUGINS=tubelet_toy pytest tests/contract -k "Toy or toy"

Shape legend: B clips, R people, C channels, K classes, (H, W) pixels.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Rois, Sample
from tubelet.data.annotations import Annotations
from tubelet.data.dataset import assemble, faster, multi_hot
from tubelet.data.importers.base import Format, FormatFamily
from tubelet.data.importers.records import (
    Imported,
    Options,
    Rows,
    as_box,
    as_float,
    as_int,
    as_text,
)
from tubelet.data.sources.base import SourceConfig
from tubelet.data.untrusted.reading import read_text, write_atomic
from tubelet.errors import DataError
from tubelet.labels import LabelSpace
from tubelet.media.sampling import window
from tubelet.media.transforms import Augment
from tubelet.models.backbones.base import Backbone, BackboneConfig, FeatureSpec, Variant, as_maps
from tubelet.models.heads.base import HeadConfig, PersonHead
from tubelet.models.roi import pool_people
from tubelet.people.detectors.base import Image, NamedDetector, check_image
from tubelet.types import InputSpec, Key, People


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig(BackboneConfig):
    """Two convolutions of so many channels."""

    summary: ClassVar[str] = "two convolutions, to show how a backbone is added"

    width: int = 32

    def build(self) -> Toy:
        return Toy(self)

    def tiny(self) -> Self:
        return replace(self, width=8)

    @classmethod
    def variants(cls) -> Mapping[str, Variant[ToyConfig]]:
        spec = InputSpec(frames=8, stride=2, short_side=64)
        return {"toy": Variant(backbone=cls(), detection=cls(), input=spec, cost_size=64)}


class Toy(Backbone):
    """Clip `(B, 3, T, H, W)` → one map `(B, C, T, H/16, W/16)`."""

    def __init__(self, config: ToyConfig) -> None:
        super().__init__()
        self.near = nn.Conv3d(3, config.width, (3, 9, 9), (1, 8, 8), padding=(1, 4, 4))
        self.far = nn.Conv3d(config.width, config.width, 3, (1, 2, 2), padding=1)
        self.outputs = (FeatureSpec(channels=config.width, time_stride=1, space_stride=16),)

    def forward(self, clip: Tensor) -> tuple[FeatureMap, ...]:
        return as_maps((F.gelu(self.far(F.gelu(self.near(clip)))),), self.outputs)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyHeadConfig(HeadConfig):
    """Each class is a direction, and a person's feature is compared with it."""

    summary: ClassVar[str] = "cosine to one direction per class, to show how a head is added"
    label_layers: ClassVar[tuple[str, ...]] = ("directions",)

    sharpness: float = 10.0

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> ToyHead:
        return ToyHead(self, outputs=outputs, classes=classes)

    def tiny(self) -> Self:
        return self


class ToyHead(PersonHead):
    """Logits `(R, K)`: scaled cosines of `(R, C)` features and K directions."""

    def __init__(
        self, config: ToyHeadConfig, *, outputs: Sequence[FeatureSpec], classes: int
    ) -> None:
        super().__init__()
        self.sharpness = config.sharpness
        self.directions = nn.Parameter(torch.randn(classes, sum(o.channels for o in outputs)))

    def pool_people(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        return pool_people(maps, rois, size=3, aligned=True)

    def forward(self, people: Tensor) -> Tensor:
        return self.sharpness * F.normalize(people, dim=-1) @ F.normalize(self.directions, dim=-1).T


HEIGHT, WIDTH, FRAMES, FPS, SIDE = 48, 64, 20, 10, 12
LABELS = LabelSpace.of(["leftwards", "rightwards"])


def draw(index: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Film `(T, H, W, 3)` of a bright square that goes rightwards if `index` is odd, and where it
    is in each frame, xyxy `(T, 4)` in [0, 1]."""
    shade = np.linspace(20, 120, WIDTH, dtype=np.uint8)
    film = np.broadcast_to(shade[None, None, :, None], (FRAMES, HEIGHT, WIDTH, 3)).copy()
    travel = np.linspace(4, WIDTH - SIDE - 4, FRAMES)
    left = (travel if index % 2 else travel[::-1]).astype(int)
    top = 6 + 5 * index % (HEIGHT - SIDE - 12)
    for frame, x in zip(film, left, strict=True):
        frame[top : top + SIDE, x : x + SIDE] = 255
    boxes = np.stack([left, np.full(FRAMES, top), left + SIDE, np.full(FRAMES, top + SIDE)], axis=1)
    return film, (boxes / [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype(np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToySource(SourceConfig):
    """So many films of a square that goes left or right, labelled in the middle."""

    summary: ClassVar[str] = "a moving square, to show how a data source is added"

    films: int = 8

    def build(self, root: Path) -> ToyDataset:
        return ToyDataset(self)

    def tiny(self, *, clips: int, seconds: float) -> Self:
        return replace(self, films=max(2, clips))


class ToyDataset:
    """One sample per film: the clip about its middle."""

    def __init__(self, config: ToySource) -> None:
        self.name, self.labels = config.name, LABELS
        self._films = config.films
        self._times_ms = np.arange(FRAMES) * 1000 // FPS

    def __len__(self) -> int:
        return self._films

    def key(self, index: int) -> Key:
        return Key(video=f"toy_{index}", time_ms=int(self._times_ms[FRAMES // 2]))

    def label_ids(self, index: int) -> tuple[int, ...]:
        return (LABELS.ids[index % 2],)

    def truth(self) -> Annotations:
        films = range(self._films)
        return Annotations.of(
            video=[self.key(i).video for i in films],
            time_us=[self.key(i).time_ms * 1000 for i in films],
            boxes=[draw(i)[1][FRAMES // 2] for i in films],
            label=[self.label_ids(i)[0] for i in films],
            person=[0] * self._films,
        )

    def sample(
        self,
        index: int,
        *,
        spec: InputSpec,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        film, boxes = draw(index)
        key = self.key(index)
        return assemble(
            key=key,
            clip=film[window(self._times_ms, key.time_ms, faster(spec, FPS, augment, rng))],
            source_hw=(HEIGHT, WIDTH),
            people=People.of(boxes[FRAMES // 2 : FRAMES // 2 + 1]),
            targets=multi_hot([self.label_ids(index)], LABELS),
            spec=spec,
            augment=augment,
            rng=rng,
            dataset=self.name,
        )


class ToyFormats(FormatFamily):
    """A file of annotations: one JSON list per row, below a line that says what it is."""

    @classmethod
    def formats(cls) -> tuple[Format, ...]:
        about = "JSON lines, to show how a format is added"
        return (
            Format(
                name="toy",
                about=about,
                read=read_rows,
                write=write_rows,
                matches=lambda head: head.startswith(FIRST_LINE),
            ),
        )


FIRST_LINE = "# rows of the toy plugin\n"
COLUMNS = ("video", "time_us", "x1", "y1", "x2", "y2", "label", "person", "score")


def read_rows(path: str | Path, options: Options | None) -> Imported:
    text = read_text(path)
    if not text.startswith(FIRST_LINE):
        raise DataError("not a file of the toy plugin", where=path, expected=FIRST_LINE.strip())
    rows = Rows()
    for number, line in enumerate(text.splitlines()[1:], 2):
        where = f"{path}, line {number}"
        try:
            video, time_us, *corners, label, person, score = json.loads(line)
        except ValueError as error:
            raise DataError("not a row of nine values", where=where, got=line[:80]) from error
        rows.add(
            as_text(video, where),
            as_int(time_us, where),
            None if corners[0] is None else as_box(corners, where),
            labels=() if label is None else (as_int(label, where),),
            person=None if person is None else as_int(person, where),
            score=None if score is None else as_float(score, where),
        )
    return Imported(rows.table(path))


def write_rows(path: str | Path, table: Annotations, options: Options | None) -> None:
    rows = table.frame.select(COLUMNS).iter_rows()
    write_atomic(path, FIRST_LINE + "".join(json.dumps(row) + "\n" for row in rows))


class ToyDetector(NamedDetector):
    """Takes the bounding box of all pixels that are nearly white for a person."""

    spelling: ClassVar[str] = "toy_square"
    summary: ClassVar[str] = "what is nearly white, to show how a detector is added"

    def __init__(self, threshold: float) -> None:
        self.threshold = threshold

    @classmethod
    def claims(cls, name: str) -> bool:
        return name == cls.spelling

    @classmethod
    def named(cls, name: str, *, threshold: float | None, device: torch.device | str) -> Self:
        return cls(0.5 if threshold is None else threshold)

    def __call__(self, image: Image) -> People:
        check_image(image)
        rows, columns = np.nonzero(image.min(axis=2) >= 230)
        if not len(rows):
            return People.of([])
        (left, right), (top, bottom) = _span(columns), _span(rows)
        score = len(rows) / ((right - left) * (bottom - top))  # a square fills its box
        height, width = image.shape[:2]
        found = People.of([[left / width, top / height, right / width, bottom / height]], [score])
        return found.select(found.scores >= self.threshold)


def _span(places: npt.NDArray[np.intp]) -> tuple[int, int]:
    return int(places.min()), int(places.max()) + 1
