"""Time frame mAP against the public evaluators, side by side, on files of AVA's size.

    python benchmarks/evaluators.py --out evaluators.json \
        --truth val=ava_val.csv --truth test=ava_test.csv \
        --official ActivityNet/Evaluation --pyslowfast SlowFast

Truth: AVA-format files (real boxes), or, without `--truth`, random boxes of AVA's sizes. On every
truth box stands one detection, and on some a second, with all 60 classes and scores of six
decimals, as AVA detectors write them. Each evaluator reads the same files in a process of its
own; seconds count reading and evaluating, not the start of Python. The originals are not part of
this project: give the folders of your own copies, or leave them out.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import importlib.util
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

SKIPPED = {2, 16, 18, 19, 21, 23, 25, 31, 32, 33, 35, 39, 40, 42, 44, 50, 53, 55, 71, 75}
CLASSES = [i for i in range(1, 81) if i not in SKIPPED]
SIZES = {"test": (38, 10_140, 18_824), "val": (64, 50_029, 93_393)}
Frames = dict[tuple[str, str], dict[tuple[str, ...], list[int]]]


def random_frames(videos: int, frames: int, boxes: int, rng: np.random.Generator) -> Frames:
    made: Frames = {}
    for index in range(frames):
        key = (f"video{index % videos:05d}", f"{902 + index // videos:04d}")
        made[key] = {}
    keys = sorted(made)
    for index in [*range(frames), *rng.integers(0, frames, boxes - frames).tolist()]:
        x, y, w, h = rng.uniform([0, 0, 0.1, 0.3], [0.6, 0.4, 0.4, 0.6])
        box = tuple(f"{v:.3f}" for v in (x, y, min(x + w, 1), min(y + h, 1)))
        made[keys[index]][box] = [int(rng.integers(1, 15))]
    return {key: made[key] for key in keys}


def read_frames(path: Path) -> Frames:
    made: Frames = {}
    with path.open() as file:
        for row in csv.reader(file):
            made.setdefault((row[0], row[1]), {}).setdefault(tuple(row[2:6]), []).append(
                int(row[6])
            )
    return made


def write_inputs(frames: Frames, folder: Path, rng: np.random.Generator) -> tuple[int, int]:
    """Write `det.csv` and `gt.csv`; labels beyond the truth's own follow a long tail."""
    ids = np.array(CLASSES)
    tail = 1 / (np.arange(len(ids)) + 2.0)
    tail /= tail.sum()
    rows = [0, 0]
    with (folder / "det.csv").open("w") as det, (folder / "gt.csv").open("w") as truth:
        for (video, second), boxes in frames.items():
            for box, own in boxes.items():
                drawn = rng.choice(ids, rng.poisson(1.2), p=tail).tolist()
                labels = sorted(set(own) | set(drawn))
                place = f"{video},{second},{','.join(box)}"
                truth.writelines(f"{place},{label}\n" for label in labels)
                rows[1] += len(labels)
                for wrong in [False, True] if rng.random() < 0.075 else [False]:
                    near = np.array(box, float) + rng.normal(0, 0.2 if wrong else 0.03, 4)
                    x1, y1, x2, y2 = np.clip(near, 0, 1)
                    scores = rng.beta(0.4, 8, len(ids))
                    if not wrong:
                        scores += np.isin(ids, labels) * rng.beta(1.2, 4, len(ids))
                    place = f"{video},{second},{min(x1, x2):.3f},{min(y1, y2):.3f}"
                    place += f",{max(x1, x2):.3f},{max(y1, y2):.3f}"
                    det.writelines(
                        f"{place},{i},{min(s, 1):.6f}\n" for i, s in zip(ids, scores, strict=True)
                    )
                    rows[0] += len(ids)
    entries = (f'label {{\n  name: "class {i}"\n  label_id: {i}\n}}\n' for i in CLASSES)
    (folder / "labels.pbtxt").write_text("".join(entries))
    return rows[0], rows[1]


def run_tubelet(
    folder: Path, _: Path | None, protocol: str = "ava"
) -> Callable[[], dict[str, float]]:
    from tubelet.data.tables import read_ava_csv
    from tubelet.evaluate.detection_files import read_detections
    from tubelet.evaluate.frame_map import evaluate_frames
    from tubelet.evaluate.from_annotations import box_table
    from tubelet.labels import LabelSpace

    names = tuple(f"class {i}" for i in CLASSES)
    labels = LabelSpace(ids=tuple(CLASSES), names=names)

    def run() -> dict[str, float]:
        detections = read_detections(folder / "det.csv")
        truth = box_table(read_ava_csv(folder / "gt.csv"))
        start = time.perf_counter()
        report = evaluate_frames(detections, truth, labels, protocol=protocol)
        return {"map": report.map, "evaluate_s": time.perf_counter() - start}

    return run


def captured_map(module: Any) -> list[float]:
    """Make `module` hand over the metrics that it would print."""
    seen: list[float] = []

    def keep(metrics: dict[str, float], **_: Any) -> None:
        seen.extend(v for k, v in metrics.items() if "Precision/mAP" in k)

    module.pprint = types.SimpleNamespace(pprint=keep, pformat=lambda *_, **__: "")
    return seen


def old_numpy_names() -> None:
    for name, value in (("bool", bool), ("float", float), ("NAN", float("nan"))):
        if name not in np.__dict__:
            setattr(np, name, value)


def run_official(folder: Path, home: Path | None) -> Callable[[], dict[str, float]]:
    assert home is not None
    old_numpy_names()
    sys.path[:0] = [str(home), str(home / "ava")]
    script = importlib.import_module("get_ava_performance")
    seen = captured_map(script)

    def run() -> dict[str, float]:
        with (
            (folder / "labels.pbtxt").open() as labels,
            (folder / "gt.csv").open() as truth,
            (folder / "det.csv").open() as detections,
        ):
            script.run_evaluation(labels, truth, detections)
        return {"map": seen[0]}

    return run


def run_pyslowfast(folder: Path, home: Path | None) -> Callable[[], dict[str, float]]:
    assert home is not None
    old_numpy_names()
    sys.path.insert(0, str(home))
    package = importlib.import_module("ava_evaluation")
    importlib.import_module("ava_evaluation.object_detection_evaluation")
    stubs: dict[str, dict[str, Any]] = {
        "slowfast": {},
        "slowfast.utils": {},
        "slowfast.utils.distributed": {"is_master_proc": lambda: True},
        "slowfast.utils.env": {"pathmgr": types.SimpleNamespace(open=open)},
        "vision": {},
        "vision.fair": {},
        "vision.fair.slowfast": {"ava_evaluation": package},
    }
    for name, content in stubs.items():
        module = types.ModuleType(name)
        module.__dict__.update(content)
        sys.modules[name] = module
    sys.modules["slowfast.utils"].distributed = sys.modules["slowfast.utils.distributed"]  # type: ignore[attr-defined]
    sys.modules["vision.fair.slowfast.ava_evaluation"] = package
    path = home / "slowfast" / "utils" / "ava_eval_helper.py"
    spec = importlib.util.spec_from_file_location("ava_eval_helper", path)
    assert spec is not None
    assert spec.loader is not None
    helper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helper)
    seen = captured_map(helper)

    def run() -> dict[str, float]:
        helper.evaluate_ava_from_files(
            str(folder / "labels.pbtxt"), str(folder / "gt.csv"), str(folder / "det.csv"), None
        )
        return {"map": seen[0]}

    return run


RUNNERS: dict[str, Callable[[Path, Path | None], Callable[[], dict[str, float]]]] = {
    "tubelet": run_tubelet,
    "tubelet, pyslowfast": partial(run_tubelet, protocol="pyslowfast"),
    "official": run_official,
    "pyslowfast": run_pyslowfast,
}


def child(name: str, folder: Path, home: Path | None) -> None:
    run = RUNNERS[name](folder, home)
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": wall, "cpu_s": cpu, "peak_mib": peak, **result}))


def timed(name: str, folder: Path, home: Path | None = None) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", name, str(folder), str(home or "")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(f"  {name:20s} " + "  ".join(f"{k} {v:.6g}" for k, v in result.items()), flush=True)
    return result


def side_by_side(folder: Path, homes: dict[str, Path]) -> dict[str, Any]:
    """Each original between runs of tubelet in its protocol, so that a change of load shows; the
    ratio is to the median of tubelet's."""
    result: dict[str, Any] = {}
    for name, own in (("official", "tubelet"), ("pyslowfast", "tubelet, pyslowfast")):
        ours = [timed(own, folder) for _ in range(3)]
        result[own] = ours
        if name in homes:
            theirs = timed(name, folder, homes[name])
            ours += [timed(own, folder) for _ in range(3)]
            result[name] = theirs
            result[f"{name} over tubelet"] = {
                key: theirs[key] / float(np.median([run[key] for run in ours]))
                for key in ("seconds", "cpu_s")
            }
            result[f"{name} map difference"] = theirs["map"] - ours[0]["map"]
    return result


def stamp() -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo")
    models = (
        [ln for ln in cpu.read_text().splitlines() if "model name" in ln] if cpu.exists() else []
    )
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    return {
        "cpu": models[0].split(":")[1].strip() if models else platform.processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--truth", action="append", default=[], metavar="NAME=CSV")
    parser.add_argument("--official", type=Path, help="folder with get_ava_performance.py")
    parser.add_argument("--pyslowfast", type=Path, help="folder of the SlowFast repository")
    parser.add_argument("--sizes", nargs="*", choices=list(SIZES), default=list(SIZES))
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, folder, home = args.child
        child(name, Path(folder), Path(home) if home else None)
        return
    homes = {n: h for n in ("official", "pyslowfast") if (h := getattr(args, n)) is not None}
    given = dict(item.split("=", 1) for item in args.truth)
    rng = np.random.default_rng(0)
    report: dict[str, Any] = {**stamp(), "inputs": {}, "scaling": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for times in (1, 3, 10):
            detections, _ = write_inputs(
                random_frames(6 * times, 5_000 * times, 9_340 * times, rng), folder, rng
            )
            print(f"{times}x: {detections} rows", flush=True)
            report["scaling"].append(
                {"times": times, "rows": detections, **timed("tubelet", folder)}
            )
        for name, size in SIZES.items():
            frames = read_frames(Path(given[name])) if name in given else random_frames(*size, rng)
            detections, truths = write_inputs(frames, folder, rng)
            print(f"{name}: {detections} detections, {truths} truths", flush=True)
            figures = side_by_side(folder, homes)
            report["inputs"][name] = {"detections": detections, "truths": truths, **figures}
    text = json.dumps(report, indent=1)
    if args.out:
        args.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
