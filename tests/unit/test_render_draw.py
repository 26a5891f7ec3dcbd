"""The drawn font, boxes and labels."""

from __future__ import annotations

import string

import numpy as np
import pytest

from tubelet.drawing.draw import (
    PALETTE,
    UNKNOWN,
    blend,
    colour_of,
    draw_box,
    draw_label,
    ink_on,
)
from tubelet.drawing.font import text_mask

GREY = 90


def canvas(height: int = 120, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), GREY, np.uint8)


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
    blend(image, -2, -2, np.ones((3, 3), np.float32), (255, 0, 0))
    blend(image, 9, 9, np.ones((3, 3), np.float32), (255, 0, 0))
    assert image[0, 0].tolist() == [255, 0, 0]
    assert (image[1:, 1:] == GREY).all()


def test_a_box_is_a_frame_of_its_colour_and_leaves_its_inside_alone() -> None:
    image = canvas()
    draw_box(image, (20, 30, 100, 90), PALETTE[0], 2)
    for y, x in ((30, 60), (89, 60), (60, 20), (60, 99)):
        assert image[y, x].tolist() == list(PALETTE[0])
    assert (image[35:85, 25:95] == GREY).all()
    assert (image[:28] == GREY).all()


@pytest.mark.parametrize("box", [(-50, -50, 10, 10), (150, 100, 400, 300), (0, 0, 160, 120)])
def test_a_label_stays_inside_the_image(box: tuple[int, int, int, int]) -> None:
    image = canvas()
    draw_label(image, box, "3", [("walk", 0.9)], PALETTE[3], 15)
    # The badge, whose colour nothing else has, is wholly there: 18 rows of it.
    badge = (image == PALETTE[3]).all(-1)
    assert badge.any(axis=1).sum() == 18


def test_a_longer_score_has_a_longer_bar() -> None:
    low, high = canvas(), canvas()
    for image, score in ((low, 0.2), (high, 0.8)):
        draw_label(image, (0, 60, 50, 100), "1", [("a", score)], (255, 0, 0), 15)
    red_low, red_high = (int((i[..., 0] > i[..., 1] + 30).sum()) for i in (low, high))
    assert red_high > red_low + 100


def test_colours_are_stable_and_unknown_people_are_grey() -> None:
    assert colour_of(2) == colour_of(2 + len(PALETTE)) == PALETTE[2]
    assert colour_of(-1) == UNKNOWN
    assert len(set(PALETTE)) == len(PALETTE)
    assert ink_on((0, 0, 0)) == (255, 255, 255)
    assert sum(ink_on((255, 255, 255))) < 100
