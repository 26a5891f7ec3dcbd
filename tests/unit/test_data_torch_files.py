"""Our reader of torch's files beside torch's own: the same tensors, of every kind and layout."""

from __future__ import annotations

import argparse
import datetime
import io
import pathlib
import zipfile
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tubelet.convert.readers import read_foreign
from tubelet.data.untrusted.torch_files import read_legacy, read_zip
from tubelet.errors import CheckpointError

BASE = torch.arange(60.0)
TENSORS: dict[str, Tensor] = {
    "plain": BASE.view(3, 4, 5),
    "shared": BASE[10:20],
    "transposed": BASE.view(6, 10).t(),
    "strided": BASE[::7],
    "scalar": torch.tensor(3),
    "empty": torch.zeros(0, 4),
    "expanded": torch.ones(3).expand(1, 3),
    "half": torch.arange(5).half(),
    "bfloat16": torch.arange(5).bfloat16(),
    "double": torch.arange(5).double(),
    "bool": torch.tensor([True, False]),
    "uint8": torch.arange(5, dtype=torch.uint8),
    "int8": torch.arange(5, dtype=torch.int8),
    "int16": torch.arange(5, dtype=torch.int16),
    "int32": torch.arange(5, dtype=torch.int32),
    "parameter": nn.Parameter(torch.ones(2, 2)),
    "buffer": nn.parameter.Buffer(torch.ones(2)),
}


def write(content: object, *, zip_: bool) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zip_)
    return file.getvalue()


@pytest.mark.parametrize("zip_", [True, False], ids=["zip", "legacy"])
def test_every_kind_of_tensor(zip_: bool, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(write(TENSORS, zip_=zip_))
    theirs = torch.load(tmp_path / "a", weights_only=True)
    ours = read_foreign(tmp_path / "a").state
    assert list(ours) == list(TENSORS)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype and ours[name].shape == tensor.shape, name
        assert torch.equal(ours[name], tensor), name


@pytest.mark.parametrize("zip_", [True, False], ids=["zip", "legacy"])
def test_what_stands_beside_the_weights_does_no_harm(zip_: bool, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.ones(4, 2)).sum().backward()
    optimizer.step()
    content = {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": OrderedDict(step=1, lrs=[0.1]),
        "best": np.float64(0.5),
        "curve": np.arange(4),
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePosixPath("a/b")),
        "when": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
        "counts": Counter("aab"),
        "last": deque([1, 2], maxlen=5),
        "device": torch.device("cpu"),
        "size": torch.Size([2, 3]),
        "dtype": torch.float32,
        "generator": torch.get_rng_state(),
        "range": slice(1, 2),
    }
    (tmp_path / "a").write_bytes(write(content, zip_=zip_))
    foreign = read_foreign(tmp_path / "a")
    assert {k: v.tolist() for k, v in foreign.state.items()} == {
        k: v.tolist() for k, v in model.state_dict().items()
    }
    assert set(foreign.dropped) == set(content) - {"model"}


def test_numbers_stay_in_the_file_until_they_are_asked_for(tmp_path: Path) -> None:
    """An optimizer's state three times the size of the weights costs nothing."""
    (tmp_path / "a").write_bytes(write(TENSORS, zip_=True))
    with (tmp_path / "a").open("rb") as file:
        described = read_zip(file, "here")
    assert not any(isinstance(value, Tensor) for value in described.values())
    assert torch.equal(described["transposed"].load(), TENSORS["transposed"])


@pytest.mark.parametrize("read, zip_", [(read_zip, True), (read_legacy, False)])
def test_a_tensor_never_reaches_past_its_data(
    read: Callable[..., Any], zip_: bool, tmp_path: Path
) -> None:
    data = write({"a": torch.arange(4.0).view(2, 2)}, zip_=zip_)
    size = b"K\x02K\x02\x86"  # the shape (2, 2) in the pickle
    assert data.count(size) >= 1
    (tmp_path / "a").write_bytes(data.replace(size, b"K\x02K\x7f\x86", 1))
    with pytest.raises(CheckpointError, match="the tensor a cannot be read"):
        read_foreign(tmp_path / "a")


def test_other_zips_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.ones(2))
    with pytest.raises(CheckpointError, match="a zip file that torch did not write"):
        read_foreign(tmp_path / "a.npz")
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/data.pkl", b"\x80\x02}.")
        archive.writestr("script/code/__torch__.py", "class A: ...", zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="a TorchScript program"):
        read_foreign(tmp_path / "script.pt")
