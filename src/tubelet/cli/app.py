"""Every command of `tubelet`. Rooms are imported inside commands, so that `--help` is quick."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

import tubelet

app = typer.Typer(
    name="tubelet",
    help="Who does what, where and when in a video: spatio-temporal action detection.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
playground = typer.Typer(no_args_is_help=True, help="The rendered world with exact labels.")
data = typer.Typer(no_args_is_help=True, help="Annotation files: convert, check.")
app.add_typer(playground, name="playground")
app.add_typer(data, name="data")

Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of a table")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"tubelet {tubelet.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def detect(
    videos: Annotated[list[Path], typer.Argument(help="video files, or folders of them")],
    model: Annotated[
        str, typer.Option(help="a release's name, hf://user/repo, or a weights file or folder")
    ] = "jhmdb21_small",
    people: Annotated[
        str, typer.Option(help="person detector: person_small, hf:<model id>, or a CSV of boxes")
    ] = "person_small",
    every: Annotated[float, typer.Option(help="seconds between keyframes")] = 1.0,
    threshold: Annotated[float, typer.Option(help="least score of an action shown")] = 0.3,
    out: Annotated[Path, typer.Option(help="folder for results")] = Path("runs/detect"),
    device: Device = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16")] = "auto",
    overlay: Annotated[bool, typer.Option(help="write overlay.mp4")] = True,
    page: Annotated[bool, typer.Option(help="write report.html")] = True,
) -> None:
    """Find the people in videos and say what each of them does, and when."""
    from tubelet.cli.detecting import DetectOptions, detect_videos

    options = DetectOptions(
        model=model,
        people=people,
        every=every,
        threshold=threshold,
        out=out,
        device=device,
        precision=precision,
        overlay=overlay,
        page=page,
    )
    raise typer.Exit(detect_videos(videos, options))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for results")] = Path("runs/demo"),
) -> None:
    """Render a clip of the playground, detect its people's actions, and score them."""
    from tubelet.cli.detecting import run_demo

    run_demo(out)


@app.command()
def people(
    videos: Annotated[list[Path], typer.Argument(help="video files, or folders of them")],
    out: Annotated[Path, typer.Option(help="CSV of boxes, AVA's columns with a score")],
    detector: Annotated[str, typer.Option(help="person_small or hf:<model id>")] = "person_small",
    every: Annotated[float, typer.Option(help="seconds between keyframes")] = 1.0,
    threshold: Annotated[float | None, typer.Option(help="least score of a person")] = None,
    device: Device = "auto",
) -> None:
    """Write the person boxes of videos: the proposal file that training and testing read."""
    from tubelet.cli.detecting import write_people

    raise typer.Exit(write_people(videos, out, detector, every, threshold, device))


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="a recipe's name (`tubelet recipes`) or JSON file")],
    root: Annotated[
        Path, typer.Option("--data", envvar="TUBELET_DATA", help="folder that holds the data")
    ] = Path("data"),
    out: Annotated[Path | None, typer.Option(help="run folder, default runs/<recipe>")] = None,
    resume: Annotated[bool, typer.Option(help="continue from the last checkpoint")] = False,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="stages.0.steps=100, and so on")
    ] = None,
    device: Device = "auto",
    tensorboard: Annotated[bool, typer.Option(help="write TensorBoard scalars")] = False,
    fsdp: Annotated[
        bool, typer.Option("--fsdp", help="split the backbone over torchrun's processes")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="the same in seconds: tiny, on rendered data")
    ] = False,
) -> None:
    """Train a recipe, test it, and leave weights, predictions and report in the run folder."""
    from tubelet.cli.training import smoke_recipe, train_recipe
    from tubelet.types import ConfigError

    if smoke:
        if settings or resume or fsdp:
            raise ConfigError("--smoke goes with --out only", hint="leave the other options out")
        smoke_recipe(recipe, out)
        return
    train_recipe(
        recipe,
        root=root,
        folder=out,
        resume=resume,
        settings=settings or [],
        device=device,
        tensorboard=tensorboard,
        fsdp=fsdp,
    )


@app.command()
def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="AVA detection CSV or Parquet, tubes.json, or clip scores")
    ],
    truth: Annotated[Path, typer.Argument(help="AVA ground-truth CSV, or a list of videos")],
    metric: Annotated[str, typer.Option(help="frame, video, topk or charades")] = "frame",
    labels: Annotated[Path | None, typer.Option(help="label map (pbtxt, txt or JSON)")] = None,
    exclude: Annotated[Path | None, typer.Option(help="CSV of excluded timestamps")] = None,
    protocol: Annotated[str, typer.Option(help="ava, pyslowfast or mmaction2")] = "ava",
    iou: Annotated[float, typer.Option(help="least overlap of a match")] = 0.5,
    training: Annotated[
        Path | None, typer.Option(help="training labels: adds Head, Mid and Tail classes")
    ] = None,
    details: Annotated[
        bool, typer.Option(help="add boxes' AP, groups, error causes and a confidence interval")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="also write report.json, .csv and .html")] = None,
    as_json: Json = False,
) -> None:
    """Frame mAP exactly as the official AVA script computes it; or the mAP of tubes (video),
    the accuracy of whole videos (topk), their mAP where each has several classes (charades)."""
    from tubelet.cli.scoring import Question, metric_named
    from tubelet.cli.scoring import evaluate as run

    question = Question(
        predictions=predictions,
        truth=truth,
        metric=metric_named(metric),
        labels=labels,
        exclude=exclude,
        training=training,
        protocol=protocol,
        iou=iou,
        details=details,
        curves=out is not None,
    )
    run(question, folder=out, as_json=as_json)


@app.command()
def ensemble(
    predictions: Annotated[
        list[Path], typer.Argument(help="files of predictions, all of people or all of videos")
    ],
    out: Annotated[Path, typer.Option(help="the file to write, CSV or Parquet")],
    weights: Annotated[str, typer.Option(help="a number for each file: 1,2,1")] = "",
) -> None:
    """Average the scores of several models' predictions; `tubelet evaluate` scores the result."""
    from tubelet.cli.scoring import join

    join(predictions, weights, out)


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="part of a name, or a shell pattern")] = "*",
    as_json: Json = False,
) -> None:
    """List architectures and released weights with parameters, cost and scores."""
    from tubelet.cli.listing import list_models

    list_models(pattern, as_json=as_json)


@app.command()
def recipes(
    pattern: Annotated[
        str, typer.Argument(help="part of a name, a shell pattern, or `show` and a name")
    ] = "*",
    name: Annotated[str | None, typer.Argument(help="after `show`: the recipe")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="with `show`: stages.0.steps=100, and so on")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the recipes that `tubelet train` runs; `show NAME` prints one whole, as JSON."""
    from tubelet.cli.listing import list_recipes, show_recipe

    if pattern == "show" and name is not None:
        show_recipe(name, settings or [])
        return
    if name is not None or settings:
        raise typer.BadParameter("only `tubelet recipes show NAME` takes a name or --set")
    list_recipes(pattern, as_json=as_json)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="PySlowFast, MMAction2, VMZ, … checkpoint")],
    to: Annotated[Path, typer.Option(help="the safetensors file to write")],
    as_name: Annotated[
        str | None, typer.Option("--as", help="the model it is, where its keys do not decide")
    ] = None,
) -> None:
    """Turn a published checkpoint into tubelet's weights, every tensor accounted for."""
    from tubelet.cli.listing import convert_checkpoint

    convert_checkpoint(checkpoint, to, as_name)


@playground.command("make")
def playground_make(
    out: Annotated[Path, typer.Option(help="folder for videos and labels")],
    clips: Annotated[int, typer.Option(help="how many")] = 10,
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
    source: Annotated[Path, typer.Argument(help="an annotation file of any known format")],
    target: Annotated[Path, typer.Argument(help="the file to write")],
    to: Annotated[str, typer.Option(help="format to write")] = "ava-csv",
    from_: Annotated[str | None, typer.Option("--from", help="format, if not recognised")] = None,
    labels: Annotated[Path | None, typer.Option(help="label map for the classes")] = None,
    videos: Annotated[
        Path | None, typer.Option(help="folder of the videos, to ask sizes and frame rates from")
    ] = None,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT, where boxes are pixels")] = None,
    fps: Annotated[float | None, typer.Option(help="frame rate, where frames are counted")] = None,
    every: Annotated[float | None, typer.Option(help="keep a frame every so many seconds")] = None,
) -> None:
    """Convert between the field's annotation formats."""
    from tubelet.cli.labels import convert_labels

    convert_labels(
        source,
        target,
        to=to,
        from_=from_,
        labels=labels,
        videos=videos,
        size=size,
        fps=fps,
        every=every,
    )


@data.command("prepare")
def data_prepare(
    source: Annotated[Path, typer.Argument(help="your annotations: CVAT, VIA, COCO, AVA, …")],
    videos: Annotated[Path, typer.Option(help="folder of the annotated videos")],
    out: Annotated[Path, typer.Option(help="folder for labels, splits and recipe")],
    from_: Annotated[str | None, typer.Option("--from", help="format, if not recognised")] = None,
    labels: Annotated[Path | None, typer.Option(help="label map, if the file names none")] = None,
    every: Annotated[float | None, typer.Option(help="keep a frame every so many seconds")] = None,
    val_share: Annotated[float, typer.Option(help="share of the videos to test on")] = 0.2,
    start: Annotated[
        str, typer.Option(help="model to fine-tune: a release, or a weights file")
    ] = "playground_small",
    exclusive: Annotated[
        bool, typer.Option(help="a person does exactly one of the classes at a time")
    ] = False,
) -> None:
    """Split your annotations into train and val, and write the recipe that trains on them."""
    from tubelet.cli.labels import prepare_set

    prepare_set(
        source,
        videos,
        out,
        from_=from_,
        labels=labels,
        every=every,
        val_share=val_share,
        start=start,
        exclusive=exclusive,
    )


@data.command("doctor")
def data_doctor(
    truth: Annotated[list[Path], typer.Argument(help="annotation files, one a split")],
    proposals: Annotated[
        list[Path] | None, typer.Option(help="person boxes, one a split, in the same order")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="label map")] = None,
    videos: Annotated[Path | None, typer.Option(help="folder of the videos")] = None,
    fps: Annotated[float | None, typer.Option(help="frame rate that is expected")] = None,
    as_json: Json = False,
) -> None:
    """Find why training on these files would fail, or their mAP be wrong."""
    from tubelet.cli.labels import diagnose

    raise typer.Exit(diagnose(truth, proposals or [], labels, videos, fps, as_json=as_json))


def print_json(value: object) -> None:
    """JSON to stdout, unwrapped and uncoloured, for other programs."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))
