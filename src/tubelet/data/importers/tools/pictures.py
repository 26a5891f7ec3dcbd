"""Lists of pictures that are a film's frames: which film and which frame a file name means."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tubelet.data.annotations import seconds_to_us
from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.report import Ledger
from tubelet.errors import InputError
from tubelet.film_ids import film_id

_SUFFIX = r"(?:\.(?:jpe?g|png|bmp|webp|tiff?))?"
# yard_a_mp4-0025_jpg.rf.0f3c….jpg: Roboflow, and the name it had there, yard_a_mp4-0025.jpg.
_ROBOFLOW = re.compile(
    r"(?P<video>.+?)[_.](?:mp4|mov|avi|mkv|webm|m4v|mpe?g|wmv)-(?P<number>\d+)"
    r"(?:_(?:jpe?g|png)\.rf\.[0-9a-fA-F]+)?\.\w+",
    re.IGNORECASE,
)
_SECONDS = re.compile(r"(?P<video>.+)/(?P<seconds>\d{4}|\d+\.\d{1,6})\.\w{1,5}")
_NUMBERED = re.compile(rf"(?P<prefix>.*?)(?P<number>\d{{1,9}}){_SUFFIX}", re.IGNORECASE)
# What frames are called whatever film they are of.
_GENERIC = re.compile(r"images?|frames?|train|val(id)?|test|default|data|")
_NO_FILM = re.compile(r"(frames?|images?|im|img|pic|pictures?|f|thumb|out(put)?|i)?", re.IGNORECASE)


class PictureName(NamedTuple):
    """What a picture's name says: the film (None: nothing of it), its number, or its second."""

    video: str | None
    number: int | None = None
    seconds: float | None = None
    zero: bool = False
    """Whether whoever writes such names counts from 0 (Roboflow, CVAT)."""


def picture_of(name: str, *, seconds: bool = True) -> PictureName | None:
    """What `name` says, or None. `seconds`: whether `film/0902.jpg` is AVA's second 902."""
    name = name.replace("\\", "/").removeprefix("./")
    last = name.rsplit("/", 1)[-1]
    if found := _ROBOFLOW.fullmatch(last):
        return PictureName(film_id(found["video"]), int(found["number"]), zero=True)
    if seconds and (found := _SECONDS.fullmatch(name)):
        return PictureName(film_id(found["video"]), seconds=float(found["seconds"]))
    found = _NUMBERED.fullmatch(last)
    if found is None:
        return None
    prefix, number = found["prefix"].rstrip("_-. "), int(found["number"])
    if not _NO_FILM.fullmatch(prefix):
        return PictureName(film_id(prefix), number)
    zero = prefix.casefold() == "frame" and len(found["number"]) == 6  # CVAT's frame_000000
    folders = name.split("/")[:-1]
    while folders and _GENERIC.fullmatch(folders[0]):
        folders = folders[1:]
    known = folders and not _GENERIC.fullmatch(folders[-1])
    return PictureName("/".join(folders) if known else None, number, zero=zero)


class Pictures:
    """The moments of one file's pictures. `names`: all of them, which tell where counting starts;
    `zero`: whether that is known to be 0."""

    def __init__(
        self,
        names: Iterable[str],
        films: FilmClock,
        source: str | Path,
        tool: str,
        *,
        zero: bool = False,
    ) -> None:
        self._films, self._source, self._tool = films, source, tool
        options = films.options
        self._seconds = options.fps is None and options.first_frame is None
        self._found = {name: picture_of(name, seconds=self._seconds) for name in names}
        counted = [p for p in self._found.values() if p is not None and p.number is not None]
        zero = zero or any(p.zero or p.number == 0 for p in counted)
        stated = options.first_frame
        self.first: int = stated if stated is not None else 0 if zero else 1
        """The number of a film's first picture."""
        self._nameless: str | None = None
        self._tell(films.ledger)

    def moment(self, name: str, where: object) -> tuple[str, int]:
        """(video, microseconds) of a picture. Raises InputError for a name that says neither."""
        found = self._found.get(name, picture_of(name, seconds=self._seconds))
        if found is None:
            raise InputError(
                f"{self._tool} of pictures whose names tell neither film nor frame",
                where=where,
                expected="film_000026.jpg, film/img_00026.jpg or film/0902.jpg (seconds)",
                got=name[:80],
            )
        video = self.film(name)
        if found.seconds is not None:
            if not self._films.holds(video, found.seconds):
                raise InputError(
                    f"{self._tool} of pictures: {name[:80]} is no second of {video!r}, which is "
                    "shorter; is it a frame number?",
                    where=where,
                    hint="state the rate at which the pictures were taken out",
                    arguments=("fps", "first_frame"),
                )
            return video, seconds_to_us(found.seconds, where)
        index = (found.number or 0) - self.first
        if self._films.path(video) is None and self._films.options.fps is None:
            raise InputError(
                f"{self._tool} of pictures: frame {found.number} of {video!r}, at an unknown rate",
                where=where,
                got=name[:80],
                hint="state the rate at which the pictures were taken out, or the folder of films",
                arguments=("fps", "videos"),
            )
        return video, self._films.time_us(video, index, where, sampled=True)

    def film(self, name: str) -> str:
        """The film of a picture: that of its name, or else the one film of the whole file."""
        found = self._found.get(name)
        if found is not None and found.video is not None:
            return found.video
        if self._nameless is None:
            self._nameless = self._films.nameless(self._source, self._tool)
        return self._nameless

    def _tell(self, ledger: Ledger) -> None:
        """How names were joined into films, before anything is made of it."""
        films: dict[str | None, list[tuple[str, PictureName]]] = {}
        for name, picture in self._found.items():
            if picture is not None:
                films.setdefault(picture.video, []).append((name, picture))
        for video, listed in list(films.items())[:8]:
            if video is None:
                continue
            name, picture = listed[0]
            counted = (
                f"{picture.seconds:g} s (a frame rate would make it a frame number)"
                if picture.seconds is not None
                else f"frame {picture.number}, counted from {self.first}"
            )
            ledger.note(f"film {video!r}: {len(listed)} pictures; {name} is {counted}")
        if len(films) > 8:
            ledger.note(f"and {len(films) - 8} more films")
