"""Released weights over HTTP: a server on loopback that can break off, lie and refuse."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.loopback import Server, serving

from tubelet.errors import CheckpointError, ConfigError, InputError
from tubelet.files import cache_folder
from tubelet.releases import download as downloading
from tubelet.releases.download import Patience, check_url, download
from tubelet.releases.table import RELEASES, Release, fetch, releases, weights_path

BODY = bytes(range(256)) * 4096  # 1 MiB
QUICK = Patience(silence_s=5, tries=3, pause_s=0.01)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(w=BODY) as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("TUBELET_OFFLINE", "HF_HUB_OFFLINE", "TUBELET_RELEASES", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TUBELET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HTTP_PROXY", "http://192.0.2.1:9")  # loopback must not go through it
    monkeypatch.setattr(downloading, "Patience", lambda: QUICK)
    return tmp_path / "cache"


def row(server: Server, body: bytes = BODY, name: str = "lab_model") -> Release:
    return Release(
        name=name,
        url=f"{server.url}/w",
        sha256=hashlib.sha256(body).hexdigest(),
        bytes=len(body),
        summary="of the laboratory",
    )


def index(path: Path, *rows: Release, **extra: object) -> Path:
    """An index file of these rows, each with the `extra` members."""
    names = ("name", "url", "sha256", "bytes", "summary")
    listed = [{**{n: getattr(r, n) for n in names}, **extra} for r in rows]
    path.write_text(json.dumps({"releases": listed}))
    return path


def left(cache: Path) -> set[str]:
    """Suffixes of the files in the cache, locks aside."""
    return {p.suffix for p in cache.rglob("*") if p.is_file() and p.suffix != ".lock"}


def test_a_release_is_downloaded_once_and_told_about(server: Server, cache: Path) -> None:
    told: list[tuple[int, int]] = []
    path = fetch(row(server), progress=lambda done, size: told.append((done, size)))
    assert path.read_bytes() == BODY and path.is_relative_to(cache)
    assert told[-1] == (len(BODY), len(BODY)) and told == sorted(told)
    assert fetch(row(server)) == path
    assert server.ranges == [None]
    assert left(cache) == {".safetensors"}


def test_a_broken_connection_is_resumed_where_it_stopped(server: Server) -> None:
    server.faults = ["drop:300000", "status:503"]
    assert fetch(row(server)).read_bytes() == BODY
    assert server.ranges == [None, "bytes=300000-", "bytes=300000-"]


def test_a_later_call_resumes_what_an_earlier_one_left(server: Server, cache: Path) -> None:
    server.faults = ["drop:1000", "status:500", "status:500"]
    with pytest.raises(CheckpointError, match="1000 bytes after 3 tries; last: HTTP 500"):
        fetch(row(server))
    assert left(cache) == {".part"}
    assert fetch(row(server)).read_bytes() == BODY
    assert server.ranges[-1] == "bytes=1000-"


@pytest.mark.parametrize("fault", ["no-range", "wrong-range", "status:416"])
def test_a_server_that_cannot_resume_starts_over(server: Server, fault: str) -> None:
    server.faults = ["drop:1000", fault]
    assert fetch(row(server)).read_bytes() == BODY


@pytest.mark.parametrize("stale", [len(BODY) + 1, len(BODY)])
def test_a_stale_part_never_becomes_the_file(server: Server, cache: Path, stale: int) -> None:
    release = row(server)
    part = release.path.with_name(f"{release.path.name}.part")
    part.parent.mkdir(parents=True)
    part.write_bytes(b"x" * stale)
    if stale == len(BODY):
        with pytest.raises(CheckpointError, match="sha256"):
            fetch(release)
        assert left(cache) == set()
    assert fetch(release).read_bytes() == BODY


def test_another_file_of_the_same_length_is_removed(server: Server, cache: Path) -> None:
    server.files["/w"] = BODY[:-1] + b"?"
    with pytest.raises(CheckpointError) as caught:
        fetch(row(server))
    assert hashlib.sha256(BODY).hexdigest() in str(caught.value.expected)
    assert hashlib.sha256(server.files["/w"]).hexdigest() in str(caught.value.got)
    assert left(cache) == set()


@pytest.mark.parametrize("length", [len(BODY) - 1, len(BODY) + 1])
def test_a_file_of_another_length_is_not_downloaded(
    server: Server, cache: Path, length: int
) -> None:
    server.files["/w"] = (BODY + b"?")[:length]
    with pytest.raises(CheckpointError, match=f"{length} bytes"):
        fetch(row(server))
    assert left(cache) == set() and server.ranges == [None]


def test_an_endless_answer_without_a_length_is_cut_off(server: Server, cache: Path) -> None:
    server.files["/w"] = BODY * 4
    server.faults = [f"no-length:{4 * len(BODY)}"]
    with pytest.raises(CheckpointError, match="more"):
        fetch(row(server))
    assert left(cache) == set()


def test_a_truncated_answer_without_a_length_is_not_the_file(server: Server, cache: Path) -> None:
    server.faults = ["no-length:500", "drop:500", "drop:500"]
    with pytest.raises(CheckpointError, match="incomplete download"):
        fetch(row(server))
    assert left(cache) == {".part"}


def test_a_refusal_is_not_asked_again(server: Server) -> None:
    server.files.clear()
    with pytest.raises(CheckpointError, match="HTTP 404"):
        fetch(row(server))
    assert server.ranges == [None]


def test_a_file_of_unknown_length_and_hash_is_resumed_and_not_mixed(
    server: Server, tmp_path: Path
) -> None:
    server.tags, target = True, tmp_path / "w"
    server.faults = ["drop:300000", "status:500", "status:500"]
    with pytest.raises(CheckpointError, match="the whole file"):
        download(f"{server.url}/w", target, patience=QUICK)
    server.faults = ["drop:500000"]
    server.files["/w"] = other = BODY[::-1]
    download(f"{server.url}/w", target, patience=QUICK)
    assert target.read_bytes() == other
    assert server.ranges[3:] == ["bytes=300000-", "bytes=500000-"]
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".lock"] == ["w"]


def test_a_part_that_was_whole_when_its_process_died_is_taken(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "w.part").write_bytes(BODY)
    download(f"{server.url}/w", tmp_path / "w", patience=QUICK)
    assert (tmp_path / "w").read_bytes() == BODY and server.ranges == [f"bytes={len(BODY)}-"]


def test_the_first_digits_of_a_hash_are_enough_to_refuse_another_file(
    server: Server, tmp_path: Path
) -> None:
    url, digits = f"{server.url}/w", hashlib.sha256(BODY).hexdigest()[:8]
    download(url, tmp_path / "w", sha256=digits, patience=QUICK)
    with pytest.raises(CheckpointError, match="not the released file"):
        download(url, tmp_path / "other", sha256="0" * 8, patience=QUICK)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("switch", ["TUBELET_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_says_where_to_put_the_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, switch: str
) -> None:
    release = row(server)
    monkeypatch.setenv(switch, "1")
    with pytest.raises(InputError, match="put it at that path") as caught:
        fetch(release)
    assert caught.value.where == release.path and str(release.url) in str(caught.value)
    assert server.ranges == []
    release.path.parent.mkdir(parents=True)
    release.path.write_bytes(BODY)
    assert fetch(release) == release.path
    release.path.write_bytes(BODY[:-1] + b"?")
    with pytest.raises(CheckpointError, match="in the cache"):
        fetch(release)


def test_a_damaged_file_in_the_cache_is_replaced(server: Server) -> None:
    path = fetch(row(server))
    path.write_bytes(BODY[:-1] + b"?")
    assert fetch(row(server)).read_bytes() == BODY


def test_no_connection_is_told_apart_from_a_bad_server(tmp_path: Path) -> None:
    with serving() as closed:
        url = closed.url
    target = tmp_path / "w.safetensors"
    with pytest.raises(InputError, match="cannot be downloaded now") as caught:
        download(f"{url}/w", target, sha256="0" * 64, size=1, patience=QUICK)
    assert caught.value.where == target


def test_two_processes_download_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = index(tmp_path / "index.json", row(server))
    server.faults = ["drop:400000"]
    monkeypatch.setenv("TUBELET_RELEASES", str(listed))
    code = "from tubelet.releases.table import weights_path; print(weights_path('lab_model'))"
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    paths = {process.communicate(timeout=900)[0].strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    (path,) = paths
    assert Path(path).read_bytes() == BODY
    assert server.ranges == [None, "bytes=400000-"]


def test_threads_wait_for_each_other(server: Server) -> None:
    threads = [threading.Thread(target=fetch, args=(row(server),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.ranges == [None]


@pytest.mark.parametrize(
    "url",
    [
        "http://weights.example/w",
        "http://10.0.0.1/w",
        "http://127.0.0.1.example/w",
        "http://localhost@weights.example/w",
        "https://user:word@weights.example/w",
        "file:///etc/passwd",
        "ftp://weights.example/w",
        "https:///w",
        "https://[::1/w",
        "https://weights.example:port/w",
        "weights.example/w",
    ],
)
def test_addresses_that_are_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        check_url(url)
    with pytest.raises(InputError):
        download(url, tmp_path / "w", sha256="0" * 64, size=1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "url", ["https://weights.example/w", "http://localhost:8/w", "http://[::1]/w"]
)
def test_addresses_that_are_allowed(url: str) -> None:
    check_url(url)


def test_redirects_are_followed_only_to_allowed_addresses(server: Server) -> None:
    server.files["/there"] = BODY
    server.faults = ["drop:1000", f"redirect:{server.url}/there"]
    assert fetch(row(server)).read_bytes() == BODY
    assert server.ranges == [None, "bytes=1000-", "bytes=1000-"]
    server.faults = ["redirect:http://weights.example/w"]
    with pytest.raises(InputError, match="address not allowed"):
        fetch(row(server, body=BODY[:-1]))


@pytest.mark.parametrize(
    "name", ["../lab", "a/b", "a\\b", "", ".hidden", "..", "a b", "lab.safetensors", "a\0b", "a\n"]
)
def test_a_name_cannot_leave_the_cache(server: Server, name: str) -> None:
    with pytest.raises(ConfigError, match="invalid name"):
        row(server, name=name)


@pytest.mark.parametrize(
    "change",
    [
        {"sha256": "A" * 64},
        {"sha256": "0" * 63},
        {"bytes": 0},
        {"bytes": "12"},
        {"bytes": True},
        {"url": "http://weights.example/w"},
        {"url": None},
        {"sha256": None},
        {"name": "jhmdb21_small"},
        {"sha265": "0" * 64},
    ],
)
def test_an_index_is_read_strictly(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    listed = index(tmp_path / "index.json", row(server), **change)
    monkeypatch.setenv("TUBELET_RELEASES", str(listed))
    with pytest.raises(InputError):
        releases()
    assert weights_path("jhmdb21_small") == RELEASES["jhmdb21_small"].path


def test_an_index_that_is_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "index.json"
    monkeypatch.setenv("TUBELET_RELEASES", str(listed))
    with pytest.raises(InputError, match="cannot read the index"):
        releases()
    for text in ("{", "[]", '{"releases": {}}', '{"release": []}', '{"releases": [1]}'):
        listed.write_text(text)
        with pytest.raises(ConfigError):
            releases()


def test_a_name_twice_in_an_index(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = index(tmp_path / "index.json", row(server), row(server))
    monkeypatch.setenv("TUBELET_RELEASES", str(listed))
    with pytest.raises(ConfigError, match="duplicate release name"):
        releases()


def test_an_index_at_an_address_is_kept_for_offline(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = index(tmp_path / "index.json", row(server))
    monkeypatch.setenv("TUBELET_RELEASES", f"{server.url}/index.json")
    with pytest.raises(CheckpointError, match="HTTP 404"):
        releases()
    monkeypatch.setenv("TUBELET_OFFLINE", "1")
    with pytest.raises(InputError, match=r"index .* is not on this machine"):
        releases()
    monkeypatch.delenv("TUBELET_OFFLINE")
    server.files["/index.json"] = listed.read_bytes()
    path = weights_path("lab_model")
    monkeypatch.setenv("TUBELET_OFFLINE", "1")
    assert weights_path("lab_model") == path
    with pytest.raises(InputError, match="did you mean 'lab_model'"):
        weights_path("lab_modle")


def test_a_path_wins_over_a_row_and_needs_no_index(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUBELET_RELEASES", str(tmp_path / "absent.json"))
    file = tmp_path / "own.safetensors"
    file.touch()
    assert weights_path(file) == weights_path(str(file)) == file
    for absent in (
        tmp_path / "no.safetensors",
        "no.safetensors",
        "folder/no",
        Path("no"),
        tmp_path,
    ):
        with pytest.raises(InputError, match="no such weights file"):
            weights_path(absent)
    with pytest.raises(InputError, match="a bare address"):
        weights_path(f"{server.url}/w")


@pytest.mark.parametrize(
    ("own", "xdg", "expected"),
    [
        ("/own", "/xdg", lambda home: Path("/own")),
        ("", "/xdg", lambda home: Path("/xdg/tubelet")),
        ("", "relative", lambda home: home / ".cache" / "tubelet"),
        ("", "", lambda home: home / ".cache" / "tubelet"),
    ],
)
def test_the_cache_folder(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    own: str,
    xdg: str,
    expected: Callable[[Path], Path],
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TUBELET_CACHE", own)
    monkeypatch.setenv("XDG_CACHE_HOME", xdg)
    assert cache_folder() == expected(tmp_path)


def test_an_unwritable_cache_is_the_users_to_mend(server: Server, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(InputError, match="cannot create the folder"):
        fetch(row(server))


def test_the_rows_of_the_package_name_no_address() -> None:
    assert all(release.shipped for release in RELEASES.values())
