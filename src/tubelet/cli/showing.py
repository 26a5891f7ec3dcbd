"""`tubelet models show`, `tubelet recipes show` and `tubelet convert`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tubelet.checkpoints import describe_source, read_header
from tubelet.cli.console import note, out, print_json, print_paragraph
from tubelet.cli.listing import release_facts
from tubelet.cli.released import published_facts
from tubelet.config import encode, override
from tubelet.errors import InputError, OpenQuestions, did_you_mean
from tubelet.models.create import model_names, model_records, variant
from tubelet.recipes.notes.base import resolved
from tubelet.recipes.saved import find_recipe
from tubelet.releases.foreign import converted_path
from tubelet.releases.published import PublishedWeights, listed, published
from tubelet.releases.table import releases, weights_path

Facts = dict[str, Any]


def show_model(name: str, *, as_json: bool) -> None:
    """Everything known about released weights, an architecture or a weights file.

    Raises InputError naming the nearest names, CheckpointError for a file that cannot be read.
    """
    facts = model_facts(name)
    if as_json:
        print_json(facts)
        return
    width = max(map(len, facts))
    for key, value in facts.items():
        for line in _lines(value):
            print_paragraph(f"{key:<{width}}  {line}", indent=width + 2)
            key = ""


def model_facts(name: str) -> Facts:
    """What `tubelet models show NAME` says; raises as `show_model` does."""
    if name in releases():
        return _release(name)
    if name in model_names():
        return _architecture(name)
    if name in listed():
        return _published(listed()[name])
    if name.endswith(".safetensors") or Path(name).exists():
        path = weights_path(Path(name))  # of a folder, the file in it
        return {"file": str(path), **_header(path)}
    known = [*releases(), *model_names(), *published()]
    raise InputError(
        f"unknown model {name!r}",
        expected="released weights, an architecture, or a .safetensors file",
        hint=did_you_mean(name, known, most=3) or "`tubelet models` lists all",
    )


def _release(name: str) -> Facts:
    release = releases()[name]
    facts = {key: value for key, value in release_facts(release).items() if value is not None}
    if release.card.is_file():
        facts["card"] = str(release.card)
    if release.path.is_file():
        facts |= _header(release.path)
    return facts


def _published(row: PublishedWeights) -> Facts:
    facts = published_facts(row)
    if converted_path(row).is_file():
        facts |= _header(converted_path(row))
    return facts


def _header(path: Path) -> Facts:
    """What a weights file says about itself, its model's fields last."""
    header = read_header(path)
    model = dict(header.pop("model", {}))
    labels = model.pop("labels", None)
    model.pop("type", None)
    del header["format"]
    if labels is not None:
        header["classes"] = labels["names"]
    return {**header, **model}


def _architecture(name: str) -> Facts:
    row, records = variant(name), {record.task: record for record in model_records(name)}
    facts: Facts = {"architecture": name}
    for task, record in records.items():
        facts[task] = {
            "parameters": record.parameters,
            "gflops": record.gflops,
            "clip": f"{record.frames}×{record.size}²",
        }
    facts["input"] = encode(row.input)
    facts["backbone"] = encode(row.backbone)
    facts["weights of"] = row.weights or None
    facts["published"] = [p for r in records.values() for p in r.to_json()["published"]]
    facts["build"] = f"tubelet.create_model({name!r})"
    return facts


def _lines(value: object) -> list[str]:
    """A fact in words: numbers with separators, mappings and lists in one line or several."""
    match value:
        case None | [] | "":
            return ["–"]
        case {"family": str(), "file": str()}:  # a checkpoint that was converted
            return describe_source({"source": value})
        case {"source": source, **figures}:  # published figures
            return [f"{source}: {_pairs(figures)}"]
        case {"type": kind, **fields}:  # a configuration
            return [f"{kind}: {_pairs(fields)}"]
        case dict():
            return [_pairs(value)]
        case [dict(), *_]:
            return [line for item in value for line in _lines(item)]
        case list():
            return [", ".join(map(_plain, value))]
        case _:
            return [_plain(value)]


def _pairs(values: Mapping[Any, object]) -> str:
    return ", ".join(f"{key} {_plain(item)}" for key, item in values.items())


def _plain(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float() | str():
            return f"{value}"
        case None:
            return "–"
        case _:
            return json.dumps(value, ensure_ascii=False)


def show_recipe(name: str, settings: Sequence[str]) -> None:
    """One full recipe, as JSON, `settings` applied, and what of it is assumed."""
    print_json(encode(resolved(override(find_recipe(name), settings))))


def convert_checkpoint(
    source: Path,
    target: Path,
    *,
    name: str | None,
    config_file: Path | None,
    assume: Sequence[str],
    labels: Path | None,
) -> None:
    """Convert one foreign checkpoint and report on its tensors and what was assumed."""
    from tubelet.convert import convert
    from tubelet.data.labelmaps import read_label_map

    try:
        converted = convert(
            source,
            name=name,
            config_file=config_file,
            assume=assume,
            labels=None if labels is None else read_label_map(labels),
        )
    except OpenQuestions as error:
        answers = (f"--assume {q.key}={'|'.join(q.choices) or 'N'}" for q in error.questions)
        error.add_note(f"  answers:  {' '.join(answers)}")
        raise
    converted.save(target)
    for line in converted.notes:
        note(line)
    for reason in dict.fromkeys(converted.dropped.values()):
        names = [name for name, why in converted.dropped.items() if why == reason]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        note(f"left out {', '.join(names[:3])}{more}: {reason}")
    kept = len(converted.state)
    out.print(f"{converted.family}: {kept} tensors kept, {len(converted.dropped)} entries left out")
    out.print(f"weights: {target}")
