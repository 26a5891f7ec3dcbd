"""Counts every named model, prints the table beside the published figures, and with `--write`
records it in `src/tubelet/models/costs.json`, from which `tubelet models` reads.

    python benchmarks/cost_table.py [PATTERN] [--write]
"""

from __future__ import annotations

import argparse
import json

from tubelet.models.create import COSTS, TASKS, count_variant, model_names, variant


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--write", action="store_true", help="record the figures in the package")
    arguments = parser.parse_args()
    recorded = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    print("| model | frames × px | params M | GFLOPs | detection GFLOPs | published | off |")
    print("|---|---|---|---|---|---|---|")
    for name in model_names(arguments.pattern):
        recorded[name] = {task: count_variant(name, task) for task in TASKS}
        print(line(name, recorded[name]))
    if arguments.write:
        rows = {name: recorded[name] for name in model_names("*") if name in recorded}
        COSTS.write_text(json.dumps(rows, indent=1) + "\n")


def line(name: str, counted: dict[str, dict[str, float]]) -> str:
    """One row of the table; "off" is the distance from the first published figure."""
    row, mine = variant(name), counted["classification"]
    stated = [p for p in row.published if p.gflops is not None and p.size == row.cost_size]
    published = ", ".join(f"{p.gflops:g} ({p.source})" for p in stated)
    off = ""
    if stated and stated[0].gflops is not None:
        off = f"{mine['gflops'] / stated[0].gflops - 1:+.1%}"
    return (
        f"| {name} | {row.input.frames} × {row.cost_size} | {mine['parameters'] / 1e6:.3f} "
        f"| {mine['gflops']:.2f} | {counted['detection']['gflops']:.2f} | {published} | {off} |"
    )


if __name__ == "__main__":
    main()
