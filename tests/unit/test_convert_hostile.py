"""Checkpoints and configs that bring a program along: refused or left unread, and nothing runs."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tubelet.convert import convert
from tubelet.convert.configs import said_by_file, said_by_text
from tubelet.convert.readers import read_foreign
from tubelet.errors import CheckpointError, InputError, TubeletError

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.bias": torch.ones(2)}


class Payload:
    """Touches the canary when an unguarded reader opens the pickle."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.canary}",))


class Evaluated(Payload):
    """The same through `eval`."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (eval, (f"open({str(self.canary)!r}, 'w')",))


def zipped(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def legacy(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def caffe2(content: dict[str, Any]) -> bytes:
    arrays = {name: value.numpy() for name, value in WEIGHTS.items()}
    return pickle.dumps({"blobs": {**arrays, **content}}, protocol=2)


def python2(content: object) -> bytes:
    return pickle.dumps(content, protocol=0)


def packed(data: bytes, name: str = "weights.pth") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


WRITERS: dict[str, Callable[[Any], bytes]] = {
    "zip": zipped,
    "legacy": legacy,
    "caffe2": caffe2,
    "python2": python2,
    "packed": lambda content: packed(zipped(content)),
}


@pytest.mark.parametrize("payload", [Payload, Evaluated])
@pytest.mark.parametrize("kind", WRITERS)
def test_a_program_in_a_checkpoint_is_refused(
    kind: str, payload: type[Payload], tmp_path: Path
) -> None:
    canary, file = tmp_path / "canary", tmp_path / "weights.pkl"
    content = {**WEIGHTS, "hook": payload(canary)} if kind != "python2" else [payload(canary)]
    file.write_bytes(WRITERS[kind](content))
    with pytest.raises(CheckpointError, match="none of it was run") as refused:
        read_foreign(file)
    assert not canary.exists()
    assert any(name in str(refused.value) for name in ("system", "eval"))
    with pytest.raises(CheckpointError):
        convert(file, assume=["frames=32"])
    assert not canary.exists()


def test_a_program_beside_the_weights_is_refused_too(tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "weights.pth"
    file.write_bytes(zipped({"state_dict": WEIGHTS, "optimizer": {"hook": Payload(canary)}}))
    with pytest.raises(CheckpointError, match="none of it was run"):
        read_foreign(file)
    assert not canary.exists()


@pytest.mark.parametrize("write", [zipped, legacy])
def test_a_trainers_own_classes_are_neither_imported_nor_made(
    write: Callable[[object], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    canary = tmp_path / "canary"
    source = f"open({str(canary)!r}, 'w')\nclass History(list):\n    pass\n"
    (tmp_path / "trainer_of_somebody.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    import trainer_of_somebody  # type: ignore[import-not-found]

    history = trainer_of_somebody.History([1.0, 2.0])
    history.note = "kept beside"
    data = write({"state_dict": WEIGHTS, "message_hub": {"loss": history}, "h": history})
    canary.unlink()
    del sys.modules["trainer_of_somebody"]
    (tmp_path / "weights.pth").write_bytes(data)
    foreign = read_foreign(tmp_path / "weights.pth")
    assert all(torch.equal(foreign.state[n], WEIGHTS[n]) for n in WEIGHTS)
    assert set(foreign.dropped) == {"message_hub", "h"}
    assert not canary.exists() and "trainer_of_somebody" not in sys.modules


def test_a_pickled_network_is_named(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(zipped(torch.nn.Linear(2, 2)))
    with pytest.raises(CheckpointError, match=r"a pickled torch\.nn\.modules\.linear\.Linear"):
        read_foreign(tmp_path / "net.pth")


@pytest.mark.parametrize("name", ["../weights.pth", "/tmp/weights.pth", "a/../../weights.pth"])
def test_an_archive_that_leaves_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "weights.pkl").write_bytes(packed(zipped(WEIGHTS), name))
    with pytest.raises(CheckpointError, match="nothing of it was unpacked"):
        read_foreign(inside / "weights.pkl")
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["weights.pkl"]


def test_an_archive_of_links_is_refused(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("weights.pth")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(CheckpointError, match="not just one checkpoint"):
        read_foreign(tmp_path / "a.tar")


def test_a_gzip_that_stands_for_much_more_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(gzip.compress(bytes(1 << 28)))
    with pytest.raises(CheckpointError, match="far more than weights do"):
        read_foreign(tmp_path / "a.pkl")


def test_packed_checkpoints_are_read(tmp_path: Path) -> None:
    """PySlowFast's `C2D_NOPOOL_8x8_R50.pkl` is a gzip tar."""
    for name, data in (
        ("a.pkl", packed(legacy(WEIGHTS))),
        ("b.pkl", gzip.compress(caffe2({}))),
        ("c.tar", packed(packed(zipped(WEIGHTS), "inner.tgz"))),
    ):
        (tmp_path / name).write_bytes(data)
        foreign = read_foreign(tmp_path / name)
        assert all(torch.equal(foreign.state[n], WEIGHTS[n]) for n in WEIGHTS), name


PYTHON = """
import os
os.system("touch {canary}")
model = dict(backbone=dict(type='ResNet3dSlowOnly', depth=50),
             cls_head=dict(type='I3DHead', num_classes=__import__('os').system('touch {canary}')))
clip_len = [open('{canary}', 'w') for _ in range(1)]
test_pipeline = [dict(type='SampleFrames', clip_len=8, frame_interval=8)]
exec("open('{canary}', 'w')")
class Hook:
    open('{canary}', 'w')
"""
YAML = "MODEL: !!python/object/apply:os.system ['touch {canary}']\nDATA:\n  NUM_FRAMES: 8\n"


def test_code_in_a_python_config_is_read_over(tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "config.py"
    file.write_text(PYTHON.format(canary=canary))
    facts = said_by_file(file).facts
    assert (facts.frames, facts.stride, facts.task) == (8, 8, "classification")
    assert facts.time_strides == (1, 1, 1)
    assert said_by_text(PYTHON.format(canary=canary), "the checkpoint").facts == facts
    assert not canary.exists()


def test_code_in_a_yaml_config_is_refused(tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "config.yaml"
    file.write_text(YAML.format(canary=canary))
    with pytest.raises(InputError, match="it was not run"):
        said_by_file(file)
    checkpoint = tmp_path / "weights.pyth"
    checkpoint.write_bytes(zipped({"model_state": WEIGHTS, "cfg": YAML.format(canary=canary)}))
    assert read_foreign(checkpoint).said == ()
    assert "was not run" in read_foreign(checkpoint).dropped["its config"]
    assert not canary.exists()


@pytest.mark.parametrize("base", ["/etc/passwd", "http://host/base.py", "mmaction::base.py", 7])
def test_a_base_is_a_python_file_beside_the_config(base: object, tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text(f"_base_ = {base!r}\nmodel = dict(backbone=dict())\n")
    with pytest.raises(InputError):
        said_by_file(tmp_path / "config.py")


@pytest.mark.parametrize("write", [zipped, legacy, caffe2])
def test_damaged_files_are_refused_by_name(write: Callable[[Any], bytes], tmp_path: Path) -> None:
    """Every truncation and many flipped bytes: a CheckpointError, or the weights."""
    whole = write({} if write is caffe2 else WEIGHTS)
    file = tmp_path / "weights.pth"
    damaged = [whole[:cut] for cut in range(0, len(whole), max(1, len(whole) // 60))]
    for at in range(0, len(whole), max(1, len(whole) // 200)):
        damaged.append(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
    for data in damaged:
        file.write_bytes(data)
        try:
            read_foreign(file)
        except TubeletError as error:
            assert isinstance(error, CheckpointError), error
