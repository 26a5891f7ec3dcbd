"""Following people between keyframes: the frames looked at, the ids, the paths of tubes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tubelet
from tubelet.api import ActionDetector
from tubelet.errors import DataError, InputError, ShapeError
from tubelet.labels import LabelSpace
from tubelet.media.decoder import Image
from tubelet.media.video import Frame, VideoInfo
from tubelet.media.watching import moments_between, watched
from tubelet.media.writer import VideoWriter
from tubelet.models import ActionModelConfig
from tubelet.models.backbones.resnet3d import ResNet3dConfig
from tubelet.models.heads.linear import LinearHeadConfig
from tubelet.people.camera import grey, shift
from tubelet.people.linking import LinkConfig, link
from tubelet.people.recording import Recording
from tubelet.people.tracking import Tracker, passers_by
from tubelet.results import Tube, save_results
from tubelet.types import InputSpec, Ints, People

LABELS = LabelSpace.of(["walk", "wave"])
GREY = np.full((60, 80, 3), 90, np.uint8)


def tube(path_ms: list[int], times_ms: list[int]) -> Tube:
    n, path = len(times_ms), np.array(path_ms, np.int64)
    return Tube(
        video="film",
        track_id=4,
        times_ms=np.array(times_ms, np.int64),
        boxes=np.tile(np.array([0.1, 0.2, 0.3, 0.4], np.float32), (n, 1)),
        person_scores=np.ones(n, np.float32),
        action_scores=np.full((n, 2), 0.5, np.float32),
        labels=LABELS,
        path_ms=path,
        path_boxes=np.stack([path / 9000, path * 0, path / 8000, path * 0 + 1], 1),
    )


def test_the_path_says_where_a_person_is_and_how_long() -> None:
    person = tube([800, 1000, 1200, 2000, 2200], [1000, 2000])
    assert person.life(1000) == (700, 2300)
    middle = person.box_at(1100, 1000)
    assert middle is not None
    np.testing.assert_allclose(middle, [1100 / 9000, 0, 1100 / 8000, 1], rtol=1e-5)
    assert person.box_at(1600, 1000) is not None  # bridged
    assert person.box_at(1600, 300) is None  # too long an absence for keyframes this close
    assert person.box_at(1200, 300) is not None
    assert person.box_at(2000, 300) is not None
    assert person.box_at(699, 1000) is None
    assert person.box_at(2300, 1000) is None
    assert person.box_at(2350, 1000, 2380) is not None  # no other frame could be looked at


def test_a_part_of_a_tube_keeps_its_part_of_the_path() -> None:
    person = tube([800, 1000, 1500, 2000, 2500, 3000, 3200], [1000, 2000, 3000])
    assert person.filter(start_ms=1500).path_ms.tolist() == [2000, 2500, 3000]
    assert person.select(np.arange(3)).path_ms.tolist() == person.path_ms.tolist()
    assert len(person.filter(persons=5).path_ms) == len(person.filter(persons=5).path_boxes) == 0


def test_a_path_must_ascend_and_contain_the_moments() -> None:
    for path in ([1000, 900, 2000], [1000, 1500]):
        with pytest.raises(ShapeError, match="must ascend and contain"):
            tube(path, [1000, 2000])
    with pytest.raises(ShapeError, match="path_boxes"):
        replace(tube([1000], [1000]), path_boxes=np.zeros((2, 4), np.float32))


def test_a_path_survives_its_file(tmp_path: Path) -> None:
    person = tube([800, 1000, 1200, 2000], [1000, 2000])
    plain = tube([], [1000])
    save_results(tmp_path / "t.json", [person, plain])
    back, bare = tubelet.read_tubes(tmp_path / "t.json").tubes
    assert back.path_ms.tolist() == person.path_ms.tolist()
    np.testing.assert_allclose(back.path_boxes, person.path_boxes, atol=1e-6)
    assert len(bare.path_ms) == 0
    assert (tmp_path / "t.json").read_text().count("path_ms") == 1


def info(start_ms: int, duration_ms: int, fps: float = 25) -> VideoInfo:
    return VideoInfo(
        path=Path("film.mp4"), width=80, height=60, fps=fps, start_ms=start_ms,
        duration_ms=duration_ms, frame_count=None, rotation=0, mirrored=False, codec="h264",
    )  # fmt: skip


def test_keyframes_are_among_the_moments_and_the_rest_lies_evenly() -> None:
    found = list(moments_between([1000, 2000, 3500], info(400, 4100), 4))
    assert [ms for ms, key in found if key] == [1000, 2000, 3500]
    assert [ms for ms, _ in found] == [
        500, 750, 1000, 1250, 1500, 1750, 2000, 2250, 2500, 2750, 3000, 3250, 3500, 3750, 4000,
        4250,
    ]  # fmt: skip
    assert [ms for ms, _ in moments_between([0, 100, 200], info(0, 250), 4)] == [0, 100, 200]
    assert list(moments_between([], info(0, 250), 4)) == []
    for rate in (float("nan"), -1, 1000):
        with pytest.raises(InputError, match="rate of tracking"):
            list(moments_between([0], info(0, 250), rate))


def looks(
    times: list[int], moments: list[tuple[int, bool]], longest_ms: int = 2000
) -> list[tuple[int, int]]:
    """(moment, frame's time) of each look, while the frames pass by unchanged."""
    seen: list[tuple[int, int]] = []

    def frames() -> Iterator[Frame]:
        yield from (Frame(t, GREY) for t in times)

    given = watched(
        frames(), moments, lambda ms, f: seen.append((ms, f.time_ms)), longest_ms=longest_ms
    )
    assert [f.time_ms for f in given] == times
    return seen


def test_the_frame_on_show_is_looked_at_once_and_keyframes_always() -> None:
    slow = [(0, True), (100, False), (200, False), (300, True), (340, False), (900, False)]
    assert looks([0, 250, 400], slow) == [(0, 0), (300, 250), (900 - 500, 400)]
    assert looks([0, 250, 400], [(1000, True)]) == []  # more than half a second after the end
    hole = [(0, True), (1000, True), (4000, True), (4990, False), (5000, True)]
    assert looks([0, 600, 5000], hole) == [(0, 0), (1000, 600), (5000, 5000)]
    early = [(-320, True), (-160, False), (0, True)]
    assert looks([-320, -280, -160, 0], early) == [(-320, -320), (-160, -160), (0, 0)]


def test_a_camera_that_pans_is_measured_and_noise_is_not() -> None:
    scene = np.random.default_rng(0).integers(0, 255, (240, 400, 3)).astype(np.uint8)
    scene = np.repeat(np.repeat(scene[::8, ::8], 8, 0), 8, 1)
    one, two = scene[:200, :300], scene[16:216, 24:324]
    np.testing.assert_allclose(shift(grey(one), grey(two)), (-24 / 300, -16 / 200), atol=0.004)
    assert shift(grey(GREY), grey(GREY)) == (0, 0)
    other = np.random.default_rng(1).integers(0, 255, scene.shape).astype(np.uint8)
    assert shift(grey(scene), grey(other)) == (0, 0)
    assert grey(GREY[:5, :7]).shape == grey(scene).shape


def test_a_patterned_person_before_a_plain_wall_is_not_the_camera() -> None:
    pattern = np.random.default_rng(3).integers(0, 255, (12, 12, 3)).astype(np.uint8)
    pattern = np.repeat(np.repeat(pattern, 8, 0), 8, 1)
    wall = np.broadcast_to(np.linspace(40, 200, 240)[None, :, None], (160, 240, 3)).astype(np.uint8)
    frames = [wall.copy() for _ in range(2)]
    for frame, left in zip(frames, (70, 90), strict=True):
        frame[32:128, left : left + 96] = pattern
    assert shift(*map(grey, frames)) == (0, 0)


def test_a_pan_that_moves_everybody_changes_nobody() -> None:
    rng = np.random.default_rng(2)
    scene = np.repeat(np.repeat(rng.integers(0, 255, (40, 120, 3)), 4, 0), 4, 1).astype(np.uint8)
    tracker, left = Tracker(), [20, 60, 100]
    ids: list[list[int]] = []
    for step in range(6):
        image = scene[:, 40 * step : 40 * step + 200]
        x = np.array(left) + 200 - 40 * step  # three people side by side on the scene
        boxes = np.stack([x, x * 0 + 40, x + 30, x * 0 + 120], 1) / np.array([200, 160] * 2)
        inside = (boxes[:, 0] >= 0) & (boxes[:, 2] <= 1)
        people = tracker.see(200 * step, People.of(boxes[inside]), image)
        lefts = people.boxes[:, 0].round(4).tolist()
        places = dict(zip(lefts, people.track_ids.tolist(), strict=True))
        ids.append([places.get(b, -1) for b in boxes[:, 0].astype(np.float32).round(4).tolist()])
    for person in zip(*ids, strict=True):
        assert len({i for i in person if i >= 0}) == 1


def test_a_second_box_of_one_person_is_nobody() -> None:
    tracker = Tracker()
    whole, bust, other = [0.1, 0.1, 0.4, 0.9], [0.12, 0.1, 0.38, 0.4], [0.6, 0.1, 0.8, 0.9]
    found = tracker.see(0, People.of([bust, whole, other], [0.5, 0.9, 0.8]), GREY)
    np.testing.assert_allclose(found.boxes, np.array([whole, other], np.float32))
    assert found.track_ids.tolist() == [1, 2]
    again = tracker.see(200, People.of([whole], [0.9], [7]), GREY)
    assert again.track_ids.tolist() == [7]


def test_a_child_before_an_adult_is_somebody() -> None:
    adult, child = [0.1, 0.1, 0.5, 0.95], [0.2, 0.45, 0.4, 0.94]
    found = Tracker().see(0, People.of([adult, child], [0.9, 0.8]), GREY)
    assert found.track_ids.tolist() == [1, 2]


def test_ids_that_a_detector_gives_are_of_one_person_each() -> None:
    left, right = [0.1, 0.1, 0.3, 0.9], [0.6, 0.1, 0.8, 0.9]
    with pytest.raises(DataError, match="to two people"):
        Tracker().see(0, People.of([left, right], [0.9, 0.8], [5, 5]), GREY)
    tracker = Tracker()
    assert tracker.see(0, People.of([left], [0.9]), GREY).track_ids.tolist() == [1]
    with pytest.raises(DataError, match="taken by somebody"):
        tracker.see(200, People.of([left, right], [0.9, 0.8], [-1, 1]), GREY)
    later = Tracker()
    later.see(0, People.of([left], [0.9], [1]), GREY)
    assert later.see(9000, People.of([right], [0.9]), GREY).track_ids.tolist() == [2]


class Walker:
    """A person detector that finds a walker, who moves with every look, and counts the looks."""

    def __init__(self) -> None:
        self.looks = 0

    def __call__(self, image: Image) -> People:
        self.looks += 1
        return People.of([[0.02 * self.looks, 0.1, 0.02 * self.looks + 0.2, 0.9]])


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with VideoWriter(path, 10, (60, 80)) as writer:
        for i in range(36):
            writer.write(np.full((60, 80, 3), 5 * i, np.uint8))
    return path


@pytest.fixture(scope="module")
def detector() -> ActionDetector:
    torch.manual_seed(0)
    model = ActionModelConfig(
        backbone=ResNet3dConfig(blocks=(1, 1, 1, 1), width=4),
        head=LinearHeadConfig(),
        input=InputSpec(frames=2, stride=1, short_side=32),
        labels=LABELS,
    ).build()
    return ActionDetector(model, device="cpu")


def test_people_are_followed_between_and_after_keyframes(
    film: Path, detector: ActionDetector
) -> None:
    walker, seen = Walker(), list[tuple[int, People]]()
    order: list[int] = []

    def on_people(time_ms: int, people: People) -> None:
        seen.append((time_ms, people))
        order.append(time_ms)

    moments = []
    for moment in detector.detect(film, people=walker, track_rate=5, on_people=on_people):
        assert moment.key.time_ms in order  # a keyframe's people are reported before it
        moments.append(moment)
    assert [m.key.time_ms for m in moments] == [0, 1000, 2000, 3000]
    assert [ms for ms, _ in seen] == list(range(0, 3600, 200))
    assert walker.looks == 18
    (person,) = link(moments, seen=seen)
    assert person.times_ms.tolist() == [0, 1000, 2000, 3000]
    assert person.path_ms.tolist() == list(range(0, 3600, 200))
    np.testing.assert_allclose(person.path_boxes[[0, 5, 10, 15]], person.boxes)
    with pytest.raises(InputError, match="of one video"):
        other = replace(moments[0], key=tubelet.Key(video="b", time_ms=0))
        link([*moments, other], seen=seen)


def test_a_rate_of_nought_looks_at_keyframes_only(film: Path, detector: ActionDetector) -> None:
    walker, seen = Walker(), list[Ints]()
    found = list(
        detector.detect(
            film, people=walker, track_rate=0, on_people=lambda _, p: seen.append(p.track_ids)
        )
    )
    assert walker.looks == len(found) == 4
    assert not seen
    with pytest.raises(InputError, match="rate of tracking"):
        next(detector.detect(film, people=walker, track_rate=-2))


def scene(*people: tuple[list[float], tuple[int, int, int]]) -> tuple[People, Image]:
    """People as boxes of one colour before a speckled wall, and the picture of them."""
    wall = np.random.default_rng(5).integers(60, 200, (120, 160, 1)).astype(np.uint8)
    image = np.repeat(wall, 3, 2)
    for box, colour in people:
        x1, y1, x2, y2 = (np.array(box) * [160, 120, 160, 120]).astype(int).tolist()
        image[y1:y2, x1:x2] = colour
    return People.of([box for box, _ in people]), image


RED, BLUE = (230, 20, 30), (10, 30, 220)


def test_of_two_who_are_near_the_one_who_looks_alike_goes_on() -> None:
    tracker = Tracker(LinkConfig(iou=0.2))
    before = tracker.see(0, *scene(([0.4, 0.2, 0.6, 0.9], RED)))
    nearer, alike = [0.3, 0.2, 0.5, 0.9], [0.52, 0.2, 0.72, 0.9]
    later = tracker.see(200, *scene((nearer, BLUE), (alike, RED)))
    assert later.track_ids[1] == before.track_ids[0] != later.track_ids[0]


def test_who_comes_back_into_sight_is_known_and_somebody_else_is_not() -> None:
    tracker = Tracker()
    before = tracker.see(0, *scene(([0.1, 0.2, 0.3, 0.9], RED)))
    tracker.see(200, *scene(([0.12, 0.2, 0.32, 0.9], RED)))
    for ms in (400, 600, 800, 1000):
        assert len(tracker.see(ms, *scene())) == 0
    back = tracker.see(1200, *scene(([0.6, 0.2, 0.8, 0.9], RED), ([0.35, 0.2, 0.55, 0.9], BLUE)))
    assert back.track_ids[0] == before.track_ids[0] != back.track_ids[1]
    much_later = tracker.see(9000, *scene(([0.6, 0.2, 0.8, 0.9], RED)))
    assert much_later.track_ids[0] not in back.track_ids


def test_a_ghost_of_two_looks_is_left_out_when_the_film_has_ended() -> None:
    box = [[0.1, 0.2, 0.3, 0.9], [0.6, 0.2, 0.8, 0.9]]
    seen = [(200 * i, People.of(box, None, [4, 9])) for i in range(2)]
    seen += [(200 * i, People.of(box[:1], None, [4])) for i in range(2, 12)]
    assert passers_by(seen) == {9}
    assert passers_by([(5 * ms, people) for ms, people in seen]) == set()
    assert passers_by(seen[:9]) == set()
    record = Recording("film", LABELS)
    for ms, people in seen:
        record.see(ms, people)
    record.append(
        tubelet.Detections(
            key=tubelet.Key(video="film", time_ms=200), boxes=seen[1][1].boxes,
            person_scores=seen[1][1].scores, action_scores=np.zeros((2, 2), np.float32),
            track_ids=seen[1][1].track_ids, labels=LABELS,
        )
    )  # fmt: skip
    assert record.people == 2
    record.forget(passers_by(record.seen()))
    assert record.people == 1
    assert {i for _, people in record.seen() for i in people.track_ids.tolist()} == {4}
    assert [tube.track_id for tube in link(record, seen=record.seen())] == [4]
