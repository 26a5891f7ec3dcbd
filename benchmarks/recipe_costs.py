"""Counts the model of every recipe, prints those beside a published figure, and with `--write`
records all in `src/tubelet/recipes/costs.json`, from which `tubelet recipes` reads.

    python benchmarks/recipe_costs.py [PATTERN] [--write]
"""

from __future__ import annotations

import argparse
import json

from tubelet.recipes import experiments, recipe_names
from tubelet.recipes.records import COSTS, count_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--write", action="store_true", help="record the figures in the package")
    arguments = parser.parse_args()
    recorded = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    known: dict[str, dict[str, float]] = {}
    print("| recipe | params M | published | off | GFLOPs | published | off |")
    print("|---|---|---|---|---|---|---|")
    for name in recipe_names(arguments.pattern):
        recorded[name] = count_recipe(name, known)
        row = experiments()[name].published
        if row is not None and (row.gflops is not None or row.parameters is not None):
            millions, giga = recorded[name]["parameters"] / 1e6, recorded[name]["gflops"]
            cells = [*compared(millions, row.parameters), *compared(giga, row.gflops)]
            print(f"| {name} | {' | '.join(cells)} |")
    if arguments.write:
        rows = {name: recorded[name] for name in recipe_names()}
        COSTS.write_text(json.dumps(rows, indent=1) + "\n")


def compared(ours: float, published: float | None) -> list[str]:
    """Ours, theirs, and the distance."""
    if published is None:
        return [f"{ours:.2f}", "", ""]
    return [f"{ours:.2f}", f"{published:g}", f"{ours / published - 1:+.1%}"]


if __name__ == "__main__":
    main()
