"""The hand-made descriptors: what they say of movements and colours that are known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tubelet.errors import ShapeError
from tubelet.models.backbones.descriptors import DescriptorsConfig

EXTENDED = DescriptorsConfig(extended=True, root=True)
# Where each part begins; 8 directions or boundaries each, but for 1 of stillness, 10 of colour.
PLACES = ("gradients", "flow2", "boundaries2", "flow4", "boundaries4", "still")
LATER = {"half": 41, "levels": 49, "boundaries": 57, "colours": 65, "rgb": 75}


def _texture(seed: int = 0) -> Tensor:
    """A smooth random grey picture `(96, 128)`."""
    noise = torch.rand(1, 1, 16, 20, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, (96, 128), mode="bicubic").clamp(0, 1)[0, 0]


def _moving(right: int, frames: int = 3) -> Tensor:
    """A square of texture that moves before another texture, as a clip `(1, 3, T, 96, 128)`."""
    behind, before = _texture(), _texture(1)
    pictures = []
    for frame in range(frames):
        picture, left = behind.clone(), 30 + right * frame
        picture[24:72, left : left + 48] = before[24:72, 30:78]
        pictures.append(picture)
    return torch.stack(pictures).expand(1, 3, -1, -1, -1).contiguous()


def _described(config: DescriptorsConfig, clip: Tensor) -> Tensor:
    """Channels of the cells `(C, h, w)` of the first pair of frames."""
    backbone = config.build().eval()
    backbone.norm = torch.nn.Identity()  # type: ignore[assignment]
    values: Tensor = backbone(clip)[0].values
    return values[0, :, 0]


def test_channels_are_as_declared() -> None:
    for config in (DescriptorsConfig(), EXTENDED, DescriptorsConfig(colour=False, extended=True)):
        assert len(_described(config, _moving(2))) == config.channels


@pytest.mark.parametrize("right", [2, 6])
def test_flow_points_where_things_move(right: int) -> None:
    inside = _described(EXTENDED, _moving(right))[:, 8:16, 11:17].square().mean(dim=(1, 2))
    found = inside[LATER["levels"] : LATER["levels"] + 8]
    assert int(found.argmax()) == 0  # direction 0 is to the right
    # Half-resolution samples; the sum over an opposite pair of directions keeps the sign.
    assert float(found[0] - found[4]) == pytest.approx(right / 2, rel=0.25)


def test_levels_follow_what_one_level_loses() -> None:
    inside = _described(EXTENDED, _moving(8))[:, 8:16, 12:17].square().mean(dim=(1, 2))
    one_level, levels = float(inside[8]), float(inside[LATER["levels"]])
    assert abs(levels - 4) < abs(one_level - 4)


def test_still_cells_are_still() -> None:
    still = 8 * len(PLACES[:-1])
    assert _described(EXTENDED, _moving(0))[still].min() == 1
    assert _described(EXTENDED, _moving(4))[still, 8:16, 11:17].mean() < 0.9


def test_mirrored_clips_have_mirrored_descriptors() -> None:
    clip = _moving(3)
    found, mirrored = (_described(EXTENDED, c) for c in (clip, clip.flip(4)))
    for first in (0, 8, 24, LATER["half"], LATER["levels"]):
        for direction in range(8):
            other = (4 - direction) % 8
            torch.testing.assert_close(
                found[first + direction].flip(1), mirrored[first + other], rtol=1e-3, atol=2e-2
            )


@pytest.mark.parametrize(
    ("colour", "bin_"),
    [((1, 0, 0), 0), ((0, 1, 0), 2), ((0, 0, 1), 4), ((0, 0, 0), 6), ((1, 1, 1), 9)],
)
def test_colours_fall_into_their_bins(colour: tuple[int, int, int], bin_: int) -> None:
    clip = torch.tensor(colour, dtype=torch.float32).view(1, 3, 1, 1, 1).expand(1, 3, 2, 32, 32)
    bins = _described(EXTENDED, clip)[LATER["colours"] : LATER["rgb"], 4, 4]
    assert int(bins.argmax()) == bin_
    assert float(bins[bin_]) == pytest.approx(1, abs=0.05)
    assert float(bins.sum() - bins[bin_]) == pytest.approx(0, abs=0.25)


def test_a_batch_is_its_clips() -> None:
    backbone = EXTENDED.build().eval()
    clips = torch.cat([_moving(2), _moving(5)])
    together = backbone(clips)[0].values
    apart = torch.cat([backbone(clip[None])[0].values for clip in clips])
    torch.testing.assert_close(together, apart)


def test_without_scale_nothing_is_learnt() -> None:
    assert list(DescriptorsConfig(scale=False).build().parameters()) == []


def test_one_frame_has_no_motion() -> None:
    with pytest.raises(ShapeError, match="two frames"):
        DescriptorsConfig().build()(torch.zeros(1, 3, 1, 32, 32))
