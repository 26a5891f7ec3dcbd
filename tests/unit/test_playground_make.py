"""The playground's promises: labels fit pixels, classes are in balance, files read back."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import ModuleType, TracebackType

import av
import numpy as np
import numpy.typing as npt
import pytest

from tubelet.errors import ConfigError, InputError
from tubelet.playground import (
    DEMO,
    DEMO_SEED,
    LABELS,
    MOTION_ACTIONS,
    PlaygroundConfig,
    clip_seed,
    keyframes_ms,
    label_space,
    make_clip,
    render_window,
    world_of,
    write_dataset,
)
from tubelet.playground.actions import (
    ARMS,
    COLUMN,
    PAIRS,
    POSE,
    POSES,
    Array,
    Style,
    action_pose,
)
from tubelet.playground.render import Renderer, draw_parts

SMALL = PlaygroundConfig(height=64, width=96, seconds=2.0)
SPAN = (0.0, 2.0)


def at(name: str, times: Array, style: Style | None = None, arms: str | None = None) -> Array:
    return action_pose(name, arms, times, SPAN, style or Style())


def test_label_space_has_one_group_for_each_class_and_motion_classes_are_labels() -> None:
    grouped = [i for ids in LABELS.groups.values() for i in ids]
    assert sorted(grouped) == list(LABELS.ids) == list(range(1, 18))
    assert set(MOTION_ACTIONS) <= set(LABELS.names)


def test_sit_down_is_get_up_backwards() -> None:
    times = np.linspace(*SPAN, 21)
    assert np.allclose(at("sit down", times), at("get up", times[::-1]), atol=1e-12)
    assert not np.allclose(at("sit down", times), at("get up", times))


def test_every_moment_of_a_wave_is_some_raised_hand() -> None:
    for moment in np.linspace(0, 1, 17):
        waved = at("stand", np.array([moment]), Style(side=1), "hand wave")
        phase = (2.0 * moment) % 1.0
        held = at("stand", np.array([moment]), Style(side=1, phase=phase), "raise hand")
        arm = [i for i, name in enumerate(POSE) if name.startswith(("l_upper", "l_fore"))]
        assert np.allclose(waved[:, arm], held[:, arm])


def test_turning_round_moves_only_the_heading_and_shuffles_feet() -> None:
    times = np.linspace(*SPAN, 41)
    turned = np.diff(at("turn around", times)[:, COLUMN["yaw"]])
    assert (np.abs(turned) > 0.1).all() and len(set(np.sign(turned))) == 1


def test_every_action_gives_a_finite_pose_and_unknown_ones_say_so() -> None:
    times = np.linspace(-0.2, 2.2, 25)
    for pose in POSES:
        for arms in (None, *ARMS, *PAIRS):
            assert np.isfinite(action_pose(pose, arms, times, SPAN, Style())).all()
    with pytest.raises(ConfigError, match="unknown playground pose 'fly'"):
        at("fly", times)
    with pytest.raises(ConfigError, match="unknown playground action 'juggle'"):
        at("stand", times, None, "juggle")


def test_boxes_are_tight_around_the_pixels_of_their_person() -> None:
    config = PlaygroundConfig(height=120, width=160, people=(2, 3), occluders=0)
    times = np.array([1.0, 2.0])
    checked = 0
    for seed in range(6):
        world = world_of(seed, config)
        boxes, ids, _ = world.annotate(times)
        for actor in world.actors:
            parts = actor.parts(times)
            ends = np.stack([world.project(parts.a, times), world.project(parts.b, times)])
            scale = world.camera.view(times)[2] * config.height
            for t in range(2):
                if actor.person_id not in ids[t]:
                    continue
                mask = np.zeros((3, config.height, config.width), np.float32)
                body = parts.body
                draw_parts(
                    mask, ends[:, t][:, body], parts.radii[body] * scale[t], parts.near[t][body],
                    np.full((int(body.sum()), 3), 255.0), parts.opacity[body],
                )  # fmt: skip
                ys, xs = np.nonzero(mask[0] > 60)
                drawn = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
                (row,) = np.flatnonzero(ids[t] == actor.person_id)
                box = boxes[t][row] * np.array([160, 120, 160, 120])
                assert np.abs(drawn - box).max() < 1.6, (seed, actor.person_id, drawn, box)
                checked += 1
    assert checked > 12


def test_labels_are_one_pose_at_most_one_arm_and_one_interaction() -> None:
    groups = [[LABELS.column(i) for i in LABELS.groups[g]] for g in LABELS.groups]
    for seed in range(60):
        world = world_of(seed, SMALL)
        boxes, ids, targets = world.annotate(SMALL.times_ms() / 1000)
        for box, who, hot in zip(boxes, ids, targets, strict=True):
            assert len(box) == len(who) == len(hot) == len(set(who))
            assert ((box >= 0) & (box <= 1)).all() and (box[:, 2:] > box[:, :2]).all()
            pose, arm, pair = (hot[:, g].sum(axis=1) for g in groups)
            assert (pose == 1).all() and (arm <= 1).all() and (pair <= 1).all()
            assert (arm * pair == 0).all()


def test_no_action_changes_near_a_keyframe() -> None:
    config = PlaygroundConfig(seconds=6)
    for seed in range(40):
        for actor in world_of(seed, config).actors:
            starts = np.array([s.start_s for s in actor.segments[1:]])
            assert (np.abs(starts - np.round(starts)) >= 0.39).all()
            assert all(s.end_s - s.start_s >= 1.5 for s in actor.segments)


def test_every_class_is_common_enough() -> None:
    config = PlaygroundConfig()
    times = np.array(keyframes_ms(config)) / 1000
    rows = np.concatenate([np.concatenate(world_of(s, config).annotate(times)[2])
                           for s in range(200)])  # fmt: skip
    share = dict(zip(LABELS.names, rows.mean(axis=0), strict=True))
    assert min(share.values()) > 0.012, share
    assert max(v for k, v in share.items() if k != "stand") < 0.15, share


@pytest.mark.parametrize("task", ["partner", "event", "scene"])
def test_tasks_are_balanced(task: str) -> None:
    config = PlaygroundConfig(seconds=6, task=task)  # type: ignore[arg-type]
    times = np.array(keyframes_ms(config)) / 1000
    rows = np.concatenate([np.concatenate(world_of(s, config).annotate(times)[2])
                           for s in range(120)])  # fmt: skip
    assert (rows.sum(axis=1) == 1).all()
    last_two = rows.mean(axis=0)[-2:]
    assert abs(last_two[0] - last_two[1]) < 0.25 * last_two.sum()


def test_event_task_shows_the_deciding_gesture_within_four_seconds() -> None:
    config = PlaygroundConfig(seconds=20, task="event")
    names = label_space("event").names
    for seed in range(20):
        for actor in world_of(seed, config).actors:
            hot = actor.labels(np.arange(1.0, 20.0), label_space("event"))
            said = [names[i] for i in hot.argmax(axis=1)]
            for i, name in enumerate(said):
                if name.startswith("stand after "):
                    recent = [n for n in said[max(0, i - 4) : i] if not n.startswith("stand")]
                    assert recent[-1] == name.removeprefix("stand after ")


def test_the_demo_clip_shows_an_interaction_and_several_actions() -> None:
    world = world_of(DEMO_SEED, DEMO)
    _, _, targets = world.annotate(np.array(keyframes_ms(DEMO)) / 1000)
    seen = {LABELS.names[k] for hot in targets for k in np.flatnonzero(hot.sum(axis=0))}
    assert len(seen) >= 10 and seen & set(PAIRS) and len(seen & set(MOTION_ACTIONS)) >= 2


def test_frames_are_pictures_of_the_asked_size() -> None:
    clip = make_clip(3, SMALL)
    assert clip.frames.shape == (50, 64, 96, 3) and clip.frames.dtype == np.uint8
    assert clip.times_ms[:3].tolist() == [0, 40, 80]
    assert clip.frames.std() > 15 and np.abs(np.diff(clip.frames.astype(int), axis=0)).mean() > 0.3


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"height": 4}, "size"), ({"people": (3, 1)}, "people"), ({"fps": 0}, "fps"),
     ({"noise": -1}, "difficulty"), ({"task": "chess"}, "task"), ({"width": 960}, "shape"),
     ({"seconds": 0}, "seconds"), ({"person_height": (0.9, 0.5)}, "person_height")],
)  # fmt: skip
def test_impossible_configs_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=f"invalid {said}"):
        PlaygroundConfig(**wrong)  # type: ignore[arg-type]


def test_negative_seeds_are_refused() -> None:
    with pytest.raises(ConfigError, match="seed"):
        make_clip(-1, SMALL)


def test_splits_never_share_a_clip() -> None:
    seeds = {clip_seed(split, seed, n) for split in ("train", "val", "test")
             for seed in range(4) for n in range(50)}  # fmt: skip
    assert len(seeds) == 3 * 4 * 50


class FakeWriter:
    """Stands in for the video writer: keeps the number of frames as the file."""

    def __init__(self, path: Path, fps: float, hw: tuple[int, int]) -> None:
        self.path, self.hw, self.count = path, hw, 0

    def __enter__(self) -> FakeWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.path.write_text(str(self.count))

    def write(self, image: npt.NDArray[np.uint8]) -> None:
        assert image.shape == (*self.hw, 3) and image.dtype == np.uint8
        self.count += 1


@pytest.fixture
def fake_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("tubelet.media.writer")
    module.VideoWriter = FakeWriter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tubelet.media.writer", module)


def test_dataset_files_read_back_as_the_clips_labels(fake_writer: None, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    files = write_dataset(
        tmp_path, clips=2, config=SMALL, seed=7, split="val", every_ms=400,
        on_clip=lambda *n: done.append(n),
    )  # fmt: skip
    assert done == [(1, 2), (2, 2)]
    assert [v.read_text() for v in files.videos] == ["50", "50"]
    listed = files.video_list.read_text().splitlines()
    assert [tmp_path / line for line in listed] == list(files.videos)
    rows = list(csv.reader(files.annotations.read_text().splitlines()))
    for number, video in enumerate(files.videos):
        clip = make_clip(clip_seed("val", 7, number), SMALL)
        wanted = {
            (t, int(who), LABELS.ids[k]): box
            for t in (400, 800, 1200, 1600)
            for box, who, hot in zip(
                *(x[int(np.abs(clip.times_ms - t).argmin())]
                  for x in (clip.boxes, clip.person_ids, clip.targets)), strict=True
            )
            for k in np.flatnonzero(hot)
        }  # fmt: skip
        found = {(round(1000 * float(r[1])), int(r[7]), int(r[6])): np.array(r[2:6], float)
                 for r in rows if r[0] == video.stem}  # fmt: skip
        assert found.keys() == wanted.keys()
        assert all(np.abs(found[k] - wanted[k]).max() < 1e-6 for k in wanted)
    assert files.label_map.read_text().count("item {") == len(LABELS)
    assert not list(tmp_path.glob(".*"))


def test_dataset_refuses_no_clips_and_a_file_as_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one clip"):
        write_dataset(tmp_path, clips=0, config=SMALL)
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="is a file"):
        write_dataset(tmp_path / "taken", clips=1, config=SMALL)


def test_a_failed_dataset_leaves_no_text_files(
    fake_writer: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: FakeWriter, image: npt.NDArray[np.uint8]) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(FakeWriter, "write", full)
    with pytest.raises(OSError, match="disk full"):
        write_dataset(tmp_path, clips=1, config=SMALL)
    assert not list(tmp_path.glob("*.csv")) and not list(tmp_path.glob("*.txt"))


def test_window_outside_the_clip_repeats_its_edge_frames() -> None:
    window = render_window(5, 1000, [-4, 0, 49, 80], SMALL)
    assert (window.frames[0] == window.frames[1]).all()
    assert (window.frames[2] == window.frames[3]).all()
    assert len(window.people) == len(window.targets)


def test_a_figure_drawn_part_by_part_is_the_same_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(4, SMALL)
    at_once = Renderer(world).frames([0, 30])
    monkeypatch.setattr("tubelet.playground.render._ONE_PASS", 0)
    in_parts = Renderer(world).frames([0, 30])
    assert np.abs(at_once.astype(int) - in_parts).max() <= 1


def test_real_videos_have_the_clips_frames(tmp_path: Path) -> None:
    files = write_dataset(tmp_path, clips=1, config=SMALL, seed=3)
    clip = make_clip(clip_seed("train", 3, 0), SMALL)
    with av.open(str(files.videos[0])) as container:
        shown = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(shown) == len(clip.frames)
    assert np.abs(np.stack(shown).astype(int) - clip.frames).mean() < 12
