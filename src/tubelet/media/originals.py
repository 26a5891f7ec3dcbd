"""What upstream projects do to a clip at test time, read off their loaders and measured on them
(docs/parity.md): values for `InputSpec.preprocessing`.

The rates belong to the `InputSpec` beside them: PySlowFast and MMAction2 extract AVA's frames
at 30 per second, UMT (on AlphAction's loader) at 25.
"""

from __future__ import annotations

from dataclasses import replace

from tubelet.types import Preprocessing

PYSLOWFAST_AVA = Preprocessing(
    anchor="key",
    kernel="cv2",
    size_rounding="floor",
    box_scale="long_side",
    box_edge="last_pixel",
    min_person_score=0.8,
)
"""PySlowFast's `Ava` data set in its "test" split: the whole picture, 0.8 from `AVA/*.yaml`."""

MMACTION_AVA = Preprocessing(
    anchor="key", shift=1, kernel="cv2", size_rounding="half_up", min_person_score=0.9
)
"""MMAction2's `AVADataset`: its pictures count from 1, which `SampleAVAFrames` adds twice, so that
clips lie one frame late. If no proposal reaches the score, it keeps the best one."""

MMACTION_AVA_KINETICS = replace(MMACTION_AVA, shift=-1)
"""MMAction2's `AVAKineticsDataset` (its VideoMAE detectors too): the same pictures counted from 0,
so that clips lie one frame early."""

MMACTION_CLIPS = Preprocessing(kernel="cv2", size_rounding="half_up", crop_rounding="halves")
"""MMAction2's `SampleFrames`, `Resize` and `CenterCrop` or `ThreeCrop` for Kinetics."""

UMT_AVA = Preprocessing(
    anchor="key",
    shift=3,
    kernel="cv2",
    size_rounding="floor",
    padding="mean",
    box_edge="inclusive",
    min_person_score=0.8,
)
"""UMT's detector at 8 frames, stride 8: the middle 64 of 300 frames begin at 121, not at 118."""

VIDEOMAE_AVA = replace(UMT_AVA, shift=1)
"""VideoMAE-Action-Detection at 16 frames, stride 4, on the same loader: two seconds each way of the
key, of which the middle 64 frames begin at 19, not at 18."""

ACAR_AVA = Preprocessing(anchor="key", size_rounding="floor", min_person_score=0.85)
"""ACAR-Net's pictures are shrunk twice, by FFmpeg to 340 lines and by Pillow to 256, both without
aliasing; here once, by swscale. Where its clips begin stands in annotation files of its own."""

PYTORCHVIDEO_AVA = Preprocessing(
    choice="ends",
    span_s=1.0,
    kernel="torch",
    size_rounding="floor",
    box_scale="long_side",
    box_edge="last_pixel",
    min_person_score=0.75,
)
"""The PyTorchVideo hub's detectors as its tutorial runs them: one second about the key."""

PYSLOWFAST_CLIPS = Preprocessing(
    choice="ends", kernel="torch", size_rounding="floor", crop_rounding="ceil"
)
"""PySlowFast's Kinetics: T frames, first and last included, of the T·τ that lie in T·τ / fps
seconds."""

PYTORCHVIDEO_CLIPS = replace(PYSLOWFAST_CLIPS, crop_rounding="nearest")
"""The PyTorchVideo hub's classifiers as its tutorial runs them."""
