"""Commands that make graphs of models. Packages are imported inside them, so `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tubelet.cli.apps import App
from tubelet.engines.choices import FileKind

graphs = App()
Model = Annotated[
    str, typer.Argument(help="a release's name, hf://user/repo, a weights file, or a run folder")
]


@graphs.command()
def export(
    model: Model,
    to: Annotated[FileKind, typer.Option(help="kind of file")] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="the file; default: the model's name here")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="of the weights, where their file does not state it")
    ] = None,
) -> None:
    """Write a model as one graph for other programs.

    Frames and boxes in, scores out, RoIAlign inside; any number of clips and people. The file says
    its classes, input, licence and source, and was run beside torch before it is written.
    `tubelet detect --model FILE` runs .onnx and .xml files.
    """
    from tubelet.cli.graphs.running import export_file

    export_file(model, to, out, licence)


@graphs.command()
def engines(
    model: Model,
    rounds: Annotated[int, typer.Option(help="clips to time in each engine")] = 5,
) -> None:
    """Time the installed engines on this machine.

    `--engine auto` takes the fastest of them for this model from then on, where it is at least
    1.1 times as fast as torch and its scores are equal.
    """
    from tubelet.cli.graphs.running import time_engines

    time_engines(model, rounds)
