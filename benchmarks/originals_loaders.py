"""The originals' loaders without their networks, where the comparison of whole ways does not go.

    python -m benchmarks.originals_loaders --clips ../shared/data/clips --pyslowfast DIR
        --mmaction2 DIR --pytorchvideo DIR --umt DIR

Frames, pixels and boxes of UMT's detector and of three projects' classifiers on Kinetics, beside
ours; then the pictures that AVA's loaders read, decoded by OpenCV and by us. As in
`benchmarks/originals.py`, each DIR is a checkout that this interpreter can import (UMT's is
`single_modality/action_detection`).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.originals import (
    INPUTS,
    Film,
    decoded,
    films_in,
    levels,
    theirs,
    write_picture,
)
from benchmarks.originals_vit import loaded
from torch import Tensor

from tubelet.media import originals
from tubelet.media.frames import FrameFolder
from tubelet.media.sampling import read_window
from tubelet.media.transforms import View, boxes_in_clip, clip_size, look, prepare, whole
from tubelet.media.video import Video
from tubelet.types import Floats, InputSpec

_BASE = InputSpec(fps=30.0, short_side=256)


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a loader gives: `clip (3, T, h, w)` in grey levels, and boxes where it has them."""

    clip: Tensor
    boxes_px: Tensor | None = None


def umt(film: Film, folder: Path) -> Loaded:
    """UMT's AVA data set."""
    span, transform = theirs("data.transforms").build_transforms(is_train=False, sparse=True)
    clip, boxes = loaded(film, folder, span=span, transform=transform)
    return Loaded(clip=levels(clip, UMT), boxes_px=boxes.bbox)


UMT = INPUTS["umt_vit"]
_CROPPED = replace(_BASE, frames=32, stride=2, crop=256)
PYSLOWFAST = replace(_CROPPED, preprocessing=originals.PYSLOWFAST_CLIPS)
PYTORCHVIDEO = replace(_CROPPED, preprocessing=originals.PYTORCHVIDEO_CLIPS)
MMACTION = replace(_CROPPED, fps=None, preprocessing=originals.MMACTION_CLIPS)


def pyslowfast(film: Film, folder: Path) -> Loaded:
    """PySlowFast's Kinetics, from the whole film: clip six of ten, crop three of three."""
    decoder, utils = theirs("slowfast.datasets.decoder"), theirs("slowfast.datasets.utils")
    frames = torch.from_numpy(np.stack(list(decoded(film.path))))
    length = PYSLOWFAST.frames * PYSLOWFAST.stride * film_fps(film) / 30
    start, end, _ = decoder.get_start_end_idx(len(frames), length, 5, 10)
    chosen = decoder.temporal_sampling(frames, start, end, PYSLOWFAST.frames).float()
    clip = utils.spatial_sampling(chosen.permute(3, 0, 1, 2), 2, 256, 256, 256)
    return Loaded(clip=clip)


def pyslowfast_key(film: Film) -> int:
    count = sum(1 for _ in decoded(film.path))
    fps = film_fps(film)
    length = PYSLOWFAST.frames * PYSLOWFAST.stride * fps / 30
    return round(1000 * ((count - length) / 2 + length / 2) / fps)


def pytorchvideo(film: Film, folder: Path) -> Loaded:
    """The hub's tutorial on classification about the film's key."""
    own = theirs("pytorchvideo.transforms.functional")
    video = theirs("pytorchvideo.data.encoded_video").EncodedVideo.from_path(str(film.path))
    half = PYTORCHVIDEO.frames * PYTORCHVIDEO.stride / 30 / 2
    clip = video.get_clip(film.second - half, film.second + half)["video"]
    clip = own.uniform_temporal_subsample(clip, PYTORCHVIDEO.frames)
    clip = own.short_side_scale(clip, PYTORCHVIDEO.short_side)
    return Loaded(
        clip=theirs("torchvision.transforms._transforms_video").CenterCropVideo(256)(clip)
    )


def mmaction(film: Film, folder: Path) -> Loaded:
    """MMAction2's test pipeline of Kinetics at one clip, in the film's middle; its right crop."""
    theirs("mmaction.datasets.transforms")
    theirs("mmengine.registry").init_default_scope("mmaction")
    frames = list(decoded(film.path))
    results: dict[str, Any] = {"total_frames": len(frames), "start_index": 0, "modality": "RGB"}
    compose = theirs("mmengine.dataset").Compose
    choose = {"type": "SampleFrames", "clip_len": 32, "frame_interval": 2, "num_clips": 1}
    results = compose([choose | {"test_mode": True}])(results)
    results["imgs"] = [frames[i] for i in results["frame_inds"]]
    results["img_shape"] = results["original_shape"] = frames[0].shape[:2]
    steps = [{"type": "Resize", "scale": (-1, 256)}, {"type": "ThreeCrop", "crop_size": 256}]
    images = compose(steps)(results)["imgs"]
    right = torch.from_numpy(np.stack(images[32 : 2 * 32])).permute(3, 0, 1, 2)
    return Loaded(clip=right.double())


def mmaction_key(film: Film) -> int:
    """Its first frame is half of what is left beside (T − 1)·τ + 1 frames."""
    count = sum(1 for _ in decoded(film.path))
    first = max(0, count - (31 * 2 + 1)) // 2
    return round(1000 * (first + 32) / film_fps(film))


def film_fps(film: Film) -> float:
    with Video(film.path) as video:
        return video.info.fps


def at_key(film: Film) -> int:
    return film.second * 1000


def ours(film: Film, key_ms: int, spec: InputSpec, view: View) -> Loaded:
    with Video(film.path) as video:
        hw = video.info.hw
    pixels = read_window(film.path, key_ms, spec, clip_size(hw, spec))
    clip, geometry = look(*prepare(pixels, hw, whole(spec)), spec, view)
    boxes: Floats = np.array(film.boxes, np.float32)
    placed = torch.from_numpy(boxes_in_clip(boxes, geometry, spec)[0])
    return Loaded(clip=clip.double(), boxes_px=placed)


Load = Callable[[Film, Path], Loaded]
LOADERS: dict[str, tuple[Load, Callable[[Film], int], InputSpec, View]] = {
    "umt": (umt, at_key, UMT, View()),
    "pyslowfast": (pyslowfast, pyslowfast_key, PYSLOWFAST, View(place=1.0)),
    "pytorchvideo": (pytorchvideo, at_key, PYTORCHVIDEO, View()),
    "mmaction2": (mmaction, mmaction_key, MMACTION, View(place=1.0)),
}


def pictures_apart(film: Film, folder: Path) -> str:
    """A JPEG of each tenth frame at FFmpeg's best quality: OpenCV's decoder and ours."""
    cv2: Any = theirs("cv2")
    folder.mkdir()
    for number, image in enumerate(list(decoded(film.path))[::10], 1):
        write_picture(folder / f"img_{number:05d}.jpg", image)
    largest, total, count = 0.0, 0.0, 0
    for path, frame in zip(
        sorted(folder.iterdir()), FrameFolder(folder, fps=3.0).frames(), strict=True
    ):
        apart = np.abs(cv2.imread(str(path))[:, :, ::-1].astype(float) - frame.image)
        largest, total, count = max(largest, apart.max()), total + apart.mean(), count + 1
    return f"level {largest:.0f}  level_mean {total / count:.2f}  in {count} JPEGs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    for name in LOADERS:
        parser.add_argument(f"--{name}", type=Path)
    options = parser.parse_args()
    roots = {name: getattr(options, name) for name in LOADERS}
    sys.path[:0] = [str(root.resolve()) for root in roots.values() if root]
    for film in films_in(options.clips):
        for name, (load, key_of, spec, view) in LOADERS.items():
            if roots[name] is None:
                continue
            with tempfile.TemporaryDirectory() as folder:
                original = load(film, Path(folder))
            own = ours(film, key_of(film), spec, view)
            text = compared(own, original)
            sys.stdout.write(f"{name:14} {film.path.stem[:26]:26} {text}\n")
        with tempfile.TemporaryDirectory() as folder:
            text = pictures_apart(film, Path(folder) / "jpeg")
        sys.stdout.write(f"{'pictures':14} {film.path.stem[:26]:26} {text}\n")
        sys.stdout.flush()


def compared(own: Loaded, original: Loaded) -> str:
    if own.clip.shape != original.clip.shape:
        return f"ours {tuple(own.clip.shape)}, theirs {tuple(original.clip.shape)}"
    apart = (own.clip - original.clip).abs()
    other = int((apart.mean((0, 2, 3)) > 0.5).sum())
    text = f"level {float(apart.max()):.4f}  level_mean {float(apart.mean()):.5f}"
    text += f"  other frames {other} of {apart.shape[1]}"
    if own.boxes_px is not None and original.boxes_px is not None:
        text += f"  box_px {float((own.boxes_px - original.boxes_px).abs().max()):.4f}"
    return text


if __name__ == "__main__":
    main()
