"""`tubelet playground` and `tubelet data`: sets of annotated films, made, converted and checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tubelet.cli.apps import App
from tubelet.cli.options import (
    ActionAttribute,
    AnnotationFiles,
    FilmName,
    FirstFrame,
    Fps,
    From,
    Ignore,
    Json,
    KeepEvery,
    LabelMap,
    PersonLabel,
    VideosFolder,
    VideosFolderIfAny,
)

playground = App(no_args_is_help=True, help="The rendered world with exact labels.")
data = App(no_args_is_help=True, help="Annotation files: convert, prepare, check.")


@playground.command("make")
def playground_make(
    out: Annotated[Path, typer.Option(help="folder for videos and labels")],
    clips: Annotated[int, typer.Option(help="number of clips")] = 10,
    seed: Annotated[int, typer.Option(help="seeds never shared between splits")] = 0,
    split: Annotated[str, typer.Option(help="train, val or test")] = "train",
    seconds: Annotated[float, typer.Option(help="length of a clip")] = 3.0,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT in pixels")] = "320x240",
) -> None:
    """Write playground clips as MP4 with AVA-format labels."""
    from tubelet.cli.labels import make_playground

    make_playground(out, clips, seed, split, seconds, size)


@data.command("convert")
def data_convert(
    sources: AnnotationFiles,
    target: Annotated[Path, typer.Argument(help="the file to write")],
    to: Annotated[str, typer.Option(help="format to write")] = "ava-csv",
    from_: From = None,
    labels: LabelMap = None,
    videos: VideosFolderIfAny = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, where boxes are pixels")] = None,
    fps: Fps = None,
    video: FilmName = None,
    first_frame: FirstFrame = None,
    every: KeepEvery = None,
    attribute: ActionAttribute = None,
    person_label: PersonLabel = None,
    ignore: Ignore = None,
) -> None:
    """Convert between the field's annotation formats.

    Prints what became classes, what was left out, and how many boxes of each.
    """
    from tubelet.cli.labels import ReadingOptions, convert_labels

    reading = ReadingOptions(
        from_=from_,
        labels=labels,
        every=every,
        fps=fps,
        size=size,
        video=video,
        first_frame=first_frame,
        attribute=tuple(attribute or ()),
        person_label=tuple(person_label or ()),
        ignore=tuple(ignore or ()),
    )
    convert_labels(sources, target, to=to, videos=videos, reading=reading)


@data.command("prepare")
def data_prepare(
    sources: AnnotationFiles,
    videos: VideosFolder,
    out: Annotated[Path, typer.Option(help="folder for labels, splits and recipe")],
    from_: From = None,
    labels: LabelMap = None,
    every: KeepEvery = None,
    fps: Fps = None,
    video: FilmName = None,
    first_frame: FirstFrame = None,
    attribute: ActionAttribute = None,
    person_label: PersonLabel = None,
    ignore: Ignore = None,
    val_share: Annotated[float, typer.Option(help="share of the videos for validation")] = 0.2,
    val_videos: Annotated[
        list[str] | None, typer.Option(help="a video for validation, repeatable")
    ] = None,
    split: Annotated[str | None, typer.Option(help="CSV column that says train or val")] = None,
    seed: Annotated[int, typer.Option(help="of the split")] = 0,
    start: Annotated[
        str, typer.Option(help="model to fine-tune: a release, or a weights file")
    ] = "playground_small",
    exclusive: Annotated[
        bool | None,
        typer.Option(help="a person does exactly one class at a time; default: as annotated"),
    ] = None,
) -> None:
    """Split your annotations, and write a recipe for them.

    Labels and boxes of the train and val videos, and the recipe that trains on them. The
    annotations' own train and validation subsets are used.
    """
    from tubelet.cli.labels import Dividing, ReadingOptions, prepare_set

    reading = ReadingOptions(
        from_=from_,
        labels=labels,
        every=every,
        fps=fps,
        video=video,
        first_frame=first_frame,
        attribute=tuple(attribute or ()),
        person_label=tuple(person_label or ()),
        ignore=tuple(ignore or ()),
    )
    prepare_set(
        sources,
        videos,
        out,
        reading=reading,
        dividing=Dividing(
            val_share=val_share, seed=seed, val_videos=tuple(val_videos or ()), column=split
        ),
        start=start,
        exclusive=exclusive,
    )


@data.command("doctor")
def data_doctor(
    truth: Annotated[list[Path], typer.Argument(help="annotation files, one per split")],
    proposals: Annotated[
        list[Path] | None, typer.Option(help="person boxes, one per split, in the same order")
    ] = None,
    labels: LabelMap = None,
    videos: VideosFolderIfAny = None,
    fps: Annotated[float | None, typer.Option(help="expected frame rate")] = None,
    as_json: Json = False,
) -> None:
    """Find why training would fail, or mAP be wrong.

    The exit code is 1 if there are errors.
    """
    from tubelet.cli.labels import diagnose

    raise typer.Exit(diagnose(truth, proposals or [], labels, videos, fps, as_json=as_json))
