"""`FilmDetector`: paths of films in, a table out, for whatever hands out the paths.

    FilmDetector()(["a.mp4", "b.mp4"])                                     # a plain function
    dataset.map_batches(FilmDetector, compute=…, batch_size=1)             # Ray Data, column "path"
    daft.udf(return_dtype=ROWS)(FilmDetector)(col("path"))                 # Daft, a list a film

It remembers nothing of a film once it is done: any process may get any film, in any order, and
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tubelet.api import ActionDetector, load
from tubelet.bulk.manifest import PATHS
from tubelet.bulk.settings import lists_people
from tubelet.bulk.stores import on_this_machine
from tubelet.bulk.table import Columns, FilmRows, joined_columns
from tubelet.data.importers import Options
from tubelet.errors import InputError, TubeletError
from tubelet.film_ids import film_id
from tubelet.media.video import VideoInfo
from tubelet.numerics.choices import PrecisionChoice
from tubelet.numerics.precision import resolve
from tubelet.people.given import GivenPeople, people_of_file
from tubelet.people.named import DEFAULT, resolved
from tubelet.people.tracking import passers_by
from tubelet.types import People

Alive = Callable[[float | None], None]
FAILED = -1  # time, class and track of the one row of a film that failed


class FilmDetector:
    """A loaded model that turns a batch of addresses of films into a table of `tubelet.bulk.table`.

    `model`, `classes`, `device`, `precision`: as `tubelet.load` takes them. `people`: a detector's
    name, or a file of boxes that says by itself of which film and time they are and how large the
    picture is. `every`: seconds between keyframes; `fps` of folders of frames. `min_score`: of the
    rows that are kept. `errors`: what to do about a film that cannot be used: "raise", or "rows":
    the table has a column `error`, empty but in one row of each such film.
    Raises as `tubelet.load` does, InputError for a file of boxes that needs more than it says.
    """

    def __init__(
        self,
        model: str = "jhmdb21_small",
        *,
        people: str = DEFAULT,
        every: float = 1.0,
        classes: Sequence[str] = (),
        fps: float | None = None,
        min_score: float = 0.0,
        device: str = "auto",
        precision: PrecisionChoice = "auto",
        errors: Literal["raise", "rows"] = "raise",
    ) -> None:
        self._model: ActionDetector = load(
            model, device=device, precision=precision, classes=classes
        )
        given = lists_people(people)
        if not given and Path(people).is_dir():
            raise InputError(
                "a folder of boxes needs the films beside it, which a run does not know",
                where=people,
                expected="a detector's name, or a file of boxes",
                hint="convert it first: tubelet data convert",
                arguments=("people",),
            )
        # `auto` is looked up once, so that all films get the same detector.
        named = people if given else resolved(people)
        self._people: str | GivenPeople = named
        if given:
            self._people = people_of_file(people, Options(fps=fps))[0]
        self.people_name = named
        self._every, self._fps, self._min_score = every, fps, min_score
        self._errors = errors
        self.precision = resolve(precision, self._model.device)

    def __call__(self, batch: Any) -> Any:
        """The table of a batch.

        A mapping of columns, one of them `path` (or `uri`, `url`, `film`) and `id` if there is one,
        or a list of paths gives a dict of NumPy columns. A column of another library (anything with
        `to_pylist`, as Daft's and Arrow's have it) gives as long a list: of each film its rows as
        dicts. Raises InputError for anything else, and as `ActionDetector.detect` does.
        """
        if hasattr(batch, "to_pylist"):
            return [_dicts(self._columns([path], None)) for path in batch.to_pylist()]
        if not isinstance(batch, Mapping):
            return self._columns(batch, None)
        column = next((name for name in PATHS if name in batch), None)
        if column is None:
            raise InputError(
                "a batch needs a column of paths", expected=", ".join(PATHS), got=", ".join(batch)
            )
        return self._columns(batch[column], batch.get("id"))

    def film(
        self, address: str | Path, *, name: str | None = None, alive: Alive | None = None
    ) -> FilmRows:
        """What is in one film. `name`: its id, by default its file's name without the suffix.
        `alive` is called at each keyframe with the share that is done."""

        def on_keyframe(time_ms: int, info: VideoInfo) -> None:
            if alive is not None:
                alive((time_ms - info.start_ms) / max(1, info.duration_ms))

        called = name or _name_of(address)
        with on_this_machine(str(address)) as path:
            notes: list[str] = []
            seen: list[tuple[int, People]] = []
            moments = self._model.detect(
                path,
                people=self._people,
                every=self._every,
                fps=self._fps,
                name=called,
                on_people=lambda time_ms, people: seen.append((time_ms, people)),
                on_keyframe=on_keyframe,
                on_note=notes.append,
            )
            rows = FilmRows.of(called, moments, self._min_score, lambda: passers_by(seen))
            return replace(rows, notes=tuple(notes))

    def _columns(self, paths: Iterable[Any], names: Iterable[Any] | None) -> Columns:
        addresses = [str(path) for path in paths]
        called = [_name_of(a) for a in addresses] if names is None else [str(n) for n in names]
        _check_apart(called, addresses)
        films, errors = [], []
        for address, name in zip(addresses, called, strict=True):
            try:
                film, error = self.film(address, name=name), ""
            except TubeletError as raised:
                if self._errors == "raise":
                    raise
                film, error = _failed(name), str(raised)
            films.append(film)
            errors.append(np.full(len(film), error, object))
        table = joined_columns(films)
        if self._errors == "rows":
            table["error"] = np.concatenate([np.zeros(0, object), *errors])
        return table


def _name_of(address: str | Path) -> str:
    """The id of a film that nobody named."""
    return film_id(Path(str(address).split("?")[0]).name)


def _check_apart(names: Sequence[str], addresses: Sequence[str]) -> None:
    """Raise InputError where two films of a batch would be one in the table."""
    known: dict[str, str] = {}
    for name, address in zip(names, addresses, strict=True):
        if known.setdefault(name, address) != address:
            raise InputError(
                "two films of a batch have one id",
                where=name,
                got=f"{known[name]}, {address}",
                hint="give the batch a column `id` that tells them apart",
            )


def _failed(name: str) -> FilmRows:
    """The one row of a film that could not be used."""
    return FilmRows(
        name=name,
        time_ms=np.full(1, FAILED, np.int64),
        boxes=np.full((1, 4), np.nan, np.float32),
        class_id=np.full(1, FAILED, np.int32),
        score=np.full(1, np.nan, np.float32),
        track_id=np.full(1, FAILED, np.int64),
    )


def _dicts(columns: Columns) -> list[dict[str, Any]]:
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]
