"""`hf://`, saved folders and uploads: the real client against a hub on loopback, or a stand-in."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.loopback import in_new_process, served_hub

import tubelet
from tubelet.checkpoints import read_header
from tubelet.errors import CheckpointError, InputError
from tubelet.models.backbones.descriptors import DescriptorsConfig
from tubelet.models.create import create_model
from tubelet.models.detector import ActionModel
from tubelet.releases import hub
from tubelet.releases.table import weights_path


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TUBELET_OFFLINE", "HF_HUB_OFFLINE", "TUBELET_RELEASES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def model() -> ActionModel:
    torch.manual_seed(0)
    return create_model(backbone=DescriptorsConfig(), labels=["sit", "walk | run", "wave <b>"])


@pytest.fixture
def endpoint() -> Iterator[str]:
    files = {
        "/lab/model/resolve/main/model.safetensors": b"main",
        "/lab/model/resolve/v2/small/other.safetensors": b"second",
    }
    with served_hub(files) as url:
        yield url


READ = """
from tubelet.errors import InputError
from tubelet.releases.table import weights_path
for name in ("lab/model", "lab/model@v2/small/other.safetensors", "lab/model@v3", "no/body"):
    try:
        print(weights_path("hf://" + name).read_text())
    except InputError as error:
        print(error.what)
"""


def test_the_hubs_own_client_downloads_and_caches(endpoint: str, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    found = in_new_process(READ, endpoint, tmp_path).splitlines()
    assert found[:2] == ["main", "second"]
    assert found[2:] == [
        "this repository has no such file or revision",
        "no such repository, or you may not see it",
    ]
    for switch in ("HF_HUB_OFFLINE", "TUBELET_OFFLINE"):
        found = in_new_process(READ, endpoint, tmp_path, **{switch: "1"}).splitlines()
        assert found[:2] == ["main", "second"]
        assert (
            found[2:] == ["these weights are not on this machine and the hub is out of reach"] * 2
        )


@pytest.mark.parametrize(
    ("address", "repo", "revision", "file"),
    [
        ("hf://lab/model", "lab/model", None, "model.safetensors"),
        ("hf://lab/model@v1.2", "lab/model", "v1.2", "model.safetensors"),
        ("hf://lab/model/a/b.safetensors", "lab/model", None, "a/b.safetensors"),
        ("hf://l-a.b/m_1@refs/pr/3/a.safetensors", "l-a.b/m_1", "refs/pr/3", "a.safetensors"),
    ],
)
def test_addresses(address: str, repo: str, revision: str | None, file: str) -> None:
    assert hub.HubFile.parse(address) == hub.HubFile(repo=repo, revision=revision, file=file)


@pytest.mark.parametrize(
    "address",
    [
        "hf://",
        "hf://model",
        "hf://lab/model/",
        "hf://lab/model@",
        "hf://lab/model/weights.bin",
        "hf://lab/model/../../x.safetensors",
        "hf://lab/../x.safetensors",
        "hf://lab/model@../x",
        "hf:///etc/x.safetensors",
        "hf://lab/model\n",
        "HF://lab/model",
    ],
)
def test_addresses_that_cannot_be_read(address: str) -> None:
    with pytest.raises(InputError):
        weights_path(address)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, model: ActionModel) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"pip install 'tubelet\[hf\]'"):
        weights_path("hf://lab/model")
    with pytest.raises(InputError, match=r"pip install 'tubelet\[hf\]'"):
        tubelet.push_to_hub(model, "lab/model")


def test_a_saved_folder_loads_with_the_same_weights(model: ActionModel, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    tubelet.save_pretrained(model, folder, license="apache-2.0", provenance={"score": {"mAP": 0.5}})
    assert {p.name for p in folder.iterdir()} == {"model.safetensors", "README.md"}
    assert read_header(folder / "model.safetensors")["score"] == {"mAP": 0.5}
    loaded = tubelet.load(folder, device="cpu")
    assert loaded.model.config == model.config
    for name, tensor in loaded.model.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name
    loaded.save_pretrained(tmp_path / "again")
    assert weights_path(str(tmp_path / "again")).read_bytes() != b""


def test_the_card_says_what_the_model_is_and_is_kept(model: ActionModel, tmp_path: Path) -> None:
    tubelet.save_pretrained(model, str(tmp_path), license="mit", provenance={"recipe": "a\n|b"})
    text = (tmp_path / "README.md").read_text()
    assert text.startswith('---\nlibrary_name: tubelet\nlicense: "mit"\n')
    assert "- walk \\| run\n" in text and "&lt;b>" in text
    assert "| backbone | Descriptors: hand-made" in text and "| recipe | a \\|b |" in text
    assert f'tubelet.load("{tmp_path}")' in text
    (tmp_path / "README.md").write_text("my own words")
    tubelet.save_pretrained(model, tmp_path)
    assert (tmp_path / "README.md").read_text() == "my own words"


def test_a_file_is_no_folder_to_save_to(model: ActionModel, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="this is a file"):
        tubelet.save_pretrained(model, tmp_path / "file")


class Api:
    """A stand-in for HfApi that records calls and what was in the uploaded folder."""

    calls: list[tuple[str, dict[str, Any]]]
    has_card = False
    error: Exception | None = None

    def __init__(self, **options: Any) -> None:
        self.calls.append(("HfApi", options))

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.calls.append(("create_repo", {"repo_id": repo_id, **options}))
        if self.error is not None:
            raise self.error

    def create_branch(self, repo_id: str, **options: Any) -> None:
        self.calls.append(("create_branch", {"repo_id": repo_id, **options}))

    def file_exists(self, repo_id: str, name: str, **_: Any) -> bool:
        return self.has_card

    def upload_folder(self, *, folder_path: str, **options: Any) -> Any:
        kept = {p.name: p.read_bytes() for p in Path(folder_path).iterdir()}
        self.calls.append(("upload_folder", {**options, "files": kept}))
        return type("Commit", (), {"commit_url": "https://hub.example/commit"})()


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> type[Api]:
    client = pytest.importorskip("huggingface_hub")
    bound = type("BoundApi", (Api,), {"calls": []})
    monkeypatch.setattr(client, "HfApi", bound)
    return bound


@pytest.mark.parametrize("has_card", [False, True])
def test_an_upload_brings_weights_and_a_card_where_there_is_none(
    api: type[Api], model: ActionModel, has_card: bool
) -> None:
    api.has_card = has_card
    detector = tubelet.ActionDetector(model, device="cpu")
    url = detector.push_to_hub("lab/model", private=True, revision="v2", license="mit")
    assert url == "https://hub.example/commit"
    calls = dict(api.calls)
    assert calls["create_repo"] == {"repo_id": "lab/model", "private": True, "exist_ok": True}
    assert calls["create_branch"]["branch"] == "v2"
    upload = calls["upload_folder"]
    assert set(upload["files"]) == {"model.safetensors", "README.md"}
    assert b'tubelet.load("hf://lab/model")' in upload["files"]["README.md"]
    assert upload["ignore_patterns"] == (["README.md"] if has_card else None)


def test_uploads_that_cannot_be(
    api: type[Api], model: ActionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    for repo in ("model", "lab/model@v1", "lab/model/file.safetensors", "../model"):
        with pytest.raises(InputError):
            tubelet.push_to_hub(model, repo)
    api.error = ConnectionError("no route")
    with pytest.raises(CheckpointError, match="no route"):
        tubelet.push_to_hub(model, "lab/model")
    api.error = ZeroDivisionError("a bug stays a bug")
    with pytest.raises(ZeroDivisionError):
        tubelet.push_to_hub(model, "lab/model")
    api.calls.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="offline"):
        tubelet.push_to_hub(model, "lab/model")
    assert api.calls == []


@pytest.mark.parametrize("header", ["{", "[]", "[" * 100_000, '"format"', '{"format": 2}', "{}"])
def test_a_hostile_header_is_told_apart(tmp_path: Path, header: str) -> None:
    path = tmp_path / "bad.safetensors"
    save_file({"x": torch.zeros(1)}, path, metadata={"tubelet": header})
    with pytest.raises(CheckpointError):
        tubelet.load(path)
