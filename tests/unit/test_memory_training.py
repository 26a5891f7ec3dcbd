"""Batch reduction and multi-iteration: one gradient, two costs."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from tubelet.batch import Batch, Rois
from tubelet.errors import ConfigError
from tubelet.models import create_model
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.detector import ActionModel
from tubelet.models.heads.clip import ClipHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.models.shapes import calls_of
from tubelet.numerics.precision import autocast
from tubelet.numerics.prepare import prepare
from tubelet.train.learning.batch_loss import loss_of, video_logits
from tubelet.train.learning.losses import ActionLoss
from tubelet.train.learning.multi_clip import (
    batch_reduction,
    clip_slots,
    multi_iteration,
    norms_by_slot,
)
from tubelet.types import Key

BACKBONE = SlowFastConfig(blocks=(1, 1, 1, 1), width=8, alpha=2, beta_inv=4, fusion_kernel=5)


def model_of(task: str, *, dropout: float = 0.0, **memory: object) -> ActionModel:
    torch.manual_seed(0)
    kind = LinearHeadConfig if task == "detection" else ClipHeadConfig
    model = create_model(
        backbone=BACKBONE,
        head=kind(dropout=dropout),
        memory=CollaborativeMemoryConfig(**memory),  # type: ignore[arg-type]
        task=task,
        labels=3,
    )
    assert model.memory is not None
    torch.nn.init.normal_(model.memory.out.weight, std=0.3)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm3d):  # last norms start at 0 and would hide gradients
            torch.nn.init.ones_(norm.weight)
    return model.eval()


def batch_of(task: str, group: list[int]) -> Batch:
    draw = torch.Generator().manual_seed(0)
    clips = len(group)
    clip = [i for i in range(clips) for _ in range(i % 3 if task == "detection" else 1)]
    boxes = torch.rand(len(clip), 4, generator=draw) * 15
    boxes[:, 2:] += boxes[:, :2] + 2
    number = torch.tensor(group)
    targets = (torch.rand(len(clip), 3, generator=draw) < 0.5).float()
    if task == "classification":
        targets = torch.eye(3)[number % 3]
    return Batch(
        frames=torch.randint(0, 256, (clips, 3, 4, 32, 32), dtype=torch.uint8, generator=draw),
        rois=Rois(
            boxes_px=boxes, boxes_norm=boxes / 32, clip=torch.tensor(clip, dtype=torch.int64)
        ),
        targets=targets,
        known=torch.ones(len(clip), 3, dtype=torch.bool),
        group=number,
        dataset=("test",) * clips,
        keys=tuple(Key(video=str(g), time_ms=i) for i, g in enumerate(group)),
    )


def gradients(model: ActionModel) -> dict[str, Tensor]:
    return {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def assert_same_gradients(one: ActionModel, other: ActionModel) -> None:
    mine, theirs = gradients(one), gradients(other)
    assert mine.keys() == theirs.keys() == {n for n, _ in one.named_parameters()}
    for name, value in mine.items():
        assert float(value.norm()) > 0, name
        # Two orders of summation in fp32: 1.2e-4 was met with AMX; another dropout is off by 0.1.
        assert float((value - theirs[name]).norm()) <= 1e-3 * float(value.norm()), name


@pytest.mark.parametrize("task", ["detection", "classification"])
@pytest.mark.parametrize("kind", ["associative", "avgpool"])
@pytest.mark.parametrize("infusion", ["gating", "residual"])
@pytest.mark.parametrize("clips", [1, 3, 9])
def test_multi_iteration_has_the_gradients_of_batch_reduction(
    task: str, kind: str, infusion: str, clips: int
) -> None:
    one = model_of(task, kind=kind, infusion=infusion, clips=clips)
    other = copy.deepcopy(one)
    batch = batch_of(task, [i // clips for i in range(2 * clips)])
    loss = loss_of(one, ActionLoss(), batch, video_weight=0.5 * (task == "classification"))
    first, second = batch_reduction(one, batch, loss), multi_iteration(other, batch, loss)
    torch.testing.assert_close(first, second)
    assert_same_gradients(one, other)


def test_the_clips_of_a_video_may_lie_anywhere_and_be_of_any_number() -> None:
    one = model_of("detection")
    other = copy.deepcopy(one)
    batch = batch_of("detection", [2, 0, 2, 1, 2, 0])
    loss = loss_of(one, ActionLoss(), batch)
    batch_reduction(one, batch, loss)
    multi_iteration(other, batch, loss)
    assert_same_gradients(one, other)


@pytest.mark.parametrize("group", [[0, 0, 0, 1, 1, 1], [0, 0, 0]])
@pytest.mark.parametrize("infusion", ["gating", "residual"])
def test_norms_that_train_also_agree_and_count_each_clip_once(
    group: list[int], infusion: str
) -> None:
    # In fp64: norms of two rows magnify what fp32 rounds, to 1e-4 with some kernels.
    one = model_of("detection", infusion=infusion).train().double()
    other = copy.deepcopy(one)
    batch = batch_of("detection", group)
    loss = loss_of(one, ActionLoss(), batch)
    batch_reduction(one, batch, loss)
    multi_iteration(other, batch, loss)
    assert_same_gradients(one, other)
    for (name, a), b in zip(one.named_buffers(), other.buffers(), strict=True):
        if "running" in name:
            torch.testing.assert_close(a, b, msg=name)


def test_multi_iteration_repeats_its_dropout() -> None:
    one = model_of("classification", dropout=0.5, clips=1).train()
    other = copy.deepcopy(one)
    batch = batch_of("classification", [0, 1])
    loss = loss_of(one, ActionLoss(), batch)
    torch.manual_seed(3)
    first = batch_reduction(one, batch, loss)
    torch.manual_seed(3)
    torch.testing.assert_close(multi_iteration(other, batch, loss), first)
    assert_same_gradients(one, other)


def test_multi_iteration_keeps_its_gradients_under_autocast() -> None:
    one = model_of("detection")
    batch = batch_of("detection", [0, 0, 0])
    cpu = torch.device("cpu")
    calls = partial(calls_of, one.config, tuple(batch.frames.shape))
    prepare(one, calls, device=cpu, precision="bf16", backward=True)
    with autocast(cpu, "bf16"):
        multi_iteration(one, batch, loss_of(one, ActionLoss(), batch))
    assert all(p.grad is not None and p.grad.norm() > 0 for p in one.parameters())


def test_norms_see_only_clips_of_different_videos() -> None:
    norm = torch.nn.BatchNorm3d(2)
    x = torch.randn(4, 2, 1, 2, 2)
    group = torch.tensor([0, 0, 1, 1])
    with norms_by_slot(norm, clip_slots(group)):
        out = norm(x)
    for rows in ([0, 2], [1, 3]):
        mean, var = x[rows].mean(dim=(0, 2, 3, 4)), x[rows].var(dim=(0, 2, 3, 4), unbiased=False)
        shape = (1, 2, 1, 1, 1)
        expected = (x[rows] - mean.view(shape)) / (var.view(shape) + norm.eps).sqrt()
        torch.testing.assert_close(out[rows], expected)
    assert norm.forward.__func__ is torch.nn.BatchNorm3d.forward  # type: ignore[attr-defined]


def test_slots_and_video_predictions() -> None:
    group = torch.tensor([5, 2, 5, 5, 2])
    assert clip_slots(group).tolist() == [0, 0, 1, 2, 1]
    logits = torch.arange(5.0)[:, None]
    torch.testing.assert_close(video_logits(logits, group), torch.tensor([[2.5], [5 / 3]]))


def test_the_video_level_loss_is_equation_1() -> None:
    model, batch = model_of("classification"), batch_of("classification", [0, 0, 1])
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0))
    plain, weighted = (
        loss_of(model, ActionLoss(), batch, video_weight=w)(logits) for w in (0.0, 0.5)
    )
    videos = torch.stack([logits[:2].mean(0), logits[2]])
    target = torch.tensor([0, 1])
    entropy = torch.nn.functional.cross_entropy
    torch.testing.assert_close(plain, entropy(logits, torch.tensor([0, 0, 1])))
    torch.testing.assert_close(weighted, plain + 0.5 * entropy(videos, target))


def test_a_videos_label_is_the_union_over_its_windows() -> None:
    """Charades: each window has labels of its own, and the first one's are not the video's."""
    model = model_of("classification")
    model.config = replace(model.config, labels=replace(model.labels, exclusive=False))
    windows = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
    known = torch.tensor([[True, True, True], [True, True, True], [False, True, True]])
    batch = replace(batch_of("classification", [7, 7, 2]), targets=windows, known=known)
    logits = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    video = (loss_of(model, ActionLoss(), batch, video_weight=w)(logits) for w in (1.0, 0.0))
    difference = next(video) - next(video)
    means = torch.stack([logits[2], logits[:2].mean(0)])
    union = torch.tensor([[0, 1.0, 0], [1, 0, 1]])
    terms = torch.nn.functional.binary_cross_entropy_with_logits(means, union, reduction="none")
    annotated = torch.tensor([[0.0, 1, 1], [1, 1, 1]])
    torch.testing.assert_close(difference, (terms * annotated).sum() / 5)
    difference.backward()
    assert logits.grad is not None
    assert float(logits.grad[0, 2]) < 0  # the later window's action is pulled up, not pushed down


def test_the_video_level_loss_is_refused_in_detection() -> None:
    model, batch = model_of("detection"), batch_of("detection", [0, 0, 0])
    with pytest.raises(ConfigError, match="video-level"):
        loss_of(model, ActionLoss(), batch, video_weight=1.0)


def test_a_loss_that_is_not_a_number_is_told_by_both_ways() -> None:
    for step in (batch_reduction, multi_iteration):
        model, batch = model_of("detection"), batch_of("detection", [0, 0, 0])
        value = step(model, batch, lambda logits: logits.sum() * float("nan"))
        assert not torch.isfinite(value)


def test_nobody_in_the_batch_is_no_error() -> None:
    for step in (batch_reduction, multi_iteration):
        model = model_of("detection")
        batch = batch_of("detection", [0])
        assert len(batch.rois) == 0
        loss = loss_of(model, ActionLoss(), batch)
        assert step(model, replace(batch), loss) == 0
