"""`tubelet run --executor ray` on a Ray of this machine, an actor killed in its middle."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tubelet.cli import main
from tubelet.media.writer import VideoWriter
from tubelet.playground import PlaygroundConfig, make_clip


def _actors() -> list[int]:
    """The Ray actors of this user that run our groups."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            command = (process / "cmdline").read_bytes() if process.name.isdigit() else b""
        except OSError:
            continue
        if command.startswith(b"ray::") and b"RayGroups" in command:
            found.append(int(process.name))
    return found


@pytest.mark.slow
def test_a_killed_actor_costs_nothing(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="needs the extra tubelet[ray]")
    config = PlaygroundConfig(height=48, width=64, seconds=1.0)
    frames = make_clip(1, config).frames
    (tmp_path / "films").mkdir()
    for name in "abcdef":
        with VideoWriter(tmp_path / "films" / f"{name}.mp4", config.fps, (48, 64)) as writer:
            for frame in frames:
                writer.write(frame)
    given = "--model", "playground_small", "--people", "person_small", "--device", "cpu"
    command = ["run", str(tmp_path / "films"), *given, "--jobs", "1"]
    killed: list[int] = []

    def kill() -> None:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and not killed:
            if len(list((tmp_path / "ray").rglob("*.done"))) >= 2 and (found := _actors()):
                os.kill(found[0], signal.SIGKILL)
                killed.append(found[0])
            time.sleep(0.05)

    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        out = str(tmp_path / "ray")
        assert main([*command, "--out", out, "--executor", "ray", "--cpus", "0.5"]) == 0
    finally:
        ray.shutdown()
    assert main([*command, "--out", str(tmp_path / "local")]) == 0
    for name in ("ray", "local"):
        assert main(["run", "--out", str(tmp_path / name), "--merge"]) == 0
    one, two = ((tmp_path / name / "merged.parquet").read_bytes() for name in ("ray", "local"))
    assert one == two and killed
