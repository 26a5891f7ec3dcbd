"""The evaluation page, terminal tables, escaping, and what the room may import."""

from __future__ import annotations

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

from tubelet.errors import DataError
from tubelet.labels import LabelSpace
from tubelet.render.html import as_json
from tubelet.render.report_page import MAX_POINTS, write_report_page
from tubelet.render.tables import action_table, bar, report_table
from tubelet.render.timeline import Spans
from tubelet.results import Tube

EVIL = '"</script><script>alert(1)</script><b>&'


def report(**change: Any) -> dict[str, Any]:
    classes = [
        {"name": "walk", "ap": 0.25, "instances": 1200, "pr": [[0, 1], [0.5, 0.5]]},
        {"name": EVIL, "ap": 0.75, "instances": 3, "pr": [[0.1, 1.0], [1.0, 0.5]]},
        {"name": "unseen", "ap": None, "instances": 0},
    ]
    return {"map": 0.5, "classes": classes, "protocol": {"row cap": 50, "x": [1, None]}} | change


class Tags(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def printed(table: RenderableType) -> str:
    console = Console(width=100, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_the_report_page_shows_each_class_and_escapes_its_name(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_report_page(out, report(), title=EVIL)
    page = Tags(out.read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "b" in page.tags  # the facts' own
    assert page.words.count(EVIL) == 4  # the titles, the row, the curve's caption
    assert page.tags.count("figure") == 2
    assert "0.5000" in page.words
    assert "2 of 3" in page.words
    assert "1,203" in page.words
    assert page.words.index(EVIL) < page.words.index("walk") < page.words.index("unseen")


def test_the_report_page_draws_the_curve_it_is_given(tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_report_page(out, report())
    assert "M0 0.00L0.00 0.00L50.00 50.00" in out.read_text(encoding="utf-8")


def test_long_curves_are_thinned_but_keep_their_end(tmp_path: Path) -> None:
    recall = np.linspace(0, 0.9, 10_000)
    curve = np.stack([recall, 1 - recall], 1).tolist()
    write_report_page(
        tmp_path / "r.html",
        report(classes=[{"name": "walk", "ap": 0.4, "instances": 9, "pr": curve}]),
    )
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    path = page.split('class="curve" d="')[1].split('"')[0]
    assert path.endswith("L90.00 90.00")
    assert path.count("L") <= MAX_POINTS + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": [{"name": "walk"}]}, "KeyError: 'ap'"),
        ({"map": 1.5}, "invalid map: not a share"),
        ({"classes": [{"name": "w", "ap": 1, "instances": 1, "pr": [[2, 0]]}]}, "recall of w"),
        ({"classes": None}, "TypeError"),
    ],
)
def test_a_wrong_report_is_refused_and_writes_nothing(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        write_report_page(tmp_path / "r.html", report(**change))
    assert list(tmp_path.iterdir()) == []


def test_a_report_without_any_truth_is_still_a_page(tmp_path: Path) -> None:
    nan = float("nan")
    empty = {"map": nan, "classes": [{"name": "walk", "ap": nan, "instances": 0}]}
    write_report_page(tmp_path / "r.html", empty)
    assert "0 of 1" in (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "no truth" in printed(report_table(empty))


def test_json_in_a_page_cannot_close_its_script_block() -> None:
    text = as_json({"name": EVIL, "line": "\u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"name": EVIL, "line": "\u2028"}


def test_the_report_table_lists_classes_best_first() -> None:
    shown = printed(report_table(report()))
    assert shown.index(EVIL[:8]) < shown.index("walk") < shown.index("unseen") < shown.index("mean")
    assert "0.2500" in shown
    assert "row cap: 50" in shown


def test_the_action_table_says_who_does_what_when() -> None:
    tube = Tube(
        video="film",
        track_id=5,
        times_ms=np.array([59_000, 60_000]),
        boxes=np.array([[0, 0, 1, 1]] * 2, np.float32),
        person_scores=np.ones(2, np.float32),
        action_scores=np.array([[0.8, 0.1], [0.6, 0.9]], np.float32),
        labels=LabelSpace.of(["[bold]walk", "wave"]),
    )
    lines = printed(action_table([tube], spans=Spans(on=0.5), every_ms=1000)).splitlines()
    walk = next(line for line in lines if "[bold]walk" in line)
    assert walk.split()[1:6] == ["5", "[bold]walk", "0:58.5", "1:00.5", "0.70"]
    assert "1 more" in printed(action_table([tube], spans=Spans(on=0.5), every_ms=1000, limit=1))
    assert "No actions" in printed(action_table([tube], spans=Spans(on=0.95), every_ms=1000))


@pytest.mark.parametrize(
    ("share", "shown"), [(0, ""), (0.5, "██"), (1, "████"), (7, "████"), (0.28, "█▏")]
)
def test_bars_are_exact_to_an_eighth(share: float, shown: str) -> None:
    assert bar(share, 4) == shown


def test_the_room_never_imports_torch() -> None:
    code = (
        "import sys, tubelet.render.export, tubelet.render.overlay, tubelet.render.page,"
        " tubelet.render.report_page, tubelet.render.tables; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
