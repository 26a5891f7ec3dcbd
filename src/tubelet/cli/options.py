"""The arguments and options that several commands share, each declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tubelet.engines.choices import EngineChoice

# Arguments.
Videos = Annotated[list[Path], typer.Argument(help="video files, or folders of them")]
Pattern = Annotated[str, typer.Argument(help="part of a name, or a shell pattern")]
RecipeName = Annotated[
    str, typer.Argument(help="a recipe's name (`tubelet recipes`), a JSON file, or a run's folder")
]
AnnotationFiles = Annotated[
    list[Path],
    typer.Argument(
        help="annotations of any known format: files, zip archives as downloaded, or folders"
    ),
]

# What is computed, and on what.
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Engine = Annotated[
    EngineChoice,
    typer.Option(help="what runs the model; auto: torch, or what `tubelet engines` found faster"),
]
Every = Annotated[float, typer.Option(help="seconds between keyframes")]
Jobs = Annotated[
    int | None,
    typer.Option(help="films at once, each in a process of its own; default: as many as help"),
]
TrackRate = Annotated[
    float,
    typer.Option(
        help="how often a second people are looked for and followed; 0: on keyframes only",
    ),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="override a field: stages.0.steps=100, and so on")
]

# What goes out.
ResultsFolder = Annotated[Path, typer.Option(help="folder for results")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]

# How annotation files are read.
From = Annotated[str | None, typer.Option("--from", help="format, if not recognised")]
LabelMap = Annotated[Path | None, typer.Option(help="label map (pbtxt, txt or JSON)")]
KeepEvery = Annotated[
    float | None,
    typer.Option(help="of each so many seconds keep the nearest labelled moment"),
]
Fps = Annotated[
    float | None,
    typer.Option(help="frame rate, of folders of frames or where no film tells it"),
]
FilmName = Annotated[
    str | None, typer.Option("--video", help="the film, where the file does not name it")
]
FirstFrame = Annotated[
    int | None, typer.Option(help="number of a film's first picture, where pictures are numbered")
]
ActionAttribute = Annotated[
    list[str] | None,
    typer.Option(help="only this attribute's values are actions; repeatable"),
]
PersonLabel = Annotated[
    list[str] | None, typer.Option(help="only boxes of this label are people; repeatable")
]
Ignore = Annotated[
    list[str] | None,
    typer.Option(help="leave out this label, attribute or class; repeatable"),
]
VIDEOS_HELP = "folder of the annotated videos"
VideosFolder = Annotated[Path, typer.Option(help=VIDEOS_HELP)]
VideosFolderIfAny = Annotated[Path | None, typer.Option(help=VIDEOS_HELP)]
