"""A server on loopback that can break off, lie and refuse, for tests of downloads."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


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
