"""Many films: what `--jobs` and `tubelet run` gain, and what they survive.

    python benchmarks/many_films.py jobs [--films 4] [--seconds 60] [--rounds 3]
    python benchmarks/many_films.py kills [--films 200]
    python benchmarks/many_films.py memory [--films 1000]

`jobs` interleaves `tubelet detect --jobs 1`, `--jobs 1` with one thread, and `--jobs 2`, everything
written, and prints wall and processor seconds. `kills`: short films and five of poison (no film,
one cut off, one empty, one missing, one that never ends to be opened); a worker is killed, then the
driver; the bytes are compared with those of an undisturbed run. `memory`: the resident size of
a worker and of the driver over film starts. All print JSON with the load that they met: wall times
of a busy machine say little.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tubelet.media.writer import VideoWriter
from tubelet.parallel.tasks import resident
from tubelet.playground import PlaygroundConfig, make_clip

TUBELET = [sys.executable, "-m", "tubelet"]
SMALL = ["--model", "playground_small", "--people", "person_small", "--device", "cpu"]


def write_films(folder: Path, count: int, seconds: float, hw: tuple[int, int]) -> None:
    """`count` films of one playground clip, repeated."""
    folder.mkdir(parents=True)
    config = PlaygroundConfig(height=hw[0], width=hw[1], seconds=min(seconds, 4.0))
    frames = make_clip(1, config).frames
    first = folder / "film_00000.mp4"
    with VideoWriter(first, config.fps, hw) as writer:
        for index in range(round(seconds * config.fps)):
            writer.write(frames[index % len(frames)])
    for number in range(1, count):
        shutil.copyfile(first, folder / f"film_{number:05d}.mp4")


def timed(arguments: list[str], threads: int | None) -> dict[str, float]:
    """Wall and processor seconds of one command and its children."""
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([*TUBELET, *arguments], check=True, env=environment, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": time.monotonic() - started, "processor_s": spent}


def jobs(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    write_films(folder / "films", options.films, options.seconds, (240, 320))
    ways: dict[str, tuple[str, int | None]] = {
        "one process": ("1", None),
        "one process, one thread": ("1", 1),
        "two processes, one thread each": ("2", 1),
    }
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for turn in range(options.rounds):
        for name, (count, threads) in ways.items():
            out = str(folder / f"out{turn}")
            command = ["detect", str(folder / "films"), "--out", out, "--jobs", count]
            found[name].append(timed(command, threads))
            shutil.rmtree(out)
    middle = {
        name: {key: round(statistics.median(r[key] for r in runs), 2) for key in runs[0]}
        for name, runs in found.items()
    }
    one, alone, two = (middle[name]["wall_s"] for name in ways)
    ratios = {"two / one": round(two / one, 3), "gain at equal threads": round(alone / two, 2)}
    return {**middle, **ratios}


def digest(out: Path) -> str:
    subprocess.run([*TUBELET, "run", "--out", str(out), "--merge"], check=True, capture_output=True)
    return hashlib.sha256((out / "merged.parquet").read_bytes()).hexdigest()


def poison(folder: Path) -> Path:
    """Five films that cannot be used; the list of them and of the good ones."""
    good = (folder / "film_00000.mp4").read_bytes()
    (folder / "poison_text.mp4").write_bytes(b"this is not a film\n" * 99)
    (folder / "poison_cut.mp4").write_bytes(good[: len(good) // 3])
    (folder / "poison_empty.mp4").touch()
    os.mkfifo(folder / "poison_pipe.mp4")  # opening it waits for a writer that never comes
    names = sorted({*(path.name for path in folder.iterdir()), "poison_missing.mp4"})
    listed = folder / "films.csv"
    listed.write_text("\n".join(["path", *names]) + "\n")
    return listed


def children_of(pid: int) -> list[int]:
    """The worker processes of a driver."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    commands = {int(c): Path(f"/proc/{c}/cmdline").read_bytes() for c in listed}
    return [child for child, command in commands.items() if b"spawn_main" in command]


def wait_for(out: Path, count: int, driver: subprocess.Popen[bytes]) -> None:
    while driver.poll() is None and len(list(out.rglob("*.done"))) < count:
        time.sleep(0.05)


def kills(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    films = folder / "films"
    write_films(films, options.films, 2.0, (48, 64))
    listed = poison(films)
    plain, killed = folder / "plain", folder / "killed"
    bounded = ["--tries", "1", "--jobs", "2", "--patience", "60"]
    run = [*TUBELET, "run", str(listed), *SMALL, *bounded]
    subprocess.run([*run, "--out", str(plain)], check=False, capture_output=True)
    driver = subprocess.Popen([*run, "--out", str(killed)], stderr=subprocess.DEVNULL)
    wait_for(killed, options.films // 4, driver)
    os.kill(children_of(driver.pid)[0], signal.SIGKILL)
    wait_for(killed, options.films // 2, driver)
    driver.kill()
    driver.wait()
    done = len(list(killed.rglob("*.done")))
    subprocess.run([*run, "--out", str(killed)], check=False, capture_output=True)
    status = subprocess.run(
        [*TUBELET, "run", "--out", str(killed), "--status", "--json"],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(status.stdout)
    return {
        "films": found["films"],
        "done when the driver was killed": done,
        "done after the rerun": found["done"],
        "failed": {m["film"]: m["reason"] for m in found["failed"]},
        "same bytes": digest(plain) == digest(killed),
    }


def memory(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    write_films(folder / "films", options.films, 0.4, (48, 64))
    out = folder / "out"
    run = [*TUBELET, "run", str(folder / "films"), *SMALL, "--jobs", "1", "--out", str(out)]
    driver = subprocess.Popen(run, stderr=subprocess.DEVNULL)
    series: list[list[float]] = []
    while driver.poll() is None:
        workers = children_of(driver.pid)
        done = len(list(out.rglob("*.done")))
        if workers and done >= len(series) * options.films // 20:
            sizes = (resident(workers[0]) or 0, resident(driver.pid) or 0)
            series.append([done, *(round(size / (1 << 20), 1) for size in sizes)])
        time.sleep(0.2)
    return {"films, MiB of the worker, MiB of the driver": series}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["jobs", "kills", "memory"])
    parser.add_argument("--films", type=int)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    options.films = options.films or {"jobs": 4, "kills": 200, "memory": 1000}[options.what]
    load = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        found = {"jobs": jobs, "kills": kills, "memory": memory}[options.what](
            options, Path(folder)
        )
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    print(json.dumps({**found, **machine, "load": [load[0], os.getloadavg()[0]]}, indent=2))


if __name__ == "__main__":
    main()
