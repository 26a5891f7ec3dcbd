"""A head that nobody listed: what the base asks of it, and what it gets for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import pytest
import torch
from torch import Tensor, nn

from tubelet.batch import FeatureMap, Memory, Rois
from tubelet.errors import ShapeError
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.base import Head, HeadConfig, PersonHead
from tubelet.models.memory.config import MemoryBankConfig
from tubelet.models.relabel import replace_labels
from tubelet.models.roi import pool_people
from tubelet.playground.sources import PlaygroundSource
from tubelet.playground.world import PlaygroundConfig, label_space
from tubelet.testing.config import Test
from tubelet.train.learning.banks import bank_stamp
from tubelet.train.recipe import Recipe, Stage
from tubelet.train.reporters import Silent
from tubelet.train.run import run
from tubelet.types import InputSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class RecallHeadConfig(HeadConfig):
    """A person, and the mean of whom the bank remembers of their clip."""

    remembers: ClassVar[bool] = True
    label_layers: ClassVar[tuple[str, ...]] = ("answer",)

    def build(self, outputs: Sequence[FeatureSpec], classes: int) -> RecallHead:
        return RecallHead(outputs[0].channels, classes)

    def tiny(self) -> Self:
        return self


class RecallHead(PersonHead):
    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(channels, 6)
        self.answer = nn.Linear(12, classes)

    def pool_people(self, maps: Sequence[FeatureMap], rois: Rois) -> Tensor:
        people: Tensor = self.narrow(pool_people(maps, rois, size=2, aligned=True))
        return people[:, None]

    def token_layers(self) -> tuple[nn.Module, ...]:
        return (self.narrow,)

    def classify(
        self, pooled: Tensor, rois: Rois | None, memory: Memory | None, *, exclusive: bool
    ) -> Tensor:
        assert rois is not None
        recalled = torch.zeros_like(pooled[:, 0])
        if memory is not None:
            near = (rois.clip[:, None] == memory.group).float()
            recalled = near @ memory.values.float() / near.sum(1, keepdim=True).clamp(min=1)
        logits: Tensor = self.answer(torch.cat([pooled[:, 0], recalled], dim=1))
        return logits


def config() -> ActionModelConfig:
    return ActionModelConfig(
        backbone=ResNet3dConfig().tiny(),
        head=RecallHeadConfig(),
        memory=MemoryBankConfig(before_ms=2000, after_ms=2000),
        input=InputSpec(frames=4, stride=1, short_side=32),
        labels=label_space("scene"),
    )


def test_a_head_that_remembers_trains_with_a_bank_and_is_tested_with_it(
    tmp_path: Path,
) -> None:
    data = PlaygroundSource(world=PlaygroundConfig(task="scene").tiny(3.5), clips=3)
    recipe = Recipe(
        name="recall",
        summary="",
        model=config(),
        stages=(Stage(name="train", data=data, steps=2, batch=2, bank="build", precision="fp32"),),
        tests=(Test(data=replace(data, name="test")),),
    )
    done = run(
        recipe, out=tmp_path / "run", root=tmp_path, device=torch.device("cpu"), resume=False,
        reporter=Silent(),
    )  # fmt: skip
    assert done.tests[0].report


def test_its_bank_is_stamped_with_its_own_tokens_and_layers() -> None:
    model = config().build()
    stamp = bank_stamp(model, recipe="")
    assert (stamp.positions, stamp.width) == (1, 6)
    with torch.no_grad():
        model.head.get_submodule("answer").weight.zero_()  # type: ignore[operator]
        assert bank_stamp(model, recipe="") == stamp
        model.head.get_submodule("narrow").weight.zero_()  # type: ignore[operator]
    assert bank_stamp(model, recipe="") != stamp


def test_its_label_layer_is_what_another_label_set_replaces() -> None:
    _, report = replace_labels(config().build(), ["x", "y", "z"])
    assert report.replaced == ("head.answer.weight", "head.answer.bias")


def test_people_are_demanded_and_an_unfinished_head_says_what_it_lacks() -> None:
    with pytest.raises(ShapeError, match="people's boxes"):
        config().build().head.pool([])
    rois = Rois(
        boxes_px=torch.zeros(0, 4), boxes_norm=torch.zeros(0, 4), clip=torch.zeros(0).long()
    )
    with pytest.raises(NotImplementedError, match="Head does not say how it pools"):
        Head().pool([])
    with pytest.raises(NotImplementedError, match="PersonHead does not say how it pools people"):
        PersonHead().pool([], rois)
