"""Published checkpoints: listed by data set, shown whole, pulled."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from tubelet.cli.console import download_bar, note, out, print_json
from tubelet.errors import InputError
from tubelet.labelsets import label_set
from tubelet.people.auto import BETTER
from tubelet.people.hub import cached as cached_detector
from tubelet.people.hub import fetch
from tubelet.people.rows import ROWS, DetectorRow
from tubelet.releases.foreign import address, cached, converted_path, original_path
from tubelet.releases.published import PublishedWeights, listed, matching, published
from tubelet.releases.table import weights_path


def list_released(pattern: str, *, as_json: bool) -> None:
    """Published checkpoints by data set, the best of each first; two lines per row."""
    rows = matching(pattern, published().values())
    if not rows:
        raise InputError(
            f"no published checkpoint matches {pattern!r}",
            hint="name part of a name, of a data set (ava, k400, ssv2) or of a family (SlowFast)",
        )
    if as_json:
        print_json([{**row.to_json(), "cached": cached(row)} for row in rows])
        return
    rows.sort(key=lambda row: (row.task != "detection", row.data, -(row.score or 0.0), row.name))
    for (_, data), members in groupby(rows, key=lambda row: (row.task, row.data)):
        group = list(members)
        out.print(f"\n── {data}: {_classes(group[0])}")
        for row in group:
            out.print(row.name, soft_wrap=True)  # one is longer than eighty: whole, to be copied
            out.print(f"    {_facts(row)}")
    out.print("\ndetails: tubelet models show NAME; download: tubelet pull NAME")


def _classes(row: PublishedWeights) -> str:
    each = "of each person" if row.task == "detection" else "of the whole picture"
    if row.labels is None:
        return f"classes {each}, names unpublished"
    return f"{len(label_set(row.labels))} classes {each}"


def _facts(row: PublishedWeights) -> str:
    """Score, size, licence, location: short enough for eighty columns."""
    score = "no score" if row.score is None else f"{row.metric} {row.score:g}"
    where = "cached" if cached(row) else "by hand" if row.by_hand else "download"
    licence = row.licence if row.commercial else f"{row.licence} (non-commercial)"
    return "  ".join((score, size(row), licence, where))


def size(row: PublishedWeights) -> str:
    """Of the converted file, which is about that of the original without its optimizer."""
    if row.bytes is None:
        return "? MB"
    return f"{row.bytes / 1e9:.1f} GB" if row.bytes >= 1e9 else f"{row.bytes / 1e6:.0f} MB"


def published_facts(row: PublishedWeights) -> dict[str, Any]:
    """Everything known about one row, offered or not."""
    told = row.to_json()
    facts = told.pop("facts", {})
    if row.refused is not None:
        return told
    told |= {"size": size(row), "downloaded from": address(row)}
    told["original goes to"] = str(original_path(row))
    told["converted file"] = str(converted_path(row))
    told["where"] = "cached" if cached(row) else "by hand" if row.by_hand else "download"
    told["input and head"] = {key: _short(value) for key, value in facts.items()}
    if row.labels is not None:
        told["classes"] = list(label_set(row.labels).names)
    return told


def _short(value: Any) -> Any:
    if isinstance(value, list):
        return ", ".join(str(_short(member)) for member in value)
    return f"{value:.4g}" if isinstance(value, float) else value


def pull(names: Sequence[str], *, keep: bool) -> None:
    """Download and convert the named releases; each one's file is printed. "people" is the person
    detector that `auto` takes where it can be had, others go by their names in the list."""
    for name in names:
        if name == "people" or name in ROWS:
            out.print(f"{name}: {_pull_detector(BETTER if name == 'people' else ROWS[name])}")
            continue
        with download_bar() as progress:
            path = weights_path(name, keep=keep, progress=progress)
        row = listed().get(name)
        if row is not None and not row.commercial:
            note(f"{name}: {row.licence}, non-commercial use only")
        out.print(f"{name}: {path}")


def _pull_detector(row: DetectorRow) -> Path:
    if row.model_id is None:
        raise InputError(f"{row.name} must be downloaded by hand", where=row.url)
    if cached_detector(row.model_id) is None:
        note(f"fetching {row.model_id}, about {row.megabytes:.0f} MB ({row.licence})")
    return fetch(row.model_id)
