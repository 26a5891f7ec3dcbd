"""What the recipes train and test with is what their papers print: settings that once were not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tubelet.data.sources import JoinedSource, SourceConfig, VideoSource
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.backbones.vivit import ViViTConfig
from tubelet.models.create import variant
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.recipes import experiments, recipe_named
from tubelet.recipes.records import model_name
from tubelet.train.loop.schedules import CosineSchedule
from tubelet.train.recipe import Recipe, Stage


def recipe_of(name: str) -> Recipe:
    found = recipe_named(name)
    assert isinstance(found, Recipe)
    return found


def recipes(begin: str, within: str = "") -> Iterator[Recipe]:
    for name, one in experiments().items():
        if name.startswith(begin) and within in name and isinstance(one, Recipe):
            yield one


def people(source: SourceConfig) -> list[VideoSource]:
    """The sets of labelled people that a source joins."""
    parts = source.parts if isinstance(source, JoinedSource) else (source,)
    return [part for part in parts if isinstance(part, VideoSource)]


AVA = [stage for recipe in recipes("ava2") for stage in recipe.stages if stage.name == "ava"]


def test_ava_is_finetuned_as_kinetics_was_trained_on() -> None:
    """001 §2 on AVA, 004 B.4 after it: "all other hyper-parameters are the same as in the Kinetics
    experiments", so norms take the statistics of 8 clips, and the crop lies anywhere."""
    assert len(AVA) == 25
    for stage in AVA:
        assert stage.norms.mode == "train", stage.model
        assert stage.model is not None
        together = stage.clips_of_a_video(stage.model)
        assert stage.norms.clips == (8 if together == 1 else None)
        assert stage.augment is not None
        assert (stage.augment.crop, stage.augment.crop_at) == (224, "anywhere")
        assert stage.augment.min_visible == 0


def test_cofinetuning_trains_on_the_boxes_that_its_paper_names() -> None:
    """002 A.1: AVA on detected boxes of 0.8 or more, AVA-Kinetics on annotated ones, tested on
    those of 0.2 or more of one detector."""
    seen = set()
    for recipe in [*recipes("finetune"), *recipes("cofinetune")]:
        for stage in recipe.stages:
            for source in (s for part in stage.mixture.parts for s in people(part.data)):
                boxes = source.boxes, source.score_threshold
                joined = "ava_kinetics" in recipe.name
                assert boxes == (("truth", 0.0) if joined else ("matched", 0.8)), recipe.name
                seen.add(joined)
        for source in (s for test in recipe.tests for s in people(test.data)):
            if source.boxes == "truth":
                assert recipe.name.endswith("_on_truth")
            elif "ava_kinetics" in recipe.name:
                assert source.score_threshold == 0.2 and "centernet" in (source.proposals or "")
            else:
                assert source.score_threshold == 0.8 and "boxes" in (source.proposals or "")
    assert seen == {True, False}


def test_every_norm_of_the_winners_backbones_is_frozen() -> None:
    """000 §3.1: "All the batchnorm layers are frozen in training", scale and shift too."""
    stages = [s for r in recipes("relation_") for s in r.stages if s.name != "k700"]
    assert len(stages) > 20 and {s.norms.mode for s in stages} == {"constant"}


def test_csn_is_pretrained_at_a_sixteenth_and_slowfast_at_a_thirty_second() -> None:
    """000 §3.2."""
    strides = {}
    for recipe in recipes("relation_"):
        first = recipe.stages[0]
        if first.name == "k700":
            assert first.model is not None
            backbone = first.model.backbone
            strides[type(backbone)] = backbone.build().outputs[0].space_stride
    assert strides == {CSNConfig: 16, SlowFastConfig: 32}


def test_both_forms_of_the_entrys_res4_are_offered() -> None:
    """001 Table 1 draws 23 blocks with temporal kernels, Table 3 prints the GFLOPs of six."""
    used = recipe_of("ava22_slowfast_r101_nl_8x8").model.backbone
    drawn = recipe_of("ava22_slowfast_r101_101_nl_8x8")
    assert isinstance(used, SlowFastConfig) and used.slow_temporal == used.fast_temporal == 6
    assert isinstance(drawn.model.backbone, SlowFastConfig)
    assert drawn.model.backbone.slow_temporal is None and drawn.published is None


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("k400_r2plus1d_r50_16x2", "r2plus1d_r50_16x2"),
        ("k400_r2plus1d_r50_16x4", "r2plus1d_r50_16x4"),
        ("k400_r2plus1d_r50_16x8", "r2plus1d_r50_16x4 at stride 8"),
        ("k400_slow_r50_8x16", "slow_r50_8x8 at stride 16"),
        ("finetune_b512_k400_to_ava", "vivit_b_16x2"),
    ],
)
def test_models_are_called_by_what_they_sample(name: str, model: str) -> None:
    assert model_name(recipe_of(name).model) == model


def test_a_single_clip_counts_its_loss_once_and_normalises_over_eight() -> None:
    """004 §4.2: "N = 1 corresponds to the conventional clip-level training"."""
    stages: list[Stage] = []
    for name in ("k400_slow_r50_8x8_cm_one_clip", "ava22_slowfast_r50_4x16_cm_n1"):
        stages.append(recipe_of(name).stages[-1])
    for stage in stages:
        assert stage.model is not None
        assert isinstance(stage.model.memory, CollaborativeMemoryConfig)
        assert stage.model.memory.clips == 1
        assert stage.collaborative.video_weight == 0 and stage.norms.clips == 8


def test_what_trains_from_scratch_warms_up_as_its_backbone_did() -> None:
    """004 B.1: 34 of 196 epochs, of R(2+1)D 50 of 250."""
    for model, share in (("slow_r50_8x8", 34 / 196), ("r2plus1d_r50_16x2", 50 / 250)):
        (stage,) = recipe_of(f"k400_{model}_cm_scratch").stages
        assert isinstance(stage.schedule, CosineSchedule)
        assert stage.schedule.warmup == pytest.approx(share)


@pytest.mark.parametrize("side", [224, 352, 416, 512])
def test_vivit_holds_a_position_for_every_token_of_its_own_pictures(side: int) -> None:
    recipe = recipe_of(f"finetune_b{side}_k400_to_ava")
    for stage in recipe.stages:
        assert stage.model is not None and isinstance(stage.model.backbone, ViViTConfig)
        assert stage.model.backbone.positions == (16, side // 16, side // 16)


def test_the_winners_smaller_backbone_is_a_recipe() -> None:
    """000 §3.1 lists SlowFast-101, of which no table has a row."""
    recipe = recipe_of("relation_slowfast101_8x8_t_only")
    assert recipe.published is None
    assert recipe.model.backbone == variant("slowfast_r101_101_8x8").detection
    assert [stage.name for stage in recipe.stages] == ["k700", "first"]
