"""Peak memory of one training step with collaborative memory, against the number of clips.

    python benchmarks/memory_growth.py --out memory_growth.json

Each figure is a process of its own: the growth of its resident memory over what model and clips
need before the step. Slow-50 with the default memory, one video, N clips. The allocator is told to
hand freed tensors back at once: left alone, glibc keeps holes between blocks of changing sizes,
which grow with the number of steps taken and say nothing of what a step needs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path

MODES = ("batch_reduction", "multi_iteration")
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536"}


def measure(mode: str, clips: int, frames: int, size: int) -> dict[str, float | int | str]:
    """One step in this process. Memory in MiB, above the state before the step."""
    import torch

    from tubelet.batch import Batch, Rois
    from tubelet.models import create_model
    from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
    from tubelet.train.learning import multi_clip
    from tubelet.train.learning.batch_loss import loss_of
    from tubelet.train.learning.losses import ActionLoss
    from tubelet.types import InputSpec, Key

    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model(
        "slow_r50_4x16",
        memory=CollaborativeMemoryConfig(clips=clips),
        input=InputSpec(frames=frames, stride=16, short_side=size),
        task="classification",
        labels=400,
    )
    model.train()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    targets = torch.zeros(clips, 400)
    targets[:, 0] = 1
    batch = Batch(
        frames=torch.randint(0, 256, (clips, 3, frames, size, size), dtype=torch.uint8),
        rois=Rois(
            boxes_px=torch.zeros(clips, 4),
            boxes_norm=torch.zeros(clips, 4),
            clip=torch.arange(clips),
        ),
        targets=targets,
        known=torch.ones(clips, 400, dtype=torch.bool),
        group=torch.zeros(clips, dtype=torch.int64),
        dataset=("random",) * clips,
        keys=tuple(Key(video="random", time_ms=i) for i in range(clips)),
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    getattr(multi_clip, mode)(model, batch, loss_of(model, ActionLoss(), batch))
    return {
        "mode": mode,
        "clips": clips,
        "peak_mib": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--clips", type=int, nargs="+", default=[1, 3, 9])
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        mode, clips = given.child
        print(json.dumps(measure(mode, int(clips), given.frames, given.size)))
        return
    rows = []
    for mode in MODES:
        for clips in given.clips:
            command = [sys.executable, __file__, "--frames", str(given.frames),
                       "--size", str(given.size), "--child", mode, str(clips)]  # fmt: skip
            done = subprocess.run(
                command, check=True, capture_output=True, text=True, env=os.environ | ALLOCATOR
            )
            rows.append(json.loads(done.stdout))
            print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    if given.out:
        stamp = {"machine": platform.platform(), "frames": given.frames, "size": given.size}
        given.out.write_text(json.dumps({**stamp, "rows": rows}, indent=1) + "\n")


def table(rows: list[dict[str, float | int | str]]) -> str:
    """Peak MiB of each mode by N, as Markdown."""
    counts = sorted({int(r["clips"]) for r in rows})
    head = "| | " + " | ".join(f"N = {n}" for n in counts) + " |"
    lines = [head, "|---" * (len(counts) + 1) + "|"]
    for mode in MODES:
        found = {r["clips"]: r["peak_mib"] for r in rows if r["mode"] == mode}
        lines.append(f"| {mode} | " + " | ".join(f"{found[n]} MiB" for n in counts) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
