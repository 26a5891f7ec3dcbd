"""Results in an object store that speaks S3: a server of moto on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tubelet.bulk.stores import Store, store_at


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    moto = pytest.importorskip("moto.server", reason="needs moto[server]")
    boto3 = pytest.importorskip("boto3", reason="needs boto3")
    pytest.importorskip("s3fs", reason="needs the extra tubelet[cloud]")
    server = moto.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    place = "127.0.0.1" if host == "0.0.0.0" else host
    for name, value in {
        "AWS_ACCESS_KEY_ID": "nobody",
        "AWS_SECRET_ACCESS_KEY": "nothing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{place}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    try:
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield store_at("s3://bucket/run")
    finally:
        server.stop()


def test_an_object_store_does_what_a_folder_does(store: Store, tmp_path: Path) -> None:
    assert store.read("run.json") is None and store.names("films") == []
    assert store.create("run.json", b"first")
    # Another machine, that saw none there a moment ago.
    assert not store_at("s3://bucket/run").create("run.json", b"second")
    assert store.read("run.json") == b"first"
    store.write("films/a/a.done", b"1")
    store.write("films/b/b.done", b"2")
    assert store.names("films") == ["films/a/a.done", "films/b/b.done"]
    assert store.read_many(["films/b/b.done", "films/a/a.done", "films/none"]) == [b"1", b"2"]
    fetched = store.fetch("films/a/a.done", tmp_path)
    assert fetched is not None and fetched.read_bytes() == b"1"
    store.put("merged.parquet", fetched)
    assert store.read("merged.parquet") == b"1" and store.fetch("none", tmp_path) is None
    store.remove("films/a/a.done")
    store.remove("films/a/a.done")
    assert store.names("films") == ["films/b/b.done"]
