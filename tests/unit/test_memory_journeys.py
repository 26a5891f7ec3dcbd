"""Memory from data to scores: groups, banks from datasets, recipes, testing in one pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tubelet.batch import Batch, Sample, collate
from tubelet.data.joined import Picked
from tubelet.data.keyframes import KeyframesByVideo
from tubelet.errors import CheckpointError, ConfigError
from tubelet.models import ActionModel, ActionModelConfig
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.detector import MemoryConfig
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.heads.relation import TemporalRelationHeadConfig
from tubelet.models.inference import Inference
from tubelet.models.memory.bank import MemoryBank, memory_of
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.memory.online import OnlineBank
from tubelet.models.memory.stream import scores_with_memory
from tubelet.playground import PlaygroundConfig, clip_seed, label_space
from tubelet.playground.dataset import PlaygroundDataset
from tubelet.playground.sources import PlaygroundSource
from tubelet.results import Detections
from tubelet.testing.config import Test
from tubelet.testing.predict import predict
from tubelet.testing.run_test import remembered_by
from tubelet.train.data.groups import GroupStream, samples_around
from tubelet.train.data.loader import steps_of
from tubelet.train.learning.banks import bank_of, build_bank, online_bank
from tubelet.train.learning.learners import BankLearner
from tubelet.train.learning.losses import ActionLoss
from tubelet.train.learning.multi_clip import CollaborativeTraining
from tubelet.train.recipe import Recipe, Stage
from tubelet.train.run import run
from tubelet.types import InputSpec

WORLD = PlaygroundConfig(
    height=32, width=48, fps=4.0, seconds=6.0, people=(1, 2), task="event", occluders=0.0
)
SPEC = InputSpec(frames=2, stride=1, fps=4.0, short_side=32)
BANK = MemoryBankConfig(before_ms=2000, after_ms=1000, people=3)
T_ONLY = TemporalRelationHeadConfig(width=8, heads=2, mlp=1, time_encoding=True)


def dataset(clips: int = 3) -> PlaygroundDataset:
    return PlaygroundDataset(world=WORLD, clips=clips, first_seed=clip_seed("train", 0, 0))


def config_of(head: HeadConfig, memory: MemoryConfig | None) -> ActionModelConfig:
    return ActionModelConfig(
        backbone=ResNet3dConfig(blocks=(1, 1, 1, 1), width=4),
        head=head,
        input=SPEC,
        labels=label_space("event"),
        memory=memory,
    )


def model_of(head: HeadConfig, memory: MemoryConfig | None) -> ActionModel:
    torch.manual_seed(0)
    model = config_of(head, memory).build().eval()
    for name, parameter in model.named_parameters():
        if name in ("memory.out.weight", "head.when.weight"):
            torch.nn.init.normal_(parameter, std=10)
    return model


def groups(clips: int) -> GroupStream:
    return GroupStream(
        dataset=dataset(), spec=SPEC, augment=None, seed=0, clips=clips, stride_ms=1000
    )


def test_a_group_is_one_video_with_each_clips_own_people_at_its_ends_too() -> None:
    stream = groups(3)
    seen = set()
    for position in range(15):
        group = stream[position].samples
        assert len({s.key.video for s in group}) == 1
        times = [s.key.time_ms for s in group]
        assert times == list(range(times[0], times[0] + 3000, 1000))
        for own in group:
            assert own.targets is not None
            assert len(own.targets) == len(own.people)
        seen.add((group[0].key.video, tuple(times)))
    # Five keyframes a film: anchors at 1 s and 2 s, and at 4 s and 5 s, give the same three clips.
    assert len(seen) == 9


def test_a_batch_of_groups_keeps_two_groups_of_one_film_apart() -> None:
    [step] = list(steps_of([groups(3)], np.zeros(1, np.int64), batch=18))
    assert step.batch.group.tolist() == [i for i in range(6) for _ in range(3)]
    assert len({k.video for k in step.batch.keys}) <= 3


def test_positions_decide_groups() -> None:
    first, second = groups(3)[7], groups(3)[7]
    assert [s.key for s in first.samples] == [s.key for s in second.samples]
    for a, b in zip(first.samples, second.samples, strict=True):
        assert torch.equal(a.frames, b.frames)


def test_groups_of_an_endless_playground_show_one_clip() -> None:
    endless = PlaygroundDataset(
        world=replace(WORLD, people=(1, 1)), clips=50, first_seed=0, vary=True
    )
    stream = GroupStream(dataset=endless, spec=SPEC, augment=None, seed=0, clips=5, stride_ms=1000)
    group = stream[3].samples
    shapes = np.array([s.people.boxes[0, 3] - s.people.boxes[0, 1] for s in group])
    background = torch.stack([s.frames[:, 0, :2, :2].float() for s in group])
    assert shapes.std() < 0.08
    assert background.std(dim=0).max() < 40


def by_video(data: PlaygroundDataset) -> Iterator[list[Sample]]:
    moments = KeyframesByVideo(data)
    for video in moments.videos():
        yield [data.sample(i, spec=SPEC) for i in moments.samples(video)]


def scores_by_key(found: Iterator[Detections]) -> dict[object, np.ndarray]:
    return {d.key: d.action_scores for d in found}


@pytest.mark.parametrize("clips", [1, 3, 5])
def test_testing_in_one_pass_is_the_group_in_one_batch(clips: int) -> None:
    model = model_of(LinearHeadConfig(), CollaborativeMemoryConfig(clips=clips, reduction=2))
    data = dataset(2)
    found = scores_by_key(predict(model, data))
    moments = KeyframesByVideo(data)
    for index in range(len(data)):
        key = data.key(index)
        members = samples_around(moments, key, clips=clips, stride_ms=1000)
        assert len(members) == clips
        batch = collate([data.sample(i, spec=SPEC) for i in members])
        with torch.no_grad():
            scores = model.scores(model(batch.frames, batch.rois, group=batch.group))
        own = scores[batch.rois.clip == members.index(index)].numpy()
        np.testing.assert_allclose(found[key], own, atol=1e-5)


def test_a_bank_on_disk_and_a_film_in_one_pass_give_the_same_scores(tmp_path: Path) -> None:
    model, data = model_of(T_ONLY, BANK), dataset()
    streamed = scores_by_key(predict(model, data))
    bank = build_bank(model, data, tmp_path, recipe="r", batch=2)
    changed = 0
    for samples in by_video(data):
        for sample in samples:
            memory = memory_of(
                bank, [sample.key], before_ms=BANK.before_ms, after_ms=BANK.after_ms, people=3
            )
            batch = collate([sample])
            with torch.no_grad():
                scores = model.scores(model(batch.frames, batch.rois, memory=memory)).numpy()
                alone = model.scores(model(batch.frames, batch.rois)).numpy()
            np.testing.assert_allclose(streamed[sample.key], scores, atol=1e-4)
            changed += int(np.abs(scores - alone).max(initial=0) > 1e-4)
    assert changed > 5


def test_a_test_of_few_keyframes_remembers_the_people_of_every_second() -> None:
    """Kinetics has one keyframe a clip: what a bank knows must come from elsewhere."""
    model, every = model_of(T_ONLY, BANK), dataset()
    of_all = scores_by_key(predict(model, every))
    moments = KeyframesByVideo(every)
    one_each = Picked(every, [moments.samples(video)[2] for video in moments.videos()])
    alone = scores_by_key(predict(model, one_each))
    remembering = scores_by_key(predict(model, one_each, remembered=every))
    assert remembering.keys() == alone.keys()  # nobody else is scored
    changed = 0
    for key, scores in remembering.items():
        np.testing.assert_allclose(scores, of_all[key], atol=1e-6)
        changed += int(np.abs(scores - alone[key]).max(initial=0) > 1e-4)
    assert changed >= 2
    strangers = PlaygroundDataset(world=WORLD, clips=1, first_seed=clip_seed("val", 0, 0))
    with pytest.raises(ConfigError, match="remembers nobody"):
        list(predict(model, one_each, remembered=strangers))


def test_a_recipe_tests_with_the_people_of_every_second(tmp_path: Path) -> None:
    recipe = recipe_of(T_ONLY, BANK)
    test = recipe.tests[0]
    model = model_of(T_ONLY, BANK)
    data = test.data.build(tmp_path)
    assert remembered_by(model, test, tmp_path) is None
    test = replace(test, bank_data=test.data)
    known = remembered_by(model, test, tmp_path)
    assert known is not None and len(known) == len(data)
    assert remembered_by(model_of(T_ONLY, None), test, tmp_path) is None


def test_a_built_bank_resumes_and_refuses_other_weights(tmp_path: Path) -> None:
    model, data = model_of(T_ONLY, BANK), dataset()
    build_bank(model, data, tmp_path, recipe="r")
    gone, *rest = sorted(tmp_path.glob("*.bank"))
    stamps = {p: p.stat().st_mtime_ns for p in rest}
    before = gone.read_bytes()
    gone.unlink()
    build_bank(model, data, tmp_path, recipe="r")
    assert gone.read_bytes() == before
    assert {p: p.stat().st_mtime_ns for p in rest} == stamps
    with torch.no_grad():
        next(model.parameters()).add_(1)
    with pytest.raises(CheckpointError, match="weights differ"):
        build_bank(model, data, tmp_path, recipe="r")


def test_a_stream_with_memory_holds_only_its_window() -> None:
    model = model_of(T_ONLY, BANK)
    samples = next(by_video(dataset(1)))
    taken = []

    def source() -> Iterator[Sample]:
        for sample in samples:
            taken.append(sample.key.time_ms)
            yield sample

    for sample, scores in scores_with_memory(
        Inference(model, device=torch.device("cpu")), source()
    ):
        assert scores.shape == (len(sample.people), 4)
        # After 1 s of look-ahead a moment leaves: at most one more second has been read.
        assert max(taken) - sample.key.time_ms <= BANK.after_ms


def test_learning_with_an_online_bank_fills_and_uses_it(tmp_path: Path) -> None:
    model, data = model_of(T_ONLY, BANK), dataset(1)
    bank = online_bank(model, data, tmp_path, recipe="r")
    learner = BankLearner(model=model, loss=ActionLoss(), bank=bank)
    batches: list[Batch] = [collate([data.sample(i, spec=SPEC)]) for i in range(3)]
    first = [float(learner.backward(b)) for b in batches]
    assert len(bank) == 3
    again = float(learner.backward(batches[0]))  # now it sees the two moments after it
    assert again != first[0]
    assert isinstance(bank, OnlineBank)


def test_a_model_without_tokens_has_no_bank(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no tokens"):
        build_bank(model_of(LinearHeadConfig(), None), dataset(), tmp_path, recipe="r")


class Quiet:
    """A listener that keeps the losses."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def step(self, report: object) -> None:
        self.losses.append(report.loss)  # type: ignore[attr-defined]

    def note(self, text: str) -> None:
        """Nothing to keep."""

    def close(self) -> None:
        """Nothing to close."""


def recipe_of(head: HeadConfig, memory: MemoryConfig | None, **stage: Any) -> Recipe:
    source = PlaygroundSource(world=WORLD, clips=2)
    first = Stage(
        name="one", data=source, steps=3, batch=6, precision="fp32", save_every=2, **stage
    )
    return Recipe(
        name="small",
        summary="memory from end to end",
        model=config_of(head, memory),
        stages=(first,),
        tests=(Test(data=PlaygroundSource(world=WORLD, clips=1, split="test")),),
    )


def ran(recipe: Recipe, out: Path, root: Path, *, resume: bool = False) -> tuple[str, list[float]]:
    quiet = Quiet()
    outcome = run(
        recipe, out=out, root=root, device=torch.device("cpu"), resume=resume, reporter=quiet
    )
    assert outcome.tests[0].predictions.is_file()
    return outcome.weights_sha256, quiet.losses


def test_recipes_with_memory_run_and_the_two_ways_of_collaborating_agree(tmp_path: Path) -> None:
    found = {}
    for mode in ("batch_reduction", "multi_iteration"):
        recipe = recipe_of(
            LinearHeadConfig(dropout=0.0),
            CollaborativeMemoryConfig(clips=3, reduction=2),
            collaborative=CollaborativeTraining(mode=mode),
        )
        found[mode] = ran(recipe, tmp_path / mode, tmp_path)[1]
    np.testing.assert_allclose(found["batch_reduction"], found["multi_iteration"], rtol=1e-3)


def test_a_recipe_fills_its_bank_and_a_second_one_reads_a_finished_bank(tmp_path: Path) -> None:
    ran(recipe_of(T_ONLY, BANK), tmp_path / "online", tmp_path)
    assert (tmp_path / "online" / "bank_one" / "index.json").is_file()
    source = PlaygroundSource(world=WORLD, clips=2).build(tmp_path)
    build_bank(model_of(T_ONLY, BANK), source, tmp_path / "tokens", recipe="first stage")
    assert MemoryBank(tmp_path / "tokens").stamp.recipe == "first stage"
    _, losses = ran(recipe_of(T_ONLY, BANK, bank="tokens"), tmp_path / "offline", tmp_path)
    assert len(losses) == 3
    # Its second half goes on with the same bank, although the model has moved on since.
    offline = recipe_of(T_ONLY, BANK, bank="tokens")
    assert ran(offline, tmp_path / "offline", tmp_path, resume=True)[1] in ([], losses[2:])


def test_a_stage_builds_its_own_bank_or_has_an_empty_one(tmp_path: Path) -> None:
    _, built = ran(recipe_of(T_ONLY, BANK, bank="build"), tmp_path / "built", tmp_path)
    assert MemoryBank(tmp_path / "built" / "bank_one").videos()
    _, empty = ran(recipe_of(T_ONLY, BANK, bank="empty"), tmp_path / "empty", tmp_path)
    _, without = ran(recipe_of(T_ONLY, None), tmp_path / "without", tmp_path)
    np.testing.assert_allclose(empty, without, rtol=1e-5)
    assert len(built) == 3


def test_a_finished_bank_of_another_backbone_is_refused(tmp_path: Path) -> None:
    model, data = model_of(T_ONLY, BANK), dataset()
    build_bank(model, data, tmp_path, recipe="r")
    with torch.no_grad():
        model.head.get_parameter("classifier.weight").add_(1)  # what makes tokens is as it was
    bank_of(model, tmp_path)
    other = replace(model.config, input=replace(SPEC, short_side=64)).build()
    with pytest.raises(CheckpointError, match=r"weights differ[\s\S]*build the bank again"):
        bank_of(other, tmp_path)


def test_a_killed_run_with_an_online_bank_resumes_to_the_same_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(T_ONLY, BANK)
    recipe = replace(recipe, stages=(replace(recipe.stages[0], steps=5),))
    digest, whole = ran(recipe, tmp_path / "whole", tmp_path)
    backward, seen = BankLearner.backward, []

    def killed(self: BankLearner, batch: Batch, *, scale: float = 1.0) -> torch.Tensor:
        loss = backward(self, batch, scale=scale)  # its people are in the bank by now
        seen.append(loss)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(BankLearner, "backward", killed)
        with pytest.raises(KeyboardInterrupt):
            ran(recipe, tmp_path / "killed", tmp_path)
    again, rest = ran(recipe, tmp_path / "killed", tmp_path, resume=True)
    assert rest == whole[2:]  # the checkpoint was after step 2
    assert again == digest


def test_a_bank_that_cannot_go_back_says_so(tmp_path: Path) -> None:
    bank = online_bank(model_of(T_ONLY, BANK), dataset(1), tmp_path, recipe="r")
    bank.restore(0)
    bank.mark(2)
    bank.settle(2)
    with pytest.raises(CheckpointError, match="cannot go back"):
        bank.restore(1)
    bank.restore(2)
