"""Foreign files: each format read, nothing in them run, nothing lost without a word."""

from __future__ import annotations

import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tubelet.convert import Facts, Said, convert, convert_state
from tubelet.convert.families.pyslowfast import from_caffe2
from tubelet.convert.readers import read_foreign
from tubelet.convert.rules import Drop, Rule, Table, account, rename
from tubelet.errors import CheckpointError, InputError, OpenQuestions
from tubelet.models.backbones.slowfast import SlowFastConfig
from tubelet.models.create import model_config
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.models.weights import load_model

TINY = SlowFastConfig(
    blocks=(1, 1, 2, 1), width=8, beta_inv=4, nonlocal_res4=(1,), nonlocal_pool=(2, 2, 2)
)


class Payload:
    """Runs a command when an unguarded reader opens the pickle."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.target}",))


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".pyth", ".pt"])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, suffix: str) -> None:
    trap, file = tmp_path / "executed", tmp_path / f"weights{suffix}"
    content = {"conv1_w": torch.zeros(3).tolist(), "model_state": Payload(trap)}
    if suffix == ".pkl":
        file.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, file)
    with pytest.raises(CheckpointError) as refused:
        read_foreign(file)
    assert not trap.exists()
    assert "system" in str(refused.value)


STATE = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


def write_msgpack(file: Path) -> None:
    def array(value: object) -> msgpack.ExtType:
        assert isinstance(value, np.ndarray)
        data = (value.shape, value.dtype.name, value.tobytes("C"))
        return msgpack.ExtType(1, msgpack.packb(data, use_bin_type=True))

    tree = {"a": {k: np.asarray(STATE[f"a.{k}"]) for k in ("weight", "bias")}}
    state = {"step": 3, "optimizer": {"target": {"params": tree}}}
    file.write_bytes(msgpack.packb(state, default=array, use_bin_type=True))


def test_every_format_is_read(tmp_path: Path) -> None:
    wrapped = {"epoch": 3, "model_state": {f"module.{k}": v for k, v in STATE.items()}}
    torch.save({**wrapped, "cfg": "DATA:\n  NUM_FRAMES: 8\n"}, tmp_path / "a.pyth")
    torch.save({"state_dict": STATE, "meta": {"epoch": 2}}, tmp_path / "a.pth")
    save_file(STATE, tmp_path / "a.safetensors")
    blobs = {"blobs": {k: v.numpy() for k, v in STATE.items()}}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(blobs, protocol=2))
    write_msgpack(tmp_path / "checkpoint_1")
    for file in sorted(tmp_path.iterdir()):
        found = {k.replace("/", "."): v for k, v in read_foreign(file).state.items()}
        assert set(found) == set(STATE), file
        for name, value in STATE.items():
            assert torch.equal(found[name], value), file
    (said,) = read_foreign(tmp_path / "a.pyth").said
    assert said.facts.given() == {"frames": 8}


@pytest.mark.parametrize("suffix", [".pkl", ".pth", ".safetensors", ".msgpack"])
def test_rubbish_is_told_by_name(tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"weights{suffix}"
    file.write_bytes(b"\x93 this is not a checkpoint \x00\xff" * 5)
    with pytest.raises(CheckpointError, match="weights"):
        read_foreign(file)


def test_absent_and_unknown_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint"):
        read_foreign(tmp_path / "none.pth")
    for content, what in (
        (b"", "an empty file"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\n<!DOCTYPE html><html>quota exceeded", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
    ):
        (tmp_path / "weights.pth").write_bytes(content)
        with pytest.raises(CheckpointError, match=what):
            read_foreign(tmp_path / "weights.pth")


def tensors(*names: str) -> dict[str, Tensor]:
    return {name: torch.zeros(2) for name in names}


TABLE = Table(
    rules=(
        Rule(source=r"s(?P<stage>\d)\.(?P<p>weight|bias)", target="stages.{stage}.{p}"),
        Rule(source=r"q", target="qk", part=0),
        Rule(source=r"k", target="qk", part=1),
    ),
    names={"stage": {"2": "0", "3": "1"}},
    drops=(Drop(source=r"lr", reason="training state"),),
)


def test_rules_rename_join_and_drop() -> None:
    renamed = rename({**tensors("s2.weight", "lr"), "k": torch.ones(1), "q": torch.zeros(2)}, TABLE)
    assert renamed.state["qk"].tolist() == [0, 0, 1]
    assert set(renamed.state) == {"stages.0.weight", "qk"}
    assert renamed.dropped == {"lr": "training state"}


def test_errors_list_the_first_five_of_each_kind() -> None:
    with pytest.raises(CheckpointError, match="8 source names without a rule.*and 3 more"):
        rename(tensors(*(f"odd{i}" for i in range(7)), "s9.weight"), TABLE)
    renamed = rename(tensors("s2.weight", "s3.weight"), TABLE)
    with pytest.raises(CheckpointError) as refused:
        account(renamed, {"stages.0.weight": (3,), "stages.0.bias": (2,)})
    text = str(refused.value)
    assert "1 targets left empty: stages.0.bias" in text
    assert "1 source names without a target: s3.weight → stages.1.weight" in text
    assert "s2.weight (2,) → stages.0.weight (3,)" in text


def pyslowfast_state(config: SlowFastConfig, classes: int) -> dict[str, Tensor]:
    """A model's tensors under PySlowFast's names."""
    torch.manual_seed(0)
    state = model_config(backbone=config, labels=classes).build().state_dict()
    named = {}
    for name, value in state.items():
        if not name.endswith("num_batches_tracked"):
            named[_theirs(name)] = torch.rand_like(value)
    return named


def _theirs(name: str) -> str:
    parts = name.removeprefix("backbone.").split(".")
    if parts[0] == "head":
        return f"head.projection.{parts[-1]}"
    if parts[0] == "laterals":
        part = {"conv": "conv_f2s", "norm": "bn"}[parts[3]]
        return f"s{int(parts[1]) + 1}_fuse.{part}.{parts[4]}"
    path = 0 if parts[0].startswith("slow") else 1
    if parts[0].endswith("stem"):
        return f"s1.pathway{path}_stem.{ {'conv': 'conv', 'norm': 'bn'}[parts[2]] }.{parts[3]}"
    stage, block = int(parts[1]) + 2, parts[2]
    if parts[3] == "attention":
        layer = "bn" if parts[4] == "norm" else f"conv_{parts[4]}"
        return f"s{stage}.pathway{path}_nonlocal{block}.{layer}.{parts[5]}"
    branch = "branch1" if parts[3] == "shortcut" else f"branch2.{parts[3]}"
    norm = "_bn" if parts[4] == "norm" else ""
    return f"s{stage}.pathway{path}_res{block}.{branch}{norm}.{parts[5]}"


ANSWERS = Said(source="this test", facts=Facts(exclusive=False, colour="rgb"))
SETTINGS = """DETECTION:
  ALIGNED: false
  ENABLE: true
SLOWFAST:
  ALPHA: 2
NONLOCAL:
  INSTANTIATION: softmax
  POOL:
  - - - 2
      - 2
      - 2
    - - 1
      - 2
      - 2
DATA:
  NUM_FRAMES: 16
  SAMPLING_RATE: 4
"""


def test_a_pyslowfast_file_becomes_a_model(tmp_path: Path) -> None:
    state = pyslowfast_state(TINY, 6)
    torch.save({"model_state": state, "cfg": SETTINGS}, tmp_path / "a.pyth")
    converted = convert(tmp_path / "a.pyth", said=[ANSWERS])
    backbone, head = converted.config.backbone, converted.config.head
    assert isinstance(backbone, SlowFastConfig) and isinstance(head, LinearHeadConfig)
    assert (backbone.alpha, backbone.nonlocal_kind, backbone.nonlocal_pool) == (
        2,
        "softmax",
        (2, 2, 2),
    )
    assert not head.aligned and converted.config.input.frames == 16
    assert converted.settled.sources["frames"] == "the config in the checkpoint"
    assert converted.settled.sources["colour"] == "this test"
    assert converted.notes == ()  # nothing was assumed
    converted.save(tmp_path / "ours.safetensors")
    model = load_model(tmp_path / "ours.safetensors")
    theirs = state["s4.pathway0_nonlocal1.conv_theta.weight"]
    ours = model.backbone.get_parameter("slow_stages.2.1.attention.theta.weight")
    assert torch.equal(ours, theirs)


def test_without_its_config_everything_is_asked() -> None:
    with pytest.raises(OpenQuestions) as asked:
        convert_state(pyslowfast_state(TINY, 80))
    keys = {question.key for question in asked.value.questions}
    assert keys == {
        "task", "exclusive", "colour", "frames", "stride", "alpha", "aligned", "train_crop",
        "nonlocal_kind", "nonlocal_pool",
    }  # fmt: skip
    assert "colour=bgr" in str(asked.value)


def test_a_name_settles_the_architecture() -> None:
    with pytest.raises(CheckpointError, match="targets left empty"):
        convert_state(pyslowfast_state(TINY, 80), name="slowfast_r50_8x8")


def test_a_missing_tensor_is_named() -> None:
    state = pyslowfast_state(TINY, 80)
    del state["s4.pathway0_res0.branch2.b_bn.running_var"]
    with pytest.raises(CheckpointError, match=r"slow_stages\.2\.0\.b\.norm\.running_var"):
        convert_state(state)


def test_strangers_are_named() -> None:
    with pytest.raises(CheckpointError, match="Video Swin"):
        convert_state(tensors("backbone.layers.0.blocks.0.attn.relative_position_bias_table"))
    with pytest.raises(CheckpointError, match="unknown checkpoint family"):
        convert_state(tensors("encoder.weight"))


CAFFE2 = {
    "conv1_w": "s1.pathway0_stem.conv.weight",
    "t_res_conv1_bn_rm": "s1.pathway1_stem.bn.running_mean",
    "t_pool1_subsample_w": "s1_fuse.conv_f2s.weight",
    "t_pool1_subsample_bn_riv": "s1_fuse.bn.running_var",
    "t_res4_5_branch2c_bn_subsample_w": "s4_fuse.conv_f2s.weight",
    "t_res3_3_branch2c_bn_subsample_bn_s": "s3_fuse.bn.weight",
    "res4_22_branch2b_w": "s4.pathway0_res22.branch2.b.weight",
    "t_res2_0_branch1_bn_b": "s2.pathway1_res0.branch1_bn.bias",
    "res5_2_branch2c_bn_s": "s5.pathway0_res2.branch2.c_bn.weight",
    "nonlocal_conv4_6_theta_w": "s4.pathway0_nonlocal6.conv_theta.weight",
    "nonlocal_conv4_6_bn_riv": "s4.pathway0_nonlocal6.bn.running_var",
    "pred_b": "head.projection.bias",
}


@pytest.mark.parametrize("blob", CAFFE2)
def test_caffe2_names(blob: str) -> None:
    assert from_caffe2(blob) == CAFFE2[blob]


def _blob(name: str) -> str:
    """PySlowFast's name → the Caffe2 blob, for the names of a small SlowFast."""
    param = {"weight": "s", "bias": "b", "running_mean": "rm", "running_var": "riv"}
    at, last = name.rsplit(".", 1)
    if at == "head.projection":
        return f"pred_{last[0]}"
    if at.endswith("_fuse.bn") or at.endswith("_fuse.conv_f2s"):
        stage = int(at[1])
        blob = "t_pool1_subsample" if stage == 1 else f"t_res{stage}_0_branch2c_bn_subsample"
        return f"{blob}_bn_{param[last]}" if at.endswith("bn") else f"{blob}_w"
    stage, path = int(at[1]), "t_" if "pathway1" in at else ""
    if "_stem" in at:
        return f"{path}res_conv1_bn_{param[last]}" if at.endswith("bn") else f"{path}conv1_w"
    tail = at.split("_", 1)[1]
    if tail.startswith("nonlocal"):
        block, layer = tail.removeprefix("nonlocal").split(".")
        kind = f"bn_{param[last]}" if layer == "bn" else f"{layer.removeprefix('conv_')}_{last[0]}"
        return f"nonlocal_conv{stage}_{block}_{kind}"
    block, branch = tail.removeprefix("res").split(".", 1)
    norm = branch.endswith("_bn")
    layer = branch.removesuffix("_bn").replace(".", "")
    suffix = f"bn_{param[last]}" if norm else "w"
    return f"{path}res{stage}_{block}_{layer}_{suffix}"


def test_a_caffe2_file_becomes_a_model(tmp_path: Path) -> None:
    state = pyslowfast_state(TINY, 80)
    blobs = {_blob(name): value.numpy() for name, value in state.items()}
    assert len(blobs) == len(state)
    blobs |= {"conv1_w_momentum": np.zeros(1, np.float32), "lr": np.zeros(1, np.float32)}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    facts = Facts(
        task="detection",
        exclusive=False,
        colour="rgb",
        frames=16,
        stride=4,
        alpha=2,
        nonlocal_kind="softmax",
        nonlocal_pool=(2, 2, 2),
    )
    converted = convert(tmp_path / "a.pkl", said=[Said(source="this test", facts=facts)])
    assert set(converted.dropped) == {"conv1_w_momentum", "lr"}
    assert isinstance(converted.config.head, LinearHeadConfig)
    assert not converted.config.head.aligned
    plain = [Said(source="this test", facts=replace(facts, aligned=False))]
    theirs = convert_state(state, said=plain)
    for name, value in converted.state.items():
        assert torch.equal(value, theirs.state[name]), name
