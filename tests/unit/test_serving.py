"""A server's bounds on loopback, with a worker that detects nothing."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.loopback import Server, serving

from tubelet.errors import InputError, Stopped
from tubelet.parallel.tasks import Alive, Worker
from tubelet.serving.served import FILM, RESULT, STOP, ServedFilm
from tubelet.serving.settings import ServeSettings

pytest.importorskip("starlette", reason="needs tubelet[serve]")
pytest.importorskip("uvicorn", reason="needs tubelet[serve]")
pytest.importorskip("python_multipart", reason="needs tubelet[serve]")

SETTINGS = ServeSettings(model="none", workers=1, waiting=1, largest=5000, kept=2)
HEAD = b"\0\0\0\x18ftypisom"


class SlowWorker(Worker[ServedFilm, int]):
    """Waits as long as the film says after its head, or fails with what it says."""

    def prepare(self) -> object:
        return "ready"

    def work(self, task: ServedFilm, alive: Alive) -> int:
        said = (task.folder / FILM).read_bytes()[len(HEAD) :].decode()
        if said == "bad":
            raise InputError("no film", where=task.folder, got=task.folder / FILM, hint="look")
        if said == "bug":
            raise ZeroDivisionError(str(task.folder))
        ends = time.monotonic() + float(said or 0)
        while time.monotonic() < ends:
            if (task.folder / STOP).exists():
                raise Stopped("the job was stopped")
            alive(0.5)
            time.sleep(0.01)
        (task.folder / RESULT).write_text(json.dumps({"name": task.name}))
        return 3


class Client:
    """One connection a request."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port, self.folder = port, folder

    def ask(
        self, method: str, path: str, body: bytes | None = None, /, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            named = {key.replace("_", "-"): value for key, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        heads = {key.lower(): value for key, value in answer.getheaders()}
        is_json = heads.get("content-type") == "application/json"
        return answer.status, heads, json.loads(content) if is_json else content.decode()

    def refused(self, status: int, method: str, path: str, *args: Any, **headers: str) -> str:
        """What the error says; it names nothing of the server's disk."""
        got, _, said = self.ask(method, path, *args, **headers)
        assert got == status, said
        assert set(said["error"]) <= {"what", "expected", "got", "next"}
        assert str(self.folder) not in json.dumps(said)
        what: str = said["error"]["what"]
        return what

    def ended(self, key: str) -> Any:
        """The job, once it has ended."""
        for _ in range(1000):
            said = self.ask("GET", f"/jobs/{key}")[2]
            if said["state"] in ("done", "failed", "stopped"):
                return said
            time.sleep(0.01)
        raise AssertionError(said)

    def left(self) -> list[str]:
        """The files on the server's disk, once nothing is under way."""
        for _ in range(1000):
            health = self.ask("GET", "/health")[2]
            if health == {"status": "ok", "waiting": 0, "running": 0}:
                break
            time.sleep(0.01)
        return sorted(path.name for path in self.folder.rglob("*") if path.is_file())


@contextmanager
def running(folder: Path, jobs: Any, settings: ServeSettings) -> Iterator[Client]:
    """A server around running jobs, in a thread."""
    import uvicorn

    from tubelet.serving.routes import application

    jobs.settings = settings
    config = uvicorn.Config(
        application(jobs, local=True), log_level="error", lifespan="off", ws="none", http="h11"
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Client(listener.getsockname()[1], folder)
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def host() -> Iterator[Server]:
    with serving(**{"film.mp4": HEAD, "large.mp4": HEAD + b"0" * 6000}) as server:
        yield server


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, host: Server) -> Iterator[Client]:
    from tubelet.serving.jobs import Jobs
    from tubelet.serving.meters import Meters

    folder = tmp_path_factory.mktemp("private")
    listed = replace(SETTINGS, hosts=(host.url.removeprefix("http://"),))
    with (
        Jobs(SlowWorker(), listed, folder, Meters()) as jobs,
        running(folder, jobs, listed) as client,
    ):
        yield client


def form(*parts: tuple[str, bytes], end: bytes = b"--x--\r\n") -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="%s"; filename="../../etc/passwd"\r\n\r\n'
    return b"".join(head % name.encode() + body + b"\r\n" for name, body in parts) + end


def test_a_raw_body_and_a_form_give_the_result(client: Client) -> None:
    status, heads, said = client.ask("POST", "/detect?name=my.mp4", HEAD)
    assert (status, heads["content-type"], said) == (200, "application/json", {"name": "my.mp4"})
    kind = "multipart/form-data; boundary=x"
    status, _, said = client.ask("POST", "/detect", form(("film", HEAD)), Content_Type=kind)
    assert (status, said) == (200, {"name": "film"})
    assert client.left() == []


def test_a_job_is_followed_fetched_and_forgotten(client: Client) -> None:
    status, heads, job = client.ask("POST", "/jobs", HEAD + b"0.3")
    assert (status, heads["location"]) == (202, f"/jobs/{job['id']}")
    assert client.refused(409, "GET", f"/jobs/{job['id']}/tubes.json") == "there is no result"
    _, heads, events = client.ask("GET", f"/jobs/{job['id']}/events")
    assert heads["content-type"].startswith("text/event-stream")
    states = [line.split()[1] for line in events.splitlines() if line.startswith("event:")]
    assert states[-1] == "done" and "detecting" in states
    data = [json.loads(line[6:]) for line in events.splitlines() if line.startswith("data:")]
    assert 0.5 in [one["progress"] for one in data]
    assert (data[-1]["people"], data[-1]["progress"]) == (3, 1.0)
    assert client.ask("GET", data[-1]["result"])[2] == {"name": "film"}
    assert client.left() == [RESULT]
    assert client.ask("DELETE", f"/jobs/{job['id']}")[0] == 204
    assert client.refused(404, "GET", f"/jobs/{job['id']}") == "no such job"
    assert client.left() == []


def test_a_job_is_stopped(client: Client) -> None:
    job = client.ask("POST", "/jobs", HEAD + b"60")[2]
    assert client.ask("DELETE", f"/jobs/{job['id']}")[0] == 204
    assert client.left() == []
    client.refused(404, "GET", f"/jobs/{job['id']}")


def test_only_the_latest_results_are_kept(client: Client) -> None:
    keys = [client.ask("POST", "/jobs", HEAD)[2]["id"] for _ in range(1)]
    for _ in range(3):
        client.ended(keys[-1])
        keys.append(client.ask("POST", "/jobs", HEAD)[2]["id"])
    client.ended(keys[-1])
    found = [client.ask("GET", f"/jobs/{key}")[0] for key in keys]
    assert found == [404, 404, 200, 200]
    for key in keys[2:]:
        client.ask("DELETE", f"/jobs/{key}")


@pytest.mark.parametrize(
    "body",
    [b"no film", b"#EXTM3U\n/etc/passwd", b"ffconcat version 1.0\nfile x", b"\x1a\x45\xdf\xa3<MPD"],
)
def test_wrong_bytes_are_not_handed_to_ffmpeg(client: Client, body: bytes) -> None:
    assert client.refused(422, "POST", "/detect", body) == "these bytes are not a film"
    assert client.left() == []


def test_errors_of_the_worker_name_nothing_of_the_disk(client: Client) -> None:
    assert client.refused(422, "POST", "/detect", HEAD + b"bad") == "no film"
    assert "could not process" in client.refused(500, "POST", "/detect", HEAD + b"bug")
    assert client.left() == []


def test_requests_that_do_not_fit(client: Client) -> None:
    kind = "multipart/form-data; boundary=x"
    two = form(("film", HEAD), ("other", b""))
    cut = form(("film", HEAD), end=b"")
    json_kind = "application/json"
    for body, headers in (
        (b"", {}),
        (two, {"Content_Type": kind}),
        (cut, {"Content_Type": kind}),
        (HEAD, {"Content_Type": "multipart/form-data"}),
        (b"--y", {"Content_Type": kind}),
        (b"{", {"Content_Type": json_kind}),
        (b'{"path": "/etc/passwd"}', {"Content_Type": json_kind}),
    ):
        client.refused(400, "POST", "/detect", body, **headers)
    client.refused(400, "POST", "/detect?name=../up", HEAD)
    client.refused(404, "GET", "/jobs/../../etc/passwd")
    client.refused(404, "GET", "/jobs/x/tubes.json")
    client.refused(405, "GET", "/detect")
    client.refused(403, "GET", "/health", Origin="http://elsewhere.example")
    client.refused(403, "GET", "/health", Host="elsewhere.example")
    assert client.left() == []


def test_too_large(client: Client) -> None:
    assert client.refused(413, "POST", "/detect", HEAD + b"0" * 6000) == "the film is too large"
    said = client.refused(413, "POST", "/jobs", b"", Content_Length=str(1 << 40))
    assert said == "the film is too large"
    assert client.left() == []


def test_a_cut_upload_leaves_nothing(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.port)) as wire:
        wire.sendall(
            b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 500\r\n\r\n" + HEAD
        )
        for _ in range(1000):
            if client.ask("GET", "/health")[2]["waiting"] == 1:
                break
            time.sleep(0.01)
        assert list(client.folder.iterdir()) != []
    assert client.left() == []
    assert list(client.folder.iterdir()) == []


def test_who_hangs_up_while_waiting_stops_the_job(client: Client) -> None:
    body = HEAD + b"60"
    with socket.create_connection(("127.0.0.1", client.port)) as wire:
        head = b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
        wire.sendall(head % len(body) + body)
        for _ in range(1000):
            if client.ask("GET", "/health")[2]["running"] == 1:
                break
            time.sleep(0.01)
    assert client.left() == []


def test_a_full_queue_is_told_at_once(client: Client) -> None:
    jobs = [client.ask("POST", "/jobs", HEAD + b"60")[2] for _ in range(2)]
    status, heads, said = client.ask("POST", "/jobs", HEAD)
    assert (status, heads["retry-after"]) == (503, "5")
    assert said["error"]["what"] == "the server is busy"
    for job in jobs:
        client.ask("DELETE", f"/jobs/{job['id']}")
    assert client.left() == []


def _of_url(url: str) -> tuple[str, str, bytes]:
    return "POST", "/detect", json.dumps({"url": url}).encode()


def test_addresses(client: Client, host: Server) -> None:
    kind = {"Content_Type": "application/json"}
    assert client.ask(*_of_url(f"{host.url}/film.mp4"), **kind)[0] == 200
    client.refused(413, *_of_url(f"{host.url}/large.mp4"), **kind)
    client.refused(502, *_of_url(f"{host.url}/none.mp4"), **kind)
    for elsewhere in (
        "http://127.0.0.1:9/x",
        "http://localhost/x",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        f"http://user@{host.url[7:]}/film.mp4",
        "//etc/passwd",
    ):
        client.refused(403, *_of_url(elsewhere), **kind)
    client.refused(400, *_of_url("http://[::1/x"), **kind)
    asked = len(host.ranges)
    host.faults.append("redirect:http://127.0.0.1:9/x")
    client.refused(403, *_of_url(f"{host.url}/film.mp4"), **kind)
    host.faults.append(f"redirect:{host.url}/film.mp4")
    assert client.ask(*_of_url(f"{host.url}/film.mp4"), **kind)[0] == 200
    host.faults += ["redirect:/film.mp4"] * 4
    client.refused(502, *_of_url(f"{host.url}/film.mp4"), **kind)
    assert len(host.ranges) == asked + 7
    host.faults.append("cut:6")
    client.refused(502, *_of_url(f"{host.url}/film.mp4"), **kind)
    assert client.left() == []


def test_a_listed_name_may_not_lead_to_a_private_address(host: Server, tmp_path: Path) -> None:
    from tubelet.errors import Refusal
    from tubelet.serving.fetch import Fetcher

    port = host.url.rsplit(":", 1)[1]
    url = f"http://localhost:{port}/film.mp4"
    named = Fetcher(hosts=(f"localhost:{port}",), largest=100, seconds=5)
    with pytest.raises(Refusal, match="private address") as refused:
        named.fetch(url, tmp_path / "film", lambda: None)
    assert refused.value.status == 403
    both = replace(named, hosts=(f"localhost:{port}", "127.0.0.1", "::1"))
    assert both.fetch(url, tmp_path / "film", lambda: None) == len(HEAD)


def test_metrics_and_the_openapi_document(client: Client) -> None:
    client.ask("POST", "/detect", HEAD)
    status, heads, text = client.ask("GET", "/metrics")
    assert status == 200 and heads["content-type"].startswith("text/plain; version=0.0.4")
    rows = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert int(rows['tubelet_jobs_total{state="done"}']) >= 1
    assert rows["tubelet_job_seconds_count"] == rows['tubelet_job_seconds_bucket{le="+Inf"}']
    assert int(rows['tubelet_resident_bytes{process="worker0"}']) > 0
    said = client.ask("GET", "/openapi.json")[2]
    assert said["openapi"] == "3.1.0"
    routes = {(path, method) for path, of in said["paths"].items() for method in of}
    assert ("/jobs/{id}", "delete") in routes and len(routes) == 8
    tubes = said["components"]["schemas"]["Tubes"]
    assert tubes["$id"] == "tubelet.tubes/1"


def test_bounds_have_to_be_positive() -> None:
    with pytest.raises(InputError, match="positive"):
        replace(SETTINGS, workers=0)
    with pytest.raises(InputError, match="negative"):
        replace(SETTINGS, waiting=-1)
