"""Names of classes in any script: right letters, or the class's id and a word about it."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from tubelet.drawing.draw import shown_name
from tubelet.drawing.font import drawable, text_mask
from tubelet.drawing.glyphs import bitmap, has_glyph
from tubelet.drawing.script import visual
from tubelet.labels import LabelSpace
from tubelet.media.video import Video
from tubelet.media.writer import VideoWriter
from tubelet.render.overlay import picture_hw, write_overlay
from tubelet.render.timeline import Spans, segments
from tubelet.results import Tube

NAMES = {
    "chinese": ("跑步", "走路"),
    "japanese": ("走る", "歩く"),
    "korean": ("달리기", "걷기"),
    "russian": ("бег", "ходьба"),
    "greek": ("τρέξιμο", "περπάτημα"),
    "arabic": ("الركض", "المشي"),
    "hebrew": ("ריצה", "הליכה"),
    "thai": ("วิ่ง", "เดิน"),
    "vietnamese": ("chạy", "đi bộ"),
    "polish": ("bieganie żółw", "bieganie łódź"),
    "emoji": ("🏃", "🚶"),
}


@pytest.mark.parametrize("script", NAMES)
def test_a_script_is_drawn_in_letters_of_its_own(script: str) -> None:
    one, other = NAMES[script]
    assert drawable(one) and drawable(other)
    masks = [text_mask(name, 24) for name in (one, other)]
    assert all(0.02 < mask.mean() < 0.5 for mask in masks)
    box = text_mask("\U0010ffff\ue000", 24)  # what the font lacks, or drops
    assert masks[0].shape != masks[1].shape or (masks[0] != masks[1]).any()
    assert shown_name(one, 7) == one
    assert box.shape[0] == 24


@pytest.mark.parametrize("name", ["दौड़ना", "ᠮᠣᠩᠭᠣᠯ", "ដើរ", "run दौड़"])
def test_what_the_font_cannot_write_is_shown_by_its_id(name: str) -> None:
    assert not drawable(name)
    assert shown_name(name, 7) == "class 7"


def test_accents_stay() -> None:
    """Words that differ in an accent only do not look alike."""
    for plain, accented in (("acao", "ação"), ("Unicode", "Ünïcode"), ("rok", "řok")):
        one, other = text_mask(plain, 30), text_mask(accented, 30)
        assert one.shape != other.shape or np.abs(one - other).sum() > 3
    assert visual(unicodedata.normalize("NFD", "Ünï")) == "Ünï"


def test_arabic_letters_join_and_run_from_the_right() -> None:
    # ka-ta-ba: initial, medial, final, the last of them first.
    assert visual("كتب") == "ﺐﺘﻛ"
    # dal joins its neighbour before only; lam and alef are one letter.
    assert visual("دد") == "ﺩﺩ"
    assert visual("لا") == "ﻻ"
    assert visual("سلام") == "ﻡﻼﺳ"


def test_directions_mix() -> None:
    assert visual("abc") == "abc"
    assert visual("ריצה 12") == "12 הציר"
    assert visual("ריצה (מהר)") == "(רהמ) הציר"
    assert visual("run ריצה fast") == "run הציר fast"


def test_letters_of_the_file_are_those_of_their_code() -> None:
    assert has_glyph("A") and not has_glyph("\ue000")
    assert bitmap("A").shape == (16, 8)
    bar = bitmap("-")
    assert (bar.any(axis=1).sum(), bar.any(axis=0).sum()) == (1, 4)
    assert bitmap("跑").shape == (16, 16)
    with pytest.raises(KeyError):
        bitmap("\ue000")


def film(path: Path, hw: tuple[int, int], frames: int = 20) -> Path:
    with VideoWriter(path, 10, hw) as writer:
        for number in range(frames):
            writer.write(np.full((*hw, 3), 5 * number, np.uint8))
    return path


def tube(times: list[int], labels: LabelSpace) -> Tube:
    count = len(times)
    return Tube(
        video="v",
        track_id=0,
        times_ms=np.array(times),
        boxes=np.tile(np.array([0.2, 0.2, 0.8, 0.8], np.float32), (count, 1)),
        person_scores=np.ones(count, np.float32),
        action_scores=np.full((count, len(labels)), 0.9, np.float32),
        labels=labels,
    )


LABELS = LabelSpace(ids=(4, 7), names=("走る/跑步", "दौड़ना"))


def test_the_overlay_names_what_it_cannot_write(tmp_path: Path) -> None:
    told: list[str] = []
    source = film(tmp_path / "v.mp4", (120, 160), frames=3)
    write_overlay(source, [tube([0], LABELS)], tmp_path / "o.mp4", on_note=told.append)
    assert len(told) == 1
    assert "1 of 2 classes" in told[0] and "दौड़ना" in told[0]


@pytest.mark.parametrize("hw", [(2000, 40), (32, 2400), (16, 16), (600, 8)])
def test_strips_get_an_overlay(hw: tuple[int, int], tmp_path: Path) -> None:
    source = film(tmp_path / "v.mp4", hw, frames=2)
    told: list[str] = []
    assert write_overlay(source, [tube([0], LABELS)], tmp_path / "o.mp4", on_note=told.append) == 2
    with Video(tmp_path / "o.mp4") as video:
        height, width = video.info.hw
        assert min(height, width) >= 320 and max(height, width) <= 4096
        image = next(iter(video.frames())).image
    inner = picture_hw(Video(source).info, 360)
    assert abs(inner[0] / inner[1] / (hw[0] / hw[1]) - 1) < 0.1
    # The box is drawn where the film is, in the middle of the margins.
    coloured = np.ptp(image.astype(int), axis=2) > 60
    rows, columns = np.nonzero(coloured)
    assert abs(columns.mean() / width - 0.5) < 0.3 and abs(rows.mean() / height - 0.5) < 0.3


@pytest.mark.parametrize(
    ("frames", "times"), [(19, [0, 1000]), (14, [0, 1000]), (26, [0, 1000, 2000])]
)
def test_boxes_stay_to_the_last_frame(frames: int, times: list[int], tmp_path: Path) -> None:
    source = film(tmp_path / "v.mp4", (480, 640), frames=frames)
    write_overlay(source, [tube(times, LABELS)], tmp_path / "o.mp4", every_ms=1000)
    with Video(tmp_path / "o.mp4") as video:
        shown = [bool((np.ptp(f.image.astype(int), axis=2) > 60).any()) for f in video.frames()]
    assert shown == [True] * frames


def test_a_person_who_left_is_not_held(tmp_path: Path) -> None:
    """Gone at the last keyframe: nothing is shown after the half interval."""
    person = tube([0], LABELS)
    assert person.box_at(1800, 1000, 1900) is None
    assert person.life(1000, 1900) == (0, 500)
    assert person.life(1000, 900) == (0, 900)
    (part,) = segments(
        tube([0, 1000], LABELS).filter(classes="走る/跑步"), Spans(), 1000, film_end_ms=1900
    )
    assert part.end_ms == 1900


def test_a_long_name_leaves_room_for_its_score(tmp_path: Path) -> None:
    long = LabelSpace(ids=(1,), names=("a very long name of an action " * 4,))
    picture = tube([0], long).plot(np.zeros((200, 300, 3), np.uint8), 0)
    assert picture.shape == (200, 300, 3)
    assert (picture[:, 280:].max(axis=2) > 200).any()  # the score's digits are inside
