"""A mechanism that is built must also learn: a cue that only it can see, in realistic features.

Features after a ReLU have a common mean about five times their variation, and what tells two clips
apart is a fraction of that variation. In each test the head alone trains on such features, drawn
afresh every step, by SGD at its recipe's own rate, and must name a planted cue that nothing but the
mechanism under test reaches. Chance is 50 %.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Rois
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.heads.acrn import ACRNHeadConfig
from tubelet.models.heads.base import Head, HeadConfig
from tubelet.models.heads.context import NonlocalContextHeadConfig
from tubelet.models.layers.resnet3d import NonLocal, NonLocalConfig

CHANNELS, CELLS, CLIPS = 32, 4, 64
OUTPUTS = (FeatureSpec(channels=CHANNELS, time_stride=1, space_stride=8),)
AVA = 0.8 * CLIPS / 1024  # 001's rate for a batch of 1024


class Features:
    """Maps after a ReLU: each channel's mean, drawn once, is five times its variation, half of it
    the clip's and half the cell's. The cue is a direction in channels, a third of the variation."""

    def __init__(self, seed: int) -> None:
        self.draw = torch.Generator().manual_seed(seed)
        self.mean = 0.5 + torch.rand(CHANNELS, generator=self.draw)
        self.cue = 0.07 * torch.randn(CHANNELS, generator=self.draw)

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


def learnt(step: Step, module: nn.Module, *, rate: float, steps: int) -> float:
    """Accuracy on 8 fresh batches, in eval mode, after `steps` steps of SGD at `rate`."""
    features = Features(seed=1)
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
