"""Detectors of `transformers` with random weights, in the files that the hub would give."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

SIZES: dict[str, Any] = {
    **dict.fromkeys(("d_model", "encoder_hidden_dim", "encoder_ffn_dim", "decoder_ffn_dim"), 32),
    "decoder_in_channels": [32, 32, 32],
    "encoder_in_channels": [16, 16, 16],
    "feat_strides": [8, 16, 32],
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "num_queries": 20,
    "num_denoising": 0,
    "anchor_image_size": None,
}
STAGES = {"hidden_sizes": [8, 16, 16, 16], "out_features": ["stage2", "stage3", "stage4"]}


NAMES = {0: "dog", 1: "Person", 2: "kite"}
IDS: dict[str, Any] = {"id2label": NAMES, "label2id": {v: k for k, v in NAMES.items()}}
QUERIES = {"rt_detr_v2": 20, "d_fine": 20, "lw_detr": 12, "rf_detr": 12}


def tiny(family: str) -> Any:
    """A detector of the family with random weights, and its processor's settings saved by name."""
    transformers: Any = importlib.import_module("transformers")

    if family == "rt_detr_v2":
        backbone = transformers.RTDetrResNetConfig(
            embedding_size=8, depths=[1, 1, 1, 1], layer_type="basic", **STAGES
        )
        config = transformers.RTDetrV2Config(backbone_config=backbone, **SIZES, **IDS)
        return transformers.RTDetrV2ForObjectDetection(config)
    if family == "d_fine":
        backbone = transformers.HGNetV2Config(
            embedding_size=8, depths=[1, 1, 1, 1], stem_channels=[3, 8, 8],
            stage_in_channels=[8, 8, 16, 16], stage_mid_channels=[8, 8, 8, 8],
            stage_out_channels=[8, 16, 16, 16], stage_num_blocks=[1, 1, 1, 1],
            stage_downsample=[False, True, True, True], stage_kernel_size=[3, 3, 3, 3],
            stage_light_block=[False, False, True, True], stage_numb_of_layers=[2, 2, 2, 2],
            **STAGES,
        )  # fmt: skip
        config = transformers.DFineConfig(backbone_config=backbone, **SIZES, **IDS)
        return transformers.DFineForObjectDetection(config)
    vit: dict[str, Any] = {
        "image_size": 64, "patch_size": 16, "hidden_size": 16, "num_hidden_layers": 2,
        "num_attention_heads": 2, "out_indices": [1, 2], "num_windows": 2,
    }  # fmt: skip
    sizes: dict[str, Any] = {
        "d_model": 16, "decoder_ffn_dim": 16, "decoder_layers": 1, "num_queries": 12,
        "decoder_self_attention_heads": 2, "decoder_cross_attention_heads": 2, "group_detr": 1,
        "c2f_num_blocks": 1,
    }  # fmt: skip
    if family == "lw_detr":
        vit |= {"pretrain_image_size": 64, "window_block_indices": [0], "num_windows": 4}
        backbone = transformers.LwDetrViTConfig(**vit)
        config = transformers.LwDetrConfig(
            backbone_config=backbone, projector_scale_factors=[1.0], **sizes, **IDS
        )
        return transformers.LwDetrForObjectDetection(config)
    backbone = transformers.RfDetrDinov2Config(**vit)
    return transformers.RfDetrForObjectDetection(
        transformers.RfDetrConfig(backbone_config=backbone, **sizes, **IDS)
    )


PROCESSOR = {
    "image_processor_type": "RfDetrImageProcessor",
    "size": {"height": 64, "width": 64},
    "image_mean": [0.485, 0.456, 0.406],
    "image_std": [0.229, 0.224, 0.225],
    "resample": 2,
}


def save_tiny(family: str, path: Path) -> Path:
    """Write the family's tiny detector and its processor's settings to a folder."""
    import torch

    transformers: Any = importlib.import_module("transformers")

    torch.manual_seed(0)
    tiny(family).save_pretrained(path)
    size = {"height": 64, "width": 64}
    if family == "rf_detr":
        (path / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
    elif family == "lw_detr":
        transformers.DeformableDetrImageProcessorPil(size=size).save_pretrained(path)
    else:
        transformers.RTDetrImageProcessorPil(size=size).save_pretrained(path)
    return path
