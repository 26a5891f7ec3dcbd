"""The high-order head, and groups of classes that exclude one another."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tubelet.batch import FeatureMap, Rois
from tubelet.errors import ConfigError
from tubelet.labels import LabelSpace
from tubelet.models.backbones.base import FeatureSpec
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.detector import ActionModelConfig, against_the_others
from tubelet.models.heads.hr2o import HR2OHeadConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.relabel import common_classes
from tubelet.models.shapes import calls_of
from tubelet.types import InputSpec

SPEC = (FeatureSpec(channels=6, time_stride=1, space_stride=16),)
MAP = torch.randn(2, 6, 2, 5, 7, generator=torch.Generator().manual_seed(0))
BOXES = torch.tensor([[3.0, 5, 60, 70], [30, 0, 90, 64], [10, 10, 50, 75]])
POSES = LabelSpace(
    ids=(1, 2, 3, 4),
    names=("sit", "stand", "walk", "talk"),
    groups={"pose": (1, 2, 3), "person": (4,)},
    exclusive_groups=("pose",),
)


def rois(clips: list[int], picture: tuple[float, float] | None = None) -> Rois:
    boxes = BOXES[: len(clips)]
    ends = None if picture is None else torch.tensor([picture] * len(clips))
    return Rois(boxes_px=boxes, boxes_norm=boxes / 112, clip=torch.tensor(clips), picture_px=ends)


def people(config: HR2OHeadConfig, seen: torch.Tensor, of: Rois) -> torch.Tensor:
    torch.manual_seed(0)
    head = config.build(SPEC, 4).eval()
    maps = [FeatureMap(values=seen, time_stride=1, space_stride=16)]
    with torch.inference_mode():
        return head.pool(maps, of)


def test_its_layers_can_be_counted_without_values() -> None:
    config = ActionModelConfig(
        backbone=ResNet3dConfig().tiny(),
        head=HR2OHeadConfig().tiny(),
        input=InputSpec(frames=4, stride=1, short_side=32),
        labels=POSES,
    )
    assert "head.hr2o.0.mix" in calls_of(config, (1, 3, 4, 64, 64))


TINY = HR2OHeadConfig(width=8, reduced=16, depth=2, resolution=3)


def test_people_see_those_of_their_own_clip() -> None:
    together = people(TINY, MAP, rois([0, 0, 1]))
    alone = people(TINY, MAP, rois([0, 1, 1]))
    assert not torch.allclose(together[0], alone[0])
    other = MAP.clone()
    other[1] += 1
    changed = people(TINY, other, rois([0, 0, 1]))
    assert torch.allclose(together[:2], changed[:2], atol=1e-6)
    assert not torch.allclose(together[2], changed[2])


def test_padding_is_not_part_of_the_scene() -> None:
    padded = MAP.clone()
    padded[..., 5:] = 9.0
    cut = MAP[..., :5]
    inside = BOXES[[0, 2]]
    there = replace(rois([0, 0], (80.0, 80.0)), boxes_px=inside, boxes_norm=inside / 80)
    assert torch.allclose(people(TINY, cut, there), people(TINY, padded, there), atol=1e-5)
    unknown = replace(there, picture_px=None)
    assert not torch.allclose(people(TINY, cut, unknown), people(TINY, padded, unknown))


def test_stretched_boxes_lie_at_their_share_of_the_clip() -> None:
    """A picture of 100 × 70 pixels gives 7 × 5 cells of 16, the last of which are not whole."""
    picture = (100.0, 70.0)
    stretched = people(replace(TINY, stretched=True), MAP, rois([0, 0], picture))
    by_share = replace(rois([0, 0]), boxes_px=BOXES[:2] * torch.tensor([112 / 100, 80 / 70] * 2))
    assert torch.allclose(stretched, people(TINY, MAP, by_share), atol=1e-5)


def test_a_group_that_excludes_one_another_has_a_softmax_of_its_own() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(1)) * 20
    found = against_the_others(logits, [0, 1, 2]).sigmoid()
    assert torch.allclose(found[:, :3], logits[:, :3].softmax(1), atol=1e-6)
    assert torch.equal(found[:, 3], logits[:, 3].sigmoid())
    assert torch.equal(against_the_others(logits, [2]), logits)


def test_a_model_scores_its_group_and_learns() -> None:
    config = ActionModelConfig(
        backbone=ResNet3dConfig().tiny(),
        head=LinearHeadConfig().tiny(),
        input=InputSpec(frames=4, stride=1, short_side=32),
        labels=POSES,
    )
    model = config.build()
    frames = torch.randint(0, 256, (1, 3, 4, 32, 32), dtype=torch.uint8)
    boxes = torch.tensor([[0.0, 0, 20, 30]])
    logits = model(frames, Rois(boxes_px=boxes, boxes_norm=boxes / 32, clip=torch.tensor([0])))
    assert float(model.scores(logits.detach())[0, :3].sum()) == pytest.approx(1, abs=1e-5)
    logits.sum().backward()
    grad = model.get_parameter("head.classifier.weight").grad
    assert grad is not None and bool(torch.isfinite(grad).all())


def test_exclusive_groups_travel_and_end_where_a_class_is_missing() -> None:
    assert LabelSpace.from_json(POSES.to_json()) == POSES
    assert POSES.only(["sit", "stand", "walk"]).exclusive_groups == ("pose",)
    assert POSES.only(["sit", "walk", "talk"]).exclusive_groups == ()
    assert "exclusive_groups" not in LabelSpace.of(["a"]).to_json()
    plain = replace(POSES, exclusive_groups=())
    assert common_classes(POSES, plain) == () and len(common_classes(POSES, POSES)) == 4
    for wrong in ({"exclusive_groups": ("gaze",)}, {"exclusive": True}):
        with pytest.raises(ConfigError, match="can be exclusive"):
            replace(POSES, **wrong)
