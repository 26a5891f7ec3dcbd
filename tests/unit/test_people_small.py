"""The small detector: shapes, geometry, determinism, checkpoints and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tubelet.checkpoints import save_checkpoint
from tubelet.errors import CheckpointError, ConfigError, InputError, ShapeError
from tubelet.people.detectors.base import PersonDetector
from tubelet.people.detectors.dense import DenseBoxes
from tubelet.people.detectors.efficient import EfficientPersonConfig
from tubelet.people.detectors.residual import SmallPersonConfig, SmallPersonNet
from tubelet.people.detectors.small import (
    PersonNetConfig,
    SmallDetectorConfig,
    SmallPersonDetector,
    header_of,
)
from tubelet.people.named import person_detector

TINY = SmallPersonConfig(stem=8, widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), neck=8)
LITE = EfficientPersonConfig(stem=8, widths=(8,) * 7, depths=(1,) * 7, neck=8)


@pytest.fixture
def net() -> SmallPersonNet:
    torch.manual_seed(0)
    return TINY.build().eval()


def frame(height: int = 60, width: int = 100, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("config", [TINY, LITE])
def test_every_cell_of_three_levels_answers(config: PersonNetConfig) -> None:
    out = config.build().eval()(torch.zeros(2, 3, 64, 96, dtype=torch.uint8))
    cells = 8 * 12 + 4 * 6 + 2 * 3
    assert out.logits.shape == (2, cells)
    assert out.boxes_px.shape == (2, cells, 4)
    assert out.centres_px[0].tolist() == [4, 4]
    assert out.centres_px[-1].tolist() == [80, 48]
    assert (out.boxes_px[..., 2:] > out.boxes_px[..., :2]).all()


def test_the_shipped_shape_fits_the_package() -> None:
    state = EfficientPersonConfig().build().state_dict()
    assert 2 * sum(value.numel() for value in state.values()) < 8_500_000  # bytes in fp16


def test_the_backbone_is_efficientnet_lite0() -> None:
    # Lite0 has 4,652,008 parameters: less the classifier's 1000 × 1281, the head's 1280 × (320 + 2)
    # and, with each norm folded into its convolution, one parameter per channel instead of two.
    backbone = EfficientPersonConfig().build().backbone
    biases = sum(p.numel() for name, p in backbone.named_parameters() if name.endswith("bias"))
    parameters = sum(p.numel() for p in backbone.parameters())
    assert parameters + biases == 4_652_008 - 1000 * 1281 - 1280 * 322


class _Says(SmallPersonNet):
    """A network that finds fixed boxes, in pixels of the padded input."""

    def __init__(self, boxes: list[list[float]], probabilities: list[float]) -> None:
        super().__init__(TINY)
        self.boxes = torch.tensor(boxes)
        self.logits = torch.logit(torch.tensor(probabilities))
        self.seen: torch.Tensor | None = None

    def forward(self, images: torch.Tensor) -> DenseBoxes:
        self.seen = images
        many = len(images)
        return DenseBoxes(
            logits=self.logits.expand(many, -1),
            boxes_px=self.boxes.expand(many, -1, -1),
            centres_px=torch.zeros(len(self.boxes), 2),
        )


def test_boxes_come_back_in_fractions_of_the_source() -> None:
    net = _Says([[32, 16, 64, 48]], [0.9])
    people = SmallPersonDetector(net, config=SmallDetectorConfig(short_side=64))(frame(120, 240))
    assert net.seen is not None
    assert net.seen.shape == (1, 3, 64, 128)
    np.testing.assert_allclose(people.boxes, [[0.25, 0.25, 0.5, 0.75]], atol=1e-6)


def test_padding_is_grey_and_does_not_stretch_the_boxes() -> None:
    net = _Says([[0, 0, 50, 50]], [0.9])
    people = SmallPersonDetector(net, config=SmallDetectorConfig(short_side=50))(frame(50, 50))
    assert net.seen is not None
    assert net.seen.shape == (1, 3, 64, 64)
    assert (net.seen[:, :, 50:] == 114).all()
    np.testing.assert_allclose(people.boxes, [[0, 0, 1, 1]], atol=1e-6)


def test_threshold_duplicates_and_the_most_people() -> None:
    apart = [[0.0, 0, 10, 10], [20.0, 0, 30, 10], [40.0, 0, 50, 10]]
    net = _Says([*apart, [0.0, 0, 10, 11], [0.0, 40, 9, 50]], [0.5, 0.9, 0.7, 0.6, 0.1])
    config = SmallDetectorConfig(short_side=64, threshold=0.3)
    people = SmallPersonDetector(net, config=config)(frame(64, 64))
    np.testing.assert_allclose(people.scores, [0.9, 0.7, 0.6], atol=1e-3)
    config = SmallDetectorConfig(short_side=64, threshold=0.3, max_people=1)
    assert len(SmallPersonDetector(net, config=config)(frame(64, 64))) == 1


def test_a_batch_says_the_same_as_frame_by_frame(net: SmallPersonNet) -> None:
    detector = SmallPersonDetector(net, config=SmallDetectorConfig(short_side=64, threshold=0.0))
    images = [frame(seed=s) for s in range(3)]
    for alone, together in zip(map(detector, images), detector.batch(images), strict=True):
        np.testing.assert_allclose(alone.scores, together.scores, atol=2e-2)
    assert detector.batch([]) == []


def test_save_and_load_keep_the_weights(net: SmallPersonNet, tmp_path: Path) -> None:
    path = tmp_path / "p.safetensors"
    save_checkpoint(path, net.state_dict(), header_of(TINY))
    config = SmallDetectorConfig(short_side=64, threshold=0.0)
    before = SmallPersonDetector(net, config=config)(frame())
    after = SmallPersonDetector.load(path, config=config)(frame())
    np.testing.assert_array_equal(before.boxes, after.boxes)
    named = person_detector(str(path), threshold=0.0)
    assert isinstance(named, SmallPersonDetector)
    assert named.config.threshold == 0.0


def test_a_file_says_which_network_it_holds_and_how_it_reads_a_frame(tmp_path: Path) -> None:
    path, reading = tmp_path / "p.safetensors", SmallDetectorConfig(short_side=64, threshold=0.4)
    save_checkpoint(path, LITE.build().state_dict(), header_of(LITE, reading))
    assert SmallPersonDetector.load(path).config == reading
    assert SmallPersonDetector.load(path, threshold=0.1).threshold == 0.1
    assert person_detector(str(path)).threshold == 0.4


def test_a_file_from_before_there_were_two_networks_still_loads(
    net: SmallPersonNet, tmp_path: Path
) -> None:
    old = header_of(TINY)
    del old["reading"]
    save_checkpoint(tmp_path / "old.safetensors", net.state_dict(), old)
    assert SmallPersonDetector.load(tmp_path / "old.safetensors").config == SmallDetectorConfig(
        short_side=192, long_side=384, threshold=0.3, nms_iou=0.6
    )


def test_a_checkpoint_of_something_else_is_refused(net: SmallPersonNet, tmp_path: Path) -> None:
    other, short = tmp_path / "other.safetensors", tmp_path / "short.safetensors"
    save_checkpoint(other, net.state_dict(), {"model": {}})
    with pytest.raises(CheckpointError, match="not a small person detector"):
        SmallPersonDetector.load(other)
    state = net.state_dict()
    state.pop("heads.0.score.bias")
    save_checkpoint(short, state, header_of(TINY))
    with pytest.raises(CheckpointError, match="do not fit"):
        SmallPersonDetector.load(short)


def test_refusals(net: SmallPersonNet) -> None:
    detector: PersonDetector = SmallPersonDetector(net)
    no_rgb: list[NDArray[Any]] = [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3)),
        np.zeros((0, 4, 3), np.uint8),
    ]
    for wrong in no_rgb:
        with pytest.raises(ShapeError, match="RGB"):
            detector(wrong)
    with pytest.raises(ShapeError, match="size"):
        SmallPersonDetector(net).batch([frame(10), frame(12)])
    with pytest.raises(ConfigError):
        SmallDetectorConfig(threshold=1.5)
    with pytest.raises(ConfigError):
        SmallPersonConfig(neck=0)
    with pytest.raises(InputError, match="person_smal"):
        person_detector("person_smal")
    with pytest.raises(InputError, match="no such"):
        person_detector("absent.safetensors")
