"""`tubelet detect`, `tubelet people` and the demo."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import tubelet
from tubelet.answers import Thresholds, check_threshold
from tubelet.api import KEYFRAME_SHORT_SIDE, ActionDetector, choose_device, load
from tubelet.boxes import short_side_hw
from tubelet.cli.console import download_bar, note, out, progress_bar, show
from tubelet.cli.released import size
from tubelet.data.annotations import Annotations
from tubelet.data.importers import Options
from tubelet.data.tables import write_ava_csv
from tubelet.engines.choices import EngineChoice
from tubelet.errors import TubeletError, VideoError
from tubelet.evaluate.scoring import evaluate_files
from tubelet.files import atomic_path, make_folder, make_parent
from tubelet.labelsets import label_set
from tubelet.media.frames import open_film, video_name
from tubelet.media.sampling import hole_ms, keyframe_times, windows
from tubelet.media.video import VideoInfo, find_films
from tubelet.numerics.choices import PrecisionChoice
from tubelet.people.auto import AUTO
from tubelet.people.detectors.base import PersonDetector
from tubelet.people.detectors.small import KIND
from tubelet.people.given import BOX_FILES, GivenPeople, people_of_file
from tubelet.people.linking import link
from tubelet.people.named import person_detector, resolved
from tubelet.people.recording import Recording
from tubelet.people.tracking import TRACK_RATE, passers_by
from tubelet.playground.make import write_demo
from tubelet.releases.foreign import cached
from tubelet.releases.published import published
from tubelet.releases.table import RELEASES
from tubelet.render.actions import write_actions
from tubelet.render.export import VideoMeta, write_detections, write_tubes
from tubelet.render.extras import Found, check_kinds, write_extras
from tubelet.render.made_by import MadeBy
from tubelet.render.overlay import write_overlay
from tubelet.render.page import write_page
from tubelet.render.tables import action_table
from tubelet.render.timeline import Spans
from tubelet.render.withheld import shown
from tubelet.results import Tube, interval
from tubelet.types import InputSpec, People

DETECTIONS, ACTIONS, TUBES = "detections.csv", "actions.csv", "tubes.json"
INTERRUPTED = 130  # what a shell reports for Ctrl-C
DEFAULT_MODEL, SUGGESTED = "jhmdb21_small", "ptv-slowfast-8x8-r50-ava22"
_DENSE_MS = 200  # given moments closer than this are a tracker's frames
OVERLAY, PAGE = "overlay.mp4", "report.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectOptions:
    """The options of `tubelet detect`."""

    model: str
    classes: tuple[str, ...] = ()
    people: str = AUTO
    every: float | None = None  # 1, or where boxes are given their own moments
    track_rate: float = TRACK_RATE
    threshold: float | None = None  # the model's own
    sensitive_threshold: float | None = None  # the model's own
    off: float | None = None
    least: float = 0.0
    out: Path
    device: str = "auto"
    precision: PrecisionChoice = "auto"
    engine: EngineChoice = "auto"
    overlay: bool = True
    overlay_height: int | None = None
    page: bool = True
    fps: float | None = None
    first_frame: int | None = None
    person_labels: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    every_frame: bool = False

    def check(self) -> None:
        """Raise InputError for thresholds that cannot be, whatever the model."""
        check_threshold(self.sensitive_threshold, "sensitive_threshold")
        self._spans(1.0 if self.threshold is None else self.threshold)

    def thresholds(self, detector: ActionDetector) -> Thresholds:
        """From which scores this detector's actions are shown."""
        return Thresholds.of(
            detector.model.answers, detector.labels, self.threshold, self.sensitive_threshold
        )

    def spans(self, detector: ActionDetector) -> Spans:
        """When actions start and end. Raises InputError for thresholds that cannot be."""
        return self._spans(self.thresholds(detector).shown)

    def _spans(self, on: float) -> Spans:
        return Spans(on=on, off=self.off, least_ms=round(self.least * 1000))


def detect_in_turn(
    films: Mapping[str, Path], people: str | GivenPeople, options: DetectOptions
) -> int:
    """Detect in each video, one folder of results each; a broken video is reported and skipped.

    Returns 0, 1 if a video failed, or 130 after Ctrl-C, which keeps the finished ones.
    """
    videos = list(films.values())
    detector = ready_detector(options)
    if isinstance(people, str) and detector.model.task == "detection":
        people = resolved(people, note)  # once: all videos get the same detector
    failures, done = 0, []
    try:
        for name, video in films.items():
            try:
                detect_one(video, options.out / name, detector, options, people, name=name)
            except TubeletError as error:
                if len(videos) == 1:
                    raise
                failures += 1
                note(f"skipped {video}: {error}")
            else:
                done.append(options.out / name)
    except KeyboardInterrupt:
        note(f"stopped; {len(done)} of {len(videos)} videos are finished and kept")
        return INTERRUPTED
    finally:
        if len(videos) > 1:
            join_detections(done, options.out)
    if failures:
        note(f"{failures} of {len(videos)} videos failed")
    return 1 if failures else 0


def prepared(
    paths: Sequence[Path], options: DetectOptions
) -> tuple[dict[str, Path], str | GivenPeople]:
    """The films by their ids, and what finds their people; everything that can be is refused here,
    before a model is loaded."""
    options.check()  # whatever cannot be is told before anything is loaded
    check_kinds(options.to)
    films = find_films(paths)
    videos = list(films.values())
    check_rates(videos, options.fps)
    people = _people(options, videos)
    make_folder(options.out)
    return films, people


def ready_detector(options: DetectOptions) -> ActionDetector:
    """The loaded model, and notes of what its user should know about it."""
    with download_bar() as progress:
        detector = load(
            options.model,
            device=options.device,
            precision=options.precision,
            engine=options.engine,
            classes=options.classes,
            progress=progress,
            # Whoever asks for a precision is told what it costs and which layers cannot have it.
            on_note=None if options.precision == options.engine == "auto" else note,
        )
    for line in detector.origin:
        if line.startswith("assumed"):
            note(line)
    options.spans(detector)  # an end above the model's own threshold is told before the first film
    for line in (*options.thresholds(detector).said, *detector.limits):
        note(line)
    if (suggested := suggestion(options.model)) is not None:
        note(suggested)
    return detector


def suggestion(model: str) -> str | None:
    """A line about weights with more classes, for users who took the default."""
    if model != DEFAULT_MODEL:
        return None
    row = published()[SUGGESTED]
    costs = "is in the cache" if cached(row) else f"{size(row)}, downloads once"
    return (
        f"{model} knows {RELEASES[model].summary}; for AVA's {len(label_set('ava'))} actions: "
        f"--model {row.name}, {costs}"
    )


def check_rates(videos: Sequence[Path], fps: float | None) -> None:
    """Raise InputError where a video is a folder of frames whose rate nobody stated."""
    for video in videos:
        if fps is None and video.is_dir():
            open_film(video)


def _people(options: DetectOptions, videos: Sequence[Path]) -> str | GivenPeople:
    """The detector's name, or the boxes of a file: AVA's columns, a tracker's text or table, a
    folder of YOLO's texts, an export."""
    given = Path(options.people)
    if not given.is_dir() and (given.suffix.lower() not in BOX_FILES or not given.exists()):
        return options.people
    reading = Options(
        videos=videos[0].parent,
        video=video_name(videos[0]) if len(videos) == 1 else None,
        fps=options.fps,
        first_frame=options.first_frame,
        person_labels=options.person_labels,
    )
    found, report = people_of_file(given, reading)
    for line in report.lines():
        note(line)
    return found


def detect_one(
    video: Path,
    folder: Path,
    detector: ActionDetector,
    options: DetectOptions,
    people: str | GivenPeople | None = None,
    *,
    name: str | None = None,
) -> list[Tube]:
    """Detect in one video, write its results to `folder` and print its table. `people`: instead of
    the options'. `name`: its id, as `ActionDetector.detect` takes it."""
    name = name or video_name(video)
    people = options.people if people is None else people
    make_folder(folder)
    found = Recording(name, detector.label_space)
    _tell_of_dense_keyframes(people, name, options)
    with progress_bar() as bar:
        task = bar.add_task(video.name, total=None)

        def on_keyframe(time_ms: int, info: VideoInfo) -> None:
            bar.update(task, total=info.duration_ms, completed=time_ms - info.start_ms)

        for moment in detector.detect(
            video,
            people=people,
            every=options.every,
            track_rate=options.track_rate,
            fps=options.fps,
            name=name,
            on_people=found.see,
            on_keyframe=on_keyframe,
            on_note=note,
        ):
            found.append(moment)
    found.forget(passers_by(found.seen()))
    tubes = link(found, seen=_seen(found, people, name, options))
    given = isinstance(people, GivenPeople)
    every_ms = interval(tubes) if given else max(1, round((options.every or 1) * 1000))
    named = people if isinstance(people, str) else options.people
    made_by = _made_by(detector, options, named, every_ms)
    spans, sensitive = options.spans(detector), options.thresholds(detector).sensitive
    seen = shown(tubes, spans=spans, sensitive_threshold=sensitive, every_ms=every_ms)
    with open_film(video, fps=options.fps, threads=1) as film:
        info = film.info
    _write_results(info, folder, found, tubes, detector, made_by)
    _write_views(info, folder, found, seen.tubes, detector, options, made_by)
    _tell_of_lost_people(people, name, tubes)
    if not found.people:
        note(f"{video}: no people found in {len(found)} keyframes; try another --people detector")
    show(
        [
            action_table(
                seen.tubes,
                spans=spans,
                every_ms=every_ms,
                title=video.name,
                film_end_ms=info.end_ms,
            )
        ]
    )
    if (withheld := seen.line(sensitive)) is not None:
        out.print(withheld)
    out.print(f"results: {folder}")
    return tubes


def _seen(
    found: Recording, people: str | GivenPeople, name: str, options: DetectOptions
) -> Iterable[tuple[int, People]]:
    """Where people were between keyframes; of given ones what thinning out left."""
    if options.every is not None and isinstance(people, GivenPeople):
        return people.tracked(name)
    return found.seen()


def _tell_of_dense_keyframes(people: str | GivenPeople, name: str, options: DetectOptions) -> None:
    if options.every is not None or not isinstance(people, GivenPeople):
        return
    period = people.period_ms(name)
    if period is not None and period < _DENSE_MS:
        note(
            f"{name}: people are given every {period} ms, and each of these moments is computed; "
            "--every 1 computes one a second"
        )


def _tell_of_lost_people(people: str | GivenPeople, name: str, tubes: Sequence[Tube]) -> None:
    """Ids that were given and are in no result, as a keyframe a second may miss them."""
    if not isinstance(people, GivenPeople):
        return
    given = {track_id for _, known in people.tracked(name) for track_id in known.track_ids.tolist()}
    if lost := sorted(given - {tube.track_id for tube in tubes}):
        ids = ", ".join(map(str, lost[:8])) + (", …" if len(lost) > 8 else "")
        note(
            f"{name}: {len(lost)} of {len(given)} given people are on no keyframe and in no "
            f"result: id {ids}; a smaller --every finds those within the film"
        )


def _write_results(
    info: VideoInfo,
    folder: Path,
    found: Recording,
    tubes: Sequence[Tube],
    detector: ActionDetector,
    made_by: MadeBy,
) -> None:
    """The raw scores, as an evaluation needs them: nothing is withheld."""
    write_detections(folder / DETECTIONS, found)
    write_tubes(
        folder / TUBES,
        tubes,
        video=VideoMeta.of(info),
        labels=detector.label_space,
        every_ms=made_by.every_ms,
        made_by=made_by,
    )


def _write_views(
    info: VideoInfo,
    folder: Path,
    found: Recording,
    tubes: Sequence[Tube],
    detector: ActionDetector,
    options: DetectOptions,
    made_by: MadeBy,
) -> None:
    """What people look at: actions, overlay and page of the `tubes` as they may be shown."""
    spans, every_ms, video = options.spans(detector), made_by.every_ms, info.path
    write_actions(folder / ACTIONS, tubes, spans=spans, every_ms=every_ms, film_end_ms=info.end_ms)
    more = Found(
        video=video,
        moments=found,
        tubes=tubes,
        spans=spans,
        every_ms=every_ms,
        film_end_ms=info.end_ms,
        labels=detector.label_space,
        fps=options.fps,
    )
    if without := write_extras(folder, more, to=options.to, every_frame=options.every_frame):
        note(f"{video}: no file for {', '.join(without)}, as nobody was found")
    if options.overlay:
        write_overlay(
            video,
            tubes,
            folder / OVERLAY,
            spans=spans,
            every_ms=every_ms,
            height=options.overlay_height,
            fps=options.fps,
            made_by=made_by,
            on_note=note,
        )
    if options.page:
        write_page(
            folder / PAGE,
            video,
            tubes,
            spans=spans,
            every_ms=every_ms,
            made_by=made_by,
            fps=options.fps,
        )


def _made_by(
    detector: ActionDetector, options: DetectOptions, people: str, every_ms: int
) -> MadeBy:
    """What the results say about their making."""
    least = options.thresholds(detector)
    return MadeBy(
        tubelet=tubelet.__version__,
        model=options.model,
        people=people,
        threshold=least.shown,
        every_ms=every_ms,
        person_threshold=detector.person_threshold,
        off=options.off,
        least_ms=options.spans(detector).least_ms,
        sensitive_threshold=least.sensitive,
        classes=detector.labels if options.classes else (),
        notes=(*detector.origin, *least.said, *detector.limits),
    )


def join_detections(folders: Iterable[Path], target: Path) -> None:
    """The finished videos' detections as one AVA CSV, which is what `evaluate` takes."""
    make_folder(target)
    with atomic_path(target / DETECTIONS) as part, part.open("wb") as joined:
        for folder in folders:
            with (folder / DETECTIONS).open("rb") as one:
                shutil.copyfileobj(one, joined)


def write_people(
    paths: Sequence[Path],
    target: Path,
    detector: str,
    every: float,
    threshold: float | None,
    device: str,
    fps: float | None = None,
) -> int:
    """Person boxes of every keyframe of the videos, as one proposals CSV; `fps`: of videos that are
    folders of frames."""
    make_parent(target)
    find = person_detector(
        detector, threshold=threshold, device=choose_device(device), on_note=note
    )
    tables, failures = [], 0
    films = find_films(paths)
    check_rates(list(films.values()), fps)
    for name, video in films.items():
        try:
            tables.append(_people_of(video, name, find, max(1, round(every * 1000)), fps))
        except VideoError as error:
            failures += 1
            note(f"skipped: {error}")
    table = Annotations.concat(tables)
    write_ava_csv(target, table, kind="proposals")
    out.print(f"{len(table)} people in {len(tables)} videos: {target}")
    return 1 if failures else 0


def _people_of(
    video: Path, name: str, find: PersonDetector, every_ms: int, fps: float | None = None
) -> Annotations:
    """The people of one video's keyframes; a keyframe without people has no row."""
    times: list[int] = []
    boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    with open_film(video, fps=fps) as opened:
        hw = short_side_hw(opened.info.hw, min(KEYFRAME_SHORT_SIDE, *opened.info.hw))
        keys = keyframe_times(opened.info, every_ms)
        limit = hole_ms(opened.info)
        spec = InputSpec(frames=1, stride=1)
        for window in windows(opened.frames(hw), keys, spec, longest_ms=limit):
            found = find(window.image)
            times += [window.key_ms * 1000] * len(found)
            boxes.append(found.boxes)
            scores.append(found.scores)
    return Annotations.of(
        video=[name] * len(times),
        time_us=times,
        boxes=np.concatenate(boxes),
        score=np.concatenate(scores).astype(np.float64),
    )


def run_demo(folder: Path) -> None:
    """Render a playground clip with known truth, detect in it, and score the result.

    Writes clip, truth, `actions.csv`, `tubes.json`, `overlay.mp4` and `report.html` to `folder`.
    """
    note("rendering a clip of the playground")
    files = write_demo(folder / "playground")
    video, labels = files.videos[0], files.label_map
    options = DetectOptions(model="playground_small", people=KIND, out=folder)
    detector = load(options.model, device="cpu")
    detect_one(video, folder, detector, options)
    with_truth = folder / "detections_true_boxes.csv"
    given = GivenPeople.read(files.annotations, kind="truth")
    write_detections(with_truth, detector.detect(video, people=given))
    for boxes, predictions in (
        (f"boxes of {KIND}", folder / DETECTIONS),
        ("true boxes", with_truth),
    ):
        report = evaluate_files(predictions, files.annotations, labels=labels)
        out.print(f"frame mAP@0.5 against the known truth, {boxes}: {report.map:.4f}")
