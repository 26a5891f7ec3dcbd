"""`tubelet serve` with a real model, from an upload to `tubes.json`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

from tubelet.playground.make import write_dataset
from tubelet.playground.world import PlaygroundConfig

pytest.importorskip("starlette", reason="needs tubelet[serve]")
pytest.importorskip("uvicorn", reason="needs tubelet[serve]")
pytest.importorskip("python_multipart", reason="needs tubelet[serve]")


def _post(address: str, body: bytes) -> tuple[int, bytes]:
    request = urllib.request.Request(address, data=body, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def test_a_film_is_sent_and_its_people_come_back(tmp_path: Path) -> None:
    config = PlaygroundConfig(height=72, width=96, seconds=2.0)
    film = write_dataset(tmp_path / "made", clips=1, config=config).videos[0].read_bytes()
    private = tmp_path / "private"
    private.mkdir()
    server = subprocess.Popen(
        [sys.executable, "-m", "tubelet", "serve", "playground_small", "--port", "0",
         "--people", "person_small", "--every", "1", "--track-rate", "0", "--longest", "20"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(private)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        address = server.stdout.readline().split()[-1]
        status, body = _post(f"{address}detect?name=demo", film)
        assert status == 200, body
        said = json.loads(body)
        schema = files("tubelet").joinpath("schemas/tubes.json").read_text(encoding="utf-8")
        jsonschema.validate(said, json.loads(schema))
        assert said["video"]["name"] == "demo" and said["made_by"]["model"] == "playground_small"
        assert {tube["video"] for tube in said["tubes"]} == {"demo"}
        # The head of a film, and then nothing that FFmpeg can use.
        status, body = _post(f"{address}detect", film[:40] + b"\0" * 4000)
        assert status == 422 and set(json.loads(body)) == {"error"}
        assert str(tmp_path).encode() not in body
        assert [path for path in private.rglob("*") if path.is_file()] == []
    finally:
        server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=60)
    assert "Traceback" not in told
    assert list(private.glob("tubelet-serve-*")) == []
