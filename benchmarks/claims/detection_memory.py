"""004's claim about detection: clips a second apart, what a person does shown in one of five."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from benchmarks.claims.claim import Arm, Claim, Experiment, Outcome, Side, Trial
from benchmarks.claims.films import FPS, ArrayFilms
from benchmarks.claims.planted import CLASSES, HUES, SEGMENTS, SIDE, World
from benchmarks.claims.training import fit, macs_of, parameters_of

from tubelet.batch import Batch, Sample, collate
from tubelet.data.annotations import Annotations
from tubelet.data.dataset import assemble, multi_hot
from tubelet.evaluate.scoring import detections_table, evaluate_tables
from tubelet.labels import LabelSpace
from tubelet.media.transforms import Augment
from tubelet.models.backbones.vit import ViTConfig
from tubelet.models.detector import ActionModel, ActionModelConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.testing.predict import predict
from tubelet.train.data.groups import GroupStream
from tubelet.train.learning.learners import CollaborativeLearner, Learner, PlainLearner
from tubelet.train.learning.losses import ActionLoss
from tubelet.types import Floats, InputSpec, Key, People, Pixels

SECOND = round(FPS)  # frames
PERSON = 12  # pixels
WORLD = World(tint=80.0, ground=22.0, frames=SECOND)
FILMS, TESTED, STEPS, CLIPS = 120, 100, 250, 40
RATES = (2e-3, 6e-3)
LABELS = LabelSpace.nameless(CLASSES, exclusive=True)
MODEL = ActionModelConfig(
    backbone=ViTConfig(width=48, layers=1, heads=2, mlp=96, tubelet=(1, 4, 4), positions=(2, 4, 4)),
    head=LinearHeadConfig(resolution=2, dropout=0.0),
    input=InputSpec(frames=2, stride=1, short_side=SIDE),
    labels=LABELS,
)


@dataclass(frozen=True, slots=True)
class PersonFilm:
    """Frames, the person's box in each second `(S, 4)`, and what the person does."""

    frames: Pixels
    boxes: Floats
    label: int


def film(seed: int) -> PersonFilm:
    """A person is somewhere else in each second, in one with the class's tint."""
    rng = np.random.default_rng(seed)
    seconds = WORLD.segments(rng)
    label = int(rng.integers(CLASSES))
    corners = rng.integers(0, SIDE - PERSON + 1, (SEGMENTS, 2))
    shown = int(rng.integers(SEGMENTS))
    y, x = corners[shown]
    seconds[shown, :, y : y + PERSON, x : x + PERSON] += HUES[label] * WORLD.tint
    boxes = np.concatenate([corners[:, ::-1], corners[:, ::-1] + PERSON], axis=1) / SIDE
    return PersonFilm(WORLD.finished(seconds, rng), boxes.astype(np.float32), label + 1)


class PeopleFilms:
    """A keyframe in the middle of each second, its person labelled with what they do in the film.
    Clips are cut once and kept."""

    labels = LABELS

    def __init__(self, name: str, first: int, count: int) -> None:
        self.name = name
        drawn = [film(first + i) for i in range(count)]
        self._drawn = {f"{name}_{i:04d}": one for i, one in enumerate(drawn)}
        self._films = ArrayFilms({video: one.frames for video, one in self._drawn.items()})
        self._keys = [
            Key(video=video, time_ms=1000 * second + 500)
            for video in self._drawn
            for second in range(SEGMENTS)
        ]
        self._kept: dict[int, Sample] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def key(self, index: int) -> Key:
        return self._keys[index]

    def label_ids(self, index: int) -> tuple[int, ...]:
        return (self._drawn[self._keys[index].video].label,)

    def truth(self) -> Annotations:
        return Annotations.of(
            video=[key.video for key in self._keys],
            time_us=[1000 * key.time_ms for key in self._keys],
            boxes=np.stack([self._box(key) for key in self._keys]),
            label=[self.label_ids(i)[0] for i in range(len(self))],
        )

    def sample(
        self,
        index: int,
        *,
        spec: InputSpec,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        if index not in self._kept:
            key = self._keys[index]
            self._kept[index] = assemble(
                key=key,
                clip=self._films.clip(key, spec),
                source_hw=(SIDE, SIDE),
                people=People.of(self._box(key)[None]),
                targets=multi_hot([self.label_ids(index)], LABELS),
                spec=spec,
                augment=None,
                rng=None,
                dataset=self.name,
            )
        return self._kept[index]

    def _box(self, key: Key) -> Floats:
        box: Floats = self._drawn[key.video].boxes[key.time_ms // 1000]
        return box


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How an arm learns: with `memory`, or each clip by itself."""

    memory: CollaborativeMemoryConfig | None = None

    def __call__(self, trial: Trial) -> Outcome:
        train = PeopleFilms("train", 2_000_000 + 10_000 * trial.seed, FILMS)
        first = {"tune": 6_000_000, "test": 7_000_000}[trial.phase]
        torch.manual_seed(trial.seed)
        config = replace(MODEL, memory=self.memory)
        model = config.build().train()
        learner: Learner = PlainLearner(model=model, loss=ActionLoss())
        if self.memory is not None:
            learner = CollaborativeLearner(model=model, loss=ActionLoss())
        clips = 1 if self.memory is None else self.memory.clips
        drawn = batches(train, model, clips=clips, seed=trial.seed)
        fit(model, learner, drawn, steps=STEPS, rate=trial.rate)
        return Outcome(
            figures={
                "test": frame_map(model.eval(), PeopleFilms(trial.phase, first, TESTED)),
                "train": frame_map(model, train),
            },
            macs=macs_of(config, size=SIDE, clips=CLIPS),
            parameters=parameters_of(model),
        )


def batches(data: PeopleFilms, model: ActionModel, *, clips: int, seed: int) -> Iterator[Batch]:
    """`CLIPS` clips a step, `clips` of each film."""
    stream = GroupStream(
        dataset=data, spec=model.input, augment=None, seed=seed, clips=clips, stride_ms=1000
    )
    films = CLIPS // clips
    for first in itertools.count(step=films):
        drawn = [stream[first + i].samples for i in range(films)]
        batch = collate([sample for samples in drawn for sample in samples])
        yield replace(batch, group=torch.arange(films).repeat_interleave(clips))


def frame_map(model: ActionModel, data: PeopleFilms) -> float:
    """Frame mAP@0.5 on true boxes, in percent."""
    found = detections_table(predict(model, data))
    return 100 * evaluate_tables(found, data.truth(), labels=LABELS).map


NO_MEMORY, OWN, FIVE = "each clip by itself", "CM, N = 1", "CM, N = 5 at 1 s"
ADDED = "CM, N = 5, residual"
EXPERIMENT = Experiment(
    name="detection with clips a second apart",
    unit="frame mAP@0.5, %",
    setting=f"""\
{FILMS} training films (drawn anew for each seed) and {TESTED} test films of five seconds,
{SIDE}×{SIDE} pixels, a keyframe in each second. A person of {PERSON}×{PERSON} pixels is in another
place each second, and what they do (one of {CLASSES}, the label of all five keyframes) is shown, as
a tint, in one second only. Nuisance as in the films of videos. True boxes, linear head, ViT of one
layer, trained from nothing with AdamW: {STEPS} steps of {CLIPS} clips whatever the arm. Rates
tried: {", ".join(f"{r:g}" for r in RATES)}.""",
    arms=tuple(
        Arm(name=name, run=Way(memory=memory), rates=RATES)
        for name, memory in (
            (NO_MEMORY, None),
            (OWN, CollaborativeMemoryConfig(clips=1, reduction=2)),
            (FIVE, CollaborativeMemoryConfig(clips=5, reduction=2)),
            (ADDED, CollaborativeMemoryConfig(clips=5, reduction=2, infusion="residual")),
        )
    ),
    claims=(
        Claim(
            asked="6",
            paper="004 §4.5, Table 7",
            text="detection with clips at 1 s stride gains from CM",
            more=Side(FIVE),
            less=Side(NO_MEMORY),
        ),
        Claim(
            asked="6",
            paper="004 Table 8",
            text="detection: N = 5 > N = 1",
            part=True,
            more=Side(FIVE),
            less=Side(OWN),
        ),
    ),
)
