"""What a server may be asked to do, and how much of it."""

from __future__ import annotations

from dataclasses import dataclass

from tubelet.errors import InputError
from tubelet.numerics.choices import PrecisionChoice

MIB, GIB = 1 << 20, 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """The model and the bounds of a server.

    `workers`: films at once, each in a process of its own; `waiting`: further ones that may wait or
    arrive. `largest`: bytes of a film; `longest_s`: its seconds. `receive_s`: seconds that an
    upload or a fetch may take, `work_s` the detection, `memory` the resident bytes of its process.
    `hosts`: where films may be fetched from, as `host` (ports 80 and 443) or `host:port`; none if
    empty. A private address has to be listed itself. `keep_s`: seconds that a result is kept, and
    of at most `kept` jobs. `requests`: open at once.
    Raises InputError for a bound that is not positive.
    """

    model: str
    people: str = "auto"
    every: float = 1.0
    track_rate: float = 5.0
    threshold: float = 0.3
    device: str = "auto"
    precision: PrecisionChoice = "auto"
    workers: int = 1
    waiting: int = 4
    largest: int = GIB
    longest_s: float = 600.0
    receive_s: float = 300.0
    work_s: float = 1800.0
    memory: int = 8 * GIB
    hosts: tuple[str, ...] = ()
    keep_s: float = 3600.0
    kept: int = 100
    requests: int = 100

    def __post_init__(self) -> None:
        positive = ("workers", "largest", "longest_s", "receive_s", "work_s", "memory", "every")
        for name in (*positive, "keep_s", "kept", "requests"):
            if not getattr(self, name) > 0:
                raise InputError(
                    "a bound of the server has to be positive",
                    where=name,
                    got=getattr(self, name),
                    arguments=(name,),
                )
        if self.waiting < 0:
            raise InputError(
                "the queue cannot be negative", got=self.waiting, arguments=("waiting",)
            )

    @property
    def places(self) -> int:
        """How many films the server holds that are not done."""
        return self.workers + self.waiting
