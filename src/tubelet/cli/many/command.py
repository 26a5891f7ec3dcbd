"""The options of `tubelet run`."""

from __future__ import annotations

from typing import Annotated

import typer

from tubelet.cli.options import Device, Every, Fps, Jobs, Json
from tubelet.numerics.choices import PrecisionChoice


def run_many(
    manifest: Annotated[
        str | None,
        typer.Argument(help="CSV, Parquet or JSON Lines of films, or a folder or prefix of them"),
    ] = None,
    out: Annotated[
        str, typer.Option(help="where results go: a folder, s3://…, gs://…")
    ] = "runs/films",
    shard: Annotated[
        str | None, typer.Option(help="i/n: only this part; /n: i as the scheduler says")
    ] = None,
    model: Annotated[
        str, typer.Option(help="a release's name, hf://user/repo, or a weights file")
    ] = "jhmdb21_small",
    people: Annotated[
        str, typer.Option(help="auto, a name of `tubelet people list`, or a file of boxes")
    ] = "auto",
    classes: Annotated[
        list[str] | None, typer.Option(help="only these actions: names or patterns, repeatable")
    ] = None,
    every: Every = 1.0,
    min_score: Annotated[float, typer.Option(help="minimum score of a row that is kept")] = 0.0,
    fps: Fps = None,
    device: Device = "auto",
    precision: Annotated[
        PrecisionChoice, typer.Option(help="auto: the fastest that is correct on this machine")
    ] = "auto",
    jobs: Jobs = None,
    threads: Annotated[
        int | None,
        typer.Option(
            help="threads of each process; default: as the run was begun, else cores / jobs"
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option(help="who starts the processes: local, or ray (a Ray cluster)")
    ] = "local",
    cpus: Annotated[float, typer.Option(help="processors of each Ray actor")] = 1.0,
    batch: Annotated[
        int | None, typer.Option(help="films of a part; default: 1, more of long manifests")
    ] = None,
    tries: Annotated[int, typer.Option(help="how often a film may fail, over all runs")] = 3,
    retry: Annotated[bool, typer.Option("--retry", help="also films that failed so often")] = False,
    patience: Annotated[
        float, typer.Option(help="seconds a film may take to its next keyframe")
    ] = 900.0,
    timeout: Annotated[float | None, typer.Option(help="seconds a film may take in all")] = None,
    memory: Annotated[
        float | None, typer.Option(help="GiB a process may take; default: its share of free memory")
    ] = None,
    status: Annotated[bool, typer.Option("--status", help="only say how far the run is")] = False,
    merge: Annotated[bool, typer.Option("--merge", help="only join the parts")] = False,
    partial: Annotated[bool, typer.Option("--partial", help="join before all is done")] = False,
    as_json: Json = False,
) -> None:
    """Detect in many films, on one machine or many.

    Writes Parquet parts and a marker for each film. Running it again goes on with what is not done;
    a film that hangs, crashes or takes all memory is its own failure. `--status` and `--merge` need
    only --out.
    """
    from tubelet.bulk.settings import DetectorSettings
    from tubelet.cli.many.running import RunChoice, print_merged, print_status, run_films
    from tubelet.errors import InputError

    if status or merge:
        code = print_status(out, as_json=as_json) if status else print_merged(out, partial=partial)
        raise typer.Exit(code)
    if manifest is None:
        raise InputError("no manifest given", hint="name a list of films, or a folder of them")
    settings = DetectorSettings(
        model=model,
        people=people,
        every=every,
        classes=tuple(classes or ()),
        fps=fps,
        min_score=min_score,
        device=device,
        precision=precision,
    )
    choice = RunChoice(
        shard=shard,
        jobs=jobs,
        threads=threads,
        executor=executor,
        cpus=cpus,
        batch=batch,
        tries=tries,
        retry=retry,
        patience=patience,
        timeout=timeout,
        memory_gib=memory,
    )
    raise typer.Exit(run_films(manifest, out, settings, choice))
