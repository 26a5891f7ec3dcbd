"""The parts of training: schedules, losses, the sample stream, and one way for every tensor."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tubelet.data.annotations import Annotations
from tubelet.data.dataset import VideoDataset
from tubelet.errors import DataError, TrainingError, VideoError
from tubelet.labels import LabelSpace
from tubelet.media.sampling import windows
from tubelet.media.transforms import Augment, clip_size, prepare
from tubelet.media.video import Video
from tubelet.playground import PlaygroundConfig, write_dataset
from tubelet.playground.dataset import PlaygroundDataset
from tubelet.train.data.loader import SampleStream, steps_of
from tubelet.train.learning.losses import ActionLoss
from tubelet.train.loop.schedules import CosineSchedule, StepSchedule
from tubelet.train.reporters import JsonLines, StepReport, TensorBoard
from tubelet.types import InputSpec

SPEC = InputSpec(frames=4, stride=3, short_side=48)
WORLD = PlaygroundConfig(height=72, width=96, seconds=2.0)


@pytest.fixture(scope="module")
def film_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[VideoDataset, Path]:
    folder = tmp_path_factory.mktemp("set")
    files = write_dataset(folder, clips=2, config=WORLD, split="val")
    return _dataset(files.annotations, {p.stem: p for p in files.videos}), folder


def _dataset(
    annotations: Path, videos: dict[str, Path], cache_short_side: int | None = None
) -> VideoDataset:
    from tubelet.data.labelmaps import read_label_map
    from tubelet.data.tables import read_ava_csv

    return VideoDataset(
        name="films",
        annotations=read_ava_csv(annotations),
        labels=read_label_map(annotations.with_name("labels.pbtxt")),
        videos=videos,
        cache_short_side=cache_short_side,
    )


def test_cosine_warms_up_then_falls_to_its_floor() -> None:
    cosine = CosineSchedule(warmup=0.1, floor=0.01)
    values = [cosine.at(step, 100) for step in range(101)]
    assert values[0] < 0.1 and max(values) == values[10]
    assert values[10] == pytest.approx(0.01 + 0.99 * 0.5 * (math.cos(0.1 * math.pi) + 1))
    assert values[10] - values[9] == pytest.approx(
        values[1] - values[0]
    )  # no peak above the cosine
    assert values[50] == pytest.approx(0.01 + 0.99 * 0.5)
    assert values[100] == pytest.approx(0.01)
    assert all(a >= b for a, b in itertools.pairwise(values[10:]))


def test_the_relation_papers_steps() -> None:
    steps = StepSchedule(milestones=(13_500, 18_000, 22_500, 27_000), factor=0.66, warmup=1500)
    assert steps.at(0, 30_000) == pytest.approx(1 / 1501)
    assert steps.at(13_499, 30_000) == 1 and steps.at(13_500, 30_000) == pytest.approx(0.66)
    assert steps.at(29_999, 30_000) == pytest.approx(0.66**4)


def test_binary_loss_counts_only_classes_that_are_known() -> None:
    logits = torch.tensor([[0.0, 50.0]])
    targets = torch.tensor([[1.0, 0.0]])
    known = torch.tensor([[True, False]])
    loss = ActionLoss()(logits, targets, known, exclusive=False)
    assert loss.item() == pytest.approx(math.log(2))


def test_focal_loss_spares_what_is_easy() -> None:
    logits = torch.tensor([[4.0, -4.0]])
    targets = torch.tensor([[1.0, 0.0]])
    known = torch.ones(1, 2, dtype=torch.bool)
    plain = ActionLoss()(logits, targets, known, exclusive=False)
    focal = ActionLoss(focal_gamma=2.0)(logits, targets, known, exclusive=False)
    miss = 1 - torch.tensor(4.0).sigmoid()
    assert focal.item() == pytest.approx(float(miss**2 * plain), rel=1e-5)


def test_exclusive_loss_is_cross_entropy_and_survives_an_empty_batch() -> None:
    loss = ActionLoss()
    logits = torch.tensor([[2.0, 0.0, -1.0]], requires_grad=True)
    targets = torch.tensor([[1.0, 0.0, 0.0]])
    known = torch.ones(1, 3, dtype=torch.bool)
    expected = -torch.log_softmax(logits, 1)[0, 0].item()
    assert loss(logits, targets, known, exclusive=True).item() == pytest.approx(expected)
    empty = logits[:0]
    nothing = loss(empty, targets[:0], known[:0], exclusive=True)
    nothing.backward()
    assert nothing.item() == 0


def test_training_and_detection_prepare_bit_identical_tensors(
    film_set: tuple[VideoDataset, Path],
) -> None:
    dataset, folder = film_set
    for index in range(len(dataset)):
        sample = dataset.sample(index, spec=SPEC)
        with Video(folder / "videos" / f"{sample.key.video}.mp4") as video:
            frames = video.frames(clip_size(video.info.hw, SPEC), keep_source=True)
            (found,) = windows(frames, [sample.key.time_ms], SPEC, key_hw=(72, 96))
            tensor, geometry = prepare(found.clip, video.info.hw, SPEC)
        assert torch.equal(tensor, sample.frames)
        assert geometry == sample.geometry


def test_a_film_in_memory_gives_the_same_clips(film_set: tuple[VideoDataset, Path]) -> None:
    dataset, folder = film_set
    videos = {p.stem: p for p in (folder / "videos").iterdir()}
    cached = _dataset(folder / "val.csv", videos, cache_short_side=SPEC.short_side)
    for index in range(len(dataset)):
        once = dataset.sample(index, spec=SPEC)
        assert torch.equal(once.frames, cached.sample(index, spec=SPEC).frames)


def test_augmented_samples_depend_only_on_their_random_numbers() -> None:
    dataset = PlaygroundDataset(world=WORLD, clips=4, first_seed=0, vary=True)
    augment = Augment(
        scale=(0.8, 1.5), crop=40, flip=0.5, brightness=0.2, grey=0.5, speed=0.3, box_jitter=0.1
    )
    one, two, other = (
        dataset.sample(1, spec=SPEC, augment=augment, rng=np.random.default_rng(seed))
        for seed in (5, 5, 6)
    )
    assert torch.equal(one.frames, two.frames) and torch.equal(one.boxes_px, two.boxes_px)
    assert not torch.equal(one.frames, other.frames)
    assert one.frames.shape == (3, 4, 40, 40)


def test_a_crop_shows_the_person_it_was_drawn_around() -> None:
    dataset = PlaygroundDataset(world=replace(WORLD, people=(1, 1)), clips=20, first_seed=3)
    augment = Augment(scale=(1.2, 1.8), crop=40)
    for index in range(len(dataset)):
        whole = dataset.sample(index, spec=SPEC)
        cut = dataset.sample(index, spec=SPEC, augment=augment, rng=np.random.default_rng(index))
        assert len(cut.people) == len(whole.people)


def test_a_crop_may_lie_anywhere_and_keep_whoever_it_shows() -> None:
    """001 §2: as on Kinetics, where a crop knows of no people."""
    dataset = PlaygroundDataset(world=replace(WORLD, people=(1, 1)), clips=1, first_seed=3)
    anywhere = Augment(scale=(1.8, 1.8), crop=30, crop_at="anywhere", min_visible=0.0)
    kept = []
    for augment in (anywhere, replace(anywhere, min_visible=0.25)):
        rngs = (np.random.default_rng(seed) for seed in range(12))
        drawn = [dataset.sample(0, spec=SPEC, augment=augment, rng=rng) for rng in rngs]
        kept.append(sum(len(sample.people) for sample in drawn))
    assert 12 > kept[0] > kept[1] > 0


@pytest.mark.parametrize("workers", [0, 2])
def test_the_number_of_workers_changes_nothing(workers: int) -> None:
    dataset = PlaygroundDataset(world=WORLD, clips=3, first_seed=0, vary=True)
    stream = SampleStream(dataset=dataset, spec=SPEC, augment=Augment(flip=0.5), seed=11)
    later = [stream[position].samples[0].frames for position in range(4, 8)]
    order = np.zeros(4, np.int64)
    steps = list(steps_of([stream], order, batch=2, start=2, workers=workers))
    assert torch.equal(torch.cat([s.batch.frames for s in steps]), torch.stack(later))


class _Brittle(PlaygroundDataset):
    """Every sample of clip 0 is broken."""

    def sample(self, index: int, **options: object):  # type: ignore[no-untyped-def]
        if self.key(index).video.endswith("_0") or self.all_broken:
            raise VideoError("cannot decode", where=self.key(index), got="a broken packet")
        return super().sample(index, **options)  # type: ignore[arg-type]

    all_broken = False


def test_a_broken_file_is_passed_over_and_reported() -> None:
    dataset = _Brittle(world=WORLD, clips=3, first_seed=0)
    stream = SampleStream(dataset=dataset, spec=SPEC, augment=None, seed=0)
    draws = [stream[position] for position in range(len(dataset))]
    told = [reason for draw in draws for reason in draw.skipped]
    assert told and all("playground_0" in r and "a broken packet" in r for r in told)
    assert not any(d.samples[0].key.video.endswith("_0") for d in draws)
    dataset.all_broken = True
    with pytest.raises(TrainingError, match="consecutive samples could not be read"):
        stream[0]


def test_annotations_without_a_film_are_refused() -> None:
    table = Annotations.of(
        video=["gone"], time_us=[0], boxes=[[0, 0, 1, 1]], label=[1], source="truth.csv"
    )
    with pytest.raises(DataError, match="no file for 1 annotated videos"):
        VideoDataset(name="x", annotations=table, labels=LabelSpace.of(["a"]), videos={})


def _report(step: int) -> StepReport:
    return StepReport(
        stage="train",
        step=step,
        steps=9,
        loss=1.0,
        rate=0.1,
        gradient_norm=1.0,
        clips_per_second=2.0,
        data_wait=0.0,
        eta_s=1.0,
    )


def test_a_resumed_log_repeats_no_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = JsonLines(path, keep_steps=0)
    for step in (1, 2, 3):
        log.step(_report(step))
    log.close()
    again = JsonLines(path, keep_steps=2)
    again.step(_report(3))
    again.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 2, 3]


def test_tensorboard_scalars_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    board = TensorBoard(tmp_path)
    board.step(_report(1))
    board.close()
    (events,) = tmp_path.glob("events.*")
    assert b"train/loss" in events.read_bytes()
