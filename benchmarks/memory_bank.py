"""A memory bank of films: built, killed half-way, resumed, and read.

    python benchmarks/memory_bank.py --folder /tmp/bank [--videos 60 --keyframes 900]

The tokens are random: what is measured is the store, not a model.
"""

from __future__ import annotations

import argparse
import json
import resource
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from tubelet.models.memory.bank import BankStamp, BankWriter, MemoryBank
from tubelet.types import Key


def build(folder: Path, videos: int, keyframes: int, people: int, stamp: BankStamp) -> int:
    """Write the videos that are missing; returns how many those were."""
    writer, count = BankWriter(folder, stamp), 0
    for number in range(videos):
        if writer.done(f"film {number}"):
            continue
        rng = torch.Generator().manual_seed(number)
        total = keyframes * people
        shape = (total, stamp.positions, stamp.width)
        writer.write(
            f"film {number}",
            times_ms=1000 * np.arange(902, 902 + keyframes),
            counts=[people] * keyframes,
            tokens=torch.rand(shape, generator=rng, dtype=torch.float32),
            boxes=torch.rand(total, 4, generator=rng),
            scores=torch.rand(total, generator=rng),
        )
        count += 1
        print(number, flush=True)
    return count


def read(folder: Path, videos: int, keyframes: int, reads: int) -> dict[str, float]:
    """Milliseconds of ±10 s windows at random moments of random films: by the clock, and of the
    processor, which other work on the machine does not lengthen."""
    bank, rng = MemoryBank(folder), np.random.default_rng(0)
    spent, used, sizes = [], [], []
    for _ in range(reads):
        film, moment = int(rng.integers(videos)), int(rng.integers(keyframes))
        key = Key(video=f"film {film}", time_ms=1000 * (902 + moment))
        began, busy = time.perf_counter(), time.thread_time()
        found = bank.window(key, before_ms=10_000, after_ms=10_000, people=5)
        used.append(1000 * (time.thread_time() - busy))
        spent.append(1000 * (time.perf_counter() - began))
        sizes.append(found.tokens.numel() * 2 / 2**20)
    return {
        "median_ms": round(statistics.median(spent), 3),
        "p95_ms": round(float(np.percentile(spent, 95)), 3),
        "median_cpu_ms": round(statistics.median(used), 3),
        "p95_cpu_ms": round(float(np.percentile(used, 95)), 3),
        "window_mib": round(statistics.fmean(sizes), 2),
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--videos", type=int, default=60)
    parser.add_argument("--keyframes", type=int, default=900)
    parser.add_argument("--people", type=int, default=2)
    parser.add_argument("--positions", type=int, default=8)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--reads", type=int, default=500)
    parser.add_argument("--only-build", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    stamp = BankStamp(weights="-", recipe="-", positions=given.positions, width=given.width)
    if given.only_build:
        build(given.folder, given.videos, given.keyframes, given.people, stamp)
        return
    child = subprocess.Popen(
        [sys.executable, __file__, *sys.argv[1:], "--only-build"], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(given.videos // 3):
        child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.wait()
    kept = len(list(given.folder.glob("*.bank")))
    began = time.perf_counter()
    resumed = build(given.folder, given.videos, given.keyframes, given.people, stamp)
    size = sum(p.stat().st_size for p in given.folder.glob("*.bank")) / 2**20
    print(json.dumps({
        "videos": given.videos, "keyframes": given.keyframes, "people": given.people,
        "kept_after_kill": kept, "built_after_resume": resumed, "size_mib": round(size),
        "seconds_of_resume": round(time.perf_counter() - began, 1),
        **read(given.folder, given.videos, given.keyframes, given.reads),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
