"""The split: each class on both sides where it can be, and a word where it cannot."""

from __future__ import annotations

import numpy as np
import pytest

from tubelet.data.annotations import Annotations
from tubelet.data.splits import Sides, given_split, one_sided, stratified_split
from tubelet.errors import InputError
from tubelet.labels import LabelSpace

LABELS = LabelSpace(ids=(1, 2, 3), names=("walk", "sit", "rare"))


def table(videos: dict[str, list[int]]) -> Annotations:
    """Videos and the labels of their boxes."""
    rows = [(video, label) for video, labels in videos.items() for label in labels]
    return Annotations.of(
        video=[video for video, _ in rows],
        time_us=np.arange(len(rows)) * 1_000_000,
        boxes=[(0.1, 0.1, 0.5, 0.9)] * len(rows),
        label=[label for _, label in rows],
    )


@pytest.mark.parametrize("seed", range(8))
def test_a_class_of_two_videos_is_on_both_sides(seed: int) -> None:
    """By chance alone one of five held-out videos would miss it in most draws."""
    videos = {f"v{i:02}": [1, 2] for i in range(20)} | {"w0": [1, 3], "w1": [3, 3]}
    split = stratified_split(table(videos), 0.2, seed)
    sides = [set(split.train), set(split.val)]
    assert all(side & {"w0", "w1"} for side in sides)
    assert len(split.val) == 4 and not sides[0] & sides[1]
    assert one_sided(table(videos), split, LABELS) == []


def test_a_class_of_one_video_is_learnt_and_said() -> None:
    videos = {f"v{i}": [1, 2] for i in range(6)} | {"only": [3]}
    for seed in range(6):
        split = stratified_split(table(videos), 0.3, seed)
        assert "only" in split.train
        assert one_sided(table(videos), split, LABELS) == [
            "rare: labelled in one video only, so no figure can be given"
        ]


def test_the_share_is_of_each_class() -> None:
    videos = {f"v{i}": [1] * (1 + i % 5) for i in range(30)}
    split = stratified_split(table(videos), 0.2, 0)
    held, kept = (sum(1 + int(v[1:]) % 5 for v in side) for side in (split.val, split.train))
    assert held / (held + kept) == pytest.approx(0.2, abs=0.02)


def test_the_seed_decides() -> None:
    videos = {f"v{i:02}": [1, 2, 3] for i in range(30)}
    splits = [stratified_split(table(videos), 0.2, seed) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_videos_named_by_the_user() -> None:
    names = ["park/a", "park/b", "yard/c"]
    split = given_split(names, ["c.mp4", "park/b"])
    assert split == Sides(train=("park/a",), val=("park/b", "yard/c"))
    with pytest.raises(InputError, match="unknown validation video 'd'"):
        given_split(names, ["d"])
    with pytest.raises(InputError, match="one side"):
        given_split(names, names)


def test_classes_that_nobody_does_are_said() -> None:
    videos = {"a": [1, 2], "b": [1, 2]}
    split = stratified_split(table(videos), 0.5, 0)
    assert one_sided(table(videos), split, LABELS) == ["rare: labelled nowhere"]
