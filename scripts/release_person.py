"""Turn a finished training of `person_small` into the shipped weights.

    python scripts/release_person.py RUN/person_small.safetensors --data ../shared/data

Platt scaling: a slope and an offset are fitted to the scores on the stills held out from training,
so that a score says how often such a detection is right (at IoU 0.5), and are folded into the
last convolution of every head; the threshold moves along. The order of scores, and so AP, stays.
Prints the fit and the share of right detections by score; the model card is written by hand.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from tubelet.checkpoints import read_checkpoint, save_checkpoint
from tubelet.people.bench import IOU
from tubelet.people.detectors.small import (
    WEIGHTS,
    SmallPersonDetector,
    config_from_header,
    header_of,
)
from tubelet.people.measure import match
from tubelet.people.stills import read_stills
from tubelet.people.training.imagenet import PACKAGE
from tubelet.people.training.person_small import is_held_out

LOWEST = 0.02  # of the scores the fit sees
DATA = [
    "3,220 still pictures with person boxes (COCO, Open Images and others)",
    "JHMDB-21 split 1 train, every 40th frame (person boxes)",
    "150 playground frames",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    options = parser.parse_args()
    header, state = read_checkpoint(options.weights)
    scores, hits = on_held_out(options.weights, options.data / "persons")
    slope, offset = fit(scores, hits)
    print(f"logit' = {slope:.4f} · logit + {offset:+.4f}, from {len(hits)} detections")
    for name in [n for n in state if n.endswith("answer.weight")]:
        bias = name.replace("weight", "bias")
        state[name][0] = (state[name][0].float() * slope).half()
        state[bias][0] = (state[bias][0].float() * slope + offset).half()
    for low in np.arange(0, 1, 0.1):
        now = torch.sigmoid(slope * torch.logit(scores) + offset)
        bin_ = (now >= low) & (now < low + 0.1)
        if bin_.any():
            print(f"{low:.1f}–{low + 0.1:.1f}: {int(bin_.sum())}, right {hits[bin_].mean():.2f}")
    model, reading = config_from_header(header, options.weights)
    old = torch.logit(torch.tensor(reading.threshold))
    reading = replace(reading, threshold=round(float(torch.sigmoid(slope * old + offset)), 2))
    print(f"threshold {float(torch.sigmoid(old)):.2f} becomes {reading.threshold}")
    save_checkpoint(
        options.out,
        state,
        {
            **header_of(model, reading),
            "name": "person_small",
            "steps": header["steps"],
            "recipe": "tubelet.people.training.person_small:person_small",
            "start": f"{PACKAGE} (Apache-2.0), ImageNet",
            "calibration": {"slope": slope, "offset": offset, "on": "held-out stills"},
            "data": DATA,
            "licence": "Apache-2.0",
            "date": f"{datetime.now(UTC):%Y-%m-%d}",
        },
    )
    print(f"{options.out}: {options.out.stat().st_size:,} bytes")


def on_held_out(weights: Path, persons: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """Scores, and whether each detection is right, on the stills kept from training."""
    detector = SmallPersonDetector.load(weights, threshold=LOWEST, precision="fp32")
    seen = [
        match(detector(still.image()), still.people, still.ignored, iou=IOU)
        for still in read_stills(persons)
        if is_held_out(still.name)
    ]
    scores = np.concatenate([m.scores for m in seen])
    hits = np.concatenate([m.hits for m in seen])
    return torch.from_numpy(scores).double(), torch.from_numpy(hits).double()


def fit(scores: torch.Tensor, hits: torch.Tensor) -> tuple[float, float]:
    """Slope and offset of the logit that make the hits likeliest."""
    logits = torch.logit(scores)
    line = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([line], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        search.zero_grad()
        value = F.binary_cross_entropy_with_logits(line[0] * logits + line[1], hits)
        value.backward()
        return value

    search.step(loss)
    slope, offset = line.detach().tolist()
    return slope, offset


if __name__ == "__main__":
    main()
