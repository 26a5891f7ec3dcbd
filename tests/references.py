"""The reference networks of `../shared/golden`: what is known of each, and how far ours is from it.

`networks(folder)` lists them; `errors(network)` converts the key list, fills it by the references'
recipe, runs it and compares logits and outputs with the originals'. Tests and
`benchmarks/golden_errors.py` share it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.originals import build, filled, logits_of, relative_error
from torch import Tensor

from tubelet.convert import Converted, Facts, Said, convert_state
from tubelet.models.backbones.vit import sinusoid
from tubelet.models.detector import ActionModel
from tubelet.models.heads.clip import join_positions

CLIP = Facts(frames=32, stride=2)
"""What the forward passes below do not depend on, and a converter has to be told all the same."""
SF_CLIPS = replace(CLIP, task="classification", exclusive=True, colour="rgb")
SF_PEOPLE = replace(CLIP, task="detection", exclusive=False, colour="rgb", aligned=True)
PTV_CLIPS = replace(CLIP, exclusive=True, colour="rgb", train_crop=256)
PTV_PEOPLE = replace(CLIP, exclusive=False, colour="rgb", aligned=False)
MM_CLIPS = replace(CLIP, exclusive=True)
MM_PEOPLE = replace(CLIP, exclusive=False, background=True, temporal_pool="mean")
MM_CONTEXT = replace(MM_PEOPLE, context="frame")
VMZ = replace(CLIP, exclusive=True)
CHARADES = replace(SF_CLIPS, exclusive=False, alpha=4, train_crop=64)

FACTS: Mapping[str, Facts] = {
    # The pooling window follows the training crop: 96 // 32 cells, 64 // 32 cells.
    "sf_SLOWFAST_4x16_R50_cls": replace(SF_CLIPS, alpha=8, train_crop=96),
    "sf_SLOWFAST_8x8_R50_cls_64": replace(SF_CLIPS, alpha=4, train_crop=64),
    "sf_SLOWFAST_8x8_R101_101_101_cls_64": replace(SF_CLIPS, alpha=4, train_crop=64),
    "sf_SLOW_8x8_R50_cls_64": replace(SF_CLIPS, train_crop=64),
    "sf_I3D_8x8_R50_cls_64": replace(SF_CLIPS, train_crop=64),
    "sf_I3D_NLN_8x8_R50_cls_64": replace(
        SF_CLIPS, train_crop=64, nonlocal_kind="softmax", nonlocal_pool=(1, 2, 2)
    ),
    "sf_AVA_SLOWFAST_32x2_R50_SHORT": replace(SF_PEOPLE, alpha=4),
    "sf_AVA_SLOW_4x16_R50": SF_PEOPLE,
    "sf_AVA_SLOWFAST_64x2_R101_50_50": replace(
        SF_PEOPLE, aligned=False, alpha=4, nonlocal_kind="dot_product", nonlocal_pool=(2, 2, 2)
    ),
    "sf_Charades_SLOWFAST_16x8_R50_cls_64": CHARADES,
    "sf_X3D_S_cls_64": replace(SF_CLIPS, task=None, train_crop=64),
    "ptv_CSN_32x2_R101_cls_64": PTV_CLIPS,
    "ptv_R2PLUS1D_16x4_R50_cls_64": PTV_CLIPS,
    "ptv_C2D_8x8_R50_cls_64": replace(PTV_CLIPS, train_crop=64),
    "ptv_I3D_8x8_R50_cls_64": replace(PTV_CLIPS, train_crop=64),
    "ptv_hub_slow_r50_detection": PTV_PEOPLE,
    "ptv_hub_slowfast_r50_detection": replace(PTV_PEOPLE, alpha=4),
    "mm_AVA_slowfast_r50_4x16": replace(MM_PEOPLE, alpha=8),
    "mm_AVA_slowfast_r50_context": replace(MM_CONTEXT, alpha=8),
    "mm_AVA_slowfast_acrn_r50_8x8": replace(MM_PEOPLE, alpha=4),
    "mm_AVA_slowfast_r50_8x8_tmax_focal": replace(MM_PEOPLE, alpha=4, temporal_pool="max"),
    "mm_AVA_slowonly_r50_4x16": MM_PEOPLE,
    "mm_AVA_slowonly_r50_nl_4x16": replace(MM_PEOPLE, nonlocal_kind="softmax"),
    "mm_AVA_slowonly_k700_r50_16x4_tricks": replace(MM_CONTEXT, temporal_pool="max"),
    "mm_AVA_slowonly_k700_r50_8x8_context": MM_CONTEXT,
    "mm_AVA_slowonly_k700_r50_8x8_context_tmax": replace(MM_CONTEXT, temporal_pool="max"),
    "mm_AVA_videomae_vit_b16_w192_d4": MM_PEOPLE,
    "mm_MultiSports_slowfast_r50_4x16": replace(
        MM_PEOPLE, alpha=8, background=False, exclusive=True
    ),
    "mm_c2d_r50_cls_64": replace(MM_CLIPS, time_strides=(1, 1, 2)),
    "mm_i3d_r50_cls_64": replace(MM_CLIPS, time_strides=(2, 2, 2)),
    "mm_i3d_r50_nl_dot_product_cls_64": replace(
        MM_CLIPS, time_strides=(2, 2, 2), nonlocal_kind="dot_product"
    ),
    "mm_i3d_r50_nl_gaussian_cls_64": replace(
        MM_CLIPS, time_strides=(2, 2, 2), nonlocal_kind="gaussian"
    ),
    "mm_ircsn_r152_cls_64": replace(MM_CLIPS, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)),
    "mm_r2plus1d_r34_8x8_cls_64": MM_CLIPS,
    "mm_slowfast_r50_4x16_cls_64": replace(MM_CLIPS, alpha=8, join="fast_slow"),
    "mm_slowfast_r50_8x8_steplr_cls_64": replace(MM_CLIPS, alpha=4, join="fast_slow"),
    "mm_slowonly_r50_4x16_cls_64": MM_CLIPS,
    "tv_r2plus1d_18": replace(VMZ, norm_eps=1e-5),
    "umt_AVA_vit_b16_w192_d4": replace(CLIP, exclusive=False),
    "umt_cls_vit_b16_w192_d4": VMZ,
    "vmz_ip_csn_152": VMZ,
    "vmz_ir_csn_152": VMZ,
    "vmz_r2plus1d_152": VMZ,
    "hf_videomae_cls_tiny": replace(VMZ, heads=3, positions=(8, 4, 4)),
}
"""What tensors do not say, for each network."""
ELSEWHERE = (
    "hf_vivit_tiny",  # test_models_parity.py
    "scenic_vivit",
    "hf_vivit_cls_tiny_module_names",
    "hf_timesformer_cls_tiny",  # test_hub_parity.py
    "hf_videoprism_vision_tiny",
    "hf_vjepa2_cls_tiny",
    "sf_MVITv2_S_16x4_cls",  # not built
    "sf_MVITv2_S_16x4_cls_64",
)


PAST_THE_PICTURE = {"mm_AVA_videomae_vit_b16_w192_d4_sin_224": 2}
"""Run → the row of a box that ends more than half a cell beyond the picture. The references'
RoIAlign is torchvision's Python form, which repeats the last cells there; the kernels of
detectron2, mmcv and torchvision, and ours, count such samples as zero. The row is compared on a map
whose last cells are repeated (`test_a_box_past_the_picture`)."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One pass: the suffix of its arrays, the clip's shape, the boxes given."""

    suffix: str
    shape: tuple[int, ...]
    boxes: list[list[float]] | None


@dataclass(frozen=True, kw_only=True)
class Network:
    """One reference: its name, its json, and where its arrays are."""

    name: str
    about: dict[str, Any]
    arrays: Path
    facts: Facts = field(default_factory=Facts)

    def runs(self) -> Iterator[Run]:
        about = self.about
        crop = about["crop"]
        shape = about.get("input_shape") or (1, 3, about["frames"], crop, crop)
        yield Run(suffix="", shape=tuple(shape), boxes=about.get("boxes"))
        for name, other in (about.get("extra_input_shapes") or {}).items():
            boxes = about.get(f"boxes_{name}", about.get("boxes"))
            yield Run(suffix=f"_{name}", shape=tuple(other), boxes=boxes)
        known = about.get("extra_input_shapes") or {}
        if "gs_f64_logits_rgb" in np.load(self.arrays).files and "rgb" not in known:
            yield Run(suffix="_rgb", shape=tuple(shape), boxes=about.get("boxes"))


def networks(golden: Path) -> list[Network]:
    """Every network of `FACTS`, from the two folders."""
    found = []
    for name, facts in FACTS.items():
        folder = golden if (golden / f"{name}.json").exists() else golden / "more"
        about = json.loads((folder / f"{name}.json").read_text())
        found.append(Network(name=name, about=about, arrays=folder / f"{name}.npz", facts=facts))
    return found


def network(golden: Path, name: str) -> Network:
    return next(n for n in networks(golden) if n.name == name)


@dataclass(frozen=True, kw_only=True)
class Error:
    """Relative L2 distances from the originals in float64."""

    run: str
    logits: float
    output: float


def convert_network(network: Network, suffix: str = "") -> Converted:
    """The filled reference in our terms; `_rgb` arrays are for a network of BGR turned round."""
    about, facts = network.about, network.facts
    state = filled(about["state_dict"])
    if suffix.startswith("_sin"):
        state["backbone.pos_embed"] = sinusoid(*about["state_dict"]["backbone.pos_embed"][1:])
    if suffix == "_rgb":
        facts = replace(facts, colour="bgr")
    return convert_state(state, said=[Said(source="the reference", facts=facts)])


def errors(network: Network) -> Iterator[Error]:
    """How far each run of ours is from the original's."""
    truth = np.load(network.arrays)
    models: dict[str, ActionModel] = {}
    for run in network.runs():
        kind = run.suffix[:4] if run.suffix[:4] in ("_sin", "_rgb") else ""
        if kind not in models:
            models[kind] = build(convert_network(network, kind))
        model = models[kind]
        clip = torch.randn(*run.shape, generator=torch.Generator().manual_seed(0))
        logits = logits_of(model, clip, run.boxes)
        expected = truth[f"gs_f64_logits{run.suffix}"]
        output = truth[f"gs_f64_output{run.suffix}"]
        if network.facts.background:
            expected, output = expected[:, 1:], _without_background(output, logits)
        joined = logits
        if logits.ndim == 3:
            joined = join_positions(logits, exclusive=model.labels.exclusive)
        name = f"{network.name}{run.suffix}"
        rows = [i for i in range(len(expected)) if i != PAST_THE_PICTURE.get(name)]
        logits, joined = logits[rows], joined[rows]
        expected, output = expected[rows], output[rows]
        yield Error(
            run=name,
            logits=relative_error(logits, expected),
            output=relative_error(
                # torchvision and VMZ leave the softmax to whoever called.
                joined if np.array_equal(output, expected) else model.scores(joined),
                output,
            ),
        )


def _without_background(output: np.ndarray[Any, Any], logits: Tensor) -> np.ndarray[Any, Any]:
    return output[:, 1:] if output.shape[1] == logits.shape[1] + 1 else output


def parameters(network: Network, converted: Converted) -> int:
    """Parameters that the original counts and ours should have: without a background row, and
    with a table of positions where theirs is a buffer."""
    count = int(network.about["params"])
    if network.facts.background:
        count -= converted.state["head.classifier.weight"].shape[1] + 1
    if "backbone.position" in converted.state and network.name.startswith("mm_"):
        count += converted.state["backbone.position"].numel()
    return count
