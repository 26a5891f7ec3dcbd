"""Write the table of published weights, and the page that lists what is not offered and why.

    python scripts/published_table.py ../shared/weights/published.json

Reads the facts that were collected about the field's checkpoints and adds what their tensors do
not say and the upstream configurations do (file names of them stand in each row under `config`).
Writes `src/tubelet/releases/published.json`, which ships, and `docs/published-weights.md`.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tubelet.config import decode
from tubelet.releases.published import PublishedWeights

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.published_files import shapes_of  # noqa: E402  the tests' own list of layouts

TABLE = ROOT / "src/tubelet/releases/published.json"
PAGE = ROOT / "docs/published-weights.md"
Row = dict[str, Any]

LABELS = {
    "ava2.1": "ava",
    "ava2.2": "ava",
    "ava-kinetics": "ava",
    "k400": "k400",
    "k600": "k600",
    "k700": "k700",
    "k710": "k710",
    "ssv2": "ssv2",
    "charades": "charades",
    "multisports": "multisports",
}
IMAGENET = ([123.675 / 255, 116.28 / 255, 103.53 / 255], [58.395 / 255, 57.12 / 255, 57.375 / 255])
ALPHACTION = ("umt", "videomae-action-detection")
"""Whose detectors load AVA by AlphAction's code."""
ALPHACTION_PIXELS = ([122.7717 / 255, 115.9465 / 255, 102.9801 / 255], [57.375 / 255] * 3)
ACAR_R101 = (
    [n / 255 for n in (110.63666788, 103.16065604, 96.29023126)],
    [n / 255 for n in (38.7568578, 37.88248729, 40.02898126)],
)
"""By its YAML; the R50's has 0.45 and 0.225."""

# Rows that are listed as not offered, by pattern of the name; the first that matches counts.
REFUSED = (
    (r"pysf-ssl-.*", "self-supervised: a backbone without a classifier; it is for initial weights"),
    (r"pysf-(rev-mvit|mvit).*", "an architecture that tubelet does not have"),
    (r"pysf-(mae|maskfeat)-.*", "self-supervised: no classifier in the file"),
    (r"mm-slowonly-lfb-.*", "its head reads a long-term feature bank that is not in the file"),
    (r"tv-s3d-.*", "S3D's Inception blocks of separable kernels, which tubelet does not have"),
    (
        r"tv-(mvit|swin3d).*",
        "attention over pooled or shifted windows, which tubelet does not have",
    ),
    (
        r"scenic-vivit-l-16x2-fe-ek100",
        "97 verbs and 300 nouns in one projection: two questions, which one label set cannot hold",
    ),
    (r"hf-vivit-b-16x2-ft", "nobody could verify that this id exists"),
    (r"vmz-c2-g-blend-.*", "a picture network out of one that also hears: its blobs are unknown"),
    (r"alphaction-.*|stmixer-.*", "published without a licence"),
    (r"evad-.*", "a query-based decoder, which tubelet does not have"),
    (r"tuber-.*", "a decoder of tubelet queries, which tubelet does not have"),
    (r"hit-.*", "its head needs the poses and hands of people beside their boxes"),
    (
        r"acar-slowfast-r101-k700",
        "ACAR's code says neither whether the file has a classifier nor its names",
    ),
)


def main() -> None:
    """Write both files from the collected facts."""
    source = Path(sys.argv[1])
    collected = json.loads(source.read_text(encoding="utf-8"))
    inputs = {row["name"]: row["input"] for row in collected}
    for row in collected:
        if row["name"] in ("tv-r3d-18-k400", "tv-mc3-18-k400"):
            row["input"] = inputs["tv-r2plus1d-18-k400"]  # torchvision has one for the three
    rows = [table_row(row) for row in collected]
    for row in rows:
        if "refused" not in row:
            row["parameters"] = parameters(row, source.parents[1])
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    TABLE.write_text(f'{{"rows": [\n{lines}\n]}}\n', encoding="utf-8")
    PAGE.write_text(page(rows))
    offered = Counter(row["source"] for row in rows if "refused" not in row)
    print(f"{sum(offered.values())} of {len(rows)} rows are offered: {dict(offered)}")


def table_row(row: Row) -> Row:
    """One row of the table; what is not known is left out."""
    dataset, metric = row["dataset"], row["metric"] or {}
    reason = next((why for p, why in REFUSED if re.fullmatch(p, row["name"])), None)
    if "NC" in row["licence"] and reason is None:
        note = [f"{row['licence']}: not for commercial use"]
    else:
        note = []
    found: Row = {
        "name": row["name"],
        "source": row["source"],
        "family": row["family"],
        "data": dataset,
        "task": row["task"],
        "url": row["url"],
        "alternative": row.get("alt_url"),
        "prefix": row["sha256_prefix"],
        "licence": row["licence"],
        "metric": metric.get("name"),
        "score": metric.get("value"),
        "protocol": metric.get("protocol"),
        "config": row["config"],
    }
    if reason is not None:
        found["refused"] = reason
    else:
        labels = "ava60" if row["source"] == "acar" else LABELS.get(dataset)
        found |= {"labels": labels, "facts": facts(row), "originals": originals(row)}
        found["notes"] = [*note, *notes(row)]
    return {key: value for key, value in found.items() if value not in (None, [])}


def parameters(row: Row, shared: Path) -> int:
    """Learnt numbers of the published network, counted in the key list of its layout."""
    shapes = shapes_of(decode(PublishedWeights, row), shared)
    counted = (n for n in shapes if not re.search("running_|num_batches_tracked|pos_embed$", n))
    return sum(math.prod(shapes[name]) for name in counted)


def facts(row: Row) -> Row:
    """What the tensors of this file do not say, under the names of `tubelet.convert.Facts`."""
    source, family = row["source"], row["family"]
    said = given_input(row)
    said |= {"task": row["task"], "exclusive": row["exclusive"]}
    if source.startswith("mmaction2"):
        said |= mmaction2(row)
    elif source in ("pyslowfast", "pytorchvideo"):
        said |= facebook(row)
    elif source == "acar":
        select = "linspace" if "r50" in row["name"] else "stride"
        said |= {"pose_softmax": True, "slow_select": select}
    elif source.startswith("vmz"):
        said["norm_eps"] = 1e-3
    elif source == "torchvision":
        said["norm_eps"] = 1e-5
    elif source in ("scenic", "huggingface"):
        said["heads"] = 16 if "-l-" in row["name"] else 12
        said |= {"positions": [16, 14, 14]} if "-fe-" not in row["name"] else {}
    if row["input"]["alpha"] is not None and family.startswith("SlowFast"):
        said["alpha"] = row["input"]["alpha"]
    return said


def originals(row: Row) -> str | None:
    """The name in `tubelet.media.originals` of what the upstream project does to a clip."""
    kind = "AVA" if row["task"] == "detection" else "CLIPS"
    if row["dataset"] == "ssv2":
        return None  # frames spread over the whole video, whatever its length: not a window
    if row["source"] == "pyslowfast":
        return f"PYSLOWFAST_{kind}"
    if row["source"] == "pytorchvideo":
        return f"PYTORCHVIDEO_{kind}"
    if row["source"] == "acar":
        return "ACAR_AVA"
    if row["dataset"] == "multisports":
        return "MMACTION_CLIPS"  # its films are read as films: nothing is counted from 1
    if row["dataset"] == "ava-kinetics":
        return "MMACTION_AVA_KINETICS"
    if row["source"].startswith("mmaction2"):
        return f"MMACTION_{kind}"
    if kind == "AVA":
        return {"umt": "UMT_AVA", "videomae-action-detection": "VIDEOMAE_AVA"}.get(row["source"])
    return None


def given_input(row: Row) -> Row:
    """Frames, size and pixel statistics. A classifier looks at a central square."""
    given = row["input"]
    mean, std = given["mean"], given["std"]
    if row["source"].startswith("mmaction2") and mean[0] == 0.485:
        mean, std = IMAGENET
    elif row["source"] in ALPHACTION and row["task"] == "detection":
        mean, std = ALPHACTION_PIXELS
    elif row["source"] == "acar" and "r101" in row["name"]:
        mean, std = ACAR_R101
    stride = given["stride"]
    said = {
        "frames": given["frames"],
        # UMT spreads eight frames over the whole video, which lasts ten seconds in Kinetics.
        "stride": 32 if stride == "uniform" else stride,
        "short_side": given["test_size"],
        "mean": mean,
        "std": std,
        "colour": given["colour_order"].lower(),
    }
    if row["task"] == "classification":
        said["crop"] = given["test_size"]
    elif row["source"] in ALPHACTION:
        said["short_side"] = 256
    if row["source"] in ("vmz", "torchvision") and given["test_size"] == 112:
        said["short_side"] = 128  # VMZ and torchvision resize to 128 × 171 and cut 112 × 112
    elif row["source"] in ("vmz", "vmz (Caffe2)", "huggingface"):
        said["short_side"] = 256
    fps = {"PYSLOWFAST": 30.0, "PYTORCHVIDEO": 30.0, "MMACTION_AVA": 30.0, "UMT": 25.0}
    fps |= {"VIDEOMAE_AVA": 25.0, "ACAR_AVA": 30.0}
    pipeline = originals(row) or ""
    rate = next((n for start, n in fps.items() if pipeline.startswith(start)), None)
    if (rate := given.get("fps", rate)) is not None:
        said["fps"] = float(rate)
    return said


def facebook(row: Row) -> Row:
    """PySlowFast and PyTorchVideo: sizes of the clip head, RoIAlign, non-local blocks."""
    if row["task"] == "classification":
        crops = {"pysf-x3d-xs": 160, "pysf-x3d-s": 160, "pysf-x3d-l": 312}  # their YAML's
        said: Row = {"train_crop": crops.get(row["name"], row["input"]["train_crop"])}
    else:  # AVA/c2/*.yaml and the hub's detectors
        said = {"aligned": False}
    if row["name"] == "pysf-c2d-nopool-r50-8x8-k400":
        said["time_strides"] = [1, 1, 1]
    if row["family"] == "I3D-NL":
        said |= {"nonlocal_kind": "softmax", "nonlocal_pool": [1, 2, 2]}
    if row["family"] == "SlowFast-NL":
        said |= {"nonlocal_kind": "dot_product", "nonlocal_pool": [2, 2, 2]}
    return said


def mmaction2(row: Row) -> Row:
    """MMAction2: RoIAlign and pooling of detectors, strides and non-local blocks of networks."""
    name, family = row["name"], row["family"]
    said: Row = {}
    if row["task"] == "detection":
        tricks = "temporal-max" in name or "tricks" in name
        said |= {
            "background": row["dataset"] != "multisports",
            "aligned": True,
            "roi_bins": 8,
            "temporal_pool": "max" if tricks else "mean",
        }
        if any(word in name for word in ("context", "tricks", "nl-head")):
            said["context"] = "frame"
    if family.startswith("SlowFast"):
        said["join"] = "slow_fast" if row["task"] == "detection" else "fast_slow"
    if family.startswith("I3D"):
        said["time_strides"] = [1, 1, 2] if "heavy" in name else [2, 2, 2]
    if family == "C2D":
        said["time_strides"] = [1, 1, 1] if "nopool" in name else [1, 1, 2]
    if family in ("I3D-NL", "Slow-only-NL") and "nl-head" not in name:
        kinds = ("dot-product", "embedded-gaussian", "gaussian")
        kind = next((k for k in kinds if k in name), "embedded-gaussian")
        said["nonlocal_kind"] = {"dot-product": "dot_product", "gaussian": "gaussian"}.get(
            kind, "softmax"
        )
        said["nonlocal_pool"] = [1, 2, 2]
    if family.endswith("CSN"):
        said["norm_eps"] = 1e-3
    return said


def notes(row: Row) -> list[str]:
    """What a user should know before trusting the figures."""
    found = []
    if row["dataset"] in ("ig65m", "sports1m"):
        found.append("the names of its classes were not published with it: they are numbers")
    if row["family"] == "SlowFast-NL" and row["dataset"] == "k600":
        found.append(
            "pre-training of an AVA row, whose configuration its non-local blocks follow: "
            "its own was not published"
        )
    if row["dataset"] == "ssv2" and row["source"] != "umt":
        found.append("the original spreads its frames over the whole video; here they are a clip's")
    if row["source"] == "umt" and row["task"] == "classification":
        found.append(
            "eight frames spread over the whole video in the original; here 32 frames apart"
        )
    if row["source"] in ALPHACTION:
        found.append("pixel statistics from the original's code, not from the file")
    if row["source"] == "acar":
        found.append(
            "the order of its 60 classes stands in an annotation file on Google Drive; taken as "
            "that of their ids, with the 13 poses first as its loss has them"
        )
        found.append(
            "its clips begin where its annotation files say; here they lie about the key frame"
        )
    if "omni" in row["name"]:
        found.append("its backbone was trained on OmniSource")
    if row["source"] == "mmaction2" and row["family"] == "ViT (VideoMAE)":
        found.append("fine-tuned from VideoMAE weights that are CC-BY-NC-4.0")
    return found


def page(rows: list[Row]) -> str:
    """The page of the documentation: what is offered by source, and what is not and why."""
    offered = Counter(row["source"] for row in rows if "refused" not in row)
    lines = [
        "# Published weights",
        "",
        "Written by `python scripts/published_table.py ../shared/weights/published.json`.",
        "`tubelet models --released` lists what is offered, `tubelet models show NAME` all that is",
        "known of a row, `tubelet pull NAME` downloads and converts it once.",
        "",
        f"{sum(offered.values())} of {len(rows)} published files are offered:",
        "",
        "| source | offered | listed |",
        "|---|---|---|",
    ]
    listed = Counter(row["source"] for row in rows)
    lines += [f"| {source} | {offered[source]} | {n} |" for source, n in listed.items()]
    lines += ["", "## Not offered", "", "| name | data | licence | why |", "|---|---|---|---|"]
    lines += [
        f"| {row['name']} | {row['data']} | {row['licence']} | {row['refused']} |"
        for row in rows
        if "refused" in row
    ]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
