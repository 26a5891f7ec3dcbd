"""Films by address, from listed hosts only.

A name is resolved once, its addresses are checked, and the connection is made to a checked address:
a second answer of the name server changes nothing. Redirects are checked as the address itself was.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

from tubelet.errors import Refusal

_REDIRECTS = 3
_SILENCE_S = 15.0
_CHUNK = 1 << 18
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    """Fetches films of `largest` bytes at most, within `seconds`, from `hosts`.

    Every method raises Refusal: 403 for an address that is not allowed, 413 for a film that is too
    large, 502 for a host that does not give it, 504 for one that takes too long.
    """

    hosts: Collection[str]
    largest: int
    seconds: float

    def check(self, url: str) -> SplitResult:
        """The parts of an address that may be asked for; resolves nothing."""
        try:
            parts = urlsplit(url)
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise Refusal(400, "invalid address", expected="a URL", got=error) from error
        host = parts.hostname or ""
        # The usual ports need no mention; any other is another service.
        named = {f"{host}:{port}"} | ({host} if port == _PORTS.get(parts.scheme) else set[str]())
        if parts.scheme not in _PORTS or parts.username or not named & _lower(self.hosts):
            raise Refusal(
                403,
                "films are not fetched from there",
                expected="http or https, and one of: " + (", ".join(self.hosts) or "no host"),
                got=f"{parts.scheme}://{host}:{port}",
                hint="upload the film, or ask the server's operator to list the host",
            )
        return parts

    def fetch(self, url: str, target: Path, alive: Callable[[], None]) -> int:
        """Write the film to `target`; gives its bytes. `alive` is called on the way."""
        ends = time.monotonic() + self.seconds
        for _ in range(_REDIRECTS + 1):
            parts = self.check(url)
            connection = self._connected(parts)
            try:
                answer = self._asked(connection, parts)
                onward = answer.getheader("Location")
                if answer.status in (301, 302, 303, 307, 308) and onward:
                    url = urljoin(url, onward)
                    continue
                if answer.status != 200:
                    raise _unreachable(f"status {answer.status}")
                return self._written(answer, target, ends, alive)
            except (OSError, HTTPException) as error:
                raise _unreachable(type(error).__name__) from error
            finally:
                connection.close()
        raise _unreachable(f"more than {_REDIRECTS} redirects")

    def _asked(self, connection: HTTPConnection, parts: SplitResult) -> HTTPResponse:
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Accept-Encoding": "identity", "User-Agent": "tubelet"}
        try:
            connection.request("GET", path, headers=headers)
        except (ValueError, UnicodeError) as error:  # control characters, other alphabets
            raise Refusal(400, "invalid address", expected="a quoted URL") from error
        return connection.getresponse()

    def _connected(self, parts: SplitResult) -> HTTPConnection:
        host = parts.hostname or ""
        port = parts.port or _PORTS[parts.scheme]
        connection = HTTPConnection(host, port, timeout=_SILENCE_S)
        try:
            address = self._address(host, port)
            plain = socket.create_connection((address, port), timeout=_SILENCE_S)
            connection.sock = plain
            if parts.scheme == "https":
                context = ssl.create_default_context()
                connection.sock = context.wrap_socket(plain, server_hostname=host)
        except (OSError, UnicodeError) as error:
            connection.close()
            raise _unreachable(type(error).__name__) from error
        return connection

    def _address(self, host: str, port: int) -> str:
        """One of the host's addresses, all of which are public or listed."""
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            listed = {address, f"{address}:{port}"} & _lower(self.hosts)
            if not listed and not _is_public(address):
                raise Refusal(
                    403,
                    "this host has a private address",
                    expected="a public address, or one that is listed itself",
                    got=host,
                    hint="upload the film",
                )
        return addresses[0]

    def _written(
        self, answer: HTTPResponse, target: Path, ends: float, alive: Callable[[], None]
    ) -> int:
        expected = answer.length
        if expected is not None and expected > self.largest:
            raise too_large(self.largest, expected)
        done = 0
        with target.open("wb") as file:
            while chunk := answer.read1(_CHUNK):
                done += len(chunk)
                if done > self.largest:
                    raise too_large(self.largest, "more")
                if time.monotonic() > ends:
                    raise Refusal(
                        504,
                        "fetching the film took too long",
                        expected=f"at most {self.seconds:g} s",
                        hint="upload it",
                    )
                file.write(chunk)
                alive()
        if expected is not None and done != expected:
            raise _unreachable(f"{done} of {expected} bytes")
        return done


def too_large(largest: int, got: object) -> Refusal:
    """The refusal of a film of too many bytes."""
    return Refusal(
        413,
        "the film is too large",
        expected=f"at most {largest} bytes",
        got=got,
        hint="cut it, or encode it smaller",
    )


def _unreachable(got: object) -> Refusal:
    return Refusal(
        502, "the host did not give the film", got=got, hint="check the address, or upload the film"
    )


def _lower(hosts: Collection[str]) -> set[str]:
    return {host.lower() for host in hosts}


def _is_public(address: str) -> bool:
    ip = ipaddress.ip_address(address.split("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    return ip.is_global and not ip.is_multicast
