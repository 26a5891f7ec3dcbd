"""`tubelet playground make`, `tubelet data convert`, `data prepare` and `data doctor`."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

from tubelet.cli.console import note, out, print_json, progress_bar
from tubelet.cli.released import size
from tubelet.data.doctor import Finding, SetFiles, examine_files, worst
from tubelet.data.importers import Options, convert
from tubelet.data.labelmaps import read_label_map
from tubelet.data.prepare import prepare
from tubelet.errors import InputError
from tubelet.playground.make import write_dataset
from tubelet.playground.world import PlaygroundConfig
from tubelet.recipes.own import DEFAULT_START, SUGGESTED_STARTS, known_classes, own_labels
from tubelet.releases.published import published
from tubelet.train.recipe import Recipe
from tubelet.train.recipe_file import write_recipe


def make_playground(
    folder: Path, clips: int, seed: int, split: str, seconds: float, size: str
) -> None:
    """Render `clips` clips with labels."""
    width, height = _size(size)
    if split not in ("train", "val", "test"):
        raise InputError(f"unknown split {split!r}", expected="train, val or test")
    config = PlaygroundConfig(height=height, width=width, seconds=seconds)
    with progress_bar() as bar:
        task = bar.add_task("clips", total=clips)
        files = write_dataset(
            folder,
            clips=clips,
            config=config,
            seed=seed,
            split=split,  # type: ignore[arg-type]
            on_clip=lambda done, _: bar.update(task, completed=done),
        )
    out.print(f"{len(files.videos)} clips, labels in {files.annotations}")


def convert_labels(
    source: Path,
    target: Path,
    *,
    to: str,
    from_: str | None,
    labels: Path | None,
    videos: Path | None,
    size: str | None,
    fps: float | None,
    every: float | None,
) -> None:
    """Read one format, write another."""
    options = Options(
        labels=None if labels is None else read_label_map(labels),
        videos=videos,
        size=None if size is None else _size(size),
        fps=fps,
        every_ms=None if every is None else round(every * 1000),
    )
    imported = convert(source, target, from_, to, options)
    out.print(f"{len(imported.table)} rows: {target}")


def prepare_set(
    source: Path,
    videos: Path,
    folder: Path,
    *,
    from_: str | None,
    labels: Path | None,
    every: float | None,
    val_share: float,
    start: str,
    exclusive: bool,
) -> None:
    """Split annotations by video and write the recipe that trains on them."""
    prepared = prepare(
        source,
        videos,
        folder,
        format_name=from_,
        labels=None if labels is None else read_label_map(labels),
        every_ms=None if every is None else round(every * 1000),
        val_share=val_share,
    )
    name = folder.resolve().name
    recipe = own_labels(prepared, name=name, start=start, exclusive=exclusive)
    target = folder / "recipe.json"
    write_recipe(target, recipe)
    out.print(f"{len(prepared.space)} classes: {', '.join(prepared.space.names)}")
    for split, members in (("train", prepared.train_videos), ("val", prepared.val_videos)):
        out.print(f"{split}: {len(members)} videos, {folder / split}.csv")
    _print_start(recipe, start)
    out.print(f"now: tubelet train {target} --out runs/{name}")


def _print_start(recipe: Recipe, start: str) -> None:
    """What the start determines, which classes it knows, and alternatives if it is a small one."""
    model, stage = recipe.model, recipe.stages[0]
    spec = model.input
    out.print(
        f"start: {start}: {spec.frames} × {spec.stride} frames at {spec.short_side} pixels, "
        f"batches of {stage.batch}, learning rate {stage.optimizer.rate:g}"
    )
    if known := known_classes(recipe, start):
        out.print(f"classes the start already knows: {', '.join(known)}")
    if start == DEFAULT_START:
        others = [
            f"--start {name} ({size(published()[name])}, trained on {what})"
            for what, name in SUGGESTED_STARTS.items()
        ]
        note(f"a start trained on real videos learns more from few labels: {'; '.join(others)}")


def _size(text: str) -> tuple[int, int]:
    """(width, height) of "WIDTHxHEIGHT"."""
    width, cross, height = text.partition("x")
    if not (cross and width.isdigit() and height.isdigit()):
        raise InputError("invalid size", expected="WIDTHxHEIGHT, as 320x240", got=text)
    return int(width), int(height)


def diagnose(
    truth: Sequence[Path],
    proposals: Sequence[Path],
    labels: Path | None,
    videos: Path | None,
    fps: float | None,
    *,
    as_json: bool,
) -> int:
    """Print what is wrong with a set of annotation files; the exit code is 1 for an error."""
    if len(proposals) > len(truth):
        raise InputError("more proposal files than annotation files")
    sets = [
        SetFiles(name=path.stem, truth=path, proposals=boxes)
        for path, boxes in zip_longest(truth, proposals)
    ]
    findings = examine_files(sets, label_map=labels, videos=videos, fps=fps)
    if as_json:
        print_json([finding.to_json() for finding in findings])
    else:
        for finding in findings:
            out.print(_lines(finding))
        out.print(f"{len(findings)} findings" if findings else "no problems found")
    return 1 if worst(findings) == "error" else 0


def _lines(finding: Finding) -> str:
    head = f"{finding.severity}: {finding.subject}: {finding.message} ({finding.count}×)"
    parts = [head, *(f"    {example}" for example in finding.examples)]
    return "\n".join([*parts, f"    try: {finding.fix}"] if finding.fix else parts)
