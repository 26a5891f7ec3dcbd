"""Time of reading and writing 1.6 million rows of AVA CSV, and of the joins on them.

    python benchmarks/readers.py [--rows 1600000] [--repeat 3] [--out readers.json]

Rows are as in AVA's training file: 11-character ids, four-digit seconds, three decimals, an action
and a person. Prints and writes the median of the repetitions with the machine and the commit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.proposals import for_training, quality
from tubelet.data.tables import Annotations, read_ava_csv, write_ava_csv

REQUIRED_S = 2.0


def make(path: Path, rows: int) -> None:
    """A file like AVA's training file: about 1.8 actions per person, 1.6 people per keyframe."""
    rng = np.random.default_rng(0)
    people = rows * 5 // 9 + 1
    corner, size = rng.random((people, 2)) * 0.5, 0.1 + rng.random((people, 2)) * 0.4
    boxes = np.round(np.concatenate([corner, corner + size], 1), 3)
    person = np.sort(np.r_[np.arange(people), rng.integers(0, people, rows)])[:rows]
    keyframe = person * 5 // 8
    actions = rng.integers(1, 81, rows)
    with path.open("w") as file:
        for i, k, a in zip(person.tolist(), keyframe.tolist(), actions.tolist(), strict=True):
            x1, y1, x2, y2 = boxes[i]
            video, second = divmod(k, 897)
            file.write(f"vid{video:08d},{902 + second:04d},{x1:.3f},{y1:.3f},{x2:.3f},{y2:.3f},")
            file.write(f"{a},{i % 40}\n")


def timed(call: Callable[[], Any], repeat: int) -> tuple[dict[str, Any], Any]:
    """Wall and CPU seconds of each call; the CPU's tell what a busy machine hides."""
    wall, cpu, result = [], [], None
    for _ in range(repeat):
        start, used = time.perf_counter(), time.process_time()
        result = call()
        wall.append(round(time.perf_counter() - start, 3))
        cpu.append(round(time.process_time() - used, 3))
    times = {"median_s": statistics.median(wall), "all_s": wall}
    return times | {"cpu_median_s": statistics.median(cpu), "cpu_all_s": cpu}, result


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_600_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "ava.csv"
        make(source, options.rows)
        results: dict[str, Any] = {"bytes": source.stat().st_size}
        results["read"], table = timed(lambda: read_ava_csv(source), options.repeat)
        results["write"], _ = timed(
            lambda: write_ava_csv(Path(folder) / "out.csv", table), options.repeat
        )
        results["keyframes"], frames = timed(lambda: sum(1 for _ in table.keyframes()), 1)
        proposals = Annotations(frame=table.frame.drop("label", "person"))
        results["join_0.9"], _ = timed(lambda: for_training(table, proposals), 1)
        results["quality"], _ = timed(lambda: quality(table, proposals), 1)
    report = {
        "benchmark": "readers",
        "rows": options.rows,
        "keyframes_found": frames,
        "required_read_s": REQUIRED_S,
        "results": results,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "load_at_end": os.getloadavg()[0],
        "python": platform.python_version(),
        "commit": _commit(),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
