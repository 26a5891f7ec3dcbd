"""`tubelet models`, `tubelet recipes` and `tubelet convert`."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from tubelet.checkpoints import read_header
from tubelet.cli.app import print_json
from tubelet.cli.console import note, out, show
from tubelet.config import encode, override
from tubelet.models.create import model_records
from tubelet.recipes import recipe_named
from tubelet.recipes.records import RecipeRecord, recipe_records
from tubelet.releases.table import Release, releases
from tubelet.types import InputError


def list_models(pattern: str, *, as_json: bool) -> None:
    """Released weights first, then the architectures that can be built."""
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    released = [_release(r) for n, r in releases().items() if fnmatch.fnmatchcase(n, wanted)]
    records = [record.to_json() for record in model_records(pattern)]
    if not released and not records:
        raise InputError(f"no model matches {pattern!r}", hint="`tubelet models` lists all")
    if as_json:
        print_json({"releases": released, "architectures": records})
        return
    show([t for t in (_release_table(released), _architecture_table(records)) if t.row_count])


def _release(release: Release) -> dict[str, Any]:
    """What is known without a download; only the package's own files are opened."""
    here = release.path.is_file()
    header = read_header(release.path) if here and release.shipped else {}
    return {
        "name": release.name,
        "summary": release.summary,
        "where": _where(release, here=here),
        "file": str(release.path) if here else None,
        "url": release.url,
        "sha256": release.sha256,
        "bytes": release.path.stat().st_size if here else release.bytes,
        "date": header.get("date"),
        "score": header.get("score"),
    }


def _where(release: Release, *, here: bool) -> str:
    if release.shipped:
        return "package" if here else "missing"
    return "cache" if here else "download"


def _release_table(rows: list[dict[str, Any]]) -> Table:
    columns = ("released weights", "what", "where", "MB", "our score", "date")
    table = Table(*columns, box=SIMPLE_HEAD)
    for row in rows:
        size = "" if row["bytes"] is None else f"{row['bytes'] / 1e6:.1f}"
        score, date = str(row["score"] or ""), str(row["date"] or "")
        table.add_row(row["name"], row["summary"], row["where"], size, score, date)
    return table


def _architecture_table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("architecture", no_wrap=True)
    table.add_column("task", no_wrap=True)
    for name in ("params M", "GFLOPs", "view"):
        table.add_column(name, justify="right")
    table.add_column("weights of")
    table.add_column("published")
    table.add_column("reproduced")
    for row in rows:
        table.add_row(
            row["name"],
            row["task"],
            f"{row['parameters'] / 1e6:.2f}",
            f"{row['gflops']:.1f}",
            f"{row['frames']}×{row['size']}²",
            row["weights"],
            "; ".join(_published(p) for p in row["published"]),
            "" if row["reproduced"] is None else str(row["reproduced"]),
        )
    return table


def _published(row: dict[str, Any]) -> str:
    """Score and cost as printed; where it is printed is in the JSON."""
    score = [str(row[k]) for k in ("dataset", "metric", "score") if k in row and "score" in row]
    cost = [f"{row['gflops']:g} GFLOPs"] if "gflops" in row else []
    return ", ".join([" ".join(score)] * bool(score) + cost)


def list_recipes(pattern: str, *, as_json: bool) -> None:
    """What `tubelet train` can run, and the figures that a paper prints beside our own."""
    rows = recipe_records(pattern)
    if not rows:
        raise InputError(f"no recipe matches {pattern!r}", hint="`tubelet recipes` lists all")
    if as_json:
        print_json([row.to_json() for row in rows])
        return
    for row in rows:
        for line in _recipe_lines(row):
            out.print(line)


def _recipe_lines(row: RecipeRecord) -> list[str]:
    """Two lines: a table of all this would need more columns than a terminal has."""
    scores = [("published", row.published), ("reproduced", row.reproduced)]
    known = "; ".join(f"{what} {_scores(values)}" for what, values in scores if values)
    cost = f"{row.parameters / 1e6:.1f} M, {row.gflops:.1f} GFLOPs × {row.views}"
    source = [] if row.paper is None else [f"{row.paper}, {row.table}"]
    needs = ", ".join(row.data) or "none"
    return [
        f"{row.name}  {cost}{'  ' if known else ''}{known}",
        f"    {'; '.join([*source, row.model, f'data: {needs}'])}",
    ]


def _scores(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in scores.items())


def show_recipe(name: str, settings: Sequence[str]) -> None:
    """One recipe whole, as JSON, `settings` applied."""
    print_json(encode(override(recipe_named(name), settings)))


def convert_checkpoint(source: Path, target: Path, name: str | None) -> None:
    """Convert one foreign checkpoint and say what became of its tensors."""
    from tubelet.convert import convert

    converted = convert(source, name=name)
    converted.save(target)
    for line in converted.notes:
        note(line)
    for tensor, reason in converted.dropped.items():
        note(f"dropped {tensor}: {reason}")
    kept = len(converted.state)
    out.print(f"{converted.family}: {kept} tensors kept, {len(converted.dropped)} dropped")
    out.print(f"weights: {target}")
