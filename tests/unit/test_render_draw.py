"""The drawn font, boxes and labels."""

from __future__ import annotations

import string
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tubelet.drawing.draw import PALETTE, UNKNOWN, Painter, PersonMark, colour_of, draw_people
from tubelet.drawing.font import text_mask
from tubelet.drawing.labels import FreeSpace, Label, ink_on
from tubelet.drawing.surface import RgbColours, Surface, YuvColours

GREY = 90


def canvas(height: int = 120, width: int = 160) -> Any:
    return np.full((height, width, 3), GREY, np.uint8)


def fractions(box_px: tuple[int, ...], image: np.ndarray) -> Any:
    height, width = image.shape[:2]
    return np.array([box_px], np.float32) / np.array((width, height, width, height), np.float32)


def test_every_printable_ascii_character_has_a_shape_of_its_own() -> None:
    shapes = {}
    for char in string.ascii_letters + string.digits + string.punctuation:
        mask = text_mask(char, 24)
        assert mask.max() > 0.9, char
        shapes[mask.tobytes() + bytes([mask.shape[1]])] = char
    assert len(shapes) == 94


def test_no_glyph_touches_the_edge_of_its_line() -> None:
    mask = text_mask(string.printable, 24)
    assert mask[0].max() == 0
    assert mask[-1].max() == 0


def test_what_the_font_lacks_becomes_a_box() -> None:
    np.testing.assert_array_equal(text_mask("ड", 20), text_mask("ន", 20))


def test_control_characters_take_no_room() -> None:
    np.testing.assert_array_equal(text_mask("a\n\tb\x00", 16), text_mask("ab", 16))
    assert text_mask("\n", 16).shape == (16, 0)


@pytest.mark.parametrize("size", [8, 15, 40])
def test_text_grows_with_its_size(size: int) -> None:
    assert text_mask("walk", size).shape[0] == size
    assert text_mask("walk", size).shape[1] == pytest.approx(1.85 * size, rel=0.2)


def test_paint_outside_the_image_is_left_out() -> None:
    image = canvas(4, 4)
    Surface((image,), RgbColours(), (4, 4)).fill(
        np.array([[-2, -2, 1, 1], [9, 9, 12, 12]]), [(255, 0, 0)] * 2
    )
    assert image[0, 0].tolist() == [255, 0, 0]
    assert (image[1:] == GREY).all() and (image[:, 1:] == GREY).all()


def test_a_box_is_a_frame_of_its_colour_and_leaves_its_inside_alone() -> None:
    image = canvas(200, 260)
    mark = PersonMark(track_id=0, actions=())
    draw_people(image, fractions((120, 80, 220, 170), image), [mark])
    for y, x in ((80, 180), (169, 180), (120, 120), (120, 219)):
        assert image[y, x].tolist() == list(PALETTE[0])
    assert (image[86:164, 126:214] == GREY).all()
    assert (image[:50] == GREY).all()


@pytest.mark.parametrize("box", [(-50, -50, 10, 10), (150, 100, 400, 300), (0, 0, 160, 120)])
def test_a_label_stays_inside_the_image(box: tuple[int, int, int, int]) -> None:
    label = Label(name="3", rows=(("walk", 0.9),), colour=PALETTE[3], size=16, room=160)
    image = canvas()
    painter = Painter((120, 160), RgbColours())
    mark = PersonMark(track_id=3, actions=(("walk", 0.9),))
    ((x1, y1, x2, y2),) = painter.draw((image,), fractions(box, image), [mark])
    assert (y2 - y1, x2 - x1) == label.hw
    assert 0 <= x1 < x2 <= 160 and 0 <= y1 < y2 <= 120
    np.testing.assert_array_equal(image[y1:y2, x1:x2], label.planes(RgbColours())[0])


def test_a_longer_score_has_a_longer_bar() -> None:
    low, high = (
        Label(name="1", rows=(("a", score),), colour=(255, 0, 0), size=16, room=160)
        for score in (0.2, 0.8)
    )
    red = [int((p.planes(RgbColours())[0][..., 0] > 60).sum()) for p in (low, high)]
    assert red[1] > red[0] + 100


def test_a_long_label_is_cut_to_its_room() -> None:
    label = Label(
        name="somebody's long name",
        rows=(("an action " * 9, 0.5),),
        colour=WHITE,
        size=16,
        room=150,
    )
    height, width = label.hw
    assert width <= 150
    assert label.planes(RgbColours())[0].shape == (height, width, 3)


WHITE = (255, 255, 255)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("red", "blue"), [(0.299, 0.114), (0.2126, 0.0722)])
def test_colours_in_yuv_come_back_as_rgb(red: float, blue: float, full: bool) -> None:
    for colour in (*PALETTE, UNKNOWN, (0, 0, 0), WHITE, (255, 0, 0), (0, 0, 255)):
        y, u, v = (float(p) for p in YuvColours(red=red, blue=blue, full=full).of(colour))
        luma = (y - (0 if full else 16)) / (255 if full else 219)
        span = 255 if full else 224
        b = luma + (u - 128) / span * 2 * (1 - blue)
        r = luma + (v - 128) / span * 2 * (1 - red)
        g = (luma - red * r - blue * b) / (1 - red - blue)
        np.testing.assert_allclose(np.array((r, g, b)) * 255, colour, atol=2.5)


def test_a_label_in_yuv_is_the_label_in_rgb() -> None:
    label = Label(
        name="7", rows=(("walk", 0.5), ("run", 0.4)), colour=PALETTE[1], size=18, room=400
    )
    rgb = label.planes(RgbColours())[0].astype(float)
    y, u, v = label.planes(YuvColours(red=0.299, blue=0.114, full=True))
    np.testing.assert_allclose(y, rgb @ (0.299, 0.587, 0.114), atol=1.1)
    assert u.shape == v.shape == (y.shape[0] // 2, y.shape[1] // 2)
    blue = (rgb[..., 2] - rgb @ (0.299, 0.587, 0.114)) * 0.5 / (1 - 0.114) + 128
    halved = blue.reshape(u.shape[0], 2, u.shape[1], 2).mean((1, 3))
    np.testing.assert_allclose(u, halved, atol=1.6)


people = st.lists(
    st.tuples(
        st.floats(-0.1, 1.05), st.floats(-0.1, 1.05), st.floats(0, 0.5), st.floats(0, 0.8),
        st.integers(-1, 5), st.integers(0, 3),
    ),
    max_size=14,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(people, min_size=1, max_size=4), st.integers(20, 130), st.integers(20, 170))
def test_labels_do_not_overlap_and_stay_in_the_picture(
    film: list[list[tuple[float, ...]]], height: int, width: int
) -> None:
    painter = Painter((2 * height, 2 * width), YuvColours(red=0.299, blue=0.114))
    for moment in film:
        planes = [np.zeros((2 * height // s, 2 * width // s), np.uint8) for s in (1, 2, 2)]
        boxes = np.array([(x, y, x + w, y + h) for x, y, w, h, *_ in moment], np.float32)
        marks = [
            PersonMark(track_id=int(i), actions=tuple(("do it", 0.5) for _ in range(int(n))))
            for *_, i, n in moment
        ]
        covered = np.zeros((2 * height, 2 * width), int)
        for x1, y1, x2, y2 in painter.draw(planes, boxes.reshape(-1, 4), marks):
            assert 0 <= x1 < x2 <= 2 * width and 0 <= y1 < y2 <= 2 * height
            covered[y1:y2, x1:x2] += 1
        assert covered.max(initial=0) <= 1


def test_a_label_stays_where_it_was_and_shortens_where_there_is_no_room() -> None:
    painter = Painter((120, 200), RgbColours())
    actions = (("walk", 0.9), ("run", 0.8))
    box = np.array([[0.1, 0.5, 0.3, 0.95]], np.float32)
    mark = PersonMark(track_id=1, actions=actions)
    alone = painter.draw((canvas(120, 200),), box, [mark])
    again = painter.draw((canvas(120, 200),), box + np.float32(0.01), [mark])
    assert abs(again[0][0] - alone[0][0]) <= 2 and abs(again[0][1] - alone[0][1]) <= 2
    crowd = np.repeat(box, 11, axis=0)
    marks = [PersonMark(track_id=i, actions=actions) for i in range(11)]
    shown = painter.draw((canvas(120, 200),), crowd, marks)
    areas = {(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in shown}
    assert len(areas) > 1  # whole ones and short ones
    assert len(shown) < 11


def test_free_space_is_taken_once() -> None:
    free = FreeSpace((40, 60), 4)
    assert free.take((4, 4, 20, 12))
    assert not free.take((16, 8, 30, 20))
    assert free.take((20, 4, 30, 12))
    assert free.take((4, 12, 20, 16))


def test_colours_are_stable_and_unknown_people_are_grey() -> None:
    assert colour_of(2) == colour_of(2 + len(PALETTE)) == PALETTE[2]
    assert colour_of(-1) == UNKNOWN
    assert len(set(PALETTE)) == len(PALETTE)
    assert ink_on((0, 0, 0)) == (255, 255, 255)
    assert sum(ink_on((255, 255, 255))) < 100
