"""Runs with a pretended detector: the bytes depend on the films alone, whatever dies on the way."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.films import LIMITED, Pretence, films, moments, pretend

from tubelet.bulk.groups import GroupRunner
from tubelet.bulk.markers import read_markers
from tubelet.bulk.outcome import merge, status_of
from tubelet.bulk.run import RunOptions, plan_of
from tubelet.bulk.settings import DetectorSettings, Meaning, agree, threads_of
from tubelet.bulk.shards import Shard
from tubelet.bulk.stores import Store, store_at
from tubelet.bulk.table import SCHEMA, FilmRows
from tubelet.data.predictions import read_predictions
from tubelet.errors import DataError, InputError
from tubelet.parallel.pool import Pool

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool[Any, Any]]:
    with Pool(Pretence(), 2) as made:
        yield made


def bytes_of(store: Store, folder: str = "parts") -> dict[str, str]:
    return {
        name: hashlib.sha256(store.read(name) or b"").hexdigest() for name in store.names(folder)
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, pool: Pool[Any, Any]) -> Store:
    """Seven films in one go."""
    store = store_at(str(tmp_path_factory.mktemp("whole")))
    pretend(store, films(7), pool=pool)
    assert merge(store) == ["merged.parquet"]
    return store


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_shards_write_what_one_process_writes(
    tmp_path: Path, kind: str, whole: Store, pool: Pool[Any, Any]
) -> None:
    store = store_at(str(tmp_path) if kind == "local" else "memory://shards/run")
    for index in (2, 0, 1):
        assert status_of(store).waiting if index < 2 else True
        options = RunOptions(shard=Shard(index=index, count=3))
        _, markers = pretend(store, films(7), options, pool=pool)
        assert len(markers) == (3 if index == 0 else 2)
    assert bytes_of(store) == bytes_of(whole)
    assert merge(store) == ["merged.parquet"]
    assert store.read("merged.parquet") == whole.read("merged.parquet")
    again, markers = pretend(store, films(7), pool=pool)
    assert (again.left, again.done, markers) == (0, 7, [])


def test_the_table_is_what_evaluate_reads(whole: Store, tmp_path: Path) -> None:
    path = whole.fetch("merged.parquet", tmp_path)
    assert path is not None
    frame = pl.read_parquet(path)
    assert dict(frame.schema) == dict(pl.DataFrame(schema=SCHEMA).schema)
    assert frame["video"].unique(maintain_order=True).to_list() == [f.name for f in films(7)]
    assert len(read_predictions(path)) == len(frame) == 7 * 2 * 6 * 2
    said = pl.read_parquet_metadata(path)
    assert (said["tubelet.format"], said["tubelet.version"]) == ("tubelet.rows", "2")


def test_what_was_wrong_with_a_film_is_in_its_marker(tmp_path: Path, pool: Pool[Any, Any]) -> None:
    store = store_at(str(tmp_path))
    listed = [films(1)[0], *films(2, "damaged")[1:]]
    pretend(store, listed, pool=pool)
    markers = read_markers(store, [film.name for film in listed], done=True)
    assert [list(markers[film.name].notes) for film in listed] == [[], ["a hole"]]


def test_longer_parts_merge_to_the_same_bytes(
    tmp_path: Path, whole: Store, pool: Pool[Any, Any]
) -> None:
    store = store_at(str(tmp_path))
    options = RunOptions(batch=3)
    pretend(store, films(7), options, pool=pool)
    assert len(store.names("parts")) == 3
    merge(store)
    assert store.read("merged.parquet") == whole.read("merged.parquet")


def test_poison_is_reported_and_given_up(tmp_path: Path, pool: Pool[Any, Any]) -> None:
    kinds = ("fine", "broken", "hang", "die", "eat", "fine")
    listed = [replace(film, address=f"{kind}:") for film, kind in zip(films(6), kinds, strict=True)]
    store = store_at(str(tmp_path / "out"))
    options = replace(LIMITED, tries=3)
    _, markers = pretend(store, listed, options)
    reasons = {m.film: m.reason for m in markers}
    assert list(map(reasons.get, (f"film {n}" for n in range(6)))) == [
        None, "error", "silence", "died", "memory", None
    ]  # fmt: skip
    found = status_of(store)
    assert (found.films, found.done, found.waiting) == (6, 2, 0)
    assert [m.tries for m in found.failed] == [1, 1, 2, 1]
    assert "not a film" in (found.failed[0].text or "")
    left = plan_of(listed, store, options)
    assert left.left == 4 and left.tries == {m.film: m.tries for m in found.failed}
    assert plan_of(listed, store, replace(options, tries=2)).left == 3
    assert plan_of(listed, store, replace(options, tries=1, retry=True)).left == 4
    merge(store)
    # Repaired, it is as if nothing had happened.
    _, markers = pretend(store, films(6), options, pool=pool)
    assert sorted(m.tries for m in markers) == [2, 2, 2, 3] and not status_of(store).failed
    assert not [name for name in store.names("films") if name.endswith(".failed")]
    clean = store_at(str(tmp_path / "clean"))
    pretend(clean, films(6), options, pool=pool)
    merge(store), merge(clean)
    assert store.read("merged.parquet") == clean.read("merged.parquet")
    assert bytes_of(store) == bytes_of(clean)


def test_a_worker_that_is_killed_costs_nothing(tmp_path: Path, whole: Store) -> None:
    store = store_at(str(tmp_path / "out"))
    listed = films(7)
    listed[3] = replace(listed[3], address=f"once:{tmp_path / 'marker'}")
    _, markers = pretend(store, listed, RunOptions(jobs=2))
    assert sorted(m.tries for m in markers) == [1] * 6 + [2]
    assert bytes_of(store) == bytes_of(whole)


def test_a_driver_that_is_killed_is_run_again(
    tmp_path: Path, whole: Store, pool: Pool[Any, Any]
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])}
    driver = subprocess.Popen(
        [sys.executable, "-m", "tests.films", str(tmp_path), "7"], env=environment, cwd=REPOSITORY
    )
    end = time.monotonic() + 120
    while len(list(tmp_path.rglob("*.done"))) < 2:
        assert driver.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    driver.kill()
    driver.wait()
    store = store_at(str(tmp_path))
    done = status_of(store).done
    assert 2 <= done < 7
    with pytest.raises(InputError, match="still waiting"):
        merge(store)
    assert merge(store, partial=True)
    plan, _ = pretend(store, films(7), pool=pool)
    assert plan.done == done and plan.left == 7 - done
    merge(store)
    assert store.read("merged.parquet") == whole.read("merged.parquet")
    assert bytes_of(store) == bytes_of(whole)


def test_a_stop_keeps_films_of_a_group_that_is_not_whole(
    tmp_path: Path, whole: Store, pool: Pool[Any, Any]
) -> None:
    store = store_at(str(tmp_path))
    listed = films(7)
    slow = replace(listed[6], address="hang:")
    with Pool(Pretence(), 2) as own:
        running = GroupRunner(store, own, {}).run([[listed[0]], [*listed[1:6], slow]])
        assert next(running).film == "film 0"
        time.sleep(1.0)  # films 1 to 5 are quick
        with pytest.raises(KeyboardInterrupt):
            running.throw(KeyboardInterrupt)
    pretend(store, listed, pool=pool)
    merge(store)
    assert store.read("merged.parquet") == whole.read("merged.parquet")


@pytest.mark.parametrize("kind", ["local", "memory"])
def test_the_first_number_of_threads_is_that_of_all(tmp_path: Path, kind: str) -> None:
    store = store_at(str(tmp_path) if kind == "local" else "memory://threads/run")
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"w")
    facts = DetectorSettings(people="person_small").facts
    here = Meaning(precision="fp32", people="person_small")
    assert (threads_of(store, None, 4), threads_of(store, 3, 4)) == (4, 3)
    agree(store, facts(weights, here, 3))
    assert (threads_of(store, None, 4), threads_of(store, 3, 4)) == (3, 3)
    with pytest.raises(InputError, match="another number of threads"):
        threads_of(store, 4, 4)
    # Another shard that began at the same moment, before run.json was there.
    with pytest.raises(InputError, match="another threads"):
        agree(store, facts(weights, here, 4))
    assert not store.create("run.json", b"") and store.read("run.json") != b""


def test_a_run_of_other_settings_is_refused(tmp_path: Path) -> None:
    store = store_at(str(tmp_path / "out"))
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"w")
    settings = DetectorSettings(people="person_small")
    here = Meaning(precision="fp32", people="person_small")
    for _ in range(2):
        agree(store, settings.facts(weights, here, 2))
    for other, meaning in (
        (replace(settings, every=0.5), here),
        (settings, replace(here, precision="bf16")),
        (settings, replace(here, people="hf:other")),
    ):
        with pytest.raises(InputError, match=r"another (every|precision|people)"):
            agree(store, other.facts(weights, meaning, 2))
    weights.write_bytes(b"other")
    with pytest.raises(InputError, match="another weights"):
        agree(store, settings.facts(weights, here, 2))
    store.write("run.json", b'{"format": "tubelet.run", "version": 99}')
    with pytest.raises(DataError, match="not a run of this version"):
        agree(store, settings.facts(weights, here, 2))
    with pytest.raises(InputError, match="no run has begun"):
        status_of(store)


def test_ghosts_known_at_a_films_end_are_in_no_row() -> None:
    everyone = FilmRows.of("four", moments("four"))
    kept = FilmRows.of("four", moments("four"), ghosts=lambda: {1, 3})
    assert (everyone.people, kept.people, kept.keyframes) == (8, 4, 2)
    assert set(kept.track_id.tolist()) == {0, 2}
    own = np.isin(everyone.track_id, [0, 2])
    np.testing.assert_array_equal(kept.boxes, everyone.boxes[own])
    np.testing.assert_array_equal(kept.score, everyone.score[own])
