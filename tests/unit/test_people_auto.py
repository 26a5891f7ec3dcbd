"""What `auto` takes, that it says so, and that it asks the hub briefly or not at all."""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path

import pytest
from tests.loopback import in_new_process, served_hub
from tests.tiny_detectors import save_tiny

from tubelet.cli import main
from tubelet.errors import InputError
from tubelet.people import auto, hub
from tubelet.people.named import name_of, person_detector, resolved
from tubelet.people.rows import ROWS, rows_like

ONLINE = """
import numpy as np
from tubelet.cli import main
from tubelet.people import hub
from tubelet.people.named import person_detector
person_detector("auto", on_note=print)
def gone(*_): raise SystemExit("the hub was asked again")
hub._ask = gone
found = person_detector("auto", on_note=print)
print(found.name, found(np.zeros((48, 64, 3), np.uint8)).boxes.shape[1])
assert main(["pull", "people"]) == 0
"""


@pytest.fixture(autouse=True)
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TUBELET_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    auto._answers.cache_clear()


def test_without_the_extra_it_is_ours_and_the_line_says_how_to_get_better(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    said: list[str] = []
    assert resolved("sliced:auto", said.append) == "sliced:person_small"
    assert len(said) == 1 and 'pip install "tubelet[hf]"' in said[0] and "dfine-nano" in said[0]
    with pytest.raises(InputError, match=r"tubelet\[hf\]"):
        hub.fetch("ustc-community/dfine-nano-coco")


def test_offline_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setenv("TUBELET_OFFLINE", "1")
    monkeypatch.setattr(hub, "_ask", lambda *_: pytest.fail("the hub was asked"))
    said: list[str] = []
    found = person_detector("auto", on_note=said.append)
    assert found.name == name_of(found) == "person_small"
    assert (
        said[0].startswith("people: person_small (offline);") and "tubelet pull people" in said[0]
    )
    with pytest.raises(InputError, match=r"not on this machine[\s\S]*offline"):
        hub.fetch("ustc-community/dfine-nano-coco")


def test_a_hub_that_does_not_answer_is_asked_once_and_briefly(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = pytest.importorskip("huggingface_hub")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/config.json"
        monkeypatch.setattr(client, "hf_hub_url", lambda *_: address)
        asked: list[str] = []

        def briefly(model_id: str) -> bool:
            asked.append(model_id)
            return hub.reachable(model_id, patience_s=0.2)

        monkeypatch.setattr(auto, "reachable", briefly)
        monkeypatch.setattr(auto, "fetch", lambda *_: pytest.fail("a download was tried"))
        started = time.monotonic()
        assert [resolved("auto"), resolved("auto")] == ["person_small"] * 2
        assert time.monotonic() - started < 30  # by itself the client would go on for longer
    assert asked == ["ustc-community/dfine-nano-coco"]


def test_where_the_hub_answers_it_is_fetched_once_and_then_read_without_it(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = save_tiny("d_fine", tmp_path / "model")
    at = "/ustc-community/dfine-nano-coco/resolve/main/"
    files = {at + name: (folder / name).read_bytes() for name in hub.FILES}
    with served_hub(files) as url:
        shown = in_new_process(ONLINE, url, tmp_path / "home").splitlines()
    name = "hf:ustc-community/dfine-nano-coco"
    assert shown[0] == "people: fetching ustc-community/dfine-nano-coco, about 16 MB, once"
    assert shown[1:4] == [f"people: {name}", f"people: {name}", f"{name} 4"]
    assert shown[4].startswith(f"people: {tmp_path}") and len(shown) == 5


def test_names_of_the_list_stand_for_ids(capsys: pytest.CaptureFixture[str]) -> None:
    assert resolved("dfine-small") == "hf:ustc-community/dfine-small-coco"
    assert resolved("sliced:rfdetr-nano") == "sliced:hf:Roboflow/rf-detr-nano"
    with pytest.raises(InputError, match="did you mean 'dfine-small'"):
        person_detector("dfine-smal")
    assert main(["people", "list", "rf-detr"]) == 0
    shown = capsys.readouterr().out
    assert "rfdetr-nano" in shown and "48.4" in shown and "Apache-2.0" in shown
    assert "dfine-small" not in shown and "person_small" in shown
    assert main(["people", "list", "yolox-*", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["where"] for row in rows} == {"by hand"} and rows[0]["url"].endswith("nano.onnx")
    assert main(["people", "list", "nobody"]) == 2
    assert main(["pull", "yolox-s"]) == 2
    assert "by hand" in capsys.readouterr().err


def test_rows_are_complete_and_their_loaders_exist() -> None:
    families = {row.family for row in ROWS.values()}
    assert families == {"D-FINE", "RT-DETRv2", "LW-DETR", "RF-DETR", "YOLOX"}
    for row in rows_like():
        assert 20 < row.ap < 60 and 0.5 < row.parameters_m < 120 and row.licence and row.source
        assert (row.model_id is None) == (row.url is not None)
    assert [row.name for row in rows_like("rt-detr")] == [n for n in ROWS if n.startswith("rtd")]
