"""One file from one address: resumed, checked, and whole or not there.

A download grows in `<target>.part` and takes its name only when its length and sha256 are those
that were expected. A lock beside it lets one process at a time write; the others wait and find
the file. Only https is spoken, or http with this same machine.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPMessage, HTTPResponse
from importlib.metadata import version
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from tubelet.files import locked, make_parent
from tubelet.types import CheckpointError, InputError

Progress = Callable[[int, int], None]
"""Told the bytes that are here and the bytes there will be."""

_OFFLINE = ("TUBELET_OFFLINE", "HF_HUB_OFFLINE")
_TRUE = {"1", "on", "yes", "true"}
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP answers that another try may change
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a server: seconds of silence, tries, and the pause after the first
    failure, doubled after each further one."""

    silence_s: float = 30.0
    tries: int = 4
    pause_s: float = 1.0


def offline() -> bool:
    """Whether TUBELET_OFFLINE or HF_HUB_OFFLINE forbids the network."""
    return any(os.environ.get(name, "").strip().lower() in _TRUE for name in _OFFLINE)


def unreachable(what: str, reason: object, *, target: Path) -> InputError:
    """The error of a file that is not here and cannot be fetched: it says where to put it."""
    return InputError(
        f"{what} is not on this machine and cannot be downloaded now",
        where=target,
        got=reason,
        hint="download it where there is a connection and put it at that path",
    )


def check_url(url: str) -> None:
    """Raise InputError unless `url` is https, or http on the loopback interface."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InputError("not an address", where=url, got=error) from error
    safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host or ""))
    if not (safe and host and port != 0 and parts.username is None and parts.password is None):
        raise InputError(
            "weights are not downloaded from such an address",
            where=url,
            expected="https://host/path without a user name (http only on loopback)",
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Redirects(HTTPRedirectHandler):
    """Follows redirects as strictly as the first address was chosen; https never falls to http."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        check_url(newurl)
        if req.type == "https" and not newurl.lower().startswith("https:"):
            raise CheckpointError("the server redirects from https to http", where=newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def _opened(url: str, start: int, silence_s: float) -> Iterator[HTTPResponse]:
    """The answer to a GET of `url` from byte `start`; urllib's own errors pass through."""
    check_url(url)
    headers = {"User-Agent": f"tubelet/{version('tubelet')}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    # What runs on this machine is not asked for through a proxy.
    local = _is_loopback(urlsplit(url).hostname or "")
    opener = build_opener(_Redirects, *([ProxyHandler({})] if local else []))
    with opener.open(Request(url, headers=headers), timeout=silence_s) as response:
        yield response


def read_text(url: str, *, limit: int = 1 << 20, silence_s: float = 10.0) -> str | None:
    """A small text from `url`; None where the server cannot be reached.

    Raises InputError for a refused address and for more than `limit` bytes, CheckpointError for
    an answer that is not the text.
    """
    try:
        with _opened(url, 0, silence_s) as response:
            data = response.read(limit + 1)
    except HTTPError as error:
        raise CheckpointError("the server refuses", where=url, got=_describe(error)) from error
    except (OSError, HTTPException):
        return None
    if len(data) > limit:
        raise InputError("this file is too long to be an index", where=url, expected=limit)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError("this file is not UTF-8 text", where=url, got=error) from error


def difference(path: Path, *, sha256: str, size: int) -> tuple[str, str] | None:
    """(expected, got) where the file at `path` is not the one described; None where it is."""
    got = path.stat().st_size
    if got != size:
        return f"{size} bytes", f"{got} bytes"
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return None if digest == sha256 else (f"sha256 {sha256}", f"sha256 {digest}")


def download(
    url: str,
    target: Path,
    *,
    sha256: str,
    size: int,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> None:
    """Bring the file of `size` bytes and that `sha256` from `url` to `target`.

    Goes on where an earlier call stopped, if the server can. A file already there that is the
    right one is left alone; a wrong one is replaced. Raises InputError for a refused address, a
    folder that cannot be written and a server that cannot be reached; CheckpointError for a
    server that refuses, breaks off for good, or gives another file.
    """
    check_url(url)
    make_parent(target)
    part = target.with_name(f"{target.name}.part")
    with locked(target.with_name(f"{target.name}.lock")):
        if target.is_file() and difference(target, sha256=sha256, size=size) is None:
            return
        _fill(part, url, size, target, progress, patience or Patience())
        wrong = difference(part, sha256=sha256, size=size)
        if wrong is not None:
            part.unlink()
            raise _another_file(url, *wrong)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)


def _fill(
    part: Path, url: str, size: int, target: Path, progress: Progress | None, patience: Patience
) -> None:
    """Try until `part` holds `size` bytes."""
    problem, answered = "", False
    for attempt in range(patience.tries):
        if attempt:
            time.sleep(patience.pause_s * 2 ** (attempt - 1))
        try:
            _receive(part, url, size, progress, patience.silence_s)
            problem, answered = "the connection ended early", True
        except HTTPError as error:
            problem, answered = _describe(error), True
            if error.code == 416:
                part.unlink(missing_ok=True)
            elif error.code not in _PASSING:
                raise CheckpointError(
                    "the server refuses this download",
                    where=url,
                    got=problem,
                    hint="ask whoever publishes these weights whether they have moved",
                ) from error
        except (OSError, HTTPException) as error:
            problem, answered = _describe(error), answered or not isinstance(error, URLError)
            if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
                raise CheckpointError(
                    "this server cannot prove who it is", where=url, got=problem
                ) from error
        if _length(part) == size:
            return
    if not answered:
        raise unreachable(url, problem, target=target)
    raise CheckpointError(
        "the download did not finish",
        where=url,
        expected=f"{size} bytes",
        got=f"{_length(part)} bytes after {patience.tries} tries; last: {problem}",
        hint="try again: it goes on where it stopped",
    )


def _receive(part: Path, url: str, size: int, progress: Progress | None, silence_s: float) -> None:
    """One request: append to `part` what it lacks, or write it anew if the server starts over."""
    if (have := _length(part)) > size:
        have = 0
    if have == size:
        return
    with _opened(url, have, silence_s) as response:
        have = _begin(response, part, url, have, size)
        with _writable(part, "ab" if have else "wb") as file:
            while have <= size and (chunk := response.read1(_CHUNK)):
                _write(file, chunk, part)
                have += len(chunk)
                if progress is not None:
                    progress(have, size)
    if have > size:
        part.unlink()
        raise _another_file(url, f"{size} bytes", "more")


def _begin(response: HTTPResponse, part: Path, url: str, have: int, size: int) -> int:
    """The byte at which the body begins, once the server's word on the length has been checked."""
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or "")
        start, total = (int(found[1]), found[2]) if found else (-1, "*")
        if start != have:
            part.unlink(missing_ok=True)
            raise HTTPException(f"bytes from {have} were asked for, others came")
    else:
        start, total = 0, response.headers["Content-Length"] or "*"
    if total not in ("*", str(size)):
        part.unlink(missing_ok=True)
        raise _another_file(url, f"{size} bytes", f"{total} bytes")
    return start


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _writable(path: Path, mode: str) -> IO[bytes]:
    try:
        return path.open(mode)
    except OSError as error:
        raise InputError("cannot write here", where=path, got=error.strerror) from error


def _write(file: IO[bytes], chunk: bytes, path: Path) -> None:
    """Write, telling a full disk from a broken connection, which is an OSError too."""
    try:
        file.write(chunk)
        file.flush()
    except OSError as error:
        raise InputError(
            "cannot write the download",
            where=path,
            got=error.strerror,
            hint="make room, or name another folder in TUBELET_CACHE",
        ) from error


def _another_file(url: str, expected: str, got: str) -> CheckpointError:
    return CheckpointError(
        "this is not the file that was released; it was removed",
        where=url,
        expected=expected,
        got=got,
        hint="try once more; if it stays so, do not use this address",
    )


def _describe(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(getattr(error, "reason", error)) or type(error).__name__
