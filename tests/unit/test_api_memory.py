"""Detection with memory: one pass over a film, with the scores that testing gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from tubelet.answers import Answers
from tubelet.api import ActionDetector
from tubelet.data.sources import VideoSource
from tubelet.media.decoder import Image
from tubelet.models import ActionModel, ActionModelConfig
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.detector import MemoryConfig
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.relation import TemporalRelationHeadConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.people.given import GivenPeople
from tubelet.playground import PlaygroundConfig, PlaygroundFiles, label_space, write_dataset
from tubelet.testing.predict import predict
from tubelet.types import InputSpec, People

WORLD = PlaygroundConfig(
    height=32, width=48, fps=8.0, seconds=6.0, people=(1, 2), task="event", occluders=0.0
)
T_ONLY = TemporalRelationHeadConfig(width=8, heads=2, mlp=1, time_encoding=True)
BANK = MemoryBankConfig(before_ms=2000, after_ms=1000, people=3)
MEMORIES: list[tuple[HeadConfig, MemoryConfig]] = [
    (LinearHeadConfig(), CollaborativeMemoryConfig(clips=3, reduction=2)),
    (LinearHeadConfig(), CollaborativeMemoryConfig(clips=5, infusion="residual", kind="avgpool")),
    (T_ONLY, BANK),
]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> PlaygroundFiles:
    return write_dataset(tmp_path_factory.mktemp("film"), clips=1, config=WORLD, every_ms=500)


def model_of(
    head: HeadConfig, memory: MemoryConfig | None, *, exclusive: bool = False
) -> ActionModel:
    torch.manual_seed(0)
    labels = label_space("event")
    model = ActionModelConfig(
        backbone=ResNet3dConfig(blocks=(1, 1, 1, 1), width=4),
        head=head,
        input=InputSpec(frames=2, stride=1, short_side=32),
        labels=replace(labels, exclusive=exclusive) if exclusive else labels,
        memory=memory,
    ).build()
    for name, parameter in model.named_parameters():
        if name in ("memory.out.weight", "head.when.weight"):
            torch.nn.init.normal_(parameter, std=10)
    return model


@pytest.mark.parametrize(("head", "memory"), MEMORIES)
def test_detection_gives_the_scores_of_testing(
    head: HeadConfig, memory: MemoryConfig, film: PlaygroundFiles
) -> None:
    model = model_of(head, memory)
    root = film.label_map.parent
    source = VideoSource(
        name="film", videos="videos", annotations=film.annotations.name, labels="labels.pbtxt"
    )
    tested = list(predict(model, source.build(root)))
    detector = ActionDetector(model, device="cpu")
    given = GivenPeople.read(film.annotations)
    found = list(detector.detect(film.videos[0], people=given))
    alone = ActionDetector(model_of(head, None), device="cpu")
    without = list(alone.detect(film.videos[0], people=given))

    assert [d.key for d in found] == [d.key for d in tested] == [d.key for d in without]
    assert len(found) == 11  # from half a second to half a second before the end
    changed = 0
    for streamed, offline, single in zip(found, tested, without, strict=True):
        np.testing.assert_allclose(streamed.action_scores, offline.action_scores, atol=1e-5)
        np.testing.assert_array_equal(streamed.boxes, offline.boxes)
        changed += int(np.abs(streamed.action_scores - single.action_scores).max() > 1e-4)
    assert changed > 8


@pytest.mark.parametrize(("head", "memory"), [MEMORIES[0], MEMORIES[2]])
def test_detection_with_memory_can_say_none_of_these(
    head: HeadConfig, memory: MemoryConfig, film: PlaygroundFiles
) -> None:
    given = GivenPeople.read(film.annotations)
    found = []
    for answers in (Answers(), Answers(none=True)):
        model = model_of(head, memory, exclusive=True)
        model.answers = answers
        moments = ActionDetector(model, device="cpu").detect(film.videos[0], people=given)
        found.append(np.concatenate([m.action_scores.sum(axis=1) for m in moments]))
    np.testing.assert_allclose(found[0], 1, atol=1e-5)
    assert len(found[1]) == len(found[0]) and (found[1] < 0.99).all()


class Sometimes:
    """A person detector that finds somebody in every other picture, and counts the pictures."""

    def __init__(self) -> None:
        self.seen = 0

    def __call__(self, image: Image) -> People:
        self.seen += 1
        return People.of([] if self.seen % 2 else [[0.1, 0.1, 0.6, 0.9]])


@pytest.mark.parametrize(
    ("head", "memory", "ahead"),
    [(LinearHeadConfig(), CollaborativeMemoryConfig(clips=3, reduction=2), 4), (T_ONLY, BANK, 2)],
)
def test_detection_with_memory_waits_no_longer_than_its_window(
    head: HeadConfig, memory: MemoryConfig, ahead: int, film: PlaygroundFiles
) -> None:
    detector, people = ActionDetector(model_of(head, memory), device="cpu"), Sometimes()
    times: list[int] = []
    for found in detector.detect(film.videos[0], people=people, every=0.5, track_rate=0):
        assert people.seen - len(times) <= ahead + 1
        assert len(found) == len(times) % 2
        times.append(found.key.time_ms)
    assert times == list(range(0, 6000, 500))
    assert people.seen == len(times)
