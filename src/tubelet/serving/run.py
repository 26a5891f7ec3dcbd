"""A server from its start to its end."""

from __future__ import annotations

import ipaddress
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import uvicorn

from tubelet.errors import InputError, Stopped
from tubelet.serving.jobs import Jobs
from tubelet.serving.meters import Meters
from tubelet.serving.routes import application
from tubelet.serving.settings import ServeSettings
from tubelet.serving.worker import ServeWorker


def serve(
    settings: ServeSettings, *, host: str, port: int, on_address: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; `on_address` is told where, once it answers.

    `port` 0 takes a free one. Raises InputError for an address that cannot be had, and as
    `tubelet.load` does.
    """
    with (
        _until_terminated(),
        _listening(host, port) as listener,
        tempfile.TemporaryDirectory(prefix="tubelet-serve-") as folder,
        Jobs(ServeWorker(settings), settings, Path(folder).resolve(), Meters()) as jobs,
    ):
        config = uvicorn.Config(
            application(jobs, local=_is_loopback(host)),
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ws="none",
            http="h11",
            timeout_graceful_shutdown=5,
        )
        address = listener.getsockname()
        named = f"[{address[0]}]" if ":" in address[0] else address[0]
        on_address(f"http://{named}:{address[1]}/")
        uvicorn.Server(config).run(sockets=[listener])


@contextmanager
def _until_terminated() -> Iterator[None]:
    """SIGTERM ends the block in good order: uvicorn sends itself the signal again once it is done,
    and the default would end the process before the private folder is removed."""

    def stop(_: int, __: FrameType | None) -> None:
        raise Stopped("the server was terminated")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        with suppress(Stopped):
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server((str(address[0]), port), family=family, backlog=128)
    except (OSError, OverflowError) as error:
        raise InputError(
            "cannot listen at this address",
            got=f"{host}:{port}: {error}",
            hint="choose another one; port 0 takes a free one",
            arguments=("host", "port"),
        ) from error
    with listener:
        yield listener


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
