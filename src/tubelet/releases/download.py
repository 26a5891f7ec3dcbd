"""One file from one address: resumed, checked, and written atomically.

A download grows in `<target>.part` and takes its name only when its length and sha256 are those
that were expected, as far as they are known. A lock beside it lets one process at a time write;
the others wait and find the file. Only https is used, or http to this machine.
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

from tubelet.errors import CheckpointError, InputError
from tubelet.files import locked, make_parent

Progress = Callable[[int, int], None]
"""Told the bytes that are here and the bytes there will be, 0 where the server does not say."""

_PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP answers that another try may change
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for a server: seconds of silence, tries, and the pause after the first
    failure, doubled after each further one."""

    silence_s: float = 30.0
    tries: int = 4
    pause_s: float = 1.0


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
        raise InputError("invalid address", where=url, got=error) from error
    safe = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host or ""))
    if not (safe and host and port != 0 and parts.username is None and parts.password is None):
        raise InputError(
            "address not allowed for weights",
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
def _opened(url: str, start: int, silence_s: float, tag: str = "") -> Iterator[HTTPResponse]:
    """The answer to a GET of `url` from byte `start`; urllib's own errors pass through.

    With `tag`, of the version that the first bytes are of, a server that has another by now sends
    that one whole.
    """
    check_url(url)
    headers = {"User-Agent": f"tubelet/{version('tubelet')}", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        headers |= {"If-Range": tag} if tag else {}
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
        raise InputError("too large for an index", where=url, expected=limit)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError("not UTF-8 text", where=url, got=error) from error


def difference(path: Path, *, sha256: str | None, size: int | None) -> tuple[str, str] | None:
    """(expected, got) where the file at `path` is not the one described; None where it is.

    `sha256` may be its first digits; what is None is not compared.
    """
    got = path.stat().st_size
    if size is not None and got != size:
        return f"{size} bytes", f"{got} bytes"
    if sha256 is None:
        return None
    digest = sha256_of(path)
    if digest.startswith(sha256):
        return None
    return f"sha256 {sha256}{'' if len(sha256) == 64 else '…'}", f"sha256 {digest}"


def sha256_of(path: Path) -> str:
    """The file's sha256 as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> None:
    """Bring the file of `size` bytes and that `sha256`, whole or its first digits, to `target`.

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
            _discard(part)
            raise _another_file(url, *wrong)
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
        _discard(part)


def _fill(
    part: Path,
    url: str,
    size: int | None,
    target: Path,
    progress: Progress | None,
    patience: Patience,
) -> None:
    """Try until `part` holds the whole file."""
    problem, answered = "", False
    for attempt in range(patience.tries):
        if attempt:
            time.sleep(patience.pause_s * 2 ** (attempt - 1))
        try:
            if _receive(part, url, size, progress, patience.silence_s):
                return
            problem, answered = "the connection ended early", True
        except HTTPError as error:
            problem, answered = _describe(error), True
            if error.code == 416 and _ends_at(error, _length(part)):
                return
            if error.code == 416:
                _discard(part)
            elif error.code not in _PASSING:
                raise CheckpointError(
                    "the server refuses this download",
                    where=url,
                    got=problem,
                    hint="ask the publisher whether these weights have moved",
                ) from error
        except (OSError, HTTPException) as error:
            problem, answered = _describe(error), answered or not isinstance(error, URLError)
            if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
                raise CheckpointError(
                    "cannot verify the server's certificate", where=url, got=problem
                ) from error
    if not answered:
        raise unreachable(url, problem, target=target)
    raise CheckpointError(
        "incomplete download",
        where=url,
        expected="the whole file" if size is None else f"{size} bytes",
        got=f"{_length(part)} bytes after {patience.tries} tries; last: {problem}",
        hint="try again: it goes on where it stopped",
    )


def _receive(
    part: Path, url: str, size: int | None, progress: Progress | None, silence_s: float
) -> bool:
    """One request: append to `part` what it lacks, or write it anew if the server starts over.

    Whether the file is whole, as far as its length or the server's word on it can tell.
    """
    have, tag = _length(part), _tag_file(part)
    if size is not None:
        if have == size:
            return True
        have = have if have < size else 0
    known = tag.read_text(encoding="ascii") if have and tag.is_file() else ""
    with _opened(url, have, silence_s, known) as response:
        have, total = _begin(response, part, url, have, size)
        with _writable(part, "ab" if have else "wb") as file:
            while (total is None or have <= total) and (chunk := response.read1(_CHUNK)):
                _write(file, chunk, part)
                have += len(chunk)
                if progress is not None:
                    progress(have, total or 0)
    if total is not None and have > total:
        _discard(part)
        raise _another_file(url, f"{total} bytes", "more")
    return total is None or have == total


def _begin(
    response: HTTPResponse, part: Path, url: str, have: int, size: int | None
) -> tuple[int, int | None]:
    """The byte at which the body begins and the length of the file, None if nobody knows it.

    The server's word on the length is checked, and its name for this version is kept beside
    `part`.
    """
    if response.status == 206:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers["Content-Range"] or "")
        start, total = (int(found[1]), found[2]) if found else (-1, "*")
        if start != have:
            _discard(part)
            raise HTTPException(f"bytes from {have} were asked for, others came")
    else:
        start, total = 0, response.headers["Content-Length"] or "*"
    if size is not None and total not in ("*", str(size)):
        _discard(part)
        raise _another_file(url, f"{size} bytes", f"{total} bytes")
    tag = response.headers["ETag"] or ""
    if tag.isascii() and tag.startswith('"'):  # a weak tag promises no equal bytes
        _tag_file(part).write_text(tag, encoding="ascii")
    return start, int(total) if total.isdigit() else size


def _ends_at(error: HTTPError, have: int) -> bool:
    """Whether a server refuses to send what follows byte `have` because nothing does."""
    return bool(have) and (error.headers["Content-Range"] or "").strip() == f"bytes */{have}"


def _tag_file(part: Path) -> Path:
    """Where the server's name for the version of `part` is kept."""
    return part.with_name(f"{part.name}.tag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag_file(part).unlink(missing_ok=True)


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
        "not the released file (it was removed)",
        where=url,
        expected=expected,
        got=got,
        hint="try once more; if it stays so, do not use this address",
    )


def _describe(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(getattr(error, "reason", error)) or type(error).__name__
