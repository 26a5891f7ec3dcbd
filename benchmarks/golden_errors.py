"""How far our networks are from the originals' reference numbers, run by run: relative L2 distance
of logits and of outputs from the originals in float64.

    python benchmarks/golden_errors.py [PATTERN] [--golden ../shared/golden]
"""

from __future__ import annotations

import argparse
import fnmatch
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.references import errors, networks  # noqa: E402  the checkout's own tests


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pattern", nargs="?", default="*")
    parser.add_argument("--golden", type=Path, default=ROOT.parent / "shared" / "golden")
    arguments = parser.parse_args()
    print("| network and run | logits | outputs |")
    print("|---|---|---|")
    for network in networks(arguments.golden):
        if not fnmatch.fnmatchcase(network.name, arguments.pattern):
            continue
        for error in errors(network):
            print(f"| {error.run} | {error.logits:.1e} | {error.output:.1e} |", flush=True)


if __name__ == "__main__":
    main()
