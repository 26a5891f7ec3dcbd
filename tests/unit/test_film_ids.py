"""What a film is called: one function for detect, prepare, evaluate, people and AVA's ids."""

from __future__ import annotations

from pathlib import Path

import pytest

from tubelet.film_ids import film_id, ids_of, same_films, tails


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("x.mp4", "x"),
        ("x.MP4", "x"),
        ("clip.v1.mp4", "clip.v1"),
        ("clip.v1", "clip.v1"),
        ("-5KQ66BBWC4", "-5KQ66BBWC4"),
        ("-5KQ66BBWC4.mkv", "-5KQ66BBWC4"),
        ("a/b/x.webm", "a/b/x"),
        ("./a//x.avi", "a/x"),
        ("a\\x.mov", "a/x"),
        ("/x.mp4", "x"),
        ("2024.05.01 yard.mp4", "2024.05.01 yard"),
        (".mp4", ".mp4"),
        ("a/.mp4", "a/.mp4"),
        ("notes.txt", "notes.txt"),
    ],
)
def test_an_id_is_the_path_without_a_films_suffix(name: str, wanted: str) -> None:
    assert film_id(name) == wanted


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        (["a/x.mp4", "b/y.mp4"], ["x", "y"]),
        (["a/x.mp4", "b/x.mp4"], ["a/x", "b/x"]),
        (["a/1/x.mp4", "b/1/x.mp4", "b/y.mp4"], ["a/1/x", "b/1/x", "y"]),
        (["x.mp4", "x.avi"], ["x.mp4", "x.avi"]),
        (["x.mp4", "sub/x.mp4"], ["x", "sub/x"]),
        (["x.v1.mp4", "x.v2.mp4"], ["x.v1", "x.v2"]),
    ],
)
def test_two_films_never_have_one_id(files: list[str], wanted: list[str], tmp_path: Path) -> None:
    assert ids_of([tmp_path / name for name in files]) == wanted


def test_in_a_folder_the_id_is_the_path_below_it(tmp_path: Path) -> None:
    paths = [tmp_path / "sub" / "x.mp4", tmp_path / "x.mp4"]
    assert ids_of(paths, dict.fromkeys(paths, tmp_path)) == ["sub/x", "x"]


def test_a_folder_of_frames_keeps_its_dots(tmp_path: Path) -> None:
    (tmp_path / "run.mp4").mkdir()
    assert ids_of([tmp_path / "run.mp4"]) == ["run.mp4"]


def test_tails() -> None:
    assert tails("a/b/c.mp4") == ["a/b/c", "b/c", "c"]


@pytest.mark.parametrize(
    ("names", "known", "wanted"),
    [
        (["x"], ["x"], {"x": "x"}),
        (["x.mp4"], ["x"], {"x.mp4": "x"}),
        (["x"], ["x.mp4"], {"x": "x.mp4"}),
        (["clip.v1"], ["clip.v1.mp4", "clip.v2.mp4"], {"clip.v1": "clip.v1.mp4"}),
        (["videos/x.mp4"], ["x"], {"videos/x.mp4": "x"}),
        (["x"], ["park/x"], {"x": "park/x"}),
        # Two films of one name: the one that is not named in full means neither.
        (["x"], ["park/x", "yard/x"], {}),
        (["park/x", "yard/x"], ["x"], {}),
        (["park/x", "x"], ["park/x", "yard/x"], {"park/x": "park/x", "x": "yard/x"}),
        (["x.mp4", "x.avi"], ["x"], {}),
        (["max"], ["x"], {}),
    ],
)
def test_names_that_mean_one_film(
    names: list[str], known: list[str], wanted: dict[str, str]
) -> None:
    assert same_films(names, known) == wanted
