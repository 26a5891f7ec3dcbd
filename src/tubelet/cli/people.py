"""`tubelet people`: find the people in videos, list detectors, or measure how well they do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tubelet.cli.apps import App, FindingGroup
from tubelet.cli.options import Device, Every, Fps, Json, Pattern, Videos

people = App(cls=FindingGroup, help="People's boxes: find them in videos, or measure a detector.")

Detector = Annotated[
    str,
    typer.Option(help="auto, person_small, a name of `tubelet people list`, or sliced:<any>"),
]


@people.command("find")
def people_find(
    videos: Videos,
    out: Annotated[Path, typer.Option(help="CSV of boxes, AVA's columns with a score")],
    detector: Detector = "auto",
    every: Every = 1.0,
    threshold: Annotated[float | None, typer.Option(help="minimum score of a person")] = None,
    device: Device = "auto",
    fps: Fps = None,
) -> None:
    """Write the person boxes of videos to one CSV.

    It is the proposal file that training and testing read. `tubelet people film.mp4` is short for
    `tubelet people find film.mp4`.
    """
    from tubelet.cli.detecting import write_people

    raise typer.Exit(write_people(videos, out, detector, every, threshold, device, fps))


@people.command("list")
def people_list(pattern: Pattern = "*", as_json: Json = False) -> None:
    """List person detectors, ours and published ones."""
    from tubelet.cli.measuring import list_detectors

    list_detectors(pattern, as_json=as_json)


@people.command("bench")
def people_bench(
    images: Annotated[Path, typer.Option(help="folder of pictures, with boxes.csv in it")],
    boxes: Annotated[
        Path | None, typer.Option(help="CSV of image,x1,y1,x2,y2[,crowd] in [0, 1]")
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(help="as in `tubelet people find`; repeatable, measured side by side"),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="score of a sure person; default the detector's own")
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="only the pictures that person_small never saw")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Measure person detectors on labelled pictures.

    AP of people alone, recall by their height, errors and milliseconds a picture. With an
    images.csv of image,source in the folder, each source gets a row of its own.
    """
    from tubelet.cli.measuring import print_bench

    print_bench(
        images,
        boxes,
        detector or ["auto"],
        threshold,
        held_out=held_out,
        device=device,
        as_json=as_json,
    )
