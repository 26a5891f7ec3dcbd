"""`tubelet models list` and `tubelet recipes list`."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

from tubelet.checkpoints import read_header
from tubelet.cli.console import out, print_json, print_paragraph, show
from tubelet.errors import InputError
from tubelet.models.create import model_records
from tubelet.recipes.records import RecipeRecord, recipe_records
from tubelet.releases.published import published
from tubelet.releases.table import Release, releases
from tubelet.render.tables import Column, FittedTable


def list_models(pattern: str, *, as_json: bool) -> None:
    """Released weights first, then the architectures that can be built."""
    wanted = pattern if any(c in pattern for c in "*?[") else f"*{pattern}*"
    released = [release_facts(r) for n, r in releases().items() if fnmatch.fnmatchcase(n, wanted)]
    records = [record.to_json() for record in model_records(pattern)]
    if not released and not records:
        raise InputError(f"no model matches {pattern!r}", hint="`tubelet models` lists all")
    if as_json:
        print_json({"releases": released, "architectures": records})
        return
    tables = [release_table(released)] * bool(released)
    tables += [architecture_table(records)] * bool(records)
    show([part for table in tables for part in (table, "")])
    out.print("more of one: tubelet models show NAME")
    out.print(f"{len(published())} more from other projects: tubelet models --released")


def release_facts(release: Release) -> dict[str, Any]:
    """What is known without a download; only files in the package are opened."""
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


def release_table(rows: Sequence[Mapping[str, Any]]) -> FittedTable:
    """Released weights, one row each, of `release_facts`."""
    columns = (
        Column(name="weights"),
        Column(name="where"),
        Column(name="MB", right=True),
        Column(name="what", optional=True),
        Column(name="our score", optional=True),
        Column(name="date", optional=True),
    )
    return FittedTable(columns, [_release_row(row) for row in rows])


def _release_row(row: Mapping[str, Any]) -> list[str]:
    size = "" if row["bytes"] is None else f"{row['bytes'] / 1e6:.1f}"
    more = (row["summary"], row["score"], row["date"])
    return [row["name"], row["where"], size, *(str(cell or "") for cell in more)]


def architecture_table(records: Sequence[Mapping[str, Any]]) -> FittedTable:
    """Architectures, one row each; `records`: of `model_records`, one per task."""
    columns = (
        Column(name="architecture"),
        Column(name="M params", right=True),
        Column(name="clip", right=True),
        Column(name="GFLOPs", right=True),
        Column(name="as classifier", right=True),
        Column(name="published", optional=True),
    )
    return FittedTable(columns, [_architecture_row(rows) for rows in by_name(records).values()])


def by_name(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Records by architecture and task."""
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for record in records:
        found.setdefault(record["name"], {})[record["task"]] = record
    return found


def _architecture_row(tasks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    detector, classifier = tasks["detection"], tasks["classification"]
    scores = [p for record in (detector, classifier) for p in record["published"] if "score" in p]
    return [
        detector["name"],
        f"{detector['parameters'] / 1e6:.2f}",
        f"{detector['frames']}×{detector['size']}²",
        f"{detector['gflops']:.1f}",
        f"{classifier['gflops']:.1f}",
        "; ".join(f"{p['dataset']} {p['score']:g}" for p in scores),
    ]


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
            print_paragraph(line)


def _recipe_lines(row: RecipeRecord) -> list[str]:
    """Two lines: a table of all this would need more columns than a terminal has."""
    scores = [("published", row.published), ("reproduced", row.reproduced)]
    known = [f"{what} {_scores(values)}" for what, values in scores if values]
    cost = f"{row.parameters / 1e6:.1f} M, {row.gflops:.1f} GFLOPs × {row.views}"
    source = [] if row.paper is None else [f"{row.paper}, {row.table}"]
    needs = ", ".join(row.data) or "none"
    return [
        "  ".join([row.name, cost, *known]),
        f"    {'; '.join([*source, row.model, f'data: {needs}'])}",
    ]


def _scores(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in scores.items())
