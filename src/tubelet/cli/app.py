"""Every command of `tubelet`. Packages are imported inside commands, so that `--help` is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import tubelet
from tubelet.cli.apps import App
from tubelet.cli.catalogue import models, recipes
from tubelet.cli.datasets import data, playground
from tubelet.cli.graphs.commands import graphs
from tubelet.cli.many.command import run_many
from tubelet.cli.options import (
    Device,
    Engine,
    Every,
    FirstFrame,
    Fps,
    Jobs,
    Json,
    LabelMap,
    PersonLabel,
    RecipeName,
    ResultsFolder,
    Settings,
    TrackRate,
    Videos,
)
from tubelet.cli.people import people
from tubelet.numerics.choices import PrecisionChoice

app = App(
    name="tubelet",
    help="Who does what, where and when in a video: spatio-temporal action detection.",
    no_args_is_help=True,
)
app.add_typer(models, name="models")
app.add_typer(recipes, name="recipes")
app.add_typer(people, name="people")
app.add_typer(playground, name="playground")
app.add_typer(data, name="data")
app.add_typer(graphs)


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
    videos: Videos,
    model: Annotated[
        str,
        typer.Option(
            help="a release's name, hf://user/repo, a weights or exported file, or a run folder"
        ),
    ] = "jhmdb21_small",
    people: Annotated[
        str,
        typer.Option(
            help="auto, person_small, a name of `tubelet people list`; or your own tracks: a file "
            "of boxes, or a folder of YOLO's texts"
        ),
    ] = "auto",
    classes: Annotated[
        list[str] | None, typer.Option(help="only these actions: names or patterns, repeatable")
    ] = None,
    every: Annotated[
        float | None,
        typer.Option(
            help="seconds between keyframes, default 1; of given boxes all moments, or of each "
            "period the nearest"
        ),
    ] = None,
    first_frame: FirstFrame = None,
    person_label: PersonLabel = None,
    track_rate: TrackRate = 5.0,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", "--on", help="score at which an action starts; the model's own"
        ),
    ] = None,
    sensitive_threshold: Annotated[
        float | None,
        typer.Option(help="the same of actions that harm if wrong: weapons, violence"),
    ] = None,
    off: Annotated[
        float | None, typer.Option(help="score below which it ends; default 0.8 of --on")
    ] = None,
    least: Annotated[float, typer.Option(help="seconds that an action lasts at least")] = 0.0,
    out: ResultsFolder = Path("runs/detect"),
    device: Device = "auto",
    precision: Annotated[
        PrecisionChoice, typer.Option(help="auto: the fastest that is correct on this machine")
    ] = "auto",
    engine: Engine = "auto",
    fps: Fps = None,
    overlay: Annotated[bool, typer.Option(help="write overlay.mp4")] = True,
    overlay_height: Annotated[
        int | None, typer.Option(help="its picture's height in pixels; default the film's", min=16)
    ] = None,
    page: Annotated[bool, typer.Option(help="write report.html")] = True,
    to: Annotated[
        list[str] | None,
        typer.Option(
            help="also write parquet, json, cvat, via, label-studio, coco or fiftyone; repeatable"
        ),
    ] = None,
    every_frame: Annotated[
        bool, typer.Option("--every-frame", help="also write everybody's box on every frame")
    ] = False,
    jobs: Jobs = None,
) -> None:
    """Find the people in videos, and what each of them does when."""
    from tubelet.cli.detecting import DetectOptions
    from tubelet.cli.many.jobs import detect_videos

    options = DetectOptions(
        model=model,
        classes=tuple(classes or ()),
        people=people,
        every=every,
        track_rate=track_rate,
        first_frame=first_frame,
        person_labels=tuple(person_label or ()),
        threshold=threshold,
        sensitive_threshold=sensitive_threshold,
        off=off,
        least=least,
        out=out,
        device=device,
        precision=precision,
        engine=engine,
        overlay=overlay,
        overlay_height=overlay_height,
        page=page,
        fps=fps,
        to=tuple(dict.fromkeys(to or ())),
        every_frame=every_frame,
    )
    raise typer.Exit(detect_videos(videos, options, jobs))


app.command("run")(run_many)


@app.command()
def serve(
    model: Annotated[str, typer.Argument(help="a release's name, hf://user/repo, a weights file")],
    host: Annotated[str, typer.Option(help="the address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: a free one", min=0, max=65535)] = 8000,
    people: Annotated[str, typer.Option(help="a detector's name")] = "auto",
    every: Every = 1.0,
    track_rate: TrackRate = 5.0,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="films at once, a process each")] = 1,
    waiting: Annotated[int, typer.Option(help="further films that may wait or arrive")] = 4,
    largest: Annotated[float, typer.Option(help="MiB of a film")] = 1024.0,
    longest: Annotated[float, typer.Option(help="seconds of a film")] = 600.0,
    receive_s: Annotated[
        float, typer.Option("--receive-seconds", help="that an upload or a fetch may take")
    ] = 300.0,
    work_s: Annotated[
        float, typer.Option("--work-seconds", help="that the detection in a film may take")
    ] = 1800.0,
    memory: Annotated[float, typer.Option(help="MiB that a worker may take")] = 8192.0,
    keep_s: Annotated[float, typer.Option("--keep-seconds", help="that a result is kept")] = 3600.0,
    allow: Annotated[
        list[str] | None,
        typer.Option(help="a host, or host:port, that films may be fetched from; repeatable"),
    ] = None,
) -> None:
    """Serve a model over HTTP (extra `tubelet[serve]`)."""
    from tubelet.cli.many.serving import serve_model
    from tubelet.serving.settings import MIB, ServeSettings

    settings = ServeSettings(
        model=model,
        people=people,
        every=every,
        track_rate=track_rate,
        device=device,
        workers=workers,
        waiting=waiting,
        largest=round(largest * MIB),
        longest_s=longest,
        receive_s=receive_s,
        work_s=work_s,
        memory=round(memory * MIB),
        keep_s=keep_s,
        hosts=tuple(allow or ()),
    )
    serve_model(settings, host, port)


@app.command()
def correct(
    results: Annotated[Path, typer.Argument(help="a folder of results, or its tubes.json")],
    identities: Annotated[Path, typer.Argument(help="identities.json, saved from its page")],
    out: Annotated[Path, typer.Option(help="the folder to write")],
    video: Annotated[
        Path | None, typer.Option(help="the film: writes overlay.mp4 and report.html, too")
    ] = None,
    fps: Fps = None,
) -> None:
    """Merge and name people, as corrected on a result page."""
    from tubelet.cli.correcting import correct as run

    run(results, identities, out, video, fps)


@app.command()
def doctor(
    model: Annotated[
        str | None, typer.Option("--probe", help="also try this model's layers in bf16 here")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print what a bug report needs to say about the machine.

    Versions, processor, devices, extras and caches; what precision `auto` is on each device, and
    which layers were found to be wrong there.
    """
    from tubelet.cli.doctor import print_report

    print_report(model, as_json=as_json)


@app.command()
def demo(
    out: ResultsFolder = Path("runs/demo"),
) -> None:
    """Detect in a freshly rendered clip, and score the result."""
    from tubelet.cli.detecting import run_demo

    run_demo(out)


@app.command()
def train(
    recipe: RecipeName,
    root: Annotated[Path, typer.Option("--data", envvar="TUBELET_DATA", help="data folder")] = Path(
        "data"
    ),
    out: Annotated[Path | None, typer.Option(help="run folder, default runs/<recipe>")] = None,
    resume: Annotated[bool, typer.Option(help="continue from the last checkpoint")] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="write and test the model of the last checkpoint")
    ] = False,
    settings: Settings = None,
    device: Device = "auto",
    tensorboard: Annotated[bool, typer.Option(help="write TensorBoard scalars")] = False,
    fsdp: Annotated[
        bool, typer.Option("--fsdp", help="split the backbone over torchrun's processes")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="the same in seconds: tiny, on rendered data")
    ] = False,
) -> None:
    """Train a recipe and test it.

    Weights, predictions and report are left in the run folder. Ctrl-C finishes the step and saves
    it.
    """
    from tubelet.cli.training import smoke_recipe, train_recipe
    from tubelet.errors import ConfigError

    if smoke:
        if settings or resume or finish or fsdp:
            raise ConfigError(
                "--smoke cannot be combined with options other than --out",
                hint="omit the other options",
            )
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
        finish=finish,
    )


@app.command()
def evaluate(
    predictions: Annotated[
        Path, typer.Argument(help="AVA detection CSV or Parquet, tubes.json, or clip scores")
    ],
    truth: Annotated[
        Path, typer.Argument(help="AVA ground-truth CSV, or a list of videos or keyframes")
    ],
    metric: Annotated[str, typer.Option(help="frame, video, topk or charades")] = "frame",
    labels: LabelMap = None,
    exclude: Annotated[Path | None, typer.Option(help="CSV of excluded timestamps")] = None,
    protocol: Annotated[str, typer.Option(help="ava, pyslowfast or mmaction2")] = "ava",
    iou: Annotated[float, typer.Option(help="minimum overlap of a match")] = 0.5,
    training: Annotated[
        Path | None, typer.Option(help="training labels: adds Head, Mid and Tail classes")
    ] = None,
    details: Annotated[
        bool, typer.Option(help="add boxes' AP, groups, error causes and a confidence interval")
    ] = False,
    submission: Annotated[
        Path | None,
        typer.Option(help="hidden labels: write AVA's test server's CSV instead of scoring"),
    ] = None,
    included: Annotated[
        Path | None, typer.Option(help="seconds of each listed video, for --submission")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="also write report.json, .csv and .html")] = None,
    as_json: Json = False,
) -> None:
    """Score predictions against annotations.

    `frame`: mAP exactly as the official AVA script computes it; `video`: the mAP of tubes;
    `topk`: the accuracy of whole videos; `charades`: their mAP where each has several classes.
    `--submission` scores nothing: the second file then lists the keyframes of a test set whose
    labels are not public, and what is written is checked against them.
    """
    from tubelet.cli.scoring import EvaluateOptions, metric_named
    from tubelet.cli.scoring import evaluate as run
    from tubelet.cli.submitting import SubmitOptions, submit

    if submission is not None or included is not None:
        submit(
            SubmitOptions(
                predictions=predictions,
                keyframes=truth,
                submission=submission,
                included=included,
                exclude=exclude,
                labels=labels,
                metric=metric_named(metric),
                unused={
                    "--training": training is not None,
                    "--details": details,
                    "--out": out is not None,
                    "--protocol": protocol != "ava",
                    "--iou": iou != 0.5,
                },
            ),
            as_json=as_json,
        )
        return
    question = EvaluateOptions(
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
    weights: Annotated[str, typer.Option(help="one number per file: 1,2,1")] = "",
) -> None:
    """Average several models' predictions.

    `tubelet evaluate` scores the result.
    """
    from tubelet.cli.scoring import join

    join(predictions, weights, out)


@app.command()
def pull(
    names: Annotated[
        list[str], typer.Argument(help="releases: `tubelet models --released`; or people")
    ],
    keep: Annotated[
        bool, typer.Option("--keep", help="also keep the published file, next to the converted one")
    ] = False,
) -> None:
    """Download released weights, and convert published checkpoints.

    Each is downloaded once; from then on it is in the cache and needs no connection. `people` is
    the person detector that `--people auto` prefers.
    """
    from tubelet.cli.released import pull as run

    run(names, keep=keep)


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="PySlowFast, MMAction2, VMZ, … checkpoint")],
    to: Annotated[Path, typer.Option(help="the safetensors file to write")],
    name: Annotated[
        str | None, typer.Option("--as", help="its architecture, if its keys do not determine it")
    ] = None,
    config_file: Annotated[
        Path | None,
        typer.Option(
            "--config", help="its config (PySlowFast, MMAction2, Hugging Face); read, never run"
        ),
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="answers a question that the file leaves open"),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="label map: the names of its classes")] = None,
) -> None:
    """Turn a published checkpoint into tubelet's weights.

    Every tensor is accounted for. What tensors do not say (strides, pooling, colour order, softmax
    or sigmoids) is taken from the config, and asked where there is none.
    """
    from tubelet.cli.showing import convert_checkpoint

    convert_checkpoint(
        checkpoint,
        to,
        name=name,
        config_file=config_file,
        assume=assume or [],
        labels=labels,
    )
