"""What the training strategies are worth: each against its plain form, trained and tested here.

    python -m benchmarks.learning --data DATA --out results.jsonl          # 3 seeds, resumable
    python -m benchmarks.learning --data DATA --out results.jsonl --table  # only print

`joint`: a classification set helps detection, by co-finetuning or as a stage before it. JHMDB-21
split 1: one box in each clip of a third of the training films (which third depends on the seed),
the clips of the other two thirds with a class each. `decoupled`: a classifier trained again on
balanced classes, on a playground whose classes fall off from 150 clips to 3 (which class is rare
depends on the seed). `views`: mirroring and scales at test time, and ensembles, of the models of
`joint`, which it needs. `shipped`: the former with the released jhmdb21_small, whose interval is
that of resampled videos.

Settings were chosen with --tune, on a seed and clips that no figure is of. Films are small copies,
made once. mAP is frame mAP@0.5 with true boxes.

`benchmarks.claims` (`make claims`) asks the same of planted worlds, where five seeds can answer;
this bench is what real footage says.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from benchmarks.learning_studies import (
    MEMBERS,
    QUICK,
    Place,
    Study,
    Work,
    decoupled,
    joint,
    lines_of,
    prepare_joint,
    prepare_tail,
    slug,
)
from benchmarks.learning_views import shipped, views
from scipy import stats

SEEDS = (0, 1, 2)
STUDIES = {
    "joint": Study(
        prepare=prepare_joint,
        variants=joint(),
        against=(
            (MEMBERS[0], "boxes only, as many steps as both"),
            (MEMBERS[1], "boxes only, as many steps as both"),
            (MEMBERS[1], MEMBERS[0]),
            (MEMBERS[1], MEMBERS[2]),
        ),
    ),
    "decoupled": Study(
        prepare=prepare_tail,
        variants=decoupled(),
        against=(
            ("then classifier, balanced", "then classifier, random"),
            ("then classifier, balanced", "then all, random"),
            ("then classifier, balanced", "balanced, as long as both"),
        ),
    ),
    "views": Study(
        prepare=prepare_joint,
        variants=views(),
        against=(("three models, ensemble", "three models, mean of their figures"),),
    ),
    "shipped": Study(prepare=lambda place: None, variants=shipped(), trains=False),
}
Row = dict[str, Any]


def run_one(study: str, variant: str, place: Place) -> Row:
    """Train and test one variant; its line of the results."""
    cpu, wall = time.process_time(), time.perf_counter()
    scores = STUDIES[study].variants[variant](place)
    return {
        "study": study,
        "variant": variant,
        "seed": place.seed,
        "scores": {name: round(value, 5) for name, value in scores.items()},
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "wall_seconds": round(time.perf_counter() - wall, 1),
        "work": asdict(place.work),
        "tuning": place.tune,
        "commit": _commit(),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 used",
        "torch": torch.__version__,
    }


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    found = subprocess.run(git, check=False, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def _scores(rows: Sequence[Row], study: str, variant: str, metric: str) -> dict[int, float]:
    return {
        r["seed"]: 100 * r["scores"][metric]
        for r in rows
        if (r["study"], r["variant"]) == (study, variant) and metric in r["scores"]
    }


def tables(rows: Sequence[Row]) -> str:
    """Mean ± half the 95 % interval (Student's t) over the seeds, then differences seed by seed."""
    lines: list[str] = []
    for name, study in STUDIES.items():
        mine = [r for r in rows if r["study"] == name]
        metrics = list(dict.fromkeys(m for r in mine for m in r["scores"]))
        if not mine:
            continue
        lines += ["", f"| {name} | {' | '.join(metrics)} | seeds | CPU s a run |"]
        lines += ["|---" * (len(metrics) + 3) + "|"]
        for variant in study.variants:
            found = [_scores(mine, name, variant, m) for m in metrics]
            cpu = [r["cpu_seconds"] for r in mine if r["variant"] == variant]
            if cpu:
                cells = [interval(list(f.values())) for f in found]
                tail = f"{len(cpu)} | {statistics.fmean(cpu):.0f} |"
                lines.append(f"| {variant} | {' | '.join(cells)} | {tail}")
        lines += _effects(mine, name, study, metrics)
    return "\n".join(lines[1:])


def _effects(rows: Sequence[Row], name: str, study: Study, metrics: Sequence[str]) -> list[str]:
    if not study.trains:
        return []
    base, *others = study.variants
    lines = [
        "",
        f"| {name}: difference | {' | '.join(metrics)} |",
        "|---" * (len(metrics) + 1) + "|",
    ]
    for one, other in (*((v, base) for v in others), *study.against):
        cells = []
        for metric in metrics:
            a, b = (_scores(rows, name, v, metric) for v in (one, other))
            cells.append(interval([a[s] - b[s] for s in a if s in b], signed=True))
        if any(cells):
            lines.append(f"| {one} − {other} | {' | '.join(cells)} |")
    return lines


def interval(values: Sequence[float], *, signed: bool = False) -> str:
    """Mean ± half the 95 % interval."""
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return ""
    mean = f"{statistics.fmean(known):{'+' if signed else ''}.1f}"
    if len(known) < 2:
        return mean
    half = stats.t.ppf(0.975, len(known) - 1) * statistics.stdev(known) / math.sqrt(len(known))
    return f"{mean} ± {half:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder that holds jhmdb21")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines; what is there is kept")
    parser.add_argument("--work", type=Path, help="scratch folder (default: beside --out)")
    parser.add_argument("--studies", nargs="+", default=list(STUDIES), choices=list(STUDIES))
    parser.add_argument("--variants", nargs="+", help="only these")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--tune", action="store_true", help="other clips, to choose settings by")
    parser.add_argument("--quick", action="store_true", help="two steps each, to see that all runs")
    parser.add_argument("--table", action="store_true", help="print the tables and stop")
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in lines_of(given.out)] if given.out.is_file() else []
    if not given.table:
        for row in results(given, {(r["study"], r["variant"], r["seed"]) for r in rows}):
            rows.append(row)
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
    print(tables(rows))


def results(given: argparse.Namespace, done: set[tuple[str, str, int]]) -> Iterator[Row]:
    """Every run that is not done, seed by seed, so that an interrupted bench has whole seeds."""
    root = given.work or given.out.with_suffix(".work")
    for study, seed in itertools.product(given.studies, given.seeds):
        variants = list(given.variants or STUDIES[study].variants)
        left = [v for v in variants if (study, v, seed) not in done]
        if not STUDIES[study].trains and seed != given.seeds[0]:
            continue
        for number, variant in enumerate(left):
            place = Place(
                data=given.data,
                root=root,
                out=root / f"runs_{seed}" / study / slug(variant),
                seed=seed,
                tune=given.tune,
                work=QUICK if given.quick else Work(),
            )
            if not number:
                STUDIES[study].prepare(place)
            yield run_one(study, variant, place)


if __name__ == "__main__":
    main()
