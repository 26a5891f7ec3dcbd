"""Peak memory of `tubelet detect` on a one-minute and a ten-minute film of the same scene.

    python benchmarks/detect_memory.py [--minutes 1 10] [--every 1.0]

Each film is a playground clip shown again and again at 320×240, 25 frames per second; each run is a
process of its own, and its peak is what the operating system counted (`ru_maxrss`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

from tubelet.media.writer import VideoWriter
from tubelet.playground import PlaygroundConfig, make_clip


def write_film(path: Path, minutes: float) -> None:
    """`minutes` of one clip, repeated."""
    config = PlaygroundConfig(height=240, width=320, seconds=10.0)
    frames = make_clip(1, config).frames
    with VideoWriter(path, config.fps, (config.height, config.width)) as writer:
        for index in range(round(minutes * 60 * config.fps)):
            writer.write(frames[index % len(frames)])


def peak_mib(film: Path, out: Path, options: list[str]) -> float:
    """Peak resident memory of one `tubelet detect`, in MiB."""
    program = [sys.executable, "-m", "tubelet", "detect", str(film), "--out", str(out), *options]
    process = subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"detect failed with status {status}: {' '.join(program)}")
    return usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs=2, default=(1.0, 10.0))
    parser.add_argument("--every", default="1.0")
    parser.add_argument("--model", default="jhmdb21_small")
    options = parser.parse_args()
    peaks = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in options.minutes:
            film = Path(folder) / f"{minutes:g}min.mp4"
            write_film(film, minutes)
            extra = ["--every", options.every, "--model", options.model]
            peaks.append(peak_mib(film, Path(folder) / "out", extra))
    ratio = peaks[1] / peaks[0]
    print(
        json.dumps(
            {
                "minutes": list(options.minutes),
                "peak_mib": [round(p, 1) for p in peaks],
                "ratio": round(ratio, 4),
                "machine": platform.processor() or platform.machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
