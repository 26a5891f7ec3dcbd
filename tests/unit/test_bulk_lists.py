"""Manifests, shards and stores: what is listed, whose it is, and where it lies."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tubelet.bulk.manifest import ListedFilm, read_manifest
from tubelet.bulk.settings import read_films, write_films
from tubelet.bulk.shards import Shard, group_size, groups_of, shard_of
from tubelet.bulk.stores import LocalStore, Store, on_this_machine, read_address, store_at
from tubelet.errors import DataError, InputError

ROWS = [{"path": "a/x.mp4"}, {"path": "/films/b/x.mp4"}, {"path": "s3://films/c/y.mp4"}]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    elif path.suffix == ".csv":
        pl.DataFrame(rows).write_csv(path)
    else:
        pl.DataFrame(rows).write_parquet(path)
    return str(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
def test_a_manifest_names_its_films_in_order(tmp_path: Path, suffix: str) -> None:
    found = read_manifest(write(tmp_path / f"list{suffix}", ROWS))
    assert [film.address for film in found] == [
        f"{tmp_path}/a/x.mp4", "/films/b/x.mp4", "s3://films/c/y.mp4"
    ]  # fmt: skip
    names = [film.name for film in found]
    assert names[1:] == ["films/b/x", "y"] and names[0].endswith("a/x")
    own = [{"id": f"00{n}", **row} for n, row in enumerate(ROWS)]
    named = read_manifest(write(tmp_path / f"named{suffix}", own))
    assert [film.name for film in named] == ["000", "001", "002"]


def test_a_folder_and_a_prefix_are_manifests(tmp_path: Path) -> None:
    here, there = tmp_path / "films", store_at("memory://films-prefix/films")
    for name in ("clip10.mp4", "clip2.mp4", "park/monday.mkv", ".hidden.mp4", "notes.txt"):
        (here / name).parent.mkdir(parents=True, exist_ok=True)
        (here / name).touch()
        there.write(name, b"x")
    local = read_manifest(str(here))
    assert [film.name for film in local] == ["clip2", "clip10"]
    remote = read_manifest("memory://films-prefix/films")
    assert [film.name for film in remote] == ["clip2", "clip10", "park/monday"]
    with on_this_machine(remote[2].address) as path:
        assert path.read_bytes() == b"x" and path.suffix == ".mkv"
    assert not path.exists()
    there.write("list.csv", b"path\nclip2.mp4\n")
    (listed,) = read_manifest("memory://films-prefix/films/list.csv")
    assert read_address(listed.address) == b"x"


WRONG: dict[str, tuple[list[dict[str, Any]], str]] = {
    "twice": ([{"path": "a.mp4"}, {"path": "a.mp4"}], "listed twice"),
    "one id": ([{"path": "a.mp4", "id": "x"}, {"path": "b.mp4", "id": "x"}], "one id"),
    "no path": ([{"movie": "a.mp4"}], "one column of addresses"),
    "two paths": ([{"path": "a.mp4", "url": "b.mp4"}], "one column of addresses"),
    "an empty row": ([{"path": "a.mp4"}, {"path": " "}], "row 2"),
    "nothing": ([], "lists no film"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_manifest_is_explained(tmp_path: Path, case: str) -> None:
    rows, says = WRONG[case]
    with pytest.raises(InputError, match=says):
        read_manifest(write(tmp_path / "list.jsonl", rows))


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    broken = tmp_path / "list.parquet"
    broken.write_bytes(b"PAR1 or not")
    with pytest.raises(DataError, match="cannot read the manifest"):
        read_manifest(str(broken))
    for address in (str(tmp_path / "gone"), str(tmp_path / "gone.csv")):
        with pytest.raises(InputError, match=r"not a manifest|cannot read"):
            read_manifest(address)
    with pytest.raises(InputError, match="unknown kind of address"):
        read_manifest("gopher://films/")


def test_shards_as_schedulers_say() -> None:
    slurm = {
        "SLURM_ARRAY_TASK_ID": "7",
        "SLURM_ARRAY_TASK_COUNT": "4",
        "SLURM_ARRAY_TASK_MIN": "1",
        "SLURM_ARRAY_TASK_STEP": "2",
    }
    kubernetes = {"JOB_COMPLETION_INDEX": "3"}
    assert shard_of(None, {}) == Shard()
    assert shard_of("2/5", slurm) == Shard(index=2, count=5)
    assert shard_of(None, slurm) == Shard(index=3, count=4)
    assert shard_of("/8", kubernetes) == Shard(index=3, count=8)
    for text, environment in (
        (None, kubernetes), ("/3", {}), ("3/3", {}), ("1", {}), ("a/b", {}), ("/3", kubernetes)
    ):  # fmt: skip
        with pytest.raises(InputError):
            shard_of(text, environment)


@given(st.integers(1, 5000), st.integers(1, 20))
def test_shards_are_a_partition_of_the_same_groups(films: int, count: int) -> None:
    size = group_size(films)
    assert 1 <= size <= 32 and (size == 1 or films > 1000)
    groups = groups_of(range(films), size)
    dealt = [Shard(index=i, count=count).of(groups) for i in range(count)]
    assert sorted(film for share in dealt for group in share for film in group) == list(
        range(films)
    )
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_a_store_keeps_what_it_is_given(tmp_path: Path, kind: str) -> None:
    store: Store = store_at(str(tmp_path / "s") if kind == "local" else "memory://a-store/s")
    assert store.read("a/b") is None and store.names("a") == []
    store.write("a/b", b"1")
    store.write("a/b", b"2")
    store.write("a/c/d", b"3")
    source = tmp_path / "source"
    source.write_bytes(b"4")
    store.put("e", source)
    assert store.names("a") == ["a/b", "a/c/d"]
    assert store.read_many(["a/b", "gone", "a/c/d"]) == [b"2", b"3"]
    fetched = store.fetch("e", tmp_path)
    assert fetched is not None and fetched.read_bytes() == b"4"
    assert store.fetch("gone", tmp_path) is None
    store.remove("a/b")
    store.remove("a/b")
    assert store.names("") == ["a/c/d", "e"]


def test_without_fsspec_local_films_need_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name.startswith("fsspec"):
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert isinstance(store_at(str(tmp_path)), LocalStore)
    with pytest.raises(InputError, match=r"tubelet\[cloud\]"):
        store_at("s3://films/out")


def test_listed_films_are_told_apart(tmp_path: Path) -> None:
    for folder in "ab":
        (tmp_path / folder).mkdir()
    listed = write(tmp_path / "l.csv", [{"path": "a/x.mp4"}, {"path": "b/x.mp4"}, {"path": "y"}])
    assert read_manifest(listed)[:2] == [
        ListedFilm(name="a/x", address=f"{tmp_path}/a/x.mp4"),
        ListedFilm(name="b/x", address=f"{tmp_path}/b/x.mp4"),
    ]


def test_a_manifest_that_has_changed_is_told_of(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    films = [ListedFilm(name=name, address=f"/films/{name}.mp4") for name in "abc"]
    assert write_films(store, films) == [] == write_films(store, films)
    moved = [ListedFilm(name="a", address="/other/a.mp4"), *films[2:]]
    told = write_films(store, moved)
    assert [line[:30] for line in told] == [
        "1 films had another address in", "1 films of the manifest before"
    ]  # fmt: skip
    assert "'a'" in told[0] and "'b'" in told[1] and read_films(store) == moved
