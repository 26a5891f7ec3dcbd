"""The plain ViTs' way from a film to scores, the originals beside ours: UMT's detector and
VideoMAE's (VideoMAE-Action-Detection), both on AlphAction's loader.

    python -m benchmarks.originals_vit --clips ../shared/data/clips (--umt DIR | --videomae DIR)
        [--out parity.json] [--keep tests/golden/originals.json]

DIR is a checkout that this interpreter can import (UMT's is `single_modality/action_detection`);
both have modules of the same names, so one at a time. As in `benchmarks/originals.py`, networks are
random but seeded; they are 192 wide and four layers deep.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from benchmarks.originals import (
    INPUTS,
    Film,
    Project,
    Seen,
    compare,
    decoded,
    films_in,
    keep,
    levels,
    stamped,
    theirs,
)
from torch import nn

from tubelet.convert.facts import Facts

RATE = 25
"""AlphAction's script cuts AVA's films into seconds of so many frames."""
PEOPLE = 0.9


def seconds_of(film: Film, folder: Path) -> tuple[int, int]:
    """Cut a film into AlphAction's one-second files, here losslessly; its (height, width)."""
    seconds = folder / film.path.stem
    seconds.mkdir(exist_ok=True)
    images = list(decoded(film.path, RATE))
    height, width = images[0].shape[:2]
    # Clips span up to six seconds each way; before and after the film its ends are repeated.
    padded = [images[0]] * 150 + images + [images[-1]] * 300
    for second in range(-6, film.second + 7):
        part = padded[150 + second * RATE : 150 + (second + 1) * RATE]
        path = seconds / f"{900 + second}.mp4"
        with av.open(str(path), "w", format="matroska") as out:
            stream: Any = out.add_stream("ffv1", rate=RATE)
            (stream.height, stream.width), stream.pix_fmt = (height, width), "bgr0"
            for image in part:
                out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            out.mux(stream.encode())
    return height, width


def loaded(film: Film, folder: Path, *, span: int, transform: Any) -> tuple[Any, Any]:
    """AlphAction's data set at a film's key: its normalised clip `(3, T, h, w)`, filled up to
    multiples of 16, and its boxes. `span`: frames that it reads about the key."""
    height, width = seconds_of(film, folder)
    movie = {"id": 1, "movie": film.path.stem, "timestamp": 900 + film.second}
    (folder / "films.json").write_text(
        json.dumps({"images": [movie | {"width": width, "height": height}]})
    )
    sized = np.array(film.boxes) * np.array([width, height, width, height])
    sized[:, 2:] -= sized[:, :2]
    found = [{"image_id": 1, "bbox": box, "score": PEOPLE} for box in sized.round(2).tolist()]
    (folder / "people.json").write_text(json.dumps(found))
    dataset = theirs("data.ava").AVAVideoDataset(
        video_root=str(folder),
        ann_file=str(folder / "films.json"),
        remove_clips_without_annotations=False,
        frame_span=span,
        box_file=str(folder / "people.json"),
        box_thresh=0.8,
        transforms=transform,
    )
    clip, boxes, _ = dataset[0]
    batch = theirs("alphaction.dataset.collate_batch").batch_different_videos([clip], 16)
    return batch[0], boxes


class PlainViT(Project):
    """`frames` of a tubelet: 1 in UMT, 2 in VideoMAE."""

    facts = Facts()

    def __init__(self, name: str, key: str, tubelet: int, folder: Path) -> None:
        self.name, self.spec, self._folder = name, INPUTS[key], folder
        self.network = theirs("modeling_finetune").VisionTransformer(
            embed_dim=192,
            depth=4,
            num_heads=3,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            all_frames=self.spec.frames,
            tubelet_size=tubelet,
        )
        self.last = self.network.head

    def look(self, film: Film) -> Seen:
        clip, boxes = loaded(film, self._folder, **self.loader())
        with torch.inference_mode():
            scores = self.network(clip[None], [boxes]).sigmoid()
        return Seen(frames=[], clip=levels(clip, self.spec), boxes_px=boxes.bbox, scores=scores)

    def loader(self) -> dict[str, Any]:
        """The project's own test transform, and how many frames its data set reads."""
        build = theirs("data.transforms").build_transforms
        if self.name.startswith("UMT"):
            span, transform = build(is_train=False, sparse=True)
            return {"span": span, "transform": transform}
        return {"span": 64, "transform": build(is_train=False)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    project = parser.add_mutually_exclusive_group(required=True)
    project.add_argument("--umt", type=Path)
    project.add_argument("--videomae", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="tests/golden/originals.json")
    options = parser.parse_args()
    sys.path.insert(0, str((options.umt or options.videomae).resolve()))
    with tempfile.TemporaryDirectory() as folder:
        if options.umt:
            network = PlainViT("UMT AVA, ViT 192 wide", "umt_vit", 1, Path(folder))
        else:
            network = PlainViT("VideoMAE AVA, ViT 192 wide", "videomae_vit", 2, Path(folder))
        report = {network.name: compare(network, films_in(options.clips))}
    if options.keep:
        keep(report, options.keep)
    if options.out:
        options.out.write_text(json.dumps(stamped(report), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
