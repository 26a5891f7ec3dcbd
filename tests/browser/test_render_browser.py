"""The pages in a real browser: no errors, a click seeks, boxes follow the film."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tubelet.labels import LabelSpace
from tubelet.media.writer import VideoWriter
from tubelet.render.identities import Identity, read_identities, with_identities
from tubelet.render.made_by import MadeBy
from tubelet.render.page import write_page
from tubelet.render.report_page import write_report_page
from tubelet.render.timeline import Spans, segments
from tubelet.results import Tube

sync_api = pytest.importorskip("playwright.sync_api", reason="needs Playwright for Python")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium on the PATH")

FLAGS = [
    f"--{flag}"
    for flag in (
        *("no-sandbox", "disable-gpu", "disable-quic", "no-first-run"),
        *("disable-background-networking", "disable-component-update", "disable-sync"),
    )
]
SPANS = Spans(on=0.3, off=0.285, least_ms=401)  # one keyframe alone is too short
EVIL = '</script><img src=x onerror="document.title=1">'
MADE = MadeBy(tubelet="1", model=EVIL, people="somebody", threshold=0.3, every_ms=400)
PAINTED = """() => {
  const c = document.getElementById("canvas");
  const copy = new OffscreenCanvas(c.width, c.height);
  const pen = copy.getContext("2d", { willReadFrequently: true });
  pen.drawImage(c, 0, 0);
  const { data } = pen.getImageData(0, 0, c.width, c.height);
  let first = c.width, last = -1;
  for (let i = 3; i < data.length; i += 4) {
    if (!data[i]) continue;
    const x = ((i - 3) / 4) % c.width;
    first = Math.min(first, x); last = Math.max(last, x);
  }
  return last < 0 ? null : [first / c.width, last / c.width];
}"""


PATH_MS = np.array([1700, 1800, 2000, 2200, 2400, 2600, 3000])
PATH = np.stack([PATH_MS / side for side in (4000, 8000, 3500, 4500)], 1).astype(np.float32)


def tubes() -> list[Tube]:
    rng = np.random.default_rng(3)
    n = 8
    left = np.linspace(0.05, 0.6, n)
    labels = LabelSpace.of(["walk", EVIL, "wave", "never"])
    return [
        Tube(
            video="clip",
            track_id=track,
            times_ms=np.arange(n)[first:] * 400 + 200,
            boxes=np.stack([left, left * 0 + 0.3, left + 0.3, left * 0 + 0.9], 1)[first:].astype(
                np.float32
            ),
            person_scores=np.ones(n - first, np.float32),
            action_scores=rng.uniform(0.1, 0.95, (n - first, 4)).astype(np.float32)
            * np.array([1, 1, 1, 0.01], np.float32),
            labels=labels,
            path_ms=PATH_MS if track else PATH_MS[:0],
            path_boxes=(PATH if track else PATH[:0]),
        )
        for track, first in ((0, 0), (1, 4))
    ]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    film = folder / "film & more.mp4"
    with VideoWriter(film, 10, (120, 160)) as writer:
        for i in range(32):
            image = np.full((120, 160, 3), 90, np.uint8)
            image[40:100, 4 * i : 4 * i + 20] = 200
            writer.write(image)
    write_page(
        folder / "inside.html", film, tubes(), spans=SPANS, every_ms=400, title=EVIL, made_by=MADE
    )
    write_page(folder / "beside.html", film, tubes(), every_ms=400, embed_limit=1)
    write_page(folder / "nobody.html", film, [])
    classes = [
        {"name": EVIL, "ap": 0.5, "instances": 3, "pr": [[0, 1], [0.6, 0.7]]},
        {"name": "unseen", "ap": None, "instances": 0},
    ]
    write_report_page(folder / "report.html", {"map": 0.5, "classes": classes}, title=EVIL)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=300_000)
        yield running
        running.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page that fails its test on any console error, exception or network request."""
    tab = browser.new_page(viewport={"width": 1200, "height": 900})
    tab.set_default_timeout(300_000)
    trouble: list[str] = []
    tab.on("console", lambda m: trouble.append(m.text) if m.type != "log" else None)
    tab.on("pageerror", lambda error: trouble.append(str(error)))
    tab.on("request", lambda r: trouble.append(r.url) if r.url.startswith("http") else None)
    yield tab
    tab.close()
    assert trouble == []


def wait_until(page: Any, condition: str) -> None:
    """Playwright's own waiting evaluates a string inside the page, which the policy forbids."""
    deadline = time.monotonic() + 300
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(20)


def load(page: Any, path: Path) -> None:
    page.goto(path.as_uri())
    wait_until(page, "document.getElementById('video').readyState >= 2")


def seek(page: Any, ms: int) -> None:
    page.evaluate(
        """ms => new Promise(done => {
          document.getElementById("video").addEventListener("seeked",
            () => requestAnimationFrame(() => requestAnimationFrame(done)), { once: true });
          tubelet.seek(ms);
        })""",
        ms,
    )


def time_of(page: Any) -> float:
    return float(page.evaluate("document.getElementById('video').currentTime"))


@pytest.mark.parametrize("name", ["inside.html", "beside.html"])
def test_a_click_on_the_timeline_seeks_and_the_box_follows(
    page: Any, site: Path, name: str
) -> None:
    load(page, site / name)
    seek(page, 300)
    before = page.evaluate(PAINTED)
    tracks = page.locator("#tracks").bounding_box()
    page.locator(".ruler").click(position={"x": tracks["width"] / 2, "y": 5})
    wait_until(page, "document.getElementById('video').currentTime > 1")
    assert time_of(page) == pytest.approx(1.6, abs=0.05)
    seek(page, 1600)
    after = page.evaluate(PAINTED)
    assert after[0] > before[0] + 0.1
    left = tubes()[0].box_at(1600, 400)
    assert left is not None
    assert after[0] == pytest.approx(left[0], abs=0.02)


def test_a_click_on_a_bar_goes_to_its_beginning(page: Any, site: Path) -> None:
    load(page, site / "inside.html")
    seek(page, 100)
    bars = page.evaluate("tubelet.segments().map(list => list.map(s => s.start))")
    index = next(i for i, start in enumerate(bars[0]) if start > 300)
    page.locator(".lane").first.locator(".bar").nth(index).click(position={"x": 2, "y": 8})
    wait_until(page, "document.getElementById('video').currentTime > 0.15")
    assert time_of(page) * 1000 == pytest.approx(bars[0][index], abs=2)


def test_the_pages_segments_and_boxes_are_those_of_the_csv(page: Any, site: Path) -> None:
    load(page, site / "inside.html")
    for threshold in (0.3, 0.62):
        page.locator("#threshold").fill(str(threshold))
        shown = page.evaluate("tubelet.segments()")
        for tube, theirs in zip(tubes(), shown, strict=True):
            ours = segments(tube, replace(SPANS, on=threshold, off=0.95 * threshold), 400)
            assert [(s["column"], s["start"], s["end"]) for s in theirs] == [
                (s.column, s.start_ms, s.end_ms) for s in ours
            ]
            np.testing.assert_allclose(
                [(s["score"], s["peak"]) for s in theirs],
                [(s.score, s.peak) for s in ours],
                atol=1e-4,
            )
    moments = (-1, 0, 100, 1_234, 1_599, 1_600, 1_750, 1_900, 2_500, 3_099, 3_100, 3_199, 3_200)
    for person, ms in itertools.product((0, 1), moments):
        theirs = page.evaluate("([who, ms]) => tubelet.boxAt(who, ms)", [person, ms])
        box = tubes()[person].box_at(ms, 400, 3200)
        assert (theirs is None) == (box is None), (person, ms)
        if box is not None:
            np.testing.assert_allclose(theirs, box, atol=1e-3)


def test_space_plays_and_the_box_moves_along(page: Any, site: Path) -> None:
    load(page, site / "inside.html")
    seek(page, 100)
    before = page.evaluate(PAINTED)
    page.keyboard.press("Space")
    wait_until(page, "document.getElementById('video').currentTime > 1")
    page.keyboard.press("Space")
    assert page.evaluate("document.getElementById('video').paused")
    assert page.evaluate(PAINTED)[0] > before[0] + 0.05


def test_hover_shows_the_score_and_a_person_can_be_hidden(page: Any, site: Path) -> None:
    load(page, site / "inside.html")
    seek(page, 300)
    page.locator(".bar").first.hover()
    assert "score 0." in page.locator("#tip").inner_text()
    page.locator(".person").first.click()
    assert page.evaluate(PAINTED) is None


def test_names_are_text_and_never_markup(page: Any, site: Path) -> None:
    load(page, site / "inside.html")
    assert page.locator("h1").inner_text() == EVIL
    assert page.title() == EVIL
    assert page.locator(".bar", has_text=EVIL).count() > 0
    assert page.locator("img").count() == 0
    page.goto((site / "report.html").as_uri())
    assert page.title() == EVIL
    assert page.locator("figure").count() == 1
    assert page.locator("img").count() == 0


def test_the_pages_content_policy_stops_foreign_code(browser: Any, site: Path) -> None:
    tab = browser.new_page()
    tab.goto((site / "inside.html").as_uri())
    ran = tab.evaluate(
        """() => {
          const s = document.createElement("script");
          s.textContent = "window.ran = true";
          document.body.append(s);
          return window.ran === true;
        }"""
    )
    tab.close()
    assert not ran


def test_a_film_without_people_says_so(page: Any, site: Path) -> None:
    load(page, site / "nobody.html")
    assert "Nobody was found" in page.locator("#people").inner_text()


def test_a_film_that_went_away_is_said_in_words(browser: Any, site: Path, tmp_path: Path) -> None:
    alone = tmp_path / "beside.html"
    alone.write_bytes((site / "beside.html").read_bytes())
    tab = browser.new_page()
    tab.goto(alone.as_uri())
    wait_until(tab, "!document.getElementById('broken').hidden")
    assert "beside this page" in tab.locator("#broken").inner_text()
    tab.close()


@pytest.mark.parametrize("width", [380, 1200])
def test_nothing_sticks_out_of_a_narrow_or_a_wide_window(page: Any, site: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for name in ("inside.html", "report.html"):
        page.goto((site / name).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_identities_are_merged_named_saved_and_applied(
    page: Any, site: Path, tmp_path: Path
) -> None:
    load(page, site / "inside.html")
    assert page.locator("#how-many").inner_text() == "2"
    page.locator("#correct summary").click()
    page.locator("#called").fill(EVIL)
    page.locator("#called").press("Tab")
    page.locator("#same").select_option("1")
    page.locator("#merge").click()
    assert page.locator("#how-many").inner_text() == "1"
    assert page.locator(".person").count() == page.locator(".lane").count() == 1
    assert EVIL in page.locator(".person").inner_text()
    assert page.locator("img").count() == 0
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "identities.json")
    people = read_identities(tmp_path / "identities.json")
    assert people == [Identity(track_ids=(0, 1), name=EVIL)]
    (one,) = with_identities(tubes(), people)
    shown = page.evaluate("tubelet.segments()")[0]
    ours = segments(one, SPANS, 400, film_end_ms=3200)
    assert [(s["column"], s["start"], s["end"]) for s in shown] == [
        (s.column, s.start_ms, s.end_ms) for s in ours
    ]
    page.locator("#undo").click()
    assert page.locator(".person").count() == 2


def test_classes_can_be_left_out(page: Any, site: Path) -> None:
    load(page, site / "inside.html")
    seek(page, 300)
    assert page.locator(".bar", has_text="walk").count() > 0
    page.locator("#filter summary").click()
    assert page.locator("#classes input").count() == 3  # one never scores
    page.locator("#none").click()
    assert page.locator(".bar").count() == 0
    page.locator("#classes label", has_text="wave").locator("input").check()
    assert page.locator(".bar", has_text="wave").count() == page.locator(".bar").count() > 0


def test_the_page_says_what_made_it_and_the_last_frame_keeps_its_boxes(
    page: Any, site: Path
) -> None:
    load(page, site / "inside.html")
    assert "people by somebody" in page.locator("header").inner_text()
    page.evaluate("document.getElementById('video').currentTime = 99")
    wait_until(
        page, "document.getElementById('video').ended || !document.getElementById('video').seeking"
    )
    page.wait_for_timeout(100)
    assert page.evaluate(PAINTED) is not None


def test_labels_on_the_page_do_not_overlap(page: Any, site: Path) -> None:
    load(page, site / "inside.html")
    seek(page, 2000)
    one, two = page.evaluate("tubelet.labels()")
    apart = one["right"] <= two["left"] or two["right"] <= one["left"]
    assert apart or one["bottom"] <= two["top"] or two["bottom"] <= one["top"]
