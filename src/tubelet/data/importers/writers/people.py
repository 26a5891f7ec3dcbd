"""What every writer of people's tracks needs: their boxes by person, and their films' frames."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from tubelet.data.annotations import Annotations
from tubelet.data.importers.films import FilmClock
from tubelet.data.importers.records import Box, Options
from tubelet.errors import InputError
from tubelet.labels import LabelSpace


class Spot(NamedTuple):
    """A person on one frame, counted from 0: the box in fractions, and the actions' names."""

    frame: int
    box: Box
    actions: tuple[str, ...]


Tracks = dict[int, list[Spot]]


def named(options: Options | None, tool: str) -> LabelSpace:
    """The classes. Raises InputError without them."""
    if options is None or options.labels is None:
        raise InputError(f"{tool} needs class names", hint="provide the label map")
    return options.labels


def tracks_of(table: Annotations, films: FilmClock, tool: str) -> Iterator[tuple[str, Tracks]]:
    """Each video's people by id, in order of time. Raises InputError for people without an id and
    for times that are no frame's."""
    labels = named(films.options, tool)
    for video in table.videos():
        own = table.of_video(video)
        found: dict[tuple[int, int], tuple[Box, dict[str, None]]] = {}
        for index, row in enumerate(own.frame.iter_rows()):
            (_, time_us, x1, y1, x2, y2, label, person, _, _) = row
            if x1 is None:
                continue
            if person is None:
                raise InputError(
                    f"missing person id: {tool} tracks people by id", where=own.where(index)
                )
            frame = films.frame_at(video, time_us, own.where(index))
            _, actions = found.setdefault((person, frame), ((x1, y1, x2, y2), {}))
            if label is not None:
                actions[labels.names[labels.column(label)]] = None
        tracks: Tracks = {}
        for (person, frame), (box, actions) in sorted(found.items(), key=lambda one: one[0]):
            tracks.setdefault(person, []).append(Spot(frame, box, tuple(actions)))
        yield video, tracks


def frames_of(tracks: Tracks) -> list[int]:
    """Every frame on which somebody is, ascending."""
    return sorted({place.frame for places in tracks.values() for place in places})
