"""A request's body into a file: raw, or the one part of a form. Names in it are not looked at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from tubelet.errors import Refusal
from tubelet.serving.fetch import too_large
from tubelet.serving.settings import ServeSettings

PART = "film"
_FORM, _JSON = "multipart/form-data", "application/json"
_LONGEST_JSON = 1 << 14
_OVERHEAD = 1 << 14  # of a form around its film
_HOW = 'a film as the raw body, a form with the part "film", or {"url": "…"} as application/json'


def kind_of_body(request: Request) -> str:
    """The media type, in lower case."""
    return str(request.headers.get("content-type", "")).split(";")[0].strip().lower()


async def address_in(request: Request) -> str | None:
    """The address that a JSON body names; None for any other body. Raises Refusal."""
    if kind_of_body(request) != _JSON:
        return None
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_JSON:
            raise too_large(_LONGEST_JSON, "more")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "invalid JSON", expected='{"url": "…"}', hint=f"send {_HOW}") from error
    url = said.get("url") if isinstance(said, dict) and set(said) == {"url"} else None
    if not isinstance(url, str):
        raise Refusal(400, "this JSON names no film", expected='{"url": "…"}', hint=f"send {_HOW}")
    return url


def check_length(request: Request, settings: ServeSettings) -> None:
    """Refuse what says that it is too large, before a byte of it is read."""
    length = str(request.headers.get("content-length", ""))
    if length.isdecimal() and int(length) > settings.largest + _OVERHEAD:
        raise too_large(settings.largest, length)


async def receive(request: Request, target: Path, settings: ServeSettings) -> None:
    """Write the film of a request to `target`. Raises Refusal: 400 for nothing, a broken form or a
    cut connection, 408 after `receive_s`, 413 for more than `largest` bytes."""
    try:
        async with asyncio.timeout(settings.receive_s):
            with target.open("wb") as file:
                sink = _Sink(file.write, settings.largest)
                if kind_of_body(request) == _FORM:
                    await _form(request, sink)
                else:
                    async for chunk in request.stream():
                        sink.take(chunk)
    except ClientDisconnect as error:
        raise Refusal(400, "the film stopped before its end", hint="send it again") from error
    except TimeoutError as error:
        raise Refusal(
            408,
            "sending the film took too long",
            expected=f"at most {settings.receive_s:g} s",
            hint="send a smaller one",
        ) from error
    if not sink.size:
        raise Refusal(400, "no film in this request", hint=f"send {_HOW}")


class _Sink:
    """Takes bytes up to a limit."""

    def __init__(self, write: Callable[[bytes], int], largest: int) -> None:
        self._write, self._largest, self.size = write, largest, 0

    def take(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if self.size > self._largest:
            raise too_large(self._largest, "more")
        self._write(chunk)


async def _form(request: Request, sink: _Sink) -> None:
    """The part `film` of a form; anything else in it is refused."""
    _, options = parse_options_header(request.headers["content-type"])
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise Refusal(400, "a form without a boundary", hint=f"send {_HOW}")
    form = _Form(sink)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        stream: AsyncIterator[bytes] = request.stream()
        async for chunk in stream:
            parser.write(chunk)
        parser.finalize()
    except FormParserError as error:
        raise Refusal(400, "a broken form", got=error, hint=f"send {_HOW}") from error
    if not form.ended:
        raise Refusal(400, "a form that stops before its end", hint="send it again")


class _Form:
    """What the parser of a form calls back."""

    def __init__(self, sink: _Sink) -> None:
        self._sink, self.ended, self._parts = sink, False, 0
        self._field, self._value = b"", b""
        self._name = ""

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._header,
            "on_headers_finished": self._headers,
            "on_part_data": lambda data, start, end: self._sink.take(data[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._parts += 1
        self._name = ""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode("latin-1")
        self._field = self._value = b""

    def _headers(self) -> None:
        if self._parts > 1 or self._name != PART:
            raise Refusal(
                400,
                "a form with other parts",
                expected=f"one part, {PART!r}",
                got=f"part {self._parts}, {self._name[:40]!r}",
                hint=f"send {_HOW}",
            )

    def _end(self) -> None:
        self.ended = True
