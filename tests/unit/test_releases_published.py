"""The table of published weights: whole, decodable, and counted by source."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tubelet.config import decode
from tubelet.convert.facts import Facts
from tubelet.errors import ConfigError, InputError
from tubelet.labelsets import LABEL_SETS, label_set
from tubelet.media import originals
from tubelet.releases.foreign import address, published_weights
from tubelet.releases.published import PublishedWeights, listed, matching, published
from tubelet.releases.table import RELEASES, weights_path
from tubelet.types import Preprocessing

PAGE = Path(__file__).resolve().parents[2] / "docs" / "published-weights.md"
ROW = PublishedWeights(
    name="lab-net",
    source="lab",
    family="SlowFast",
    data="ava2.2",
    task="detection",
    url="https://weights.example/zoo/Net%201.pth?dl=1",
    licence="MIT",
)


def test_how_many_rows_are_offered(record_property: Callable[[str, Any], None]) -> None:
    offered = Counter(row.source for row in published().values())
    record_property("offered", dict(offered))
    sys.stdout.write(f"\n{offered.total()} of {len(listed())} published files are offered\n")
    for source, number in offered.most_common():
        sys.stdout.write(f"  {source}: {number}\n")
    assert offered.total() >= 150 and len(listed()) == 216
    assert offered["mmaction2"] >= 61 and offered["umt"] == 8
    assert offered["videomae-action-detection"] == 4 and offered["acar"] == 3
    assert offered["torchvision"] == 3


@pytest.mark.parametrize("row", published().values(), ids=lambda row: row.name)
def test_a_row_says_what_tensors_do_not(row: PublishedWeights) -> None:
    facts = decode(Facts, row.facts)
    assert None not in (facts.task, facts.exclusive, facts.frames, facts.stride, facts.colour)
    assert row.licence and row.url.startswith("https://") and (row.parameters or 0) > 1e6
    if row.labels is None:
        assert any("names of its classes" in note for note in row.notes)
    else:
        assert label_set(row.labels).exclusive == facts.exclusive
    if row.originals is not None:
        assert isinstance(getattr(originals, row.originals), Preprocessing)
    assert (row.name not in RELEASES and row.prefix == (row.prefix or "")[:8]) or row.prefix is None


def test_refused_rows_say_why_in_the_table_and_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    refused = [row for row in listed().values() if row.refused is not None]
    assert refused and not {row.name for row in refused} & published().keys()
    for row in refused:
        assert f"| {row.name} | {row.data} | {row.licence} | {row.refused} |" in page
        with pytest.raises(InputError, match="known but not offered") as caught:
            weights_path(row.name)
        assert caught.value.got == row.refused
    assert f"{len(published())} of {len(listed())} published files are offered" in page


def test_patterns_find_rows_by_name_data_family_and_source() -> None:
    rows = published().values()
    assert {row.data for row in matching("AVA2", rows)} == {"ava2.1", "ava2.2"}
    assert all(row.family == "SlowFast-NL" for row in matching("slowfast-nl", rows))
    assert [row.name for row in matching("ptv-*-ava22", rows)] == [
        "ptv-slow-4x16-r50-ava22",
        "ptv-slowfast-8x8-r50-ava22",
    ]


def test_the_readme_s_first_command_after_the_demo_is_offered() -> None:
    text = (PAGE.parents[1] / "README.md").read_text(encoding="utf-8")
    first = text.split("## Detect")[1].split("```")[1]
    assert "pip install tubelet\ntubelet detect film.mp4 --model umt-l16-ava22" in first
    row = published()["umt-l16-ava22"]
    assert (
        row.data == "ava2.2" and row.score == 39.8 and f"{(row.bytes or 0) / 1e9:.1f} GB" in first
    )


def test_label_sets_are_whole() -> None:
    sizes = {name: len(label_set(name)) for name in LABEL_SETS}
    assert sizes == {
        "ava": 80, "ava60": 60, "charades": 157, "k400": 400, "k600": 600, "k700": 700, "k710": 710,
        "multisports": 66, "ssv2": 174,
    }  # fmt: skip
    ava = label_set("ava")
    assert len(ava.evaluated) == 60 and ava.ids == tuple(range(1, 81))
    assert label_set("k400").names[115] == "eating ice cream"
    assert label_set("ssv2").names[0] == "Approaching something with your camera"
    with pytest.raises(ConfigError, match="did you mean 'k400'"):
        label_set("k40")


def test_addresses_names_and_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUBELET_MIRROR", raising=False)
    assert ROW.file == "Net 1.pth" and address(ROW) == ROW.url
    monkeypatch.setenv("TUBELET_MIRROR", "https://mirror.example/all/")
    assert address(ROW) == "https://mirror.example/all/weights.example/zoo/Net%201.pth"
    monkeypatch.setenv("TUBELET_MIRROR", "ftp://mirror.example")
    with pytest.raises(InputError, match="address not allowed"):
        address(ROW)
    assert replace(ROW, facts={"stride": 4}).key != ROW.key
    assert replace(ROW, notes=("new",)).key == ROW.key


def test_what_only_a_browser_can_fetch_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUBELET_CACHE", str(tmp_path))
    row = replace(ROW, url="https://drive.google.com/file/d/1d9U", licence="CC-BY-NC-4.0")
    assert row.by_hand and not row.commercial and row.file == "lab-net.pth"
    with pytest.raises(InputError, match="by hand") as caught:
        published_weights(row)
    assert caught.value.where == tmp_path / "originals" / "lab-net" / "lab-net.pth"
    assert row.url in str(caught.value)


def test_offline_says_which_file_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TUBELET_CACHE", str(tmp_path))
    monkeypatch.setenv("TUBELET_OFFLINE", "1")
    with pytest.raises(InputError, match=r"Net%201\.pth.* is not on this machine") as caught:
        published_weights(ROW)
    assert caught.value.where == tmp_path / "originals" / "lab-net" / "Net 1.pth"
