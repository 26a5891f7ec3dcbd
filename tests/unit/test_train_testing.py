"""Testing: views joined by hand, broken films, whole videos, several processes, every metric."""

from __future__ import annotations

import json
import multiprocessing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from tubelet.batch import Sample, collate
from tubelet.data.clips import ClipLabels
from tubelet.data.dataset import ClipDataset
from tubelet.data.films import Footage
from tubelet.data.predictions import read_predictions
from tubelet.data.sources import ClipSource, VideoSource
from tubelet.data.whole import WholeVideoDataset
from tubelet.errors import ConfigError, VideoError
from tubelet.evaluate.scoring import evaluate_files, score_charades, score_clips
from tubelet.labels import LabelSpace
from tubelet.media.transforms import Augment
from tubelet.models import ActionModel, ActionModelConfig
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.detector import MemoryConfig
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.relation import TemporalRelationHeadConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.parallel.processes import World
from tubelet.playground import PlaygroundConfig, clip_seed, label_space, write_dataset
from tubelet.playground.dataset import PlaygroundDataset
from tubelet.playground.sources import PlaygroundSource
from tubelet.results import Detections
from tubelet.testing.config import Test
from tubelet.testing.ensembles import predict_ensemble
from tubelet.testing.predict import Predictor, predict
from tubelet.testing.run_test import run_test
from tubelet.testing.views import Views
from tubelet.types import InputSpec

WORLD = PlaygroundConfig(
    height=32, width=48, fps=4.0, seconds=4.0, people=(1, 2), task="event", occluders=0.0
)
SPEC = InputSpec(frames=2, stride=1, fps=4.0, short_side=32)
CPU = torch.device("cpu")
CLASSES = LabelSpace(ids=(1, 2, 3), names=("a", "b", "c"), exclusive=True)
CM = CollaborativeMemoryConfig(clips=3, reduction=2)
BANK = MemoryBankConfig(before_ms=2000, after_ms=1000, people=3)
T_ONLY = TemporalRelationHeadConfig(width=8, heads=2, mlp=1, time_encoding=True)


def model_of(
    head: HeadConfig | None = None,
    memory: MemoryConfig | None = None,
    labels: LabelSpace | None = None,
    **spec: object,
) -> ActionModel:
    torch.manual_seed(0)
    model = ActionModelConfig(
        backbone=ResNet3dConfig(blocks=(1, 1, 1, 1), width=4),
        head=head or LinearHeadConfig(),
        input=replace(SPEC, **spec),  # type: ignore[arg-type]
        labels=labels or label_space("event"),
        memory=memory,
    ).build()
    for name, parameter in model.named_parameters():
        if name in ("memory.out.weight", "head.when.weight", "head.classifier.weight"):
            torch.nn.init.normal_(parameter, std=3)
    return model.eval()


def people_set(clips: int = 2) -> PlaygroundDataset:
    return PlaygroundDataset(world=WORLD, clips=clips, first_seed=clip_seed("val", 0, 0))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: films with labelled people, and the same films with a class each."""
    root = tmp_path_factory.mktemp("data")
    files = write_dataset(root, clips=3, config=replace(WORLD, seconds=2.0), split="val")
    (root / "classes.txt").write_text("a\nb\nc\n")
    rows = [f"{path.stem}\t{i % 2}\n" for i, path in enumerate(files.videos)]
    (root / "list.tsv").write_text("".join(rows))
    return root


def whole_set(films: Path, *, several: bool = False) -> WholeVideoDataset:
    paths = sorted(films.rglob("*.mp4"))
    rows = [(p.stem, 1 + i % 3, None, None, None) for i, p in enumerate(paths)]
    rows += [(paths[0].stem, 3, None, None, None)] if several else []
    return WholeVideoDataset(
        name="whole",
        clips=ClipLabels.of(rows),
        labels=replace(CLASSES, exclusive=not several),
        videos={p.stem: Footage(p) for p in paths},
    )


def mirrored(sample: Sample) -> Sample:
    width = sample.frames.shape[3]
    boxes = sample.boxes_px[:, [2, 1, 0, 3]].clone()
    boxes[:, [0, 2]] = width - boxes[:, [0, 2]]
    return replace(sample, frames=sample.frames.flip(3), boxes_px=boxes)


def scored(model: ActionModel, sample: Sample) -> np.ndarray:
    batch = collate([sample])
    with torch.no_grad():
        return model.scores(model(batch.frames, batch.rois)).numpy()


def test_one_view_is_the_model_alone_whatever_the_batch() -> None:
    model, data = model_of(), people_set()
    for batch in (1, 4):
        for index, found in enumerate(predict(model, data, batch=batch)):
            sample = data.sample(index, spec=SPEC)
            assert found.key == data.key(index)
            np.testing.assert_allclose(found.action_scores, scored(model, sample), atol=1e-6)
    assert index == len(data) - 1


@pytest.mark.parametrize("join", ["mean", "max"])
def test_scales_and_mirrorings_are_joined_a_person(join: str) -> None:
    model, data = model_of(), people_set(1)
    views = Views(scales=(32, 40), flip=True, join=join)  # type: ignore[arg-type]
    for index, found in enumerate(predict(model, data, views=views)):
        parts = []
        for side in (32, 40):
            sample = data.sample(index, spec=replace(SPEC, short_side=side))
            parts += [scored(model, sample), scored(model, mirrored(sample))]
        expected = np.mean(parts, axis=0) if join == "mean" else np.max(parts, axis=0)
        np.testing.assert_allclose(found.action_scores, expected, atol=1e-6)
        assert np.ptp(parts, axis=0).max() > 1e-4, "the views differ"


@pytest.mark.parametrize("memory", [CM, BANK])
def test_memory_streams_each_view_of_a_film(memory: MemoryConfig) -> None:
    model, data = model_of(T_ONLY if memory is BANK else None, memory), people_set()
    together = list(predict(model, data, views=Views(scales=(32, 40), flip=True)))
    assert [d.key for d in together] == [data.key(i) for i in range(len(data))]
    small = predict(model, data, views=Views(flip=True))
    large = predict(model, data, views=Views(scales=(40,), flip=True))
    for both, one, other in zip(together, small, large, strict=True):
        mean = (one.action_scores + other.action_scores) / 2
        np.testing.assert_allclose(both.action_scores, mean, atol=1e-6)
    plain = list(predict(model, data))
    assert max(np.abs(a.action_scores - b.action_scores).max(initial=0)
               for a, b in zip(together, plain, strict=True)) > 1e-6  # fmt: skip


class Broken(PlaygroundDataset):
    """A dataset whose sample 1 cannot be decoded."""

    def sample(
        self,
        index: int,
        *,
        spec: InputSpec,
        augment: Augment | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        if index == 1:
            raise VideoError("the video is damaged", got="zeros")
        return super().sample(index, spec=spec, augment=augment, rng=rng)


@pytest.mark.parametrize("memory", [None, CM])
def test_a_broken_film_is_left_out_and_told_once(memory: MemoryConfig | None) -> None:
    data = Broken(world=WORLD, clips=1, first_seed=0)
    told: list[str] = []
    views = Views(scales=(32, 40), flip=True)
    found = list(predict(model_of(memory=memory), data, views=views, on_skip=told.append))
    assert [d.key for d in found] == [data.key(i) for i in range(len(data)) if i != 1]
    assert len(told) == 1
    assert "damaged" in told[0]
    with pytest.raises(VideoError, match="damaged"):
        list(predict(model_of(memory=memory), data))


@pytest.mark.parametrize("join", ["mean", "max"])
@pytest.mark.parametrize("memory", [None, CM])
def test_whole_videos_are_seen_at_moments_and_crops(
    films: Path, memory: MemoryConfig | None, join: str
) -> None:
    model, data = model_of(ClipHeadConfig(), memory, CLASSES, crop=24), whole_set(films)
    views = Views(moments=3, crops=3, join=join, flip=True)  # type: ignore[arg-type]
    items = list(Predictor(model=model, dataset=data, views=views, batch=5).items())
    assert [item.index for item in items] == [0, 1, 2]
    for item in items:
        whole = [
            data.sample(item.index, spec=SPEC, moment=moment).frames for moment in (0.0, 0.5, 1.0)
        ]
        crops = {x: torch.stack([w[..., x : x + 32] for w in whole]) for x in (0, 8, 16)}
        views_by_hand = torch.cat([c for x in crops for c in (crops[x], crops[x].flip(4))])
        with torch.no_grad():
            maps = model.features(views_by_hand)
            if model.memory is not None:
                centre = torch.cat([crops[8], crops[8].flip(4)])
                shared = model.memory.push(model.features(centre)).mean(0, keepdim=True)
                maps = model.memory.infuse(maps, shared.expand(len(views_by_hand), -1, -1))
            scores = model.scores(model.classify(model.pool(maps)))
        expected = scores.mean(0) if join == "mean" else scores.amax(0)
        torch.testing.assert_close(item.scores[0], expected, atol=1e-6, rtol=1e-5)
        assert float((scores.amax(0) - scores.mean(0)).max()) > 1e-5


@pytest.mark.parametrize("memory", [None, CM, BANK])
def test_detected_boxes_are_predicted_and_keyframes_without_any_are_none(
    films: Path, memory: MemoryConfig | None
) -> None:
    source = VideoSource(name="p", videos="videos", annotations="val.csv", labels="labels.pbtxt")
    truth = source.build(films)
    boxes = films / "boxes.csv"
    keys = [truth.key(i) for i in range(len(truth))]
    boxes.write_text(f"{keys[0].video},{keys[0].time_ms / 1000},0.1,0.2,0.5,0.9,,0.95\n")
    given = replace(source, proposals="boxes.csv", boxes="proposals", score_threshold=0.8)
    model = model_of(T_ONLY if memory is BANK else None, memory)
    found = list(predict(model, given.build(films), views=Views(flip=True, scales=(32, 40))))
    assert [d.key for d in found] == keys
    assert [len(d) for d in found] == [1] + [0] * (len(keys) - 1)
    assert found[0].person_scores[0] == np.float32(0.95)
    tested = run_test(
        model, Test(data=given), root=films, out=films / "boxes", device=CPU, world=World()
    )
    assert tested is not None
    assert tested.report["protocol"]["frames_with_truth"] == len(keys)
    multiplied = Test(data=given, name="multiplied", person_scores="multiplied")
    weighted = run_test(model, multiplied, root=films, out=films, device=CPU, world=World())
    assert weighted is not None
    plain, times = (
        read_predictions(t.predictions).frame.sort("label")["score"].to_numpy()
        for t in (tested, weighted)
    )
    assert len(plain) == len(times) > 0
    np.testing.assert_allclose(times, 0.95 * plain, atol=1e-4)


def test_what_does_not_go_together_is_refused(films: Path) -> None:
    people, whole = people_set(1), whole_set(films)
    cases: list[tuple[ActionModel, ClipDataset, Views, str]] = [
        (model_of(ClipHeadConfig()), people, Views(), "detection head"),
        (model_of(), people, Views(moments=2), "1 moment"),
        (model_of(), people, Views(crops=3), "1 crop"),
        (model_of(memory=CM), whole, Views(), "classification head"),
    ]
    for model, dataset, views, words in cases:
        with pytest.raises(ConfigError, match=words):
            Predictor(model=model, dataset=dataset, views=views)


def detections(found: list[Detections]) -> np.ndarray:
    return np.concatenate([d.action_scores for d in found])


def test_live_models_are_averaged_by_weight() -> None:
    first, second, data = model_of(), model_of(memory=CM), people_set(1)
    one, other = (
        Predictor(model=first, dataset=data),
        Predictor(model=second, dataset=data, views=Views(flip=True)),
    )
    joined = predict_ensemble([one, other], weights=(1, 3))
    for item, a, b in zip(joined, one.items(), other.items(), strict=True):
        torch.testing.assert_close(item.scores, a.scores * 0.25 + b.scores * 0.75)
        assert item.key == data.key(item.index)
    elsewhere = Predictor(model=first, dataset=people_set(1))
    with pytest.raises(ConfigError, match="one dataset"):
        predict_ensemble([one, elsewhere])


VIDEOS = PlaygroundSource(world=WORLD, clips=3, split="val")
SHARED_TESTS = {"plain": None, "memory": CM}


def _process(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2,
        timeout=timedelta(minutes=10),
    )  # fmt: skip
    world = World(rank=rank, size=2)
    for name, memory in SHARED_TESTS.items():
        test = Test(data=VIDEOS, name=name, views=Views(flip=True))
        run_test(model_of(memory=memory), test, root=folder, out=folder, device=CPU, world=world)
    dist.destroy_process_group()


def test_two_processes_predict_and_score_what_one_does(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_process, args=(r, tmp_path)) for r in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [p.exitcode for p in processes] == [0, 0]
    for name, memory in SHARED_TESTS.items():
        test = Test(data=VIDEOS, name=name, views=Views(flip=True))
        alone = run_test(
            model_of(memory=memory), test,
            root=tmp_path, out=tmp_path / "alone", device=CPU, world=World(),
        )  # fmt: skip
        assert alone is not None
        both = tmp_path / name / "predictions.csv"
        rows = [path.read_text().splitlines() for path in (both, alone.predictions)]
        assert len(rows[0]) == len(rows[1]) > 20
        for one, other in zip(*rows, strict=True):
            keys, scores = zip(*(line.rsplit(",", 1) for line in (one, other)), strict=True)
            assert keys[0] == keys[1]
            assert float(scores[0]) == pytest.approx(float(scores[1]), abs=1e-6)
        report = json.loads((tmp_path / name / "report.json").read_text())
        assert report["map"] == pytest.approx(alone.report["map"], abs=1e-6)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_each_metric_leaves_files_that_evaluate_to_its_report(films: Path, form: str) -> None:
    out = films / form
    people = VideoSource(name="p", videos="videos", annotations="val.csv", labels="labels.pbtxt")
    clips = ClipSource(
        name="c", videos="videos", annotations="list.tsv", labels="classes.txt", first_id=0
    )
    exclusive = replace(LabelSpace.of(("a", "b", "c"), first_id=0), exclusive=True)
    common = {"root": films, "out": out, "device": CPU, "world": World()}

    test = Test(data=people, predictions=form)  # type: ignore[arg-type]
    frame = run_test(model_of(), test, **common)  # type: ignore[arg-type]
    assert frame is not None and frame.truth is not None
    assert frame.predictions == out / f"predictions.{form}"
    again = evaluate_files(frame.predictions, frame.truth, labels=films / "labels.pbtxt")
    assert frame.report["map"] == again.map
    assert frame.report["metric"] == "frame"
    assert frame.report["skipped"] == []

    views = Views(moments=2, crops=3)
    test = Test(data=clips, name="top", metric="topk", views=views, predictions=form)  # type: ignore[arg-type]
    model = model_of(ClipHeadConfig(), labels=exclusive)
    top = run_test(model, test, **common)  # type: ignore[arg-type]
    assert top is not None and top.truth is not None
    accuracy = score_clips(top.predictions, top.truth)
    more = {"skipped": [], "figures": top.figures, "line": top.line}
    assert {**accuracy.to_json(), **more} == top.report
    assert top.report["videos"] == 3

    test = replace(test, name="several", metric="charades")
    several = run_test(model, test, **common)  # type: ignore[arg-type]
    assert several is not None and several.truth is not None
    report, _ = score_charades(several.predictions, several.truth)
    assert several.report["map"] == pytest.approx(report.map)
    assert [c["name"] for c in several.report["classes"]] == ["a", "b", "c"]

    with pytest.raises(ConfigError, match="topk or charades"):
        run_test(model, replace(test, metric="frame"), **common)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="the model's"):
        run_test(model_of(ClipHeadConfig()), test, **common)  # type: ignore[arg-type]
