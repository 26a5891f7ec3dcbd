"""`tubelet playground make`, `tubelet data convert`, `data prepare` and `data doctor`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from tubelet.api import choose_device
from tubelet.cli.console import note, out, print_json, progress_bar
from tubelet.cli.released import size
from tubelet.data.doctor import Finding, SetFiles, examine_files, worst
from tubelet.data.importers import Options, Report, convert
from tubelet.data.labelmaps import read_label_map
from tubelet.data.prepare import prepare
from tubelet.errors import InputError
from tubelet.playground.make import write_dataset
from tubelet.playground.world import PlaygroundConfig
from tubelet.recipes.duration import in_words, training_seconds
from tubelet.recipes.own import DEFAULT_START, SUGGESTED_STARTS, known_classes, own_labels
from tubelet.releases.published import published
from tubelet.releases.table import weights_path
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingOptions:
    """The options of `data convert` and `data prepare` that say how annotations are read."""

    from_: str | None = None
    labels: Path | None = None
    every: float | None = None
    fps: float | None = None
    size: str | None = None
    video: str | None = None
    first_frame: int | None = None
    attribute: tuple[str, ...] = ()
    person_label: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def options(self, videos: Path | None) -> Options:
        """The same for the library. Raises InputError for values that cannot be."""
        return Options(
            labels=None if self.labels is None else read_label_map(self.labels),
            videos=videos,
            size=None if self.size is None else _size(self.size),
            fps=self.fps,
            every_ms=None if self.every is None else round(self.every * 1000),
            video=self.video,
            first_frame=self.first_frame,
            attributes=self.attribute,
            person_labels=self.person_label,
            ignored=self.ignore,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dividing:
    """Which videos are for validation: those named, or as a column says, or a share by a seed."""

    val_share: float = 0.2
    seed: int = 0
    val_videos: tuple[str, ...] = ()
    column: str | None = None


def convert_labels(
    sources: Sequence[Path], target: Path, *, to: str, videos: Path | None, reading: ReadingOptions
) -> None:
    """Read one format, write another, and say what was taken and what was left."""
    imported = convert(sources, target, reading.from_, to, reading.options(videos))
    _print_report(imported.report)
    out.print(f"{len(imported.table)} rows: {target}")


def prepare_set(
    sources: Sequence[Path],
    videos: Path,
    folder: Path,
    *,
    reading: ReadingOptions,
    dividing: Dividing,
    start: str,
    exclusive: bool | None,
) -> None:
    """Split annotations by video and write the recipe that trains on them. `exclusive` None: where
    the annotations' classes are one choice."""
    weights_path(start)  # whatever is wrong with the start is known before anything is written
    prepared = prepare(
        sources,
        videos,
        folder,
        format_name=reading.from_,
        options=reading.options(videos),
        val_share=dividing.val_share,
        seed=dividing.seed,
        val_videos=dividing.val_videos,
        split_column=dividing.column,
    )
    if exclusive is None:
        exclusive = prepared.single_choice
        if exclusive:
            out.print(
                "a person does exactly one of the classes at a time (they are one choice; "
                "--no-exclusive if several can hold)"
            )
    name = folder.resolve().name
    recipe = own_labels(prepared, name=name, start=start, exclusive=exclusive)
    target = folder / "recipe.json"
    write_recipe(target, recipe)
    _print_report(prepared.report)
    out.print(f"{len(prepared.space)} classes: {', '.join(prepared.space.names)}")
    sides = ("train", prepared.train_videos), ("val", prepared.val_videos)
    for split, members in (*sides, ("test", prepared.test_videos)):
        if members:
            out.print(f"{split}: {len(members)} videos, {folder / split}.csv")
    for told in prepared.split_notes:
        note(f"warning: {told}")
    _print_start(recipe, start)
    stage, device = recipe.stages[0], choose_device()
    takes = in_words(training_seconds(recipe, device=device))
    out.print(
        f"training takes {takes} here, on {device.type} ({stage.steps} steps of {stage.batch} "
        "clips, timed on one clip; decoding comes on top)"
    )
    out.print(f"now: tubelet train {target} --out runs/{name}")


def _print_report(report: Report) -> None:
    """What was taken from the annotations and what was left; options as they are typed."""
    for line in report.lines():
        out.print(re.sub(r"`(\w+)`", lambda m: "--" + m[1].replace("_", "-"), line))


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
