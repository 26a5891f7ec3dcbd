"""python -m benchmarks.claims: run what is missing, then write the page."""

from __future__ import annotations

import argparse
import fnmatch
from pathlib import Path

from benchmarks.claims.families import EXPERIMENTS
from benchmarks.claims.jobs import run_missing
from benchmarks.claims.page import page
from benchmarks.claims.results import read

from tubelet.files import cache_folder, write_text

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PAGE = ROOT / "docs" / "claims.md"
RESULTS = HERE / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims")
    parser.add_argument(
        "--jobs", type=int, default=2, help="processes of one thread each; 0: this process"
    )
    parser.add_argument("--results", type=Path, help="folder of results; finished runs are kept")
    parser.add_argument("--cache", type=Path, default=cache_folder() / "claims")
    parser.add_argument("--only", default="*", help="experiments whose name fits this pattern")
    parser.add_argument("--table", action="store_true", help="print the page and run nothing")
    parser.add_argument(
        "--quick", action="store_true", help="few seeds at one rate; the page is only printed"
    )
    given = parser.parse_args()
    folder = given.results or (ROOT / "build" / "claims-quick" if given.quick else RESULTS)
    if not given.table:
        wanted = [e for e in EXPERIMENTS if fnmatch.fnmatch(e.name, given.only)]
        run_missing(wanted, folder, given.cache, workers=given.jobs, quick=given.quick)
    rows = read(folder, [e.name for e in EXPERIMENTS])
    text = page(EXPERIMENTS, rows, quick=given.quick)
    if given.table or folder != RESULTS:
        print(text, end="")
    else:
        write_text(PAGE, text)
        print(f"{PAGE}: {len(rows)} runs")


if __name__ == "__main__":
    main()
