"""The arguments and options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

# Arguments.
Videos = Annotated[list[Path], typer.Argument(help="video files, or folders of them")]
Pattern = Annotated[str, typer.Argument(help="part of a name, or a shell pattern")]
RecipeName = Annotated[
    str, typer.Argument(help="a recipe's name (`tubelet recipes`), a JSON file, or a run's folder")
]
AnnotationFile = Annotated[
    Path, typer.Argument(help="an annotation file of any known format: CVAT, VIA, COCO, AVA, …")
]

# What is computed, and on what.
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Every = Annotated[float, typer.Option(help="seconds between keyframes")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="override a field: stages.0.steps=100, and so on")
]

# What goes out.
ResultsFolder = Annotated[Path, typer.Option(help="folder for results")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]

# How annotation files are read.
From = Annotated[str | None, typer.Option("--from", help="format, if not recognised")]
LabelMap = Annotated[Path | None, typer.Option(help="label map (pbtxt, txt or JSON)")]
KeepEvery = Annotated[float | None, typer.Option(help="keep one frame every so many seconds")]
VIDEOS_HELP = "folder of the annotated videos"
VideosFolder = Annotated[Path, typer.Option(help=VIDEOS_HELP)]
VideosFolderIfAny = Annotated[Path | None, typer.Option(help=VIDEOS_HELP)]
