"""Servers on loopback: one that can break off, lie and refuse, and a Hugging Face hub."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Server:
    """What is served, what was asked, and how the next answers go wrong (one each, in order).

    `slow`: seconds between the quarters of a body. `tags`: whether answers name their version.
    """

    url: str
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: list[str | None] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    slow: float = 0.0
    tags: bool = False
    pause: threading.Event = field(default_factory=threading.Event)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Server

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        self.state.ranges.append(self.headers["Range"])
        kind, _, value = (self.state.faults.pop(0) if self.state.faults else "").partition(":")
        body = self.state.files.get(self.path)
        if kind == "status" or body is None:
            self.send_error(int(value or 404))
        elif kind == "redirect":
            self.send_response(302)
            self.send_header("Location", value)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.headers["Range"] == f"bytes={len(body)}-":
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.give(body, kind, int(value or len(body)))

    def give(self, body: bytes, kind: str, end: int) -> None:
        """The body from the byte that was asked for up to `end`, then hang up."""
        wanted = self.headers["Range"]
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        if self.state.tags and self.headers["If-Range"] not in (None, tag):
            wanted = None  # another version by now: all of it
        start = int(wanted[6:-1]) if wanted and kind != "no-range" else 0
        self.send_response(206 if start else 200)
        if start:
            first = 0 if kind == "wrong-range" else start
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        if self.state.tags:
            self.send_header("ETag", tag)
        self.send_header("Connection", "close")
        if kind != "no-length":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        step = max(1, len(body) // 4) if self.state.slow else max(1, len(body))
        for at in range(start, end, step):
            try:
                self.wfile.write(body[at : min(at + step, end)])
            except ConnectionError:  # the client was killed, or has seen enough
                break
            self.state.pause.wait(self.state.slow)
        self.close_connection = True


@contextmanager
def serving(**files: bytes) -> Iterator[Server]:
    """A running server; `files` by their path without its first slash."""

    class Bound(Handler):
        pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    named = {f"/{path}": body for path, body in files.items()}
    Bound.state = Server(url=f"http://127.0.0.1:{httpd.server_port}", files=named)
    thread = threading.Thread(target=lambda: httpd.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield Bound.state
    finally:
        Bound.state.pause.set()
        httpd.shutdown()
        thread.join()
        httpd.server_close()


COMMIT = "0123456789abcdef0123456789abcdef01234567"


class HubHandler(BaseHTTPRequestHandler):
    """The two answers that a download asks of a hub: a file's description and its bytes."""

    protocol_version = "HTTP/1.1"
    files: dict[str, bytes]

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        data = self.files.get(self.path)
        self.send_response(404 if data is None else 200)
        if data is None:
            known = any(path.startswith("/".join(self.path.split("/")[:3])) for path in self.files)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
        else:
            self.send_header("X-Repo-Commit", COMMIT)
        data = data or b""
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)


@contextmanager
def served_hub(files: dict[str, bytes]) -> Iterator[str]:
    """The address of a hub that has `files`, by path: `/user/repo/resolve/main/config.json`."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (HubHandler,), {"files": files}))
    thread = threading.Thread(target=lambda: httpd.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}"
    finally:
        httpd.shutdown()
        thread.join()
        httpd.server_close()


def in_new_process(code: str, endpoint: str, home: Path, **extra: str) -> str:
    """What `code` prints; the hub's client reads its environment only when it is imported."""
    proxies = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **proxies, **settings, **extra},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
