"""What stages can say: who learns, from what, how it is sampled, and what stays the same."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tubelet.batch import Batch, collate
from tubelet.errors import CheckpointError, ConfigError, InputError, Stopped, TrainingError
from tubelet.media.transforms import Augment
from tubelet.models import ActionModel, ActionModelConfig
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.backbones.vivit import ViViTConfig
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.weights import load_model, save_model
from tubelet.numerics.processor import believe, processor
from tubelet.playground import PlaygroundConfig, label_space
from tubelet.playground.dataset import PlaygroundDataset
from tubelet.playground.sources import PlaygroundSource
from tubelet.testing.config import Test
from tubelet.train.data.loader import SampleStream
from tubelet.train.data.mixture import Mixture, Part
from tubelet.train.data.samplers import ClassBalancedSampler, RandomSampler, samples_by_class
from tubelet.train.learning.checked import CheckedLearner, checked
from tubelet.train.learning.learners import Learner, PlainLearner
from tubelet.train.learning.losses import ActionLoss
from tubelet.train.learning.multi_clip import CollaborativeTraining
from tubelet.train.loop.optim import Optimizer
from tubelet.train.loop.saving import Checkpoints
from tubelet.train.loop.state import TrainState
from tubelet.train.model.activations import recomputed
from tubelet.train.model.norms import Norms, batch_norms, freeze, train_mode
from tubelet.train.model.tied import TiedModels
from tubelet.train.model.transfer import transfer
from tubelet.train.recipe import Recipe, Stage, Start
from tubelet.train.reporters import StepReport
from tubelet.train.run import Outcome, run
from tubelet.train.stopping import StopFlag
from tubelet.types import InputSpec

WORLD = PlaygroundConfig(height=32, width=48, fps=4.0, seconds=3.0, people=(1, 2), occluders=0.0)
EVENT = replace(WORLD, task="event")
SPEC = InputSpec(frames=2, stride=1, fps=4.0, short_side=32)


def config_of(task: str = "atomic", backbone: ResNet3dConfig | None = None) -> ActionModelConfig:
    return ActionModelConfig(
        backbone=backbone or ResNet3dConfig(blocks=(1, 1, 1, 1), width=4),
        head=LinearHeadConfig(dropout=0.1),
        input=SPEC,
        labels=label_space(task),  # type: ignore[arg-type]
    )


def recipe_of(*stages: Stage) -> Recipe:
    return Recipe(
        name="tiny",
        summary="the training system",
        model=config_of(),
        stages=stages,
        tests=(Test(data=PlaygroundSource(world=WORLD, clips=1, split="test")),),
    )


def stage_of(name: str = "one", **fields: Any) -> Stage:
    chosen = {
        "data": PlaygroundSource(world=WORLD, clips=4),
        "batch": 4,
        "precision": "fp32",
        "save_every": 2,
        **({} if "epochs" in fields else {"steps": 3}),
    }
    return Stage(name=name, **{**chosen, **fields})


class Listener:
    """Keeps what a run tells."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.notes: list[str] = []

    def step(self, report: StepReport) -> None:
        self.losses.append(report.loss)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def close(self) -> None:
        """Nothing is open."""


def ran(recipe: Recipe, out: Path, **options: Any) -> tuple[Outcome, Listener]:
    listener = Listener()
    outcome = run(
        recipe,
        out=out,
        device=torch.device("cpu"),
        reporter=listener,
        **{"resume": False, "root": out, **options},
    )
    return outcome, listener


def batch_of(clips: int = 4) -> Batch:
    data = PlaygroundDataset(world=WORLD, clips=clips, first_seed=0)
    return collate([data.sample(i, spec=SPEC) for i in range(clips)])


# Samplers and mixtures


def test_a_balanced_sampler_shows_rare_classes_as_often_as_common_ones() -> None:
    data = PlaygroundDataset(world=WORLD, clips=12, first_seed=0)
    members = {label: set(rows) for label, rows in samples_by_class(data).items() if len(rows)}
    rare = min(members, key=lambda label: len(members[label]))
    even, natural = (
        sampler.build(data, seed=1)
        for sampler in (ClassBalancedSampler(), ClassBalancedSampler(power=1.0))
    )
    draws = 1500
    often = sum(even(i) in members[rare] for i in range(draws)) / draws
    seldom = sum(natural(i) in members[rare] for i in range(draws)) / draws
    assert often > 0.8 / len(members) > seldom
    assert [even(i) for i in range(50)] == [
        ClassBalancedSampler().build(data, seed=1)(i) for i in range(50)
    ]


def test_a_random_sampler_shows_every_sample_once_an_epoch() -> None:
    data = PlaygroundDataset(world=WORLD, clips=5, first_seed=0)
    pick = RandomSampler().build(data, seed=3)
    first, second = ([pick(e * len(data) + i) for i in range(len(data))] for e in (0, 1))
    assert sorted(first) == sorted(second) == list(range(len(data)))
    assert first != second


def mixture_of(sampling: str, **second: Any) -> Mixture:
    return Mixture(
        parts=(
            Part(data=PlaygroundSource(name="actions", world=WORLD, clips=4)),
            Part(data=PlaygroundSource(name="events", world=EVENT, clips=2), **second),
        ),
        sampling=sampling,  # type: ignore[arg-type]
    )


def test_mixtures_weigh_datasets_by_size_by_share_or_in_turn() -> None:
    sizes = np.array([900, 100])
    weighted = mixture_of("weighted").order(sizes, 4000, seed=5)
    assert abs(float((weighted == 1).mean()) - 0.1) < 0.02
    explicit = mixture_of("explicit", share=3.0).order(sizes, 4000, seed=5)
    assert abs(float((explicit == 1).mean()) - 0.75) < 0.03
    assert mixture_of("alternating").order(sizes, 5, seed=5).tolist() == [0, 1, 0, 1, 0]
    with pytest.raises(ConfigError, match="duplicate dataset name"):
        Mixture(parts=(Part(data=PlaygroundSource()), Part(data=PlaygroundSource())))


def test_a_mosaic_shows_four_clips_with_their_people() -> None:
    data = PlaygroundDataset(world=WORLD, clips=6, first_seed=0)
    always = SampleStream(dataset=data, spec=SPEC, augment=Augment(mosaic=1.0), seed=2)
    never = SampleStream(dataset=data, spec=SPEC, augment=Augment(), seed=2)
    [four], [one] = always[3].samples, never[3].samples
    assert four.frames.shape == one.frames.shape == (3, 2, 32, 48)
    assert four.key == one.key and four.targets is not None
    assert len(four.people) == len(four.targets) == len(four.boxes_px) > len(one.people)
    np.testing.assert_allclose(four.people.boxes * [48, 32, 48, 32], four.boxes_px, rtol=1e-5)
    # The first clip stands at the top left, half as large.
    small = replace(SPEC, short_side=16)
    alone = data.sample(next(i for i in range(len(data)) if data.key(i) == four.key), spec=small)
    assert torch.equal(four.frames[:, :, :16, :24], alone.frames)
    np.testing.assert_allclose(four.boxes_px[: len(alone.boxes_px)], alone.boxes_px, rtol=1e-5)
    assert [s.frames.sum() for s in always[3].samples] == [four.frames.sum()]


# Several heads on one backbone


def test_a_family_has_one_backbone_and_a_head_for_each_dataset() -> None:
    main = config_of().build()
    models = TiedModels(main, {"events": config_of("event")})
    other = models.model_of("events")
    assert models.model_of("anything else") is main
    mine = {id(p) for p in main.backbone.parameters()}
    assert {id(p) for p in other.backbone.parameters()} == mine
    assert {id(b) for b in other.backbone.buffers()} == {id(b) for b in main.backbone.buffers()}
    count = sum(p.numel() for p in main.parameters())
    head = sum(p.numel() for p in other.head.parameters())
    assert sum(p.numel() for p in models.parameters()) == count + head
    models.to(torch.float32).share()
    models.load_state_dict({k: v + 1 for k, v in models.state_dict().items()})
    assert torch.equal(next(main.backbone.parameters()), next(other.backbone.parameters()))


def test_dense_and_pooled_forms_of_a_transformer_share_what_they_have_in_common() -> None:
    tiny = ViViTConfig(width=16, layers=1, heads=2, mlp=32, temporal_layers=1, positions=(1, 2, 2))
    dense = replace(config_of(), backbone=tiny)
    pooled = replace(config_of(), backbone=replace(tiny, detection=False), head=ClipHeadConfig())
    models = TiedModels(dense.build(), {"clips": pooled})
    mine = {id(p) for p in models.main.backbone.parameters()}
    theirs = {id(p) for p in models.model_of("clips").backbone.parameters()}
    assert len(mine & theirs) >= len(mine) - 2
    with pytest.raises(ConfigError, match="different backbone"):
        TiedModels(dense.build(), {"events": config_of("event")})


def test_cofinetuning_trains_every_head_and_leaves_a_model_for_each(tmp_path: Path) -> None:
    stage = stage_of(data=mixture_of("alternating", model=config_of("event")), steps=4, ema=0.5)
    recipe = recipe_of(stage)
    event_test = PlaygroundSource(name="events", world=EVENT, clips=1, split="test")
    recipe = replace(
        recipe, tests=(*recipe.tests, Test(name="events", part="events", data=event_test))
    )
    outcome, _ = ran(recipe, tmp_path)
    assert [t.name for t in outcome.tests] == ["test", "events"]
    assert outcome.tests[1].predictions.is_file()
    main, events = (
        load_model(tmp_path / f"{name}.safetensors") for name in ("model", "model_events")
    )
    for (name, a), b in zip(
        main.backbone.state_dict().items(), events.backbone.state_dict().values(), strict=True
    ):
        assert torch.equal(a, b), name
    assert events.labels.names == label_space("event").names


# What learns, and how


def test_only_what_is_trainable_changes_and_frozen_norms_keep_their_statistics(
    tmp_path: Path,
) -> None:
    before = config_of().build()
    save_model(tmp_path / "start.safetensors", before)
    stage = stage_of(
        start=Start(weights="start.safetensors"),
        trainable=("head.classifier.*",),
        sampler=ClassBalancedSampler(),
    )
    outcome, listener = ran(recipe_of(stage), tmp_path / "out", root=tmp_path)
    after = load_model(outcome.weights).state_dict()
    changed = {n for n, v in before.state_dict().items() if n in after and not v.equal(after[n])}
    assert changed == {"head.classifier.weight", "head.classifier.bias"}
    assert any("trains" in note and "parameters" in note for note in listener.notes)
    with pytest.raises(ConfigError, match="no parameter matches"):
        freeze([before], ["no.such.*"], Norms())


def test_a_second_stage_inherits_by_name_and_reports_it(tmp_path: Path) -> None:
    second = stage_of(
        "two",
        model=config_of("event"),
        data=PlaygroundSource(world=EVENT, clips=2),
        start=Start(parts=("backbone.*",), required=("backbone.*",)),
        optimizer=Optimizer(rate=1e-9, weight_decay=0.0),
        norms=Norms(mode="frozen"),
    )
    recipe = replace(
        recipe_of(stage_of(), second),
        tests=(Test(data=PlaygroundSource(world=EVENT, clips=1, split="test")),),
    )
    outcome, listener = ran(recipe, tmp_path)
    [told] = [n for n in listener.notes if "starts from the stage before" in n]
    assert "2 unasked (head.classifier.weight, head.classifier.bias)" in told
    assert "2 new" in told
    assert load_model(outcome.weights).labels.names == label_space("event").names


def test_transfer_accounts_for_every_tensor() -> None:
    source, target = config_of().build(), config_of("event").build()
    done = transfer(source.state_dict(), target)
    own = [n for n in target.state_dict() if not n.endswith("num_batches_tracked")]
    assert set(done.loaded) | set(done.new) == set(own)
    assert done.dropped == ("head.classifier.weight", "head.classifier.bias")
    with pytest.raises(CheckpointError, match="lack what this model needs"):
        transfer(source.state_dict(), target, required=("head.*",))


def test_layer_decay_slows_what_lies_deeper_and_the_linear_rule_follows_the_batch() -> None:
    model = replace(
        config_of(),
        backbone=ViViTConfig(
            width=16, layers=3, heads=2, mlp=32, temporal_layers=2, positions=(1, 2, 2)
        ),
    ).build()
    groups = Optimizer(rate=1.0, layer_decay=0.5, per_clips=64).build(model, batch=16).param_groups
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    rates = {name: rate[id(p)] for name, p in model.named_parameters()}
    assert rates["head.classifier.weight"] == 0.25
    layers = sorted({r for n, r in rates.items() if n.startswith("backbone.")}, reverse=True)
    assert layers == [0.25 * 0.5**depth for depth in range(1, 7)]  # 5 blocks, embeddings last


def test_norms_take_their_statistics_over_groups_of_clips() -> None:
    batch = batch_of(4)
    model = config_of().build()
    train_mode(model, Norms())
    stem = next(m for m in model.backbone.modules() if isinstance(m, torch.nn.BatchNorm3d))
    seen = []
    stem.register_forward_hook(lambda module, given, out: seen.append((given[0], out.clone())))
    PlainLearner(model=model, loss=ActionLoss(), norm_clips=2).backward(batch)
    given, out = seen[0]
    for rows in (slice(0, 2), slice(2, 4)):
        alone = torch.nn.functional.batch_norm(
            given[rows], None, None, stem.weight, stem.bias, True, 0.1, stem.eps
        )
        torch.testing.assert_close(out[rows], alone)
    frozen = config_of().build()
    train_mode(frozen, Norms(mode="frozen"))
    assert not any(m.training for m in frozen.modules() if isinstance(m, torch.nn.BatchNorm3d))
    fresh = replace(config_of(), head=NonlocalContextHeadConfig()).build()
    train_mode(fresh, Norms(mode="frozen"))  # a head's norm has no statistics to freeze
    assert [m for m in batch_norms(fresh) if m.training] == [fresh.head.norm]


def test_constant_norms_learn_neither_statistics_nor_scale_and_shift() -> None:
    """000 §3.1: "All the batchnorm layers are frozen". A head's norm has nothing to keep."""
    model = replace(config_of(), head=NonlocalContextHeadConfig()).build()
    for norms, learning in ((Norms(mode="frozen"), True), (Norms(mode="constant"), False)):
        freeze([model], ["*"], norms)
        train_mode(model, norms)
        own = batch_norms(model.backbone)
        assert own and [m for m in batch_norms(model) if m.training] == batch_norms(model.head)
        assert {p.requires_grad for m in own for p in m.parameters()} == {learning}
        assert all(p.requires_grad for p in model.head.parameters())


def test_recomputed_activations_give_the_same_gradients_and_count_clips_once() -> None:
    one, other = config_of().build(), config_of().build()
    other.load_state_dict(one.state_dict())
    train_mode(one, Norms())
    train_mode(other, Norms())
    batch = batch_of()
    torch.manual_seed(0)
    PlainLearner(model=one, loss=ActionLoss()).backward(batch)
    torch.manual_seed(0)
    with recomputed(other.backbone):
        PlainLearner(model=other, loss=ActionLoss()).backward(batch)
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None, name
        torch.testing.assert_close(a.grad, b.grad)
    for (name, x), y in zip(one.named_buffers(), other.buffers(), strict=True):
        assert torch.equal(x, y), name


def test_accumulated_minibatches_are_one_step(tmp_path: Path) -> None:
    frozen: dict[str, Any] = {"norms": Norms(mode="frozen"), "steps": 2}
    model = replace(config_of(), head=LinearHeadConfig(dropout=0.0))
    world = replace(WORLD, people=(1, 1))  # the mean of means is the mean: one person a clip
    data = PlaygroundSource(world=world, clips=4)
    losses = [
        ran(
            replace(recipe_of(stage_of(data=data, accumulate=n, **frozen)), model=model),
            tmp_path / str(n),
        )[1].losses
        for n in (1, 2)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_fp16_scales_its_loss_and_learns(tmp_path: Path) -> None:
    _, listener = ran(recipe_of(stage_of(precision="fp16", steps=2)), tmp_path)
    _, exact = ran(recipe_of(stage_of(steps=2)), tmp_path / "fp32")
    np.testing.assert_allclose(listener.losses, exact.losses, rtol=2e-2)


# Running


@pytest.mark.parametrize("workers", [1, 2])
def test_the_loss_curve_does_not_depend_on_workers(tmp_path: Path, workers: int) -> None:
    curves = [
        ran(recipe_of(stage_of(workers=n)), tmp_path / str(n))[1].losses for n in (0, workers)
    ]
    assert curves[0] == curves[1]


def test_epochs_count_the_samples_of_every_dataset(tmp_path: Path) -> None:
    data = mixture_of("weighted", model=config_of("event"))
    sizes = [len(part.data.build(tmp_path)) for part in data.parts]
    _, listener = ran(recipe_of(stage_of(data=data, epochs=0.5)), tmp_path)
    assert len(listener.losses) == -(-sum(sizes) // 2 // 4)
    with pytest.raises(ConfigError, match="either steps or epochs"):
        stage_of(steps=3, epochs=1.0)


def test_a_loss_that_is_no_number_stops_and_leaves_the_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: ActionModel, frames: torch.Tensor, rois: object) -> torch.Tensor:
        used = self.head.get_parameter("classifier.weight").sum()
        return used * torch.full((1, len(self.labels)), torch.nan)

    monkeypatch.setattr(ActionModel, "forward", broken)
    monkeypatch.setattr(ActionLoss, "__call__", lambda self, logits, *_, **__: logits.sum())
    with pytest.raises(TrainingError, match="not a number"):
        ran(recipe_of(stage_of()), tmp_path)
    [file] = tmp_path.glob("not_a_number_one_*.json")
    told = json.loads(file.read_text())
    assert len(told["clips"]) == 4
    assert told["clips"][0]["video"].startswith("playground_")


def test_a_request_to_stop_saves_first_and_the_rest_equals_an_undisturbed_run(
    tmp_path: Path,
) -> None:
    recipe = recipe_of(stage_of(steps=5, save_every=100))
    whole, _ = ran(recipe, tmp_path / "whole")
    flag = StopFlag()
    flag.raised = True
    with pytest.raises(Stopped, match="stopped at step 1 of 5"):
        ran(recipe, tmp_path / "stopped", stop=flag)
    assert TrainState.load(tmp_path / "stopped" / "state.pt").step == 1
    rest, listener = ran(recipe, tmp_path / "stopped", resume=True)
    assert len(listener.losses) == 4
    assert rest.weights_sha256 == whole.weights_sha256


def test_the_last_checkpoints_stay(tmp_path: Path) -> None:
    keeper = Checkpoints(tmp_path, keep=3)
    for step in range(1, 6):
        keeper.save(
            TrainState(
                recipe={}, stage=0, step=step, model={}, optimizer={}, average=None, scaler={}
            )
        )
    names = ("state.pt", "state_before_1.pt", "state_before_2.pt")
    assert [TrainState.load(tmp_path / n).step for n in names] == [5, 4, 3]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)


# What a careful reader found


def test_a_gradient_that_is_no_number_reaches_neither_weights_nor_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backward, calls = PlainLearner.backward, []

    def overflowing(self: PlainLearner, batch: Batch, *, scale: float = 1.0) -> torch.Tensor:
        loss = backward(self, batch, scale=scale)
        calls.append(1)
        if len(calls) == 2:
            next(self.model.parameters()).grad.fill_(torch.inf)  # type: ignore[union-attr]
        return loss

    monkeypatch.setattr(PlainLearner, "backward", overflowing)
    for limit in (None, 5.0):
        calls.clear()
        out = tmp_path / str(limit)
        with pytest.raises(TrainingError, match="the gradient is not a number"):
            ran(recipe_of(stage_of(save_every=1, clip_norm=limit)), out)
        kept = TrainState.load(out / "state.pt")
        assert kept.step == 1
        assert all(v.isfinite().all() for v in kept.model.values())
        assert list(out.glob("not_a_number_one_1_0.json"))


def test_a_stage_that_takes_over_only_parts_begins_the_rest_anew(tmp_path: Path) -> None:
    frozen: dict[str, Any] = {"optimizer": Optimizer(rate=1e-9, weight_decay=0.0), "steps": 1}
    second = stage_of("two", start=Start(parts=("backbone.*",)), **frozen)
    _, listener = ran(recipe_of(stage_of(**frozen), second), tmp_path)
    assert any("2 new (head.classifier.weight" in note for note in listener.notes)


def test_layer_decay_counts_each_backbone_by_itself() -> None:
    tiny = ViViTConfig(width=16, layers=2, heads=2, mlp=32, temporal_layers=1, positions=(1, 2, 2))
    config = replace(config_of(), backbone=tiny)
    alone = TiedModels(config.build(), {})
    shared = TiedModels(config.build(), {"b": config, "c": config})
    rates = []
    for models in (alone, shared):
        groups = Optimizer(rate=1.0, layer_decay=0.5).build(models).param_groups
        rate = {id(p): g["lr"] for g in groups for p in g["params"]}
        rates.append({n: rate[id(p)] for n, p in models.main.named_parameters()})
    assert rates[0] == rates[1]


def test_recomputed_activations_agree_with_grouped_norms() -> None:
    one, other = config_of().build(), config_of().build()
    other.load_state_dict(one.state_dict())
    batch = batch_of()
    for model, on in ((one, False), (other, True)):
        train_mode(model, Norms())
        torch.manual_seed(0)
        with recomputed(model.backbone, on=on):
            PlainLearner(model=model, loss=ActionLoss(), norm_clips=2).backward(batch)
    for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None, name
        torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"batch": 4, "accumulate": 4, "trainable": ("memory.*",)}, "no parameter matches"),
        ({"norms": Norms(mode="synced")}, "several processes on CUDA"),
        ({"collaborative": CollaborativeTraining(mode="multi_iteration")}, "collaborative memory"),
        ({"collaborative": CollaborativeTraining(video_weight=0.5)}, "video-level loss"),
        (
            {"collaborative": CollaborativeTraining(video_weight=0.5, clips=2)},
            "requires classification",
        ),
        ({"start": Start(weights="absent.safetensors")}, "no such weights file"),
        (
            {"data": Mixture(parts=(Part(data=PlaygroundSource(world=EVENT)),))},
            "the classes of 'playground' are not the model's",
        ),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    tmp_path: Path, fields: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        ran(recipe_of(stage_of(**fields)), tmp_path)
    assert not list(tmp_path.glob("*.pt"))


def test_names_that_become_files_stay_in_the_folder(tmp_path: Path) -> None:
    for make in (
        lambda name: stage_of(name),
        lambda name: Test(name=name, data=PlaygroundSource()),
    ):
        for name in ("../out", "a/b", "", ".hidden"):
            with pytest.raises(ConfigError, match="cannot be a file name"):
                make(name)
    recipe = recipe_of(stage_of())
    lost = replace(recipe, tests=(replace(recipe.tests[0], part="typo"),))
    with pytest.raises(ConfigError, match="does not train on"):
        ran(lost, tmp_path)


def test_workers_and_saving_may_change_when_a_run_resumes(tmp_path: Path) -> None:
    recipe = recipe_of(stage_of(steps=2))
    ran(recipe, tmp_path)
    again = replace(recipe, stages=(replace(recipe.stages[0], workers=1, save_every=7),))
    outcome, listener = ran(again, tmp_path, resume=True)
    assert not listener.losses and outcome.weights.is_file()


# Precision


def test_a_lower_precision_is_checked_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUBELET_CACHE", str(tmp_path / "cache"))
    outcome, listener = ran(recipe_of(stage_of(precision="bf16")), tmp_path / "checked")
    told = "\n".join(listener.notes)
    assert "stage 'one' runs in bf16" in told
    assert re.search(r"\d+ of \d+ layers in fp32|all \d+ layers agree with fp32", told)
    assert "gradients of the first minibatch, bf16 against fp32: cosine" in told
    rows = json.loads((tmp_path / "checked" / "gradients_one.json").read_text())
    assert {"main.backbone.stem.conv_norm.conv.weight", "main.head.classifier.weight"} <= {
        row["name"] for row in rows
    }
    # What was compared leaves no trace: the same weights as without.
    monkeypatch.setattr("tubelet.train.run.checked", _probed_only)
    again, _ = ran(recipe_of(stage_of(precision="bf16")), tmp_path / "plain")
    assert again.weights_sha256 == outcome.weights_sha256


def _probed_only(learner: Learner, *arguments: Any, **options: Any) -> Learner:
    return checked(learner, *arguments, **{**options, "fresh": False})


def test_in_fp32_nothing_is_compared(tmp_path: Path) -> None:
    _, listener = ran(recipe_of(stage_of()), tmp_path)
    assert "stage 'one' runs in fp32" in listener.notes
    assert not list(tmp_path.glob("gradients_*"))


def test_a_gradient_that_is_far_off_is_a_warning(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = config_of().build().train()
    models = TiedModels(model, {})
    notes: list[str] = []
    learner = CheckedLearner(
        learner=_Wrong(model=model, loss=ActionLoss()),
        models=models,
        device=torch.device("cpu"),
        precision="fp32",  # so that nothing is probed: the learner itself is wrong
        note=notes.append,
        compare=True,
        log=tmp_path / "gradients.json",
    )
    before = [b.clone() for b in model.buffers()]
    torch.manual_seed(3)
    learner.backward(batch_of())
    assert "gradients are far off" in notes[-1]
    assert "head.classifier.bias" in (tmp_path / "gradients.json").read_text()
    moved = [not torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True)]
    assert any(moved)  # one backward pass moved the statistics; a second one is checked no more
    told = len(notes)
    learner.backward(batch_of())
    assert len(notes) == told


@dataclass(slots=True, kw_only=True)
class _Wrong(PlainLearner):
    """Gradients of the wrong sign, as a bf16 kernel may give them."""

    def backward(self, batch: Batch, *, scale: float = 1.0) -> Tensor:
        return PlainLearner.backward(self, batch, scale=-scale)

    def exact(self) -> PlainLearner:
        return PlainLearner(model=self.model, loss=self.loss)


def test_a_gradient_that_is_not_finite_is_null_in_the_file(tmp_path: Path) -> None:
    model = config_of().build()
    log = tmp_path / "gradients.json"
    learner = CheckedLearner(
        learner=_Overflowing(model=model, loss=ActionLoss()),
        models=TiedModels(model, {}),
        device=torch.device("cpu"),
        precision="fp32",
        note=lambda _: None,
        compare=True,
        log=log,
    )
    learner.backward(batch_of())
    rows = json.loads(log.read_text(), parse_constant=pytest.fail)  # NaN is no JSON
    assert {(row["ratio"], row["cosine"]) for row in rows} == {(None, None)}


@dataclass(slots=True, kw_only=True)
class _Overflowing(_Wrong):
    """Gradients that are infinite, as fp16 may give them."""

    def backward(self, batch: Batch, *, scale: float = 1.0) -> Tensor:
        return PlainLearner.backward(self, batch, scale=math.inf)


def test_a_resumed_run_keeps_its_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = processor()
    with_units = replace(here, architecture="x86_64", features=here.features | {"avx512_bf16"})
    monkeypatch.setattr("tubelet.numerics.precision.WORTH_WHILE", 0)
    with believe(with_units), pytest.raises(Stopped):
        ran(recipe_of(stage_of(precision="auto")), tmp_path, stop=_at_once())
    with believe(replace(here, features=frozenset())):
        _, listener = ran(recipe_of(stage_of(precision="auto")), tmp_path, resume=True)
        assert "stage 'one' runs in bf16" in listener.notes
        saved = json.loads((tmp_path / "recipe.json").read_text())
        assert saved["stages"][0]["precision"] == "bf16"
        _, other = ran(recipe_of(stage_of(precision="auto")), tmp_path / "fresh")
        assert "stage 'one' runs in fp32" in other.notes


def test_a_small_model_trains_in_fp32_by_default(tmp_path: Path) -> None:
    here = processor()
    with_units = replace(here, architecture="x86_64", features=here.features | {"avx512_bf16"})
    with believe(with_units):
        _, listener = ran(recipe_of(stage_of(precision="auto", steps=1)), tmp_path)
    assert "stage 'one' runs in fp32" in listener.notes


def _at_once() -> StopFlag:
    stop = StopFlag()
    stop.raised = True
    return stop
