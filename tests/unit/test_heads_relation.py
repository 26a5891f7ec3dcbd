"""Relation heads: who sees whom, chunking, fusion."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tubelet.batch import FeatureMap, Memory, Rois
from tubelet.config import decode, encode
from tubelet.errors import ConfigError, ShapeError
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.heads import relation, tubes
from tubelet.models.heads.base import HeadConfig
from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.models.heads.fusion import Fusion, FusionConfig
from tubelet.models.heads.relation import (
    RelationHead,
    SpatialRelationHeadConfig,
    TemporalRelationHeadConfig,
    attend_within,
)
from tubelet.models.layers.norms import RowNorm
from tubelet.models.roi import pool_people, roi_align

OUTPUTS = (
    FeatureSpec(channels=6, time_stride=2, space_stride=16),
    FeatureSpec(channels=2, time_stride=1, space_stride=16),
)
CONFIGS = [
    config(width=16, heads=2, aggregate=aggregate, fusion=fusion, dropout=0.0)
    for config in (SpatialRelationHeadConfig, TemporalRelationHeadConfig)
    for aggregate in ("mean", "max")
    for fusion in (None, FusionConfig(width=5))
]


def maps_of(clips: int, seed: int = 0) -> tuple[FeatureMap, ...]:
    draw = torch.Generator().manual_seed(seed)
    return tuple(
        FeatureMap(
            values=torch.randn(clips, o.channels, 8 // o.time_stride, 4, 6, generator=draw),
            time_stride=o.time_stride,
            space_stride=16,
        )
        for o in OUTPUTS
    )


def rois_of(clip: list[int], seed: int = 0) -> Rois:
    draw = torch.Generator().manual_seed(seed)
    boxes = torch.rand(len(clip), 4, generator=draw) * 40
    boxes[:, 2:] += boxes[:, :2] + 5
    return Rois(boxes_px=boxes, boxes_norm=boxes / 96, clip=torch.tensor(clip, dtype=torch.int64))


def some(rois: Rois, rows: list[int]) -> Rois:
    return Rois(
        boxes_px=rois.boxes_px[rows], boxes_norm=rois.boxes_norm[rows], clip=rois.clip[rows]
    )


def logits(head: RelationHead, maps: tuple[FeatureMap, ...], rois: Rois) -> Tensor:
    found: Tensor = head(head.pool(maps, rois), rois.clip)
    return found


def build(config: SpatialRelationHeadConfig | TemporalRelationHeadConfig) -> RelationHead:
    torch.manual_seed(1)
    return config.build(OUTPUTS, 3).eval()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_person_in_another_clip_changes_nothing(config: SpatialRelationHeadConfig) -> None:
    head, maps = build(config), maps_of(3)
    full = rois_of([0, 0, 1, 2, 2])
    alone = logits(head, maps, some(full, [0, 1]))
    torch.testing.assert_close(logits(head, maps, full)[:2], alone)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_person_in_the_same_clip_changes_something(config: SpatialRelationHeadConfig) -> None:
    head, maps = build(config), maps_of(2)
    full = rois_of([0, 0, 1])
    alone = logits(head, maps, some(full, [0]))
    assert (logits(head, maps, full)[:1] - alone).abs().max() > 1e-6


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_permuting_people_permutes_the_logits(config: SpatialRelationHeadConfig) -> None:
    head, maps = build(config), maps_of(3)
    full, order = rois_of([0, 0, 1, 2, 2]), [4, 2, 0, 3, 1]
    mixed = logits(head, maps, some(full, order))
    torch.testing.assert_close(mixed, logits(head, maps, full)[order])


def test_permuting_clips_permutes_the_logits() -> None:
    head, maps = build(CONFIGS[0]), maps_of(3)
    rois, order = rois_of([0, 1, 2]), [2, 0, 1]
    turned = tuple(
        FeatureMap(values=m.values[order], time_stride=m.time_stride, space_stride=16) for m in maps
    )
    moved = Rois(
        boxes_px=rois.boxes_px[order],
        boxes_norm=rois.boxes_norm[order],
        clip=torch.arange(3),
    )
    torch.testing.assert_close(logits(head, turned, moved), logits(head, maps, rois)[order])


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("clip", [[], [1], [0, 1]], ids=["nobody", "one", "two"])
def test_nobody_and_one_person_work(config: SpatialRelationHeadConfig, clip: list[int]) -> None:
    head = build(config).train()
    maps = tuple(
        FeatureMap(values=m.values.requires_grad_(), time_stride=m.time_stride, space_stride=16)
        for m in maps_of(2)
    )
    found = logits(head, maps, rois_of(clip))
    assert found.shape == (len(clip), 3)
    found.sum().backward()
    if clip:
        assert all(p.grad is not None for p in head.parameters())


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_chunks_change_nothing_but_memory(
    config: SpatialRelationHeadConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, rois = build(config), rois_of([0] * 7 + [1] * 4)
    one = maps_of(2)
    leaves = [m.values.clone().requires_grad_() for m in one]

    def run() -> tuple[Tensor, list[Tensor]]:
        maps = tuple(
            FeatureMap(values=v, time_stride=m.time_stride, space_stride=16)
            for v, m in zip(leaves, one, strict=True)
        )
        found = logits(head, maps, rois)
        return found, list(torch.autograd.grad(found.square().sum(), leaves))

    whole, gradients = run()
    monkeypatch.setattr(tubes, "CHUNK_VALUES", 1)
    monkeypatch.setattr(relation, "ATTENTION_VALUES", 1)
    chunked, others = run()
    torch.testing.assert_close(chunked, whole)
    for a, b in zip(others, gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_attention_clip_by_clip_is_attention_under_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(3, 2, 5, 4, generator=draw)
    key, value = torch.randn(2, 3, 2, 9, 4, generator=draw)
    clips = torch.tensor([1, 0, 1, 2, 0])
    keys = torch.cat([clips, torch.tensor([0, 2, 2, 1])])
    masked = attend_within(query, key, value, clips, keys)
    scores = (query @ key.transpose(-1, -2)) / 2
    scores = scores.masked_fill(clips[:, None] != keys[None], float("-inf"))
    torch.testing.assert_close(masked, scores.softmax(-1) @ value)
    monkeypatch.setattr(relation, "ATTENTION_VALUES", 1)
    torch.testing.assert_close(attend_within(query, key, value, clips, keys), masked)


def test_two_hundred_people_do_not_need_all_tubes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(maps: Tensor, boxes: Tensor, *others: Any, **options: Any) -> Tensor:
        sizes.append(len(boxes))
        return roi_align(maps, boxes, *others, **options)

    monkeypatch.setattr(tubes, "roi_align", counted)
    monkeypatch.setattr(tubes, "CHUNK_VALUES", 8 * 4 * 49 * 16)
    head = build(TemporalRelationHeadConfig(width=16, heads=2))
    assert logits(head, maps_of(1), rois_of([0] * 200)).shape == (200, 3)
    assert max(sizes) == 16
    assert sum(sizes) == 200


def test_fusion_is_the_convolution_of_the_concatenation() -> None:
    torch.manual_seed(0)
    fusion = Fusion(FusionConfig(width=5), channels=4)
    clips, people = torch.randn(2, 4, 3, 9, 9), torch.randn(2, 4, 3, 7, 7)
    scene = torch.nn.functional.adaptive_avg_pool3d(clips, (3, 7, 7))
    weight = torch.cat([fusion.person.weight, fusion.clip.weight], dim=1)
    joined = torch.nn.functional.conv3d(torch.cat([people, scene], 1), weight, fusion.person.bias)
    expected = fusion.mix(joined.relu()).relu()
    torch.testing.assert_close(fusion(people, fusion.scene(clips, 7)), expected)


def test_mean_aggregation_is_the_linear_heads_pooling() -> None:
    config = SpatialRelationHeadConfig(width=16, heads=2)
    maps, rois = maps_of(2), rois_of([0, 1, 1])
    tokens = build(config).pool(maps, rois)
    torch.testing.assert_close(tokens.amax(dim=1), pool_people(maps, rois, size=7, aligned=True))


def memory_of(tokens: Tensor, group: list[int]) -> Memory:
    return Memory(
        values=tokens.flatten(1),
        group=torch.tensor(group, dtype=torch.int64),
        delta_ms=torch.arange(len(group)) * 1000 - 1000,
    )


@pytest.mark.parametrize("timed", [False, True])
def test_an_empty_bank_gives_the_head_without_memory(timed: bool) -> None:
    head = build(TemporalRelationHeadConfig(width=16, heads=2, time_encoding=timed))
    if head.when is not None:
        torch.nn.init.normal_(head.when.weight)
    rois = rois_of([0, 0, 1])
    people = head.pool(maps_of(2), rois)
    empty = memory_of(people[:0], [])
    torch.testing.assert_close(head(people, rois.clip, empty), head(people, rois.clip))


def test_memory_is_seen_by_its_own_clip_only_and_joins_like_a_person() -> None:
    head = build(TemporalRelationHeadConfig(width=16, heads=2))
    rois = rois_of([0, 1, 1])
    people = head.pool(maps_of(2), rois)
    plain = head(people, rois.clip)
    remembered = head(people, rois.clip, memory_of(people[1:2] + 1, [0]))
    assert (remembered[0] - plain[0]).abs().max() > 1e-6
    torch.testing.assert_close(remembered[1:], plain[1:])
    # With a single block, keys and values of memory are what tokens of memory would have been.
    as_people = head(torch.cat([people, people[1:2] + 1]), torch.tensor([0, 1, 1, 0]))
    torch.testing.assert_close(remembered, as_people[:3])


def test_the_order_of_memory_matters_only_with_time_encoding() -> None:
    for timed in (False, True):
        head = build(TemporalRelationHeadConfig(width=16, heads=2, time_encoding=timed))
        if head.when is not None:
            torch.nn.init.normal_(head.when.weight)
        rois = rois_of([0])
        people = head.pool(maps_of(1), rois)
        tokens = torch.cat([people + 1, people - 1])
        one = head(people, rois.clip, memory_of(tokens, [0, 0]))
        other = head(people, rois.clip, memory_of(tokens.flip(0), [0, 0]))
        assert ((one - other).abs().max() > 1e-6) == timed


def test_memory_where_there_is_none_is_refused() -> None:
    rois = rois_of([0])
    spatial = build(SpatialRelationHeadConfig(width=16, heads=2))
    people = spatial.pool(maps_of(1), rois)
    with pytest.raises(ConfigError, match="no memory"):
        spatial(people, rois.clip, memory_of(people, [0]))
    temporal = build(TemporalRelationHeadConfig(width=16, heads=2))
    people = temporal.pool(maps_of(1), rois)
    with pytest.raises(ShapeError, match="do not fit this model"):
        temporal(people, rois.clip, memory_of(people[:, :2], [0]))


def test_context_sees_what_stands_outside_the_box() -> None:
    torch.manual_seed(0)
    head = NonlocalContextHeadConfig(dropout=0.0).build(OUTPUTS, 3).eval()
    rois = Rois(
        boxes_px=torch.tensor([[0.0, 0, 20, 20]]),
        boxes_norm=torch.zeros(1, 4),
        clip=torch.zeros(1, dtype=torch.int64),
    )
    maps = maps_of(1)
    before = head(head.pool(maps, rois))
    maps[0].values[..., 3, 5] += 10
    assert (head(head.pool(maps, rois)) - before).abs().max() > 1e-5


def test_context_of_before_reads_with_its_layer_norm() -> None:
    written = encode(NonlocalContextHeadConfig())
    assert decode(HeadConfig, written) == NonlocalContextHeadConfig(norm="batch")
    del written["norm"]
    assert decode(HeadConfig, written) == NonlocalContextHeadConfig(norm="layer")


@pytest.mark.parametrize("people", [0, 1, 2, 5])
def test_context_trains_with_any_number_of_people(people: int) -> None:
    torch.manual_seed(0)
    head = NonlocalContextHeadConfig(dropout=0.0).build(OUTPUTS, 3)
    rois = rois_of([0] * people)
    logits = head(head.pool(maps_of(1), rois))
    logits.square().sum().backward()
    assert logits.shape == (people, 3)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in head.parameters())
    assert isinstance(head.norm, RowNorm) and head.norm.running_mean is not None
    assert bool(head.norm.running_mean.any()) == (people > 0)
