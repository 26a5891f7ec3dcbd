"""Processor time and peak memory of `ActionDetector.detect`, with people given.

    python benchmarks/detect_cost.py [--model slowfast_r50_8x8] [--seconds 10] [--people 5]

The model has random weights and 80 classes; the film is a playground clip at 340×256, 25 frames
per second, a keyframe a second. Run it from two checkouts, in turn, to compare them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from tubelet.api import ActionDetector
from tubelet.labels import LabelSpace
from tubelet.media.writer import VideoWriter
from tubelet.models.create import create_model
from tubelet.people.given import GivenPeople
from tubelet.playground import PlaygroundConfig, make_clip
from tubelet.types import Key, People


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="slowfast_r50_8x8")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--people", type=int, default=5)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    corner = rng.random((options.people, 2)) * 0.6
    boxes = np.concatenate([corner, corner + 0.3], axis=1)
    torch.manual_seed(0)
    labels = LabelSpace.of([f"action {i}" for i in range(1, 81)])
    detector = ActionDetector(
        create_model(options.model, labels=labels), device="cpu", precision=options.precision
    )
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "film.mp4"
        config = PlaygroundConfig(height=256, width=340, seconds=options.seconds)
        with VideoWriter(film, config.fps, (config.height, config.width)) as writer:
            for frame in make_clip(1, config).frames:
                writer.write(frame)
        keys = [Key(video=film.stem, time_ms=1000 * second) for second in range(options.seconds)]
        people = GivenPeople((key, People.of(boxes)) for key in keys)
        started = time.process_time()
        scores = [found.action_scores for found in detector.detect(film, people=people)]
        spent = time.process_time() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "model": options.model,
                "keyframes": len(scores),
                "processor_s": round(spent, 2),
                "peak_mib": round(peak),
                "sum_of_scores": float(np.sum(scores, dtype=np.float64)),
                "processor": platform.processor(),
                "threads": os.environ.get("OMP_NUM_THREADS"),
                "torch": torch.__version__,
            }
        )
    )


if __name__ == "__main__":
    main()
