"""Key tables of files for which there is no reference network: our names, written as the upstream
project writes them, find their way back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tubelet.convert import Facts, Said, convert_state
from tubelet.errors import CheckpointError
from tubelet.models.backbones.base import BackboneConfig
from tubelet.models.backbones.csn import CSNConfig
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.backbones.vit import ViTConfig
from tubelet.models.create import model_config

Replacements = Sequence[tuple[str, str]]
MMACTION: Replacements = (
    (r"backbone\.(slow|fast)_stem\.conv_norm\.", r"backbone.\1_path.conv1."),
    (r"backbone\.stem\.conv_norm\.", "backbone.conv1."),
    (r"backbone\.(slow|fast)_stages\.(\d)\.", r"backbone.\1_path.layer\2+."),
    (r"backbone\.stages\.(\d)\.", r"backbone.layer\1+."),
    (r"backbone\.laterals\.0\.body\.", "backbone.slow_path.conv1_lateral.conv."),
    (r"backbone\.laterals\.(\d)\.body\.", r"backbone.slow_path.layer\1_lateral.conv."),
    (r"\.a\.", ".conv1."),
    (r"\.b\.mix\.", ".conv2.0."),
    (r"\.b\.depthwise\.", ".conv2.1."),
    (r"\.b\.", ".conv2."),
    (r"\.c\.", ".conv3."),
    (r"\.shortcut\.", ".downsample."),
    (r"\.norm\.", ".bn."),
    (r"head\.classifier", "cls_head.fc_cls"),
)
VIDEOMAE: Replacements = (
    (r"backbone\.embed\.", "patch_embed.proj."),
    (r"backbone\.encoder\.blocks\.", "blocks."),
    (r"backbone\.encoder\.norm\.", "fc_norm."),
    (r"\.(qkv|proj|q_bias|v_bias)\b", r".attn.\1"),
    (r"patch_embed\.attn\.proj", "patch_embed.proj"),
    (r"\.(fc[12])\.", r".mlp.\1."),
    (r"\.scale", ".gamma_"),
    (r"head\.classifier", "head"),
)


def written(backbone: BackboneConfig, names: Replacements) -> dict[str, Tensor]:
    """A classifier's tensors under the upstream project's names."""
    with torch.device("meta"):
        state = model_config(backbone=backbone, task="classification", labels=7).build()
        tensors = state.state_dict()
    found = {}
    for name, tensor in tensors.items():
        for pattern, text in names:
            name = re.sub(pattern, text, name)
        name = re.sub(r"layer(\d)\+", lambda m: f"layer{int(m[1]) + 1}", name)
        found[name] = tensor
    return found


CLIP = Facts(exclusive=True, frames=32, stride=2)


@pytest.mark.parametrize(
    "family, backbone, facts, names",
    [
        (
            "MMAction2 ip-CSN",
            CSNConfig(depth=50, preserved=True, detection=False),
            replace(CLIP, mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2)),
            MMACTION,
        ),
        (
            "MMAction2 SlowFast",
            SlowFastConfig(
                depth=101,
                fast_depth=50,
                alpha=8,
                fusion_kernel=5,
                detection=False,
                res5_dilation=1,
                slow_select="stride",
                lateral_norm=False,
            ),
            replace(CLIP, alpha=8, join="fast_slow"),
            MMACTION,
        ),
        (
            "VideoMAE",
            ViTConfig(width=1280, layers=2, heads=16, mlp=5120, detection=False),
            CLIP,
            VIDEOMAE,
        ),
        (
            "UMT",
            ViTConfig(
                tubelet=(1, 16, 16),
                positions=(16, 14, 14),
                learned=True,
                layer_scale=1e-5,
                layers=1,
                detection=False,
            ),
            CLIP,
            (*VIDEOMAE, (r"backbone\.position", "pos_embed")),
        ),
    ],
)
def test_our_names_come_back(
    family: str, backbone: BackboneConfig, facts: Facts, names: Replacements
) -> None:
    state = written(backbone, names)
    assert not [name for name in state if name.startswith("backbone.stages")]
    converted = convert_state(state, said=[Said(source="this test", facts=facts)])
    assert converted.family == family
    assert converted.config.backbone == backbone


def test_a_feature_bank_is_refused_with_the_reason() -> None:
    state = {"roi_head.shared_head.fbo.st_feat_conv.weight": torch.zeros(1)}
    with pytest.raises(CheckpointError, match="features that another network wrote"):
        convert_state(state)
