"""An exported model without tubelet or torch: onnxruntime and numpy.

    tubelet export playground_small --out playground_small.onnx
    python examples/onnx_scores.py playground_small.onnx clip.npy 40,20,90,120 [x1,y1,x2,y2 …]

`clip.npy`: RGB `(T, H, W, 3)` u8, the frames that the file's `input` asks for, resized as it
says; boxes in pixels of that clip. Prints the classes of each box by score.
"""

from __future__ import annotations

import json
import sys

import numpy as np
import onnxruntime

_SHOWN = 5


def main(graph: str, clip: str, *boxes: str) -> None:
    """Score the people under `boxes` in the clip, and print their best classes."""
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    said = session.get_modelmeta().custom_metadata_map
    classes, spec = json.loads(said["classes"]), json.loads(said["input"])
    frames = np.load(clip, allow_pickle=False)
    if frames.ndim != 4 or len(frames) != spec["frames"] or frames.shape[3] != 3:
        sys.exit(f"expected {spec['frames']} frames (T, H, W, 3), got {frames.shape}")
    wanted = {one.name: one.type for one in session.get_inputs()}
    kind = np.float32 if wanted["frames"] == "tensor(float)" else np.uint8
    inputs = {
        "frames": np.ascontiguousarray(frames.transpose(3, 0, 1, 2)[None], kind),
        "boxes": np.array([box.split(",") for box in boxes], np.float32).reshape(-1, 4),
        "clip": np.zeros(len(boxes), np.int64),  # each box is in the first clip of the batch
    }
    if "picture" in wanted:  # of graphs whose clips are padded: where the picture ends
        height, width = frames.shape[1:3]
        inputs["picture"] = np.tile(np.array([width, height], np.float32), (len(boxes), 1))
    scores = session.run(["scores"], {name: inputs[name] for name in wanted})[0]
    for box, row in zip(boxes, scores, strict=True):
        best = np.argsort(-row)[:_SHOWN]
        print(box, *(f"{classes[i]} {row[i]:.4f}" for i in best), sep="\t")


if __name__ == "__main__":
    main(*sys.argv[1:])
