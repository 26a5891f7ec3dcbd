"""Collaborative memory: its identities, its cost, and one memory for all views."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tubelet.batch import FeatureMap
from tubelet.config import decode, encode
from tubelet.errors import ConfigError, ShapeError
from tubelet.models import create_model, model_config
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.cost import count
from tubelet.models.layers.norms import RowNorm
from tubelet.models.memory.collaborative import (
    CollaborativeMemory,
    CollaborativeMemoryConfig,
    share,
)
from tubelet.models.memory.gates import GateStatistics
from tubelet.models.memory.inference import video_memory, video_scores
from tubelet.train.loop.gates import GateWatch
from tubelet.types import InputSpec

OUTPUTS = (FeatureSpec(channels=8, time_stride=1, space_stride=16),)
EVERY = [
    CollaborativeMemoryConfig(kind=kind, infusion=infusion, reduction=2, norm=norm)
    for kind in ("associative", "avgpool")
    for infusion in ("gating", "residual")
    for norm in ("batch", "none")
]


def build(config: CollaborativeMemoryConfig) -> CollaborativeMemory:
    torch.manual_seed(0)
    memory = config.build(OUTPUTS)
    torch.nn.init.normal_(memory.out.weight)
    if isinstance(memory.norm, RowNorm):  # frozen, but not at 0 and 1, which would do nothing
        mean, var = memory.norm.running_mean, memory.norm.running_var
        assert mean is not None and var is not None
        torch.nn.init.uniform_(mean)
        torch.nn.init.uniform_(var, 0.5, 2)
    return memory.eval()


def maps_of(clips: int) -> tuple[FeatureMap, ...]:
    values = torch.randn(clips, 8, 2, 3, 4, generator=torch.Generator().manual_seed(1))
    return (FeatureMap(values=values, time_stride=1, space_stride=16),)


def flat(maps: tuple[FeatureMap, ...]) -> Tensor:
    return maps[0].values.flatten(2).transpose(1, 2)


@pytest.mark.parametrize("positions", ["mean", "sum"])
def test_pop_is_the_papers_sum_over_all_clips(positions: str) -> None:
    """M_n = 1/N Σ_m [(X_n W_q)(X_m W_k)^T](X_m W_v), 004 §3.2; "mean" also divides by positions."""
    memory = build(CollaborativeMemoryConfig(reduction=2, positions=positions))  # type: ignore[arg-type]
    maps, group = maps_of(5), torch.tensor([0, 1, 0, 1, 0])
    popped = memory.pop(share(memory.push(maps), group), flat(maps))
    x = flat(maps)
    for n in range(5):
        own = [m for m in range(5) if group[m] == group[n]]
        total = sum(
            (memory.query(x[n]) @ memory.key(x[m]).T) @ memory.value(x[m]) for m in own
        ) / len(own)
        if positions == "mean":
            total = total / x.shape[1]
        torch.testing.assert_close(popped[n], total, rtol=1e-5, atol=1e-5)


def test_one_clip_is_linear_self_attention_within_it() -> None:
    memory = build(CollaborativeMemoryConfig(reduction=2, positions="sum"))
    maps = maps_of(3)
    x = flat(maps)
    attention = memory.query(x) @ memory.key(x).transpose(1, 2)
    expected = attention @ memory.value(x)
    for group in (None, torch.arange(3)):
        popped = memory.pop(share(memory.push(maps), group), x)
        torch.testing.assert_close(popped, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_gating_averages_pop_over_the_positions(norm: str) -> None:
    """Eq. 4 written out, with Pop at every position as in the paper."""
    memory = build(CollaborativeMemoryConfig(reduction=2, norm=norm))  # type: ignore[arg-type]
    maps, group = maps_of(4), torch.tensor([0, 0, 1, 1])
    popped = memory.norm(memory.pop(share(memory.push(maps), group), flat(maps)).flatten(0, 1))
    popped = popped.unflatten(0, (4, -1)).mean(dim=1)
    expected = maps[0].values * (1 + memory.out(popped).sigmoid())[:, :, None, None, None]
    torch.testing.assert_close(memory(maps, group)[0].values, expected)


def test_average_pooling_is_the_mean_of_every_position_of_every_clip() -> None:
    memory = build(CollaborativeMemoryConfig(kind="avgpool", infusion="residual", reduction=2))
    maps = maps_of(3)
    pooled = memory.out(memory.norm(memory.value(flat(maps)).mean(dim=(0, 1))[None])[0])
    expected = maps[0].values + pooled[:, None, None, None]
    torch.testing.assert_close(memory(maps, torch.zeros(3, dtype=torch.int64))[0].values, expected)


@pytest.mark.parametrize("config", EVERY, ids=str)
def test_permuting_clips_permutes_the_maps(config: CollaborativeMemoryConfig) -> None:
    memory, maps = build(config), maps_of(5)
    group, order = torch.tensor([0, 1, 0, 1, 0]), [3, 0, 4, 2, 1]
    turned = (FeatureMap(values=maps[0].values[order], time_stride=1, space_stride=16),)
    torch.testing.assert_close(
        memory(turned, group[order])[0].values, memory(maps, group)[0].values[order]
    )


@pytest.mark.parametrize("config", EVERY, ids=str)
def test_only_clips_of_the_same_video_matter(config: CollaborativeMemoryConfig) -> None:
    memory, maps, group = build(config), maps_of(4), torch.tensor([0, 0, 1, 1])
    before = memory(maps, group)[0].values
    maps[0].values[3] += 1
    after = memory(maps, group)[0].values
    torch.testing.assert_close(after[:2], before[:2])
    assert (after[2] - before[2]).abs().max() > 1e-5


def test_a_fresh_memory_leaves_a_trained_backbone_almost_alone() -> None:
    maps = maps_of(2)
    for config in EVERY:
        factor = 1.5 if config.infusion == "gating" else 1.0
        memory = config.build(OUTPUTS)
        torch.testing.assert_close(memory(maps)[0].values, factor * maps[0].values)


def test_impossible_memories_are_refused() -> None:
    with pytest.raises(ConfigError, match="no channel"):
        CollaborativeMemoryConfig(reduction=9).build(OUTPUTS)
    with pytest.raises(ConfigError, match="at least one clip"):
        CollaborativeMemoryConfig(clips=0)
    memory = build(EVERY[0])
    with pytest.raises(ShapeError, match="group number"):
        memory(maps_of(3), torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(("alpha", "published"), [(1, 49.2), (2, 40.9), (4, 36.7), (8, 34.6)])
def test_parameters_are_those_of_table_2c(alpha: int, published: float) -> None:
    config = model_config(
        "slow_r50_8x8",
        task="classification",
        labels=400,
        memory=CollaborativeMemoryConfig(reduction=alpha),
    )
    with torch.device("meta"):
        model = config.build()
    million = sum(p.numel() for p in model.parameters()) / 1e6
    assert million == pytest.approx(published, abs=0.1)


@pytest.mark.parametrize(
    ("name", "published"), [("slow_r50_8x8", 1.03), ("r2plus1d_r50_16x2", 1.01)]
)
def test_the_cost_ratio_is_within_two_per_cent_of_table_1(name: str, published: float) -> None:
    plain, with_memory = (
        count(model_config(name, task="classification", labels=400, memory=memory), size=256).gmacs
        for memory in (None, CollaborativeMemoryConfig())
    )
    assert 1 < with_memory / plain <= published + 0.005
    assert with_memory / plain == pytest.approx(published, rel=0.02)


def tiny() -> torch.nn.Module:
    torch.manual_seed(0)
    model = create_model(
        backbone=ResNet3dConfig(blocks=(1, 1, 1, 1), width=4, detection=False),
        memory=CollaborativeMemoryConfig(reduction=2),
        input=InputSpec(frames=2, stride=1, short_side=32),
        task="classification",
        labels=3,
    )
    assert model.memory is not None
    torch.nn.init.normal_(model.memory.out.weight, std=50)
    return model.eval()


def test_all_views_share_the_memory_of_the_centre_crops() -> None:
    model = tiny()
    draw = torch.Generator().manual_seed(0)
    views = torch.randint(0, 256, (30, 3, 2, 32, 32), dtype=torch.uint8, generator=draw)
    centres = views[::3]
    memory = video_memory(model, centres.split(1))  # type: ignore[arg-type]
    torch.testing.assert_close(memory, video_memory(model, centres.split(4)))  # type: ignore[arg-type]
    scores = video_scores(model, views.split(7), memory)  # type: ignore[arg-type]
    assert scores.sum().item() == pytest.approx(1, abs=1e-5)
    # A view's own content is not part of the memory it gets, unless it is a centre crop.
    with torch.no_grad():
        one = model(views[:1])
    assert (video_scores(model, views[:1].split(1), memory) - one.softmax(-1)[0]).abs().max() > 1e-6  # type: ignore[arg-type]
    # With itself as only centre crop it is the plain model.
    alone = video_memory(model, views[:1].split(1))  # type: ignore[arg-type]
    torch.testing.assert_close(
        video_scores(model, views[:1].split(1), alone),  # type: ignore[arg-type]
        one.softmax(-1)[0],
    )


def saturating() -> tuple[CollaborativeMemory, CollaborativeMemory]:
    """The same weights with M̂ as printed and normalised; large ones, as they become within dozens
    of steps on features with a common mean."""
    memories = []
    for norm in ("none", "batch"):
        torch.manual_seed(0)
        memory = CollaborativeMemoryConfig(reduction=2, norm=norm).build(OUTPUTS)
        for layer in (memory.key, memory.value, memory.query):
            torch.nn.init.normal_(layer.weight, std=3.0)
        torch.nn.init.normal_(memory.out.weight, std=0.5)
        memories.append(memory)
    return memories[0], memories[1]


def test_a_common_mean_saturates_the_printed_gates_and_not_the_normalised() -> None:
    maps = tuple(replace(m, values=(1 + 0.2 * m.values).relu()) for m in maps_of(32))
    group = torch.arange(32) // 2
    reports = []
    for memory in saturating():
        memory(maps, group)
        reports.append(memory.gates.take())
        assert memory.gates.take() is None  # taken
    printed, normalised = reports
    assert printed is not None and normalised is not None
    assert printed.saturation > 0.5 > 0.2 > normalised.saturation
    assert normalised.spread > 4 * printed.spread


def test_a_run_says_once_that_its_gates_saturate() -> None:
    maps = tuple(replace(m, values=(1 + 0.2 * m.values).relu()) for m in maps_of(32))
    for memory, told in zip(saturating(), (1, 0), strict=True):
        notes: list[str] = []
        watch = GateWatch(torch.nn.ModuleDict({"memory": memory}), notes.append)
        assert watch.step() is None  # no clip has been seen
        for _ in range(2):
            memory(maps)
            assert watch.step() is not None
        assert len(notes) == told
        assert all("0.01 of 0 or 1" in note and "norm to batch" in note for note in notes)


def test_gates_are_counted_over_all_calls_of_a_step() -> None:
    gates = GateStatistics()
    gates.see(torch.tensor([[0.001, 0.5], [0.5, 0.5]]))
    gates.see(torch.tensor([[0.999, 0.5], [0.5, 0.5]]))
    report = gates.take()
    assert report is not None
    assert report.saturation == pytest.approx(2 / 8)
    assert report.spread == pytest.approx((0.499**2 / 2) ** 0.5 / 2, rel=1e-3)


def test_memories_of_before_read_as_printed() -> None:
    written = encode(CollaborativeMemoryConfig())
    assert decode(CollaborativeMemoryConfig, written).norm == "batch"
    del written["norm"]
    assert decode(CollaborativeMemoryConfig, written).norm == "none"
