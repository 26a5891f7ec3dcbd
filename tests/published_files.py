"""Files as they were published, with seeded values: real names, shapes, nesting, suffix and type.

The names and shapes come from the key lists of the reference data folder; where a list is of a
smaller or shallower sibling (depth 50 for 101, a narrow transformer), it is grown to the size of
the published network.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import math
import pickle
import re
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import torch
from torch import Tensor

from tubelet.labelsets import label_set
from tubelet.releases.published import PublishedWeights

Shapes = dict[str, list[int]]
Change = Callable[[Shapes], Shapes]
R50, R101, R152 = (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)


def read_shapes(shared: Path, file: str) -> Shapes:
    """Names and shapes of a list in `golden/`."""
    path = shared / "golden" / file
    if file.startswith("keys/"):
        with gzip.open(f"{path}.json.gz") as opened:
            found: Shapes = json.load(opened)["state_dict"]
            return found
    shapes: Shapes = json.loads(path.with_suffix(".json").read_text())["state_dict"]
    return shapes


def depth(blocks: tuple[int, ...], at: str = r"(?P<head>.*layer)") -> Change:
    """As many blocks a stage: the last one is repeated, or what is too many left out."""

    def change(shapes: Shapes) -> Shapes:
        pattern = re.compile(at + r"(?P<stage>\d)\.(?P<block>\d+)\.(?P<rest>.*)")
        last: dict[tuple[str, int], int] = {}
        for name in shapes:
            if m := pattern.fullmatch(name):
                where = (m["head"], int(m["stage"]))
                last[where] = max(last.get(where, 0), int(m["block"]))
        grown: Shapes = {}
        for name, shape in shapes.items():
            m = pattern.fullmatch(name)
            if m is None:
                grown[name] = shape
                continue
            wanted = blocks[int(m["stage"]) - 1]
            block, end = int(m["block"]), last[m["head"], int(m["stage"])]
            copies = [block] if block < wanted else []
            copies += range(end + 1, wanted) if block == end else ()
            for number in copies:
                grown[f"{m['head']}{m['stage']}.{number}.{m['rest']}"] = shape
        return grown

    return change


def x3d_l(shapes: Shapes) -> Shapes:
    """X3D-L's depth: blocks alternate, with squeeze-and-excitation and without."""
    grown = dict(shapes)
    for stage, have, wanted in ((2, 3, 5), (3, 5, 10), (4, 11, 25), (5, 7, 15)):
        for number in range(have, wanted):
            like = have - 1 - (number - have + 1) % 2
            at = f"s{stage}.pathway0_res{like}."
            grown |= {
                name.replace(at, f"s{stage}.pathway0_res{number}."): shape
                for name, shape in shapes.items()
                if name.startswith(at)
            }
    return grown


def rename(pattern: str, to: str) -> Change:
    return lambda shapes: {re.sub(pattern, to, name): shape for name, shape in shapes.items()}


def reshape(pattern: str, change: Callable[[list[int]], list[int]]) -> Change:
    return lambda shapes: {
        name: change(shape) if re.fullmatch(pattern, name) else shape
        for name, shape in shapes.items()
    }


def kernel_time(frames: int) -> Callable[[list[int]], list[int]]:
    return lambda shape: [*shape[:2], frames, *shape[3:]]


def preserved(shapes: Shapes) -> Shapes:
    """ip-CSN: a 1×1×1 convolution before the depthwise one."""
    found: Shapes = {}
    for name, shape in shapes.items():
        m = re.fullmatch(r"(.*\.conv2\.)0\.(.*)", name)
        if m is None:
            found[name] = shape
            continue
        width = shape[0] if shape else 0
        found[name] = [width, width, 1, 1, 1] if m[2] == "conv.weight" else shape
        found[f"{m[1]}1.{m[2]}"] = shape
    return found


def transformer(width: int, layers: int, *, narrow: int = 192, tokens: int | None = None) -> Change:
    """A tiny transformer at its published width and depth."""

    def change(shapes: Shapes) -> Shapes:
        block = re.compile(r"(.*(?:blocks|layer)\.)(\d+)(\..*)")
        found: Shapes = {}
        for name, shape in shapes.items():
            times = {narrow: width, 2 * narrow: 4 * width, 3 * narrow: 3 * width}
            times |= {4 * narrow: 4 * width}
            shape = [times.get(n, n) for n in shape]
            if tokens is not None and name.endswith("position_embeddings"):
                shape = [1, tokens, width]
            m = block.fullmatch(name)
            if m is None:
                found[name] = shape
            elif m[2] == "0":
                found |= {f"{m[1]}{i}{m[3]}": shape for i in range(layers)}
        return found

    return change


def as_classifier(name: str) -> Change:
    return rename(r"(model\.)?(detection_head\.proj|roi_head\.bbox_head\.fc_cls)", name)


_MM = "backbone."
_VMZ_MIDDLE = {"2": 288, "3": 576, "4": 1152}


def vmz_planes(shapes: Shapes) -> Shapes:
    """VMZ counts the middle planes of a second convolution by its own input."""
    found: Shapes = {}
    for name, shape in shapes.items():
        m = re.fullmatch(r"layer([234])\.0\.conv2\.0\.(\d)\..*", name)
        if m and shape:
            planes, shape = _VMZ_MIDDLE[m[1]], list(shape)
            shape[1 if m[2] == "3" else 0] = planes
        found[name] = shape
    return found


LAYOUTS: tuple[tuple[str, str, tuple[Change, ...]], ...] = (
    (
        r"pysf-c2d-nopool-.*",
        "keys/Kinetics__SLOW_8x8_R50",
        (reshape(r"s\d\.pathway0_res\d+\.branch2\.a\.weight", kernel_time(1)),),
    ),
    (r"pysf-x3d-(xs|s|m)", "keys/Kinetics__X3D_M", ()),
    (r"pysf-x3d-l", "keys/Kinetics__X3D_M", (x3d_l,)),
    (r"pysf-i3d-r50-.*", "keys/Kinetics__I3D_8x8_R50", ()),
    (r"pysf-i3d-nln-.*", "keys/Kinetics__I3D_NLN_8x8_R50", ()),
    (r"pysf-slow-r50-4x16-ava22", "keys/AVA__SLOW_8x8_R50_SHORT", ()),
    (r"pysf-slow-r50-.*", "keys/Kinetics__SLOW_8x8_R50", ()),
    (r"pysf-slowfast-r50-4x16-k400", "keys/Kinetics__c2__SLOWFAST_4x16_R50", ()),
    (r"pysf-slowfast-r50-8x8-.*", "keys/Kinetics__c2__SLOWFAST_8x8_R50", ()),
    (r"pysf-slowfast-r50-16x8-.*", "more/sf_Charades_SLOWFAST_16x8_R50_cls_64", ()),
    (r"pysf-slowfast-r101-8x8-(ava21|.*v21)", "keys/AVA__c2__SLOWFAST_32x2_R101_50_50_v2.1", ()),
    (r"pysf-slowfast-r101-8x8-.*", "keys/AVA__c2__SLOWFAST_32x2_R101_50_50", ()),
    (r"pysf-slowfast-r101-16x8-.*", "keys/AVA__c2__SLOWFAST_64x2_R101_50_50", ()),
    (r".*ptv-c2d-.*", "more/ptv_C2D_8x8_R50_cls_64", ()),
    (r".*ptv-i3d-.*", "more/ptv_I3D_8x8_R50_cls_64", ()),
    (r".*ptv-csn-.*", "keys/Kinetics__pytorchvideo__CSN_32x2_R101", ()),
    (r".*ptv-r2plus1d-.*", "keys/Kinetics__pytorchvideo__R2PLUS1D_16x4_R50", ()),
    (r".*ptv-slowfast-8x8-r101-.*", "keys/Kinetics__pytorchvideo__SLOWFAST_8x8_R101", ()),
    (r".*ptv-slowfast-16x8-.*", "keys/Kinetics__pytorchvideo__SLOWFAST_16x8_R101_50_50", ()),
    (r"ptv-slow-4x16-r50-ava22", "ptv_hub_slow_r50_detection", ()),
    (r"ptv-slowfast-8x8-r50-ava22", "ptv_hub_slowfast_r50_detection", ()),
    (r".*ptv-slow-.*", "ptv_hub_slow_r50_detection", (as_classifier("model.blocks.5.proj"),)),
    (
        r".*ptv-slowfast-4x16-.*",
        "ptv_hub_slowfast_r50_detection",
        (
            as_classifier("model.blocks.6.proj"),
            reshape(r".*conv_fast_to_slow\.weight", kernel_time(5)),
        ),
    ),
    (
        r".*ptv-slowfast-8x8-.*",
        "ptv_hub_slowfast_r50_detection",
        (as_classifier("model.blocks.6.proj"),),
    ),
    (r"mm-slowfast-acrn-.*", "mm_AVA_slowfast_acrn_r50_8x8", ()),
    (r"mm-slowfast-.*multisports", "more/mm_MultiSports_slowfast_r50_4x16", ()),
    (r"mm0?-slowfast-.*context.*", "mm_AVA_slowfast_r50_context", ()),
    (r"mm0?-slowfast-.*4x16.*ava.*", "mm_AVA_slowfast_r50_4x16", ()),
    (r"mm0?-slowfast-.*8x8.*ava.*", "more/mm_AVA_slowfast_r50_8x8_tmax_focal", ()),
    (r"mm0?-slowonly-.*(nl-head|tricks).*", "more/mm_AVA_slowonly_k700_r50_16x4_tricks", ()),
    (r"mm0?-slowonly-.*context.*", "more/mm_AVA_slowonly_k700_r50_8x8_context", ()),
    (r"mm0?-slowonly-.*-nl-.*ava.*", "mm_AVA_slowonly_r50_nl_4x16", ()),
    (r"mm0?-slowonly-.*r101.*ava.*", "mm_AVA_slowonly_r50_4x16", (depth(R101),)),
    (r"mm0?-slowonly-.*(ava|multisports).*", "mm_AVA_slowonly_r50_4x16", ()),
    (r"mm-vit-base-.*", "more/mm_AVA_videomae_vit_b16_w192_d4", (transformer(768, 12),)),
    (r"mm-vit-large-.*", "more/mm_AVA_videomae_vit_b16_w192_d4", (transformer(1024, 24),)),
    (r"mm-c2d-r50-.*", "more/mm_c2d_r50_cls_64", ()),
    (r"mm-c2d-r101-.*", "more/mm_c2d_r50_cls_64", (depth(R101),)),
    (r"mm-ircsn-.*r152.*", "more/mm_ircsn_r152_cls_64", ()),
    (r"mm-ircsn-.*r50.*", "more/mm_ircsn_r152_cls_64", (depth(R50),)),
    (r"mm-ipcsn-.*", "more/mm_ircsn_r152_cls_64", (preserved,)),
    (r"mm-i3d-.*nl-gaussian.*", "more/mm_i3d_r50_nl_gaussian_cls_64", ()),
    (r"mm-i3d-.*nl-.*", "more/mm_i3d_r50_nl_dot_product_cls_64", ()),
    (
        r"mm-i3d-.*heavy.*",
        "more/mm_i3d_r50_cls_64",
        (reshape(r"backbone\.layer\d\.\d\.conv1\.conv\.weight", kernel_time(3)),),
    ),
    (r"mm-i3d-.*", "more/mm_i3d_r50_cls_64", ()),
    (r"mm-r2plus1d-.*", "more/mm_r2plus1d_r34_8x8_cls_64", ()),
    (r"mm-slowfast-r50-.*steplr.*", "more/mm_slowfast_r50_8x8_steplr_cls_64", ()),
    (r"mm-slowfast-r50-.*4x16.*", "more/mm_slowfast_r50_4x16_cls_64", ()),
    (
        r"mm-slowfast-r50-.*8x8.*",
        "more/mm_slowfast_r50_4x16_cls_64",
        (reshape(r".*lateral\.conv\.weight", kernel_time(7)),),
    ),
    (
        r"mm-slowfast-r101-r50-.*",
        "more/mm_slowfast_r50_4x16_cls_64",
        (depth(R101, r"(?P<head>backbone\.slow_path\.layer)"),),
    ),
    (
        r"mm-slowfast-r101-.*",
        "more/mm_slowfast_r50_4x16_cls_64",
        (depth(R101), reshape(r".*lateral\.conv\.weight", kernel_time(7))),
    ),
    (
        r"mm-slowonly-.*-nl-.*",
        "mm_AVA_slowonly_r50_nl_4x16",
        (as_classifier("cls_head.fc_cls"),),
    ),
    (r"mm-slowonly-r101.*", "more/mm_slowonly_r50_4x16_cls_64", (depth(R101),)),
    (r"mm-slowonly-.*", "more/mm_slowonly_r50_4x16_cls_64", ()),
    (r"vmz-r2plus1d-34-.*", "tv_r2plus1d_18", (depth(R50), vmz_planes)),
    (r"vmz-r2plus1d-152-.*", "vmz_r2plus1d_152", ()),
    (r"vmz-ir-csn-152-.*", "vmz_ir_csn_152", ()),
    (r"vmz-ip-csn-152-.*", "vmz_ip_csn_152", ()),
    (r"vmz-c2-ircsn-50-.*", "vmz_ir_csn_152", (depth(R50),)),
    (r"vmz-c2-ircsn-152-.*", "vmz_ir_csn_152", ()),
    (r"vmz-c2-ipcsn-152-.*", "vmz_ip_csn_152", ()),
    (r"tv-r2plus1d-18-k400", "tv_r2plus1d_18", ()),
    (
        r"hf-vivit-b-16x2-k400",
        "hf_vivit_tiny",
        (transformer(768, 12, narrow=48, tokens=3137),),
    ),
    (r"umt-b16-ava22", "more/umt_AVA_vit_b16_w192_d4", (transformer(768, 12),)),
    (r"umt-l16-ava22", "more/umt_AVA_vit_b16_w192_d4", (transformer(1024, 24),)),
    (
        r"videomae-ad-vit-s-.*",
        "more/umt_AVA_vit_b16_w192_d4",
        (reshape(r"patch_embed\.proj\.weight", kernel_time(2)), transformer(384, 12)),
    ),
    (
        r"videomae-ad-vit-b-.*",
        "more/umt_AVA_vit_b16_w192_d4",
        (reshape(r"patch_embed\.proj\.weight", kernel_time(2)), transformer(768, 12)),
    ),
    (r"umt-b16-.*", "more/umt_cls_vit_b16_w192_d4", (transformer(768, 12),)),
    (r"umt-l16-.*", "more/umt_cls_vit_b16_w192_d4", (transformer(1024, 24),)),
)
_LAST = re.compile(
    r"(head\.projection|head\.module\.fc2|(.*\.)?proj|.*fc_cls(\.2)?|fc|head|classifier|output_projection)"
    r"[./](?P<kind>weight|bias|kernel)"
)


def classes(row: PublishedWeights) -> int:
    """How many classes the row's model tells apart; 359 where nobody says."""
    return 359 if row.labels is None else len(label_set(row.labels))


def shapes_of(row: PublishedWeights, shared: Path) -> Shapes:
    """Names and shapes of the published file of `row`."""
    if row.source == "scenic":
        shapes = scenic_shapes(row, shared)
    elif (kept := KEPT.get(row.name)) is not None:
        shapes = kept_networks(kept[0])[kept[1]]["state_dict"]
    else:
        _, file, changes = next(item for item in LAYOUTS if re.fullmatch(item[0], row.name))
        shapes = read_shapes(shared, file)
        for change in changes:
            shapes = change(shapes)
    if row.source == "pytorchvideo" and row.task == "classification":
        shapes = rename(r"model\.", "")(shapes)
    count = classes(row) + bool(row.facts.get("background"))
    return {name: _rows(name, shape, count) for name, shape in shapes.items()}


def _rows(name: str, shape: list[int], count: int) -> list[int]:
    m = _LAST.fullmatch(name)
    if m is None or "attn" in name or "attention" in name or "patch" in name:
        return shape
    if m["kind"] == "kernel":
        return [shape[0], count]
    return [count, *shape[1:]]


KEPT = {
    "acar-slowfast-r50-ava22": ("acar", "acar_slowfast_r50"),
    "acar-slowfast-r101-ava22": ("acar", "acar_slowfast_r101"),
    "acar-slowfast-r101-avak": ("acar", "acar_slowfast_r101"),
    "tv-r3d-18-k400": ("torchvision", "r3d_18"),
    "tv-mc3-18-k400": ("torchvision", "mc3_18"),
}
"""Row → file and network in `golden/`, for originals without a list in the shared folder."""


def kept_networks(project: str) -> dict[str, Any]:
    """What `benchmarks/originals_acar.py` and `originals_torchvision.py` kept: names and shapes,
    and what the seeded originals say."""
    with gzip.open(Path(__file__).parent / "golden" / f"{project}.json.gz") as opened:
        found: dict[str, Any] = json.load(opened)
        return found


def scenic_shapes(row: PublishedWeights, shared: Path) -> Shapes:
    """A full tree of Scenic, flat."""
    trees = json.loads((shared / "golden" / "scenic_vivit.json").read_text())["full_param_trees"]
    size = "large" if "-l-" in row.name else "base"
    named = next(
        tree
        for name, tree in trees.items()
        if size in name and (("factorised_encoder" in name) == ("-fe-" in row.name))
    )
    shapes: Shapes = named.get("tree", named)
    return shapes


def values(shapes: Mapping[str, list[int]], seed: int) -> dict[str, Tensor]:
    """Small seeded numbers that a network can compute with."""
    found = {}
    for name, shape in shapes.items():
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}{name}".encode()))
        if name.endswith("num_batches_tracked"):
            found[name] = torch.tensor(7)
        elif "running_var" in name or (len(shape) == 1 and name.endswith(("weight", "scale"))):
            found[name] = torch.full(shape, 0.5)
        elif len(shape) < 2:
            found[name] = torch.full(shape, 0.01)
        else:
            scale = math.sqrt(2 / max(1, math.prod(shape[1:])))
            found[name] = torch.empty(shape).uniform_(-scale, scale, generator=generator)
    return found


def published_bytes(row: PublishedWeights, shared: Path, seed: int = 0) -> bytes:
    """The file of `row` as its upstream project wrote it."""
    state = values(shapes_of(row, shared), seed)
    if row.source == "scenic":
        return _flax(state)
    if row.source == "vmz (Caffe2)":
        return _blobs(vmz_blobs(state))
    if _is_caffe2(row):
        return _caffe2(state, packed="c2d-nopool" in row.name)
    wrapped: Any = state
    if row.source.startswith("mmaction2"):
        wrapped = {"meta": {"epoch": 20, "iter": 1000}, "state_dict": state}
    elif row.source in ("pyslowfast", "pytorchvideo"):
        momentum = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": []}
        wrapped = {"epoch": 195, "model_state": state, "optimizer_state": momentum}
    elif row.source == "umt" or (row.source == "vmz" and "34" not in row.name):
        wrapped = {"model": state}
    elif row.source == "acar":
        named = {f"module.{name}": tensor for name, tensor in state.items()}
        wrapped = {"epoch": 5, "state_dict": named, "optimizer": {}, "scheduler": {}}
    elif row.source == "videomae-action-detection":
        scaler = {"scale": 65536.0, "growth_tracker": 1}
        arguments = argparse.Namespace(model="vit_base_patch16_224", num_frames=16)
        wrapped = {"model": state, "epoch": 29, "scaler": scaler, "args": arguments}
    buffer = io.BytesIO()
    torch.save(wrapped, buffer, _use_new_zipfile_serialization=not row.file.endswith(".pkl"))
    return buffer.getvalue()


def _is_caffe2(row: PublishedWeights) -> bool:
    """Which `.pkl` files of PySlowFast came from Caffe2; the later ones are torch files."""
    torch_written = ("ava22", "multigrid", "stepwise", "ssv2", "charades")
    return (
        row.source == "pyslowfast"
        and row.file.endswith(".pkl")
        and (not any(word in row.name for word in torch_written) or "4x16-ava22" in row.name)
    )


_NORM = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}


def caffe2_name(name: str) -> str | None:
    """PySlowFast's name → the blob's; None for what Caffe2 does not have."""
    rules: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
        (r"head\.projection\.(.)\w+", lambda m: f"pred_{m[1]}"),
        (r"s1_fuse\.bn\.(\w+)", lambda m: f"t_pool1_subsample_bn_{_NORM[m[1]]}"),
        (r"s1_fuse\.conv_f2s\.weight", lambda m: "t_pool1_subsample_w"),
        (
            r"s(\d)_fuse\.bn\.(\w+)",
            lambda m: f"t_res{m[1]}_{_LAST_BLOCK[m[1]]}_branch2c_bn_subsample_bn_{_NORM[m[2]]}",
        ),
        (
            r"s(\d)_fuse\.conv_f2s\.weight",
            lambda m: f"t_res{m[1]}_{_LAST_BLOCK[m[1]]}_branch2c_bn_subsample_w",
        ),
        (r"s1\.pathway(\d)_stem\.bn\.(\w+)", lambda m: f"{_t(m[1])}res_conv1_bn_{_NORM[m[2]]}"),
        (r"s1\.pathway(\d)_stem\.conv\.weight", lambda m: f"{_t(m[1])}conv1_w"),
        (
            r"s(\d)\.pathway(\d)_res(\d+)\.branch(\d)\.?([abc]?)_bn\.(\w+)",
            lambda m: f"{_t(m[2])}res{m[1]}_{m[3]}_branch{m[4]}{m[5]}_bn_{_NORM[m[6]]}",
        ),
        (
            r"s(\d)\.pathway(\d)_res(\d+)\.branch(\d)\.?([abc]?)\.weight",
            lambda m: f"{_t(m[2])}res{m[1]}_{m[3]}_branch{m[4]}{m[5]}_w",
        ),
        (
            r"s(\d)\.pathway0_nonlocal(\d+)\.bn\.(\w+)",
            lambda m: f"nonlocal_conv{m[1]}_{m[2]}_bn_{_NORM[m[3]]}",
        ),
        (
            r"s(\d)\.pathway0_nonlocal(\d+)\.conv_(\w+)\.(.)\w+",
            lambda m: f"nonlocal_conv{m[1]}_{m[2]}_{m[3]}_{m[4]}",
        ),
    )
    if name.endswith("num_batches_tracked"):
        return None
    for pattern, write in rules:
        if m := re.fullmatch(pattern, name):
            return write(m)
    raise AssertionError(name)


_LAST_BLOCK = {"2": 2, "3": 3, "4": 5, "5": 2}


def _t(pathway: str) -> str:
    return "t_" if pathway == "1" else ""


def vmz_blobs(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """VMZ's Caffe2 blobs of a channel-separated network: blocks counted through all stages."""
    stages = [name.split(".")[:2] for name in state if name.endswith(".conv1.0.weight")]
    number = {tuple(place): i for i, place in enumerate(stages)}
    preserved = "layer1.0.conv2.0.2.weight" in state
    last = 3 if preserved else 4
    parts = {"conv1.0": "conv_1", "conv1.1": "spatbn_1", "conv3.0": f"conv_{last}"}
    parts |= {"conv3.1": f"spatbn_{last}", "conv2.1": f"spatbn_{2 if preserved else 3}"}
    parts |= {"conv2.0": "conv_3", "conv2.0.0": "conv_2_middle", "conv2.0.1": "spatbn_2_middle"}
    parts |= {"conv2.0.2": "conv_2"}
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        head, _, kind = name.rpartition(".")
        suffix = _NORM.get(kind, "")
        if kind == "weight" and tensor.ndim > 1:
            suffix = "w"
        if kind == "num_batches_tracked":
            continue
        if head.startswith("layer"):
            stage, block, rest = head.split(".", 2)
            i = number[stage, block]
            down = {"downsample.0": f"shortcut_projection_{i}"}
            down |= {"downsample.1": f"shortcut_projection_{i}_spatbn"}
            blob = down.get(rest) or f"comp_{i}_{parts[rest]}"
        else:
            blob = {"stem.0": "conv1", "stem.1": "conv1_spatbn_relu", "fc": "last_out_L400"}[head]
        found[f"{blob}_{suffix}"] = tensor
    return found


def _caffe2(state: Mapping[str, Tensor], *, packed: bool) -> bytes:
    """A pickle of blobs, or a gzip tar of one."""
    data = _blobs({b: t for n, t in state.items() if (b := caffe2_name(n)) is not None})
    if not packed:
        return data
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as tar:
        member = tarfile.TarInfo("C2D_NOPOOL_8x8_R50.pkl")
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def _blobs(state: Mapping[str, Tensor]) -> bytes:
    """A pickle as Caffe2 wrote it, training state beside the weights."""
    blobs: dict[str, Any] = {blob: tensor.numpy() for blob, tensor in state.items()}
    blobs |= {"lr": np.array(0.1, np.float32), "conv1_w_momentum": np.zeros(3, np.float32)}
    return pickle.dumps({"blobs": blobs}, protocol=2)


def _flax(state: Mapping[str, Tensor]) -> bytes:
    """A train state as `flax.serialization.to_bytes` writes it."""
    tree: dict[str, Any] = {}
    for name, tensor in state.items():
        *folders, leaf = name.split("/")
        at = tree
        for folder in folders:
            at = at.setdefault(folder, {})
        array = tensor.numpy()
        packed = msgpack.packb((array.shape, array.dtype.name, array.tobytes()), use_bin_type=True)
        at[leaf] = msgpack.ExtType(1, packed)
    whole = {"global_step": 30000, "optimizer": {"target": tree, "state": {"step": 30000}}}
    data: bytes = msgpack.packb(whole, strict_types=True)
    return data
