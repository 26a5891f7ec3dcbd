"""The pickle machine: what it gives back, and that nothing in a pickle runs or explodes."""

from __future__ import annotations

import os
import pickle
import struct
import time
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tubelet.data.untrusted.pickles import load_pickle, unpickle
from tubelet.errors import DataError, TubeletError


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_and_scalars_of_every_protocol(protocol: int) -> None:
    arrays = {
        "c": np.arange(6.0).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
        "big-endian": np.arange(3, dtype=">i4"),
        "text": np.array(["ab", "c"]),
        "bool": np.array([True, False]),
        "empty": np.zeros((0, 5)),
        "object": np.array([None, "x"], object),
    }
    read = unpickle(pickle.dumps(arrays, protocol), "test")
    assert list(read) == list(arrays)
    for name, array in arrays.items():
        assert read[name].dtype == array.dtype, name
        assert np.array_equal(read[name], array), name
    scalars = [np.float32(0.5), np.int64(7), np.bool_(True), np.str_("é")]
    assert unpickle(pickle.dumps(scalars, protocol), "test") == [0.5, 7, True, "é"]


@pytest.mark.parametrize("protocol", range(6))
def test_containers(protocol: int) -> None:
    value: Any = [OrderedDict(a=1), {1, 2}, frozenset({"x"}), (1, (2,)), b"\x00\xff", b"", 2**70]
    assert unpickle(pickle.dumps(value, protocol), "test") == value
    grouped = defaultdict(list, {"a": [1]})
    assert unpickle(pickle.dumps(grouped, max(protocol, 2)), "test") == {"a": [1]}


def test_numpy_1_and_2_names_are_one() -> None:
    data = pickle.dumps(np.arange(3), 2)
    old = data.replace(b"cnumpy._core.", b"cnumpy.core.")
    assert old != data or b"numpy.core." in data
    assert unpickle(old, "test").tolist() == [0, 1, 2]


def test_tensors_as_mmengine_dumps_them() -> None:
    tensors = {"f": torch.rand(2, 3), "i": torch.arange(4), "e": torch.zeros(0, 4)}
    read = unpickle(pickle.dumps(tensors, 2), "test")
    for name, tensor in tensors.items():
        assert np.array_equal(read[name], tensor.numpy()), name
    with pytest.raises(DataError, match="damaged"):
        unpickle(pickle.dumps(torch.rand(2, 3).T, 2), "test")


class _Runs:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call[0], self.call[1:]


@pytest.mark.parametrize("protocol", range(6))
def test_no_call_is_made(protocol: int, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    attacks = [
        _Runs(os.system, f"touch {canary}"),
        _Runs(eval, f"open({str(canary)!r}, 'w')"),
        _Runs(exec, f"open({str(canary)!r}, 'w')"),
        _Runs(open, str(canary), "w"),
        _Runs(getattr, "x", "__class__"),
        _Runs(np.load, str(canary)),
        _Runs(torch.load, str(canary)),
        _Runs(__import__, "antigravity"),
        {"v,0902": _Runs(os.mkdir, str(canary))},
        Path("x"),
    ]
    for attack in attacks:
        path = tmp_path / "attack.pkl"
        path.write_bytes(pickle.dumps(attack, protocol))
        with pytest.raises(TubeletError):
            load_pickle(path)
        assert not canary.exists()


def test_a_refused_name_is_told_with_the_next_step() -> None:
    with pytest.raises(DataError, match=r"refers to '(posix|nt)\.system'.*not run") as caught:
        unpickle(pickle.dumps(_Runs(os.system, "true")), "boxes.pkl")
    assert "boxes.pkl, byte" in str(caught.value.where)
    assert "CSV" in str(caught.value.hint)


def test_an_attack_inside_a_tensor_is_refused() -> None:
    inner = pickle.dumps(_Runs(os.system, "true"), 2)
    data = b"\x80\x02ctorch.storage\n_load_from_bytes\nB" + struct.pack("<I", len(inner)) + inner
    with pytest.raises(DataError, match="refers to"):
        unpickle(data + b"\x85R.", "test")


def _array(shape: tuple[int, ...], code: str, payload: bytes) -> bytes:
    """A pickled array that may lie about its size."""
    dims = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", d) for d in shape) + b"t"
    return (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85C\x01btR(K\x01"
        + dims
        + b"cnumpy\ndtype\n(U"
        + bytes([len(code)])
        + code.encode()
        + b"\x89\x88tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89B"
        + struct.pack("<I", len(payload))
        + payload
        + b"tb."
    )


def test_the_hand_made_array_is_well_formed() -> None:
    assert unpickle(_array((2,), "i4", struct.pack("<2i", 1, 2)), "test").tolist() == [1, 2]


@pytest.mark.parametrize(
    "bomb",
    [
        _array((10**12,), "f8", b""),
        _array((10**12, 0), "f8", b""),
        _array((2**62, 4), "f8", bytes(8)),
        _array((-1,), "f8", b""),
        _array((1,), "U99999999", b"abcd"),
        _array((1,), "V8", bytes(8)),
        b"\x80\x02Nr\xff\xff\xff\x7f" * 3,
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x02(" + b"]a" * 3,
        b"I" + b"9" * 100_000 + b"\n.",
        b"]q\x00" + b"K\x01a" * 1000 + b"c__builtin__\nlist\nh\x00\x85R0" * 2000 + b".",
    ],
    ids=["huge", "huge-empty", "overflow", "negative", "wide-text", "void", "memo", "long-bytes",
         "long-int", "marks", "digits", "copies"],
)  # fmt: skip
def test_bombs_are_refused_quickly(bomb: bytes) -> None:
    start = time.process_time()  # of this process: how busy others are does not matter
    with pytest.raises(DataError):
        unpickle(bomb, "bomb")
    assert time.process_time() - start < 5


def test_depth_is_harmless() -> None:
    deep = b"\x80\x02)" + b"\x85" * 120_000
    assert isinstance(unpickle(deep + b".", "deep"), tuple)
    with pytest.raises(DataError, match="key"):
        unpickle(b"\x80\x02}" + deep[2:] + b"Ns.", "deep")
    with pytest.raises(DataError, match="key"):
        unpickle(b"\x80\x04\x8f(" + deep[2:] + b"\x90.", "deep")


@pytest.mark.parametrize("cut", [0, 1, 5, 20, -1])
def test_a_cut_file_is_damaged(cut: int) -> None:
    data = pickle.dumps({"v,0902": np.ones((1, 5))})
    with pytest.raises(DataError):
        unpickle(data[:cut], "cut")
