"""torchvision's R3D-18 and MC3-18 beside ours, on networks seeded by name.

    python -m benchmarks.originals_torchvision [--keep tests/golden/torchvision.json.gz]

Needs torchvision in this interpreter; tubelet does not.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import torch
from benchmarks.originals import fill, theirs
from torch import Tensor

from tubelet.convert import Facts, Said, convert_state

NETWORKS = ("r3d_18", "mc3_18")
FACTS = Facts(exclusive=True, frames=16, stride=1, norm_eps=1e-5)


def clip_of() -> Tensor:
    return torch.randn(1, 3, 8, 64, 64, generator=torch.Generator().manual_seed(0))


def ours(state: dict[str, Tensor]) -> Tensor:
    """Logits `(K,)` of the converted checkpoint."""
    found = convert_state(state, said=[Said(source="torchvision's recipe", facts=FACTS)])
    with torch.device("meta"):
        model = found.config.build()
    model.load_state_dict(found.state, assign=True)
    model.eval()
    with torch.inference_mode():
        return model.classify(model.pool(model.backbone(clip_of())))[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    kept: dict[str, Any] = {}
    for name in NETWORKS:
        network = getattr(theirs("torchvision.models.video"), name)().eval()
        shapes = {key: list(t.shape) for key, t in network.state_dict().items()}
        state = {key: fill(key, shape) for key, shape in shapes.items()}
        network.load_state_dict(state)
        with torch.inference_mode():
            truth = network.double()(clip_of().double())[0]
        error = float((ours(state) - truth).norm() / truth.norm())
        sys.stdout.write(f"| {name} | {error:.1e} | |\n")
        kept[name] = {"state_dict": shapes, "logits": truth.tolist()}
    if options.keep:
        options.keep.write_bytes(gzip.compress(json.dumps(kept).encode(), mtime=0))
    return 0


if __name__ == "__main__":
    sys.exit(main())
