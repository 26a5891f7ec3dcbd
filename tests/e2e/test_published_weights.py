"""Published files in their real layout, served on loopback, converted and used by name.

`make releases` (TUBELET_RELEASES=all) takes every offered row; otherwise a sample of each kind.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import numpy.typing as npt
import pytest
from tests.loopback import Server, serving
from tests.published_files import classes, published_bytes

import tubelet
from tubelet.checkpoints import read_header
from tubelet.config import decode
from tubelet.convert import Facts
from tubelet.errors import CheckpointError, InputError
from tubelet.labelsets import label_set
from tubelet.media.writer import VideoWriter
from tubelet.releases import download as downloading
from tubelet.releases import foreign, table
from tubelet.releases.download import Patience
from tubelet.releases.foreign import converted_path, original_path, published_weights
from tubelet.releases.published import PublishedWeights, published
from tubelet.types import People

SAMPLE = (
    "pysf-slow-r50-4x16-k400",  # Caffe2
    "pysf-slow-r50-4x16-ava22",
    "pysf-c2d-nopool-r50-8x8-k400",  # a gzip tar that is called .pkl
    "pysf-slowfast-r50-16x8-charades",  # a torch file that is called .pkl; BGR; sigmoid
    "ptv-slow-4x16-r50-ava22",
    "mm-slowonly-k400-r50-8xb16-4x16x1-8e-multisports",
    "mm-slowonly-k700-pre-r50-context-temporal-max-8xb8-8x8x1-10e-ava-k",
    "mm-ircsn-ig65m-pretrained-r50-bnfrozen-8xb12-32x2x1-58e-k400",
    "tv-r2plus1d-18-k400",
    "tv-mc3-18-k400",
    "umt-b16-ava22",
    "videomae-ad-vit-s-ft-ava22",  # by hand, from Google Drive
    "acar-slowfast-r50-ava22",
)
ROWS = list(published()) if os.environ.get("TUBELET_RELEASES") == "all" else list(SAMPLE)
SMALL = "mm-ircsn-ig65m-pretrained-r50-bnfrozen-8xb12-32x2x1-58e-k400"
PLAIN = "ptv-slow-4x16-r50-ava22"  # no hash in its name


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One second of something that moves, 96 × 64."""
    path = tmp_path_factory.mktemp("film") / "walk.mp4"
    y, x = np.mgrid[:64, :96]
    with VideoWriter(path, fps=25, hw=(64, 96)) as writer:
        for t in range(25):
            image = np.stack([x * 2, y * 3, (x + 4 * t) % 256], -1)
            writer.write(image.astype(np.uint8))
    return path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    """An empty mirror, an empty cache, and little patience."""
    for name in ("TUBELET_OFFLINE", "HF_HUB_OFFLINE", "TUBELET_RELEASES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TUBELET_CACHE", str(tmp_path / "cache"))
    quick = Patience(silence_s=20, tries=2, pause_s=0.01)
    monkeypatch.setattr(downloading, "Patience", lambda: quick)
    with serving() as running:
        monkeypatch.setenv("TUBELET_MIRROR", running.url)
        yield running
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)  # gigabytes, where every row is tested


Serve = Callable[[str], PublishedWeights]


@lru_cache(maxsize=2)
def made(name: str, shared: Path) -> bytes:
    return published_bytes(published()[name], shared)


@pytest.fixture
def serve(server: Server, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Put a row's file on the mirror; its row then carries the prefix of that very file's hash."""

    def put(name: str) -> PublishedWeights:
        row = published()[name]
        body = made(name, shared)
        server.files[path_on(row)] = body
        if row.by_hand:
            original_path(row).parent.mkdir(parents=True)
            original_path(row).write_bytes(body)
        if row.prefix is not None:
            row = replace(row, prefix=hashlib.sha256(body).hexdigest()[:8])
        monkeypatch.setattr(table, "listed", lambda: {name: row})
        return row

    return put


def path_on(row: PublishedWeights) -> str:
    parts = urlsplit(row.url)
    return f"/{parts.netloc}{parts.path}"


def somebody(image: npt.NDArray[np.uint8]) -> People:
    return People.of([[0.2, 0.1, 0.8, 0.9], [0.5, 0.0, 1.0, 0.7]])


@pytest.mark.parametrize("name", ROWS)
def test_detect_by_name(name: str, serve: Serve, server: Server, film: Path) -> None:
    row = serve(name)
    body = server.files[path_on(row)]
    detector = tubelet.load(name, device="cpu")
    config, facts = detector.model.config, decode(Facts, row.facts)
    assert (config.input.frames, config.input.stride) == (facts.frames, facts.stride)
    assert (config.input.fps, config.input.crop) == (facts.fps, facts.crop)
    assert config.labels.exclusive == facts.exclusive and len(detector.labels) == classes(row)
    assert row.labels is None or detector.labels == label_set(row.labels).names
    header = read_header(converted_path(row))
    told = header["release"]
    assert (told["name"], told["url"], told["licence"]) == (name, row.url, row.licence)
    assert told["sha256"] == hashlib.sha256(body).hexdigest() and told["bytes"] == len(body)
    requests = [] if row.by_hand else [None]
    assert server.ranges == requests and original_path(row).exists() == row.by_hand
    # A film at 64 pixels: the row's own size costs minutes of a processor and shows no more.
    side = 64 if config.input.crop is None else min(64, config.input.crop)
    crop = None if config.input.crop is None else side
    small = replace(config.input, short_side=side, long_side=None, crop=crop)
    detector.model.config = replace(config, input=small)
    moments = list(detector.detect(film, people=somebody, every=2.0))
    people = 1 if detector.model.task == "classification" else 2
    scores = np.concatenate([moment.action_scores for moment in moments])
    assert scores.shape == (people, classes(row)) and moments[0].labels == config.labels
    assert np.isfinite(scores).all() and scores.std() > 0
    if facts.exclusive:
        assert np.allclose(scores.sum(1), 1, atol=1e-4)
    assert tubelet.load(name, device="cpu").labels == detector.labels
    assert server.ranges == requests


def tubelet_program(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "tubelet", *map(str, arguments)]
    return subprocess.Popen(
        program,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


def test_the_command_line_from_nothing_to_actions(
    serve: Serve, server: Server, film: Path, tmp_path: Path
) -> None:
    row = serve(PLAIN)
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("walk,0.5,0.2,0.1,0.8,0.9,,0.95\n")
    code, said = finished(
        tubelet_program(
            "detect", film, "--model", PLAIN, "--people", boxes, "--out", tmp_path / "out",
            "--no-overlay", "--no-page", "--classes", "walk", "--classes", "sit*",
        )
    )  # fmt: skip
    assert code == 0, said
    rows = (tmp_path / "out" / "walk" / "detections.csv").read_text().splitlines()
    assert {line.split(",")[6] for line in rows} == {"11", "14"}
    code, said = finished(tubelet_program("models", "show", PLAIN))
    assert code == 0 and "cached" in said and "Apache-2.0" in said and "watch (a person)" in said
    code, said = finished(tubelet_program("models", "--released", PLAIN))
    assert code == 0 and "cached" in said and max(map(len, said.splitlines())) <= 80
    assert server.ranges == [None] and not original_path(row).exists()


def test_pull_keeps_the_original_when_asked(serve: Serve, server: Server) -> None:
    row = serve(PLAIN)
    code, said = finished(tubelet_program("pull", PLAIN, "--keep"))
    assert code == 0, said
    assert original_path(row).read_bytes() == server.files[path_on(row)]
    converted_path(row).unlink()
    code, said = finished(tubelet_program("pull", PLAIN))
    assert code == 0 and server.ranges == [None] and original_path(row).is_file()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 120
    while not condition() and process.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_while_downloading_it_goes_on_there(serve: Serve, server: Server) -> None:
    row = serve(PLAIN)
    server.tags, server.slow = True, 1.0
    part = original_path(row).with_name(f"{row.file}.part")
    process = tubelet_program("pull", PLAIN)
    wait_for(lambda: part.exists() and part.stat().st_size > 0, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not converted_path(row).exists()
    server.slow = 0.0
    path = published_weights(row)
    assert read_header(path)["release"]["bytes"] == len(server.files[path_on(row)])
    assert server.ranges[0] is None and server.ranges[1] not in (None, "bytes=0-")
    assert not original_path(row).exists()


def test_killed_while_converting_it_converts_anew(serve: Serve, server: Server) -> None:
    row = serve(PLAIN)
    folder = converted_path(row).parent
    process = tubelet_program("pull", PLAIN)
    wait_for(lambda: any(folder.glob(".*/.*")), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not converted_path(row).exists()
    assert original_path(row).is_file()
    published_weights(row)
    assert server.ranges == [None]  # the original was whole: it was converted, not fetched again
    left = {p.name for p in folder.iterdir() if p.suffix != ".lock"}
    assert left == {converted_path(row).name, f"{row.name}.json"}
    assert not original_path(row).exists()


def test_two_processes_make_it_once(serve: Serve, server: Server) -> None:
    row = serve(PLAIN)
    both = [tubelet_program("pull", PLAIN) for _ in range(2)]
    for code, said in map(finished, both):
        assert code == 0 and str(converted_path(row)) in said.replace("\n", "")
    assert server.ranges == [None]


def test_a_wrong_byte_in_the_download(serve: Serve, server: Server) -> None:
    row = serve(SMALL)
    right = server.files[path_on(row)]
    server.files[path_on(row)] = right[:-9] + bytes([right[-9] ^ 1]) + right[-8:]
    with pytest.raises(CheckpointError, match="not the released file") as caught:
        published_weights(row)
    assert str(row.prefix) in str(caught.value.expected) and not converted_path(row).exists()
    server.files[path_on(row)] = right
    published_weights(row)
    # The whole hash was recorded: from now on eight digits are not enough.
    record = json.loads((converted_path(row).parent / f"{row.name}.json").read_text())
    assert record["original"]["sha256"] == hashlib.sha256(right).hexdigest()
    converted_path(row).unlink()
    server.files[path_on(row)] = right[:-9] + bytes([right[-9] ^ 1]) + right[-8:]
    with pytest.raises(CheckpointError, match="not the released file"):
        published_weights(replace(row, prefix=None))


def test_a_wrong_byte_in_the_cache(
    serve: Serve, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = serve(SMALL)
    path = published_weights(row)
    whole = path.read_bytes()
    path.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    monkeypatch.setenv("TUBELET_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="damaged"):
        published_weights(row)
    monkeypatch.delenv("TUBELET_OFFLINE")
    assert published_weights(row).read_bytes() == whole
    assert server.ranges == [None, None]


def test_a_truncated_file_without_a_hash_is_not_kept(serve: Serve, server: Server) -> None:
    row = serve(PLAIN)
    right = server.files[path_on(row)]
    server.files[path_on(row)] = right[: len(right) // 2]
    with pytest.raises(CheckpointError):
        published_weights(row)
    assert not original_path(row).exists() and not converted_path(row).exists()
    server.files[path_on(row)] = right
    published_weights(row)


@pytest.mark.parametrize("room", [10, 60])
def test_a_full_disk_says_so_and_the_next_call_succeeds(
    room: int, serve: Serve, server: Server
) -> None:
    """`room` MB: less than the download of 127 MB needs. (A limit on file sizes stands in for the
    disk: both fail the write.)"""
    row = serve(PLAIN)
    program = (
        "import resource, signal, sys\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}_000_000, {room}_000_000))\n"
        "from tubelet.cli import main\n"
        f"sys.exit(main(['pull', {row.name!r}]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 2 and "cannot write" in done.stderr and "room" in done.stderr
    assert not converted_path(row).exists()
    published_weights(row)
    assert server.ranges[1] == f"bytes={room}000000-"


def test_no_room_for_the_converted_file(
    serve: Serve, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = serve(PLAIN)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("tubelet.checkpoints.save_file", full)
        with pytest.raises(InputError, match="cannot write") as caught:
            published_weights(row)
    assert "No space left" in str(caught.value) and original_path(row).is_file()
    published_weights(row)
    assert server.ranges == [None] and not original_path(row).exists()


def test_a_file_put_there_by_hand_is_used_and_stays(
    serve: Serve, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = serve(SMALL)
    monkeypatch.setenv("TUBELET_OFFLINE", "1")
    path = original_path(row)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"another file")
    with pytest.raises(CheckpointError, match="not the published file"):
        published_weights(row)
    path.write_bytes(server.files[path_on(row)])
    assert foreign.cached(row)
    published_weights(row)
    assert path.is_file() and server.ranges == []
    assert unquote(row.file) == path.name
