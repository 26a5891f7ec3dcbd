"""A mechanism that is built must also learn: a cue that only it can see, in realistic features.

Features after a ReLU have a common mean about five times their variation, and what tells two clips
apart is a fraction of that variation. In each test the head alone trains on such features, drawn
afresh every step, by SGD at its recipe's own rate, and must name a planted cue that nothing but the
mechanism under test reaches. Chance is 50 %.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Memory, Rois
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.heads.acrn import ACRNHeadConfig
from tubelet.models.heads.base import Head, HeadConfig
from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.models.heads.fusion import FusionConfig
from tubelet.models.heads.relation import SpatialRelationHeadConfig, TemporalRelationHeadConfig
from tubelet.models.layers.resnet3d import NonLocal, NonLocalConfig

CHANNELS, CELLS, CLIPS = 32, 4, 64
OUTPUTS = (FeatureSpec(channels=CHANNELS, time_stride=1, space_stride=8),)
AVA = 0.8 * CLIPS / 1024  # 001's rate for a batch of 1024
RELATION = 1e-2  # 000's rate for a batch of 64
WEAK, CLEAR = 0.07, 0.21  # a third of the features' variation, and as much
SMALL: dict[str, Any] = {"resolution": 2, "width": 32, "heads": 2, "mlp": 2, "dropout": 0.0}


class Features:
    """Maps after a ReLU: each channel's mean, drawn once, is five times its variation, half of it
    the clip's and half the cell's. The cue is a direction in channels, `strength` a channel."""

    def __init__(self, seed: int, strength: float) -> None:
        self.draw = torch.Generator().manual_seed(seed)
        self.mean = 0.5 + torch.rand(CHANNELS, generator=self.draw)
        self.cue = strength * torch.randn(CHANNELS, generator=self.draw)

    def maps(self, clips: int = CLIPS) -> Tensor:
        """`(B, C, 2, h, w)` without a cue."""
        cell = torch.randn(clips, CHANNELS, 2, CELLS, CELLS, generator=self.draw)
        clip = torch.randn(clips, CHANNELS, 1, 1, 1, generator=self.draw)
        mean = self.mean.view(1, -1, 1, 1, 1)
        return (mean * (1 + 0.14 * (clip + cell))).relu()

    def labels(self, clips: int = CLIPS) -> Tensor:
        """`(B,)` of 0 and 1."""
        return torch.randint(0, 2, (clips,), generator=self.draw)

    def planted(self, label: Tensor) -> Tensor:
        """What the cue adds to a cell: the direction or its opposite, `(B, C, 1, 1, 1)`."""
        return ((2.0 * label - 1)[:, None] * self.cue)[:, :, None, None, None]


def boxes(people: Tensor) -> Rois:
    """A quarter of the picture for each person of the clips `people (R,)`: the first of a clip at
    the top left, a second one at the bottom right."""
    corner = torch.tensor([0.0, 0, 15, 15])
    second = torch.cat([people.new_zeros(1), (people[1:] == people[:-1]).long()])
    px = corner + 16.0 * second[:, None]
    return Rois(boxes_px=px, boxes_norm=px / 32, clip=people)


def as_maps(values: Tensor) -> tuple[FeatureMap, ...]:
    return (FeatureMap(values=values, time_stride=1, space_stride=8),)


def head_of(config: HeadConfig) -> Head:
    torch.manual_seed(0)
    return config.build(OUTPUTS, 2)


def in_scene(features: Features, head: nn.Module) -> tuple[Tensor, Tensor]:
    """The cue is in the half of the picture without the person."""
    assert isinstance(head, Head)
    label, values = features.labels(), features.maps()
    values[..., 2:] += features.planted(label)
    rois = boxes(torch.arange(CLIPS))
    return head.classify(head.pool(as_maps(values.relu()), rois), rois, None, exclusive=True), label


def in_partner(features: Features, head: nn.Module) -> tuple[Tensor, Tensor]:
    """The cue is under the box of the other person, and each is asked what the other shows."""
    assert isinstance(head, Head)
    label, values = features.labels(2 * CLIPS), features.maps()
    values[..., :2, :2] += features.planted(label[::2])
    values[..., 2:, 2:] += features.planted(label[1::2])
    rois = boxes(torch.arange(CLIPS).repeat_interleave(2))
    logits = head.classify(head.pool(as_maps(values.relu()), rois), rois, None, exclusive=True)
    return logits, label.view(-1, 2).flip(1).flatten()


def in_memory(features: Features, head: nn.Module) -> tuple[Tensor, Tensor]:
    """The cue is in the token of another moment, which a bank gives."""
    assert isinstance(head, Head)
    label, past = features.labels(), features.maps()
    past += features.planted(label)
    rois = boxes(torch.arange(CLIPS))
    with torch.no_grad():
        tokens = head.pool(as_maps(past.relu()), rois)
    memory = Memory(
        values=tokens.flatten(1),
        group=torch.arange(CLIPS),
        delta_ms=torch.full((CLIPS,), -1000),
    )
    people = head.pool(as_maps(features.maps()), rois)
    return head.classify(people, rois, memory, exclusive=True), label


class FromElsewhere(nn.Module):
    """A non-local block; the cells of the left half are classified."""

    def __init__(self, config: NonLocalConfig) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.block = NonLocal(config, channels=CHANNELS)
        self.classifier = nn.Linear(CHANNELS, 2)
        nn.init.normal_(self.classifier.weight, std=0.01)

    def forward(self, values: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.block(values)[..., :2].mean(dim=(2, 3, 4)))
        return logits


Step = Callable[[Features, nn.Module], tuple[Tensor, Tensor]]


def beside(features: Features, module: nn.Module) -> tuple[Tensor, Tensor]:
    """The cue is in the other half of the cells than what is classified."""
    label, values = features.labels(), features.maps()
    values[..., 2:] += features.planted(label)
    return module(values.relu()), label


def learnt(
    step: Step, module: nn.Module, *, rate: float, steps: int, strength: float = WEAK
) -> float:
    """Accuracy on 8 fresh batches, in eval mode, after `steps` steps of SGD at `rate`."""
    features = Features(1, strength)
    optimizer = torch.optim.SGD(module.parameters(), lr=rate, momentum=0.9)
    module.train()
    for _ in range(steps):
        logits, label = step(features, module)
        optimizer.zero_grad()
        F.cross_entropy(logits, label).backward()
        optimizer.step()
    module.eval()
    with torch.no_grad():
        tested = [step(features, module) for _ in range(8)]
    right = [(logits.argmax(1) == label).float().mean() for logits, label in tested]
    return float(torch.stack(right).mean())


def test_context_finds_the_scene_in_120_steps() -> None:
    head = head_of(NonlocalContextHeadConfig(dropout=0.0))
    assert learnt(in_scene, head, rate=AVA, steps=120) > 0.85


def test_acrn_finds_the_scene_in_40_steps() -> None:
    head = head_of(ACRNHeadConfig(resolution=2, dropout=0.0))
    assert learnt(in_scene, head, rate=AVA, steps=40) > 0.75


def test_a_nonlocal_block_finds_what_is_beside_in_150_steps() -> None:
    block = FromElsewhere(NonLocalConfig(pool=(1, 1, 1)))
    assert learnt(beside, block, rate=AVA, steps=150) > 0.9


@pytest.mark.parametrize("kind", [SpatialRelationHeadConfig, TemporalRelationHeadConfig])
def test_relations_tell_what_the_other_person_shows_in_100_steps(
    kind: type[SpatialRelationHeadConfig] | type[TemporalRelationHeadConfig],
) -> None:
    head = head_of(kind(**SMALL))
    assert learnt(in_partner, head, rate=RELATION, steps=100, strength=CLEAR) > 0.9


def test_a_bank_tells_what_was_shown_before_in_60_steps() -> None:
    head = head_of(TemporalRelationHeadConfig(**SMALL))
    assert learnt(in_memory, head, rate=RELATION, steps=60, strength=CLEAR) > 0.9


def test_fused_features_keep_the_cue_in_200_steps() -> None:
    fusion = FusionConfig(width=32, kernel=1)
    head = head_of(TemporalRelationHeadConfig(**{**SMALL, "fusion": fusion}))
    assert learnt(in_partner, head, rate=RELATION, steps=200, strength=CLEAR) > 0.9
