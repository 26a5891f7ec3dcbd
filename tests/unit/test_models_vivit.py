"""A video transformer that starts from an image model, and position embeddings of other sizes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from tubelet.convert import start_from_image
from tubelet.convert.families.vivit import central_frame
from tubelet.errors import CheckpointError, ShapeError
from tubelet.labels import LabelSpace
from tubelet.models.backbones.vivit import ViViT, ViViTConfig, resize_positions
from tubelet.models.detector import ActionModelConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.layers.transformer import Encoder
from tubelet.train.model.transfer import transfer
from tubelet.types import InputSpec

CONFIG = ViViTConfig(
    width=32, layers=2, heads=2, mlp=64, temporal_layers=1, positions=(4, 4, 4), gelu="none"
)


class ImageModel(nn.Module):
    """A small 2-D vision transformer with timm's names."""

    def __init__(self, side: int = 4) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 16, 16)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 32))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + side * side, 32))
        self.encoder = Encoder(width=32, layers=2, heads=2, mlp=64, gelu="none")

    def tokens(self, image: Tensor) -> Tensor:
        """Class and patch tokens as they enter the first block."""
        patches = self.patch(image).flatten(2).transpose(1, 2)
        cls = self.cls_token.expand(len(image), -1, -1)
        return torch.cat([cls, patches], dim=1) + self.pos_embed

    def timm_state(self) -> dict[str, Tensor]:
        names = {"fc1": "mlp.fc1", "fc2": "mlp.fc2", "qkv": "attn.qkv", "proj": "attn.proj"}
        state = {"cls_token": self.cls_token, "pos_embed": self.pos_embed}
        state |= {f"patch_embed.proj.{k}": v for k, v in self.patch.state_dict().items()}
        for name, value in self.encoder.state_dict().items():
            for ours, theirs in names.items():
                name = name.replace(f".{ours}.", f".{theirs}.")
            state[name] = value
        return {**state, "head.weight": torch.zeros(10, 32), "head.bias": torch.zeros(10)}


def entering(backbone: nn.Module, clip: Tensor) -> Tensor:
    """What the first block of the (spatial) encoder is given."""
    seen: list[Tensor] = []
    first = backbone.get_submodule("encoder.blocks.0")
    first.register_forward_pre_hook(lambda _m, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        backbone(clip)
    return seen[0]


def test_a_static_clip_gives_the_image_models_tokens() -> None:
    torch.manual_seed(0)
    image_model, backbone = ImageModel(), CONFIG.build().eval()
    report = start_from_image(backbone, image_model.timm_state())
    image = torch.randn(1, 3, 64, 64)
    tokens = entering(backbone, image[:, :, None].expand(-1, -1, 8, -1, -1))
    expected = image_model.tokens(image).expand(4, -1, -1)  # one row for each of the 4 time steps
    torch.testing.assert_close(tokens, expected)
    assert all(name.startswith("time_") for name in report.left)
    assert set(report.dropped) == {"head.weight", "head.bias"}
    assert len(report.filled) + len(report.left) == len(backbone.state_dict())


def test_each_frame_is_encoded_as_its_image() -> None:
    torch.manual_seed(0)
    image_model, backbone = ImageModel(), CONFIG.build().eval()
    start_from_image(backbone, image_model.timm_state())
    image = torch.randn(1, 3, 64, 64)
    seen: list[Tensor] = []
    backbone.encoder.register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.no_grad():
        backbone(image[:, :, None].expand(-1, -1, 8, -1, -1))
        expected = image_model.encoder(image_model.tokens(image))
    torch.testing.assert_close(seen[0], expected.expand(4, -1, -1), rtol=1e-4, atol=1e-5)


def test_the_joint_form_starts_from_an_image_too() -> None:
    torch.manual_seed(0)
    image_model = ImageModel()
    backbone = replace(CONFIG, temporal_layers=0).build().eval()
    report = start_from_image(backbone, image_model.timm_state())
    assert report.left == ()
    image = torch.randn(1, 3, 64, 64)
    tokens = entering(backbone, image[:, :, None].expand(-1, -1, 8, -1, -1))
    patches = image_model.tokens(image)[:, 1:]
    torch.testing.assert_close(tokens[:, 1:], patches.repeat(1, 4, 1))


def test_filters_stand_in_the_central_frame() -> None:
    filters = torch.randn(8, 3, 16, 16)
    tubelets = central_frame(filters, 4)
    assert torch.equal(tubelets[:, :, 2], filters)
    assert tubelets[:, :, [0, 1, 3]].abs().sum() == 0


def test_positions_of_the_own_grid_are_untouched() -> None:
    table = torch.randn(1, 1 + 16, 8)
    assert resize_positions(table, (4, 4), (4, 4)) is table


def test_positions_keep_their_directions() -> None:
    """A table that rises along x alone still does so on a finer grid, between the same ends."""
    across = torch.arange(4.0).repeat(4)[None, :, None]
    table = torch.cat([torch.full((1, 1, 1), 7.0), across], dim=1)
    resized = resize_positions(table, (4, 4), (8, 8))
    assert resized[0, 0, 0] == 7
    rows = resized[0, 1:, 0].view(8, 8)
    torch.testing.assert_close(rows, rows[:1].expand(8, -1))
    assert (rows[0].diff() > 0).all()
    torch.testing.assert_close(rows[0], 3 - rows[0].flip(0))
    assert abs(rows[0, 3] - 1.25) < 0.1


@pytest.mark.parametrize("temporal_layers", [0, 1])
def test_positions_are_resized_when_a_model_for_larger_pictures_starts(
    temporal_layers: int,
) -> None:
    """From then on they are the larger model's own: 002 at 512 pixels has 32 × 32."""
    small = replace(CONFIG, temporal_layers=temporal_layers)
    config = ActionModelConfig(
        backbone=small,
        head=LinearHeadConfig(),
        input=InputSpec(frames=8),
        labels=LabelSpace.of(("run", "jump")),
    )
    source = config.build()
    model = replace(config, backbone=replace(small, positions=(4, 8, 8))).build()
    done = transfer(source.state_dict(), model, parts=("backbone.*",))
    assert done.resized == ("backbone.position",) and not done.dropped
    assert "1 resized (backbone.position)" in str(done)
    grids = ((4, 4, 4), (4, 8, 8)) if not temporal_layers else ((4, 4), (8, 8))
    assert isinstance(source.backbone, ViViT) and isinstance(model.backbone, ViViT)
    wanted = resize_positions(source.backbone.position, *grids)
    assert torch.equal(model.backbone.position, wanted)


def test_positions_of_a_grid_that_cannot_be_told_begin_anew() -> None:
    backbone = CONFIG.build()
    assert backbone.refit("position", torch.zeros(1, 1 + 6, 32)) is None
    assert backbone.refit("cls", torch.zeros(1, 1, 32)) is None


@pytest.mark.parametrize("size", [(96, 160), (160, 96), (50, 70)])
def test_padded_inputs_of_any_size(size: tuple[int, int]) -> None:
    backbone = CONFIG.build().eval()
    with torch.inference_mode():
        found = backbone(torch.randn(1, 3, 12, *size))[0].values
    assert tuple(found.shape) == (1, 32, 6, -(-size[0] // 16), -(-size[1] // 16))


def test_an_image_model_that_does_not_fit_is_refused() -> None:
    state = ImageModel().timm_state()
    with pytest.raises(CheckpointError, match="encoder.blocks.0.fc1.weight"):
        start_from_image(replace(CONFIG, mlp=128).build(), state)
    with pytest.raises(CheckpointError, match="timm"):
        start_from_image(CONFIG.build(), {"weight": torch.zeros(1)})


def test_frames_must_fill_tubelets() -> None:
    with pytest.raises(ShapeError, match="multiple of 2"):
        CONFIG.build()(torch.zeros(1, 3, 7, 64, 64))
