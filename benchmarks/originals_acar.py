"""ACAR-Net's networks beside ours: SlowFast R50 with two high-order operators, R101 with one.

    python -m benchmarks.originals_acar --acar DIR [--keep tests/golden/acar.json.gz]

DIR is a checkout that this interpreter can import. Networks are seeded by name
(`benchmarks/originals.py`); the clip is small, and its sides are no multiples of 16, so that boxes
by share and by pixels per cell differ. `--keep` writes the original's logits for the tests.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.originals import fill, theirs
from torch import Tensor, nn

from tubelet.batch import Rois
from tubelet.convert import convert_state
from tubelet.convert.facts import Facts, Said
from tubelet.models.detector import ActionModel

NETWORKS: dict[str, dict[str, Any]] = {
    "acar_slowfast_r50": {
        "backbone": "slowfast50",
        "fuse": {"fuse_only_conv": False, "fuse_kernel_size": 7, "slow_full_span": True},
        "head": {"depth": 2},
        "slow_select": "linspace",
    },
    "acar_slowfast_r101": {
        "backbone": "slowfast101",
        "fuse": {},
        "head": {"depth": 1, "mlp_1x1": True},
        "slow_select": "stride",
    },
}
SIZE = (84, 125)
BOXES = ((0.1, 0.05, 0.45, 0.9), (0.5, 0.2, 1.0, 0.95), (0.3, 0.0, 0.7, 0.6))
"""Of one clip, in shares of it."""


class Original(nn.Module):
    """The backbone and the head, nested as in the original's checkpoints."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        build = getattr(theirs("models.backbones.slowfast"), settings["backbone"])
        network = build(alpha=4, beta=0.125, **settings["fuse"])
        head = theirs("models.heads.acar").acar(width=2304, num_classes=60, **settings["head"])
        self.backbone = nn.ModuleDict({"module": network})
        self.head = nn.ModuleDict({"module": head})

    def forward(self, clip: Tensor, boxes: Tensor) -> Tensor:
        features = self.backbone["module"](clip)
        rois = torch.cat([torch.zeros(len(boxes), 1), boxes], 1)
        given = {"features": features, "rois": rois, "num_rois": len(boxes)}
        given |= {"roi_ids": [0, len(boxes)], "sizes_before_padding": [[1.0, 1.0]]}
        logits: Tensor = self.head["module"](given)["outputs"]
        return logits


def facts_of(slow_select: Any) -> Facts:
    """What the tensors do not say."""
    return Facts(
        exclusive=False, pose_softmax=True, slow_select=slow_select, alpha=4, frames=32, stride=2,
        mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225),
    )  # fmt: skip


def clip_of() -> Tensor:
    return torch.randn(1, 3, 32, *SIZE, generator=torch.Generator().manual_seed(0))


def ours(state: dict[str, Tensor], slow_select: Any) -> tuple[Tensor, Tensor]:
    """Logits before the poses exclude one another, and scores, of the converted checkpoint."""
    found = convert_state(state, said=[Said(source="config", facts=facts_of(slow_select))])
    with torch.device("meta"):
        model: ActionModel = found.config.build()
    model.load_state_dict(found.state, assign=True)
    model.eval()
    height, width = SIZE
    boxes = torch.tensor(BOXES)
    rois = Rois(
        boxes_px=boxes * torch.tensor([width, height] * 2),
        boxes_norm=boxes,
        clip=torch.zeros(len(boxes), dtype=torch.int64),
        picture_px=torch.tensor([[width, height]] * len(boxes), dtype=torch.float32),
    )
    with torch.inference_mode():
        people = model.pool(model.backbone(clip_of()), rois)
        scores = model.classify(people, rois).float().sigmoid()
        return model.head(people), scores


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--acar", type=Path, required=True)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    sys.path.insert(0, str(options.acar.resolve()))
    # Its Slow pathway moves its indices to a GPU.
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    kept: dict[str, Any] = {}
    for name, settings in NETWORKS.items():
        network = Original(settings)
        shapes = {key: list(t.shape) for key, t in network.state_dict().items()}
        network.load_state_dict({key: fill(key, shape) for key, shape in shapes.items()})
        with torch.inference_mode():
            logits = network.eval()(clip_of(), torch.tensor(BOXES))
            scores = theirs("losses").ava_pose_softmax_func(logits)
        own_logits, own_scores = ours(network.state_dict(), settings["slow_select"])
        relative = [
            float((a - b).norm() / b.norm())
            for a, b in ((own_logits, logits), (own_scores, scores))
        ]
        sys.stdout.write(f"| {name} | {relative[0]:.1e} | {relative[1]:.1e} |\n")
        kept[name] = {"logits": logits.tolist(), "scores": scores.tolist(), "state_dict": shapes}
    if options.keep:
        rounded = json.loads(json.dumps(kept), parse_float=lambda text: float(np.float32(text)))
        options.keep.write_bytes(gzip.compress(json.dumps(rounded).encode(), mtime=0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
