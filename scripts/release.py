"""Turn a finished run into shipped weights with a model card.

    python scripts/release.py runs/jhmdb21_small --data ../shared/data

Casts to fp16, tests the cast weights again on the recipe's test set, and writes
`src/tubelet/weights/<recipe>.safetensors` and `.md`. The predictions and the truth stay in the
run folder, so that `tubelet evaluate` prints the card's figure again.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import torch

from tubelet.config import decode
from tubelet.data.annotations import Annotations
from tubelet.data.tables import write_ava_csv
from tubelet.evaluate.report import FrameReport
from tubelet.evaluate.scoring import detections_table, evaluate_tables
from tubelet.models.weights import load_model, save_model
from tubelet.releases.table import FOLDER
from tubelet.testing.predict import predict
from tubelet.testing.views import Views
from tubelet.train.recipe import Recipe

CARD = """# {name}

{summary}.

| | |
|---|---|
| frame mAP@0.5, true boxes | **{score:.4f}** ({classes} classes, {frames} keyframes of `{test}`) |
| views | {views} |
| parameters | {parameters:,} |
| file | {bytes:,} bytes, fp16 |
| input | {frames_in} frames, every {stride}, at {fps} frames per second, short side {side} |
| date | {date} |
| recipe | `tubelet train {name} --data DATA` ({stages}) |

The score is what this prints:

    python scripts/release.py runs/{name} --data DATA
    tubelet evaluate runs/{name}/release_predictions.csv runs/{name}/truth.csv

Trained from scratch. Data: {data}

Scores of classes: {per_class}.

Not meant for deciding about people: it knows {classes} acted or filmed actions, at small sizes,
and is wrong often.
"""

DATA = {
    "playground_small": "clips that `tubelet.playground` renders; test clips have seeds of their "
    "own. No real people.",
    "jhmdb21_small": "JHMDB-21 split 1, the 660 training clips only (Jhuang et al., ICCV 2013; "
    "footage from HMDB51, Kuehne et al., ICCV 2011, CC BY 4.0 by its page). The test set is the "
    "split's 268 validation clips, keyframes i % 10 == 5.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a finished `tubelet train`")
    parser.add_argument("--data", type=Path, required=True, help="the data folder")
    options = parser.parse_args()
    recipe = decode(Recipe, json.loads((options.run / "recipe.json").read_text()))
    target = FOLDER / f"{recipe.name}.safetensors"
    halved = options.run / "release.safetensors"
    save_model(halved, load_model(options.run / "model.safetensors"), dtype=torch.float16)
    model = load_model(halved)
    test = recipe.tests[0]
    dataset = test.data.build(options.data)
    truth = dataset.truth()
    if not isinstance(truth, Annotations):
        raise SystemExit(f"{recipe.name} does not detect people: there is no frame mAP to state")
    detections = detections_table(predict(model, dataset, views=test.views))
    write_ava_csv(options.run / "release_predictions.csv", detections, kind="detections")
    write_ava_csv(options.run / "truth.csv", truth, kind="truth")
    report = evaluate_tables(detections, truth, dataset.labels)
    views = "one, as `tubelet detect` sees a clip"
    if test.views != Views():
        plain = detections_table(predict(model, dataset))
        once = evaluate_tables(plain, truth, dataset.labels).map
        views = (
            f"{test.views.count}, mirrored ones too; {once:.4f} in one, as `tubelet detect` sees it"
        )
    today = datetime.now(UTC).date().isoformat()
    score = f"frame mAP@0.5 {report.map:.4f}, true boxes"
    provenance = {"recipe": recipe.name, "summary": recipe.summary, "date": today, "score": score}
    save_model(target, model, provenance=provenance, dtype=torch.float16)
    parameters = sum(p.numel() for p in model.parameters())
    card = _card(recipe, report, views, today, target.stat().st_size, parameters, dataset.name)
    target.with_suffix(".md").write_text(card)
    print(f"{score}: {target} ({target.stat().st_size:,} bytes)")


def _card(
    recipe: Recipe,
    report: FrameReport,
    views: str,
    today: str,
    size: int,
    parameters: int,
    test: str,
) -> str:
    spec = recipe.model.input
    return CARD.format(
        name=recipe.name,
        summary=recipe.summary,
        score=report.map,
        classes=report.protocol.classes_counted,
        frames=report.protocol.frames_with_truth,
        test=test,
        views=views,
        parameters=parameters,
        bytes=size,
        frames_in=spec.frames,
        stride=spec.stride,
        fps=spec.fps or "the source's",
        side=spec.short_side,
        date=today,
        stages="; ".join(f"{s.steps} steps of {s.batch} clips" for s in recipe.stages),
        data=DATA[recipe.name],
        per_class=", ".join(f"{c.name} {c.ap:.3f}" for c in report.classes if c.instances),
    )


if __name__ == "__main__":
    main()
