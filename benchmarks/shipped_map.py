"""Frame mAP of shipped weights on their recipe's own test set and views.

python benchmarks/shipped_map.py jhmdb21_small --data ../shared/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tubelet.data.annotations import Annotations
from tubelet.evaluate.scoring import detections_table, evaluate_tables
from tubelet.models.weights import load_model
from tubelet.recipes import recipe_named
from tubelet.releases.table import FOLDER
from tubelet.testing.predict import predict
from tubelet.train.recipe import Recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the recipe and the weights")
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    recipe = recipe_named(options.name)
    if not isinstance(recipe, Recipe):
        raise SystemExit(f"{options.name} is not a recipe of one model")
    test = recipe.tests[0]
    data = test.data.build(options.data)
    truth = data.truth()
    if not isinstance(truth, Annotations):
        raise SystemExit(f"{options.name} does not detect people: there is no frame mAP")
    model = load_model(FOLDER / f"{options.name}.safetensors")
    found = detections_table(predict(model, data, views=test.views))
    report = evaluate_tables(found, truth, data.labels)
    print(f"{report.map:.4f} on {report.protocol.frames_with_truth} keyframes, {test.views}")


if __name__ == "__main__":
    main()
