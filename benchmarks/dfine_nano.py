"""D-FINE nano with random weights, in the files that the hub has: what it costs, not what it finds.

    python benchmarks/dfine_nano.py FOLDER && tubelet people bench --detector hf:FOLDER …

The shape is that of the project's configs/dfine/dfine_hgnetv2_n_coco.yml: HGNetV2-B0, two levels of
128 channels, three layers of the decoder, 300 queries, 640 × 640 pixels.
"""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

import torch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    transformers: Any = importlib.import_module("transformers")
    torch.manual_seed(0)
    backbone = transformers.HGNetV2Config(
        embedding_size=32, stem_channels=[3, 16, 16], hidden_sizes=[64, 256, 512, 1024],
        depths=[3, 4, 6, 3], stage_in_channels=[16, 64, 256, 512],
        stage_mid_channels=[16, 32, 64, 128], stage_out_channels=[64, 256, 512, 1024],
        stage_num_blocks=[1, 1, 2, 1], stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, True, True], stage_kernel_size=[3, 3, 5, 5],
        stage_numb_of_layers=[3, 3, 3, 3], use_learnable_affine_block=True,
        out_features=["stage3", "stage4"],
    )  # fmt: skip
    config = transformers.DFineConfig(
        backbone_config=backbone, encoder_in_channels=[512, 1024], feat_strides=[16, 32],
        encoder_hidden_dim=128, encoder_ffn_dim=512, encode_proj_layers=[1], hidden_expansion=0.34,
        depth_mult=0.5, d_model=128, decoder_in_channels=[128, 128], decoder_ffn_dim=512,
        decoder_layers=3, decoder_n_points=[6, 6], num_feature_levels=2, num_queries=300,
        anchor_image_size=None, id2label={0: "person"}, label2id={"person": 0},
    )  # fmt: skip
    model = transformers.DFineForObjectDetection(config)
    model.save_pretrained(folder)
    transformers.RTDetrImageProcessorPil().save_pretrained(folder)
    print(f"{folder}: {sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters")


if __name__ == "__main__":
    main()
