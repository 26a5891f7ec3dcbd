"""What stands before every request: hosts and origins, how many at once, and the counters."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from tubelet.errors import Refusal, TubeletError
from tubelet.serving.meters import Meters
from tubelet.serving.refusal import described

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_LOG = logging.getLogger("tubelet.serving")


def guarded(inner: Application, meters: Meters, *, most: int, local: bool) -> Application:
    """The same application, for at most `most` requests at once. `local`: only asked as a loopback
    address, so that no page of the web reaches it under a name of its own."""
    open_now = 0

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal open_now
        if scope["type"] != "http":
            await inner(scope, receive, send)
            return

        async def counted(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                meters.answered(message["status"])
            await send(message)

        open_now += 1
        try:
            no = _refused(scope, local) or (_full(most) if open_now > most else None)
            await (inner if no is None else answer_of(no))(scope, receive, counted)
        finally:
            open_now -= 1

    return application


def _full(most: int) -> Refusal:
    return Refusal(
        503,
        "too many requests at once",
        expected=f"at most {most}",
        hint="send it again after the seconds of Retry-After",
        headers={"Retry-After": "1"},
    )


def _refused(scope: Scope, local: bool) -> Refusal | None:
    headers = {key.lower(): value.decode("latin-1") for key, value in scope["headers"]}
    host, origin = headers.get(b"host", ""), headers.get(b"origin")
    if local and host.rsplit(":", 1)[0] not in LOOPBACK and host not in LOOPBACK:
        return Refusal(
            403,
            "this server answers on loopback only",
            expected=f"a Host among {', '.join(LOOPBACK)}",
            hint="ask for its loopback address",
        )
    if origin is not None and origin.split("://")[-1] != host:
        return Refusal(
            403,
            "pages of other sites may not ask",
            got=origin,
            hint="put a proxy of the page's own site before the server",
        )
    return None


def answer_of(error: TubeletError, private: str = "") -> JSONResponse:
    """An error as an answer."""
    status = error.status if isinstance(error, Refusal) else 422
    headers = error.headers if isinstance(error, Refusal) else {}
    return JSONResponse(described(error, private), status, headers=headers)


async def on_refusal(_: Request, error: Exception) -> JSONResponse:
    """Starlette's handler of our errors."""
    assert isinstance(error, TubeletError)
    return answer_of(error)


async def on_http(_: Request, error: Exception) -> JSONResponse:
    """Starlette's handler of unknown paths and methods."""
    assert isinstance(error, HTTPException)
    what = {404: "no such path", 405: "this path has other methods"}.get(error.status_code)
    refused = Refusal(error.status_code, what or "refused", hint="see /openapi.json")
    return answer_of(refused)


async def on_bug(_: Request, error: Exception) -> JSONResponse:
    """Starlette's handler of everything else."""
    _LOG.error("a request failed", exc_info=error)
    hint = "tell the server's operator; its log says why"
    return answer_of(Refusal(500, "the server could not answer", hint=hint))
