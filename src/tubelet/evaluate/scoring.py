"""From files and records to the evaluator's columns: the bridge between data and evaluate.

Frames are joined as `doubts.moments` says, on whole milliseconds, the unit of `Key`, and across
half a frame. The official AVA script joins on microseconds; for its whole seconds the two agree.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tubelet.data.annotations import Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.importers import Options, read_clips
from tubelet.data.labelmaps import read_label_map
from tubelet.data.predictions import read_predictions, write_predictions
from tubelet.data.tables import read_ava_csv, read_excluded
from tubelet.errors import DataError
from tubelet.evaluate.bootstrap import Interval, bootstrap, videos_of
from tubelet.evaluate.boxtable import NO_LABEL, BoxTable, join_frames
from tubelet.evaluate.candidates import flags
from tubelet.evaluate.clip_scores import (
    ClipScores,
    evaluate_multilabel,
    evaluate_topk,
    is_clip_scores,
    read_clip_scores,
    write_clip_scores,
)
from tubelet.evaluate.detection_files import read_detections
from tubelet.evaluate.doubts.doubt import Doubt
from tubelet.evaluate.doubts.moments import Joined, join, unseen
from tubelet.evaluate.ensemble import Coverage, join_clips, join_detections, normalised
from tubelet.evaluate.errors import ErrorBreakdown, error_breakdown
from tubelet.evaluate.frame_map import evaluate_frames
from tubelet.evaluate.from_annotations import box_table, frame_list, moments_by_video, true_tubes
from tubelet.evaluate.longtail import frequency_split, group_means, label_counts
from tubelet.evaluate.people import PeopleReport, evaluate_people
from tubelet.evaluate.report import FrameReport, jsonable
from tubelet.evaluate.topk import MultiLabelReport, TopK
from tubelet.evaluate.video_map import ActionTube, VideoReport, action_tubes, evaluate_videos
from tubelet.labels import LabelSpace
from tubelet.people.linking import link
from tubelet.results import Detections, Tube


def detections_table(detections: Iterable[Detections]) -> Annotations:
    """One row for each person and class of every keyframe, in AVA's form."""
    videos: list[str] = []
    times, boxes, labels, scores = [], [], [], []
    for det in detections:
        people, classes = len(det), len(det.labels)
        videos += [det.key.video] * (people * classes)
        times.append(np.full(people * classes, det.key.time_ms * 1000))
        boxes.append(np.repeat(det.boxes, classes, axis=0))
        labels.append(np.tile(det.labels.ids, people))
        scores.append(det.action_scores.reshape(-1))
    if not times:
        return Annotations.of(video=[], time_us=[])
    return Annotations.of(
        video=videos,
        time_us=np.concatenate(times),
        boxes=np.concatenate(boxes),
        label=np.concatenate(labels),
        score=np.concatenate(scores).astype(np.float64),
    )


def evaluate_tables(
    detections: Annotations | BoxTable,
    truth: Annotations,
    labels: LabelSpace,
    *,
    protocol: str = "ava",
    excluded: Annotations | None = None,
    iou: float = 0.5,
    curves: bool = False,
) -> FrameReport:
    """Frame mAP of one table against another. Raises as `evaluate_frames` does."""
    found = box_table(detections) if isinstance(detections, Annotations) else detections
    tables = _joined(found, box_table(truth), excluded)
    report = evaluate_frames(
        tables.found,
        tables.known,
        labels,
        protocol=protocol,
        excluded=tables.excluded,
        iou=iou,
        curves=curves,
    )
    return _with(tables.doubts, report)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """A frame mAP and what is behind it: the boxes by themselves, what went wrong, how sure the
    figure is (None for a single video), and, where training labels are known, the mean of frequent
    and rare classes."""

    frame: FrameReport
    people: PeopleReport
    errors: ErrorBreakdown
    interval: Interval | None
    frequency: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """A plain dict; an undefined figure is None."""
        people = {"ap": self.people.ap, "recall": self.people.recall, "iou": self.people.iou}
        more = {
            "people": people,
            "errors": asdict(self.errors),
            "interval": None if self.interval is None else asdict(self.interval),
            "frequency": self.frequency,
        }
        return self.frame.to_json() | {name: jsonable(value) for name, value in more.items()}

    def lines(self) -> list[str]:
        """The study in sentences, after the table of classes."""
        spread = self.interval
        lines = [
            f"mAP {self.frame.map:.4f}, of one video: no interval over videos"
            if spread is None
            else f"mAP {spread.map:.4f}, {spread.level:.0%} interval {spread.low:.4f}–"
            f"{spread.high:.4f} over {spread.videos} videos ({spread.resamples} resamples)",
            f"boxes alone: AP@{self.people.iou:g} {self.people.ap:.4f}, "
            f"recall {self.people.recall:.4f}",
        ]
        groups = {**self.frame.groups, **self.frequency}
        defined = {name: value for name, value in groups.items() if not np.isnan(value)}
        lines += [f"{name}: mAP {value:.4f}" for name, value in defined.items()]
        costs = sorted(self.errors.cost.items(), key=lambda item: -item[1])
        lines += [f"without {cause} errors: +{cost:.4f} mAP" for cause, cost in costs]
        return lines


def read_tables(detections: Path, truth: Path, excluded: Path | None = None) -> Joined:
    """An AVA detection CSV and an AVA truth CSV, ready to be scored."""
    left_out = None if excluded is None else read_excluded(excluded)
    known = box_table(read_ava_csv(truth, kind="truth"))
    return _joined(read_detections(detections), known, left_out)


def evaluate_files(
    detections: Path,
    truth: Path,
    *,
    labels: Path | LabelSpace | None = None,
    excluded: Path | None = None,
    protocol: str = "ava",
    iou: float = 0.5,
    curves: bool = False,
) -> FrameReport:
    """Score an AVA detection CSV against an AVA truth CSV.

    Without `labels`, every class id of the truth counts, named by its number. Raises InputError
    or DataError naming file and row.
    """
    found, known, left_out, doubts = read_tables(detections, truth, excluded)
    report = evaluate_frames(
        found,
        known,
        labels_for(known, labels),
        protocol=protocol,
        excluded=left_out,
        iou=iou,
        curves=curves,
    )
    return _with(doubts, report)


def study_files(
    detections: Path,
    truth: Path,
    *,
    labels: Path | LabelSpace | None = None,
    excluded: Path | None = None,
    training: Path | None = None,
    protocol: str = "ava",
    iou: float = 0.5,
) -> Study:
    """As `evaluate_files`, with everything that helps interpret the figure.

    `training`: the training labels, by whose counts classes are Head, Mid or Tail.
    """
    found, known, left_out, doubts = read_tables(detections, truth, excluded)
    space = labels_for(known, labels)
    report = evaluate_frames(
        found, known, space, protocol=protocol, excluded=left_out, iou=iou, curves=True
    )
    frequency: dict[str, float] = {}
    if training is not None:
        counts = label_counts(box_table(read_ava_csv(training)), space.evaluated or space.ids)
        frequency = group_means(report, frequency_split(counts).groups())
    return Study(
        frame=_with(doubts, report),
        people=evaluate_people(found, known, iou=iou, excluded=left_out),
        errors=error_breakdown(report),
        interval=bootstrap(report) if videos_of(report) > 1 else None,
        frequency=frequency,
    )


def tubes_of(detections: Annotations, labels: LabelSpace) -> list[Tube]:
    """Tubes of a table of detections, its people linked from keyframe to keyframe.

    A box's score as a person is that of its best action; an action without a row scores 0.
    """
    tubes = []
    for _, moments in moments_by_video(detections, labels):
        tubes += link(moments)
    return tubes


def score_tubes(tubes: Iterable[Tube], truth: Annotations, labels: LabelSpace) -> VideoReport:
    """Video mAP at 0.2, 0.5 and 0.5:0.95 of detected tubes, every action of each scored."""
    found = [action for tube in tubes for action in action_tubes(tube)]
    true = true_tubes(truth)
    tables = join(_moments_of(found), _moments_of(true))
    times = np.split(tables.found.time_us // 1000, np.cumsum([len(t.times) for t in found])[:-1])
    found = [replace(tube, times=own) for tube, own in zip(found, times, strict=False)]
    report = evaluate_videos(found, true, labels)
    frames = join_frames(tables.found, tables.known)
    missed = unseen(frames, flags(frames.count, frames.of[1]))
    doubts = [*tables.doubts, *([missed] if missed is not None else [])]
    return replace(report, warnings=(*report.warnings, *map(str, doubts)))


def _moments_of(tubes: Sequence[ActionTube]) -> BoxTable:
    """A row without a box for each time of each tube."""
    times = np.concatenate([np.zeros(0, np.int64), *(tube.times for tube in tubes)])
    return BoxTable.of(
        videos=[tube.video for tube in tubes for _ in tube.times],
        time_us=times.astype(np.int64) * 1000,
        boxes=np.full((len(times), 4), np.nan),
    )


def score_clips(predictions: Path, truth: Path, *, labels: Path | LabelSpace | None = None) -> TopK:
    """Top-1 and top-5 of a file of clip scores against any list of classes of videos."""
    found, known = _clip_files(predictions, truth, labels)
    return evaluate_topk(found, known)


def score_charades(
    predictions: Path, truth: Path, *, labels: Path | LabelSpace | None = None
) -> tuple[MultiLabelReport, LabelSpace]:
    """Charades' mAP of a file of clip scores (or a submission to Charades, which needs `labels`),
    and the classes of its columns."""
    found, known = _clip_files(predictions, truth, labels)
    space = _label_map(labels)
    names = dict(zip(space.ids, space.names, strict=True)) if space is not None else {}
    columns = LabelSpace(ids=found.ids, names=tuple(names.get(i, str(i)) for i in found.ids))
    return evaluate_multilabel(found, known), columns


def _clip_files(
    predictions: Path, truth: Path, labels: Path | LabelSpace | None
) -> tuple[ClipScores, ClipLabels]:
    space = _label_map(labels)
    known, _ = read_clips(truth, Options(labels=space))
    return read_clip_scores(predictions, space), known


def _label_map(labels: Path | LabelSpace | None) -> LabelSpace | None:
    return read_label_map(labels) if isinstance(labels, Path) else labels


def join_files(
    predictions: Sequence[Path], out: Path, *, weights: Sequence[float] = ()
) -> Coverage:
    """Write the weighted mean of several files of predictions, all of people or all of whole
    videos, to `out`. Raises DataError if they have nothing in common."""
    shares = normalised(weights, len(predictions))
    kinds = {path: is_clip_scores(path) for path in predictions}
    if len(set(kinds.values())) > 1:
        raise DataError(
            "some of the files score people, the others whole videos",
            got=", ".join(
                f"{path}: {'videos' if kind else 'people'}" for path, kind in kinds.items()
            ),
        )
    if all(kinds.values()):
        clips, coverage = join_clips((read_clip_scores(path) for path in predictions), shares)
        write_clip_scores(out, clips)
    else:
        people, coverage = join_detections((read_predictions(p) for p in predictions), shares)
        write_predictions(out, people)
    return coverage


def labels_for(truth: BoxTable, labels: Path | LabelSpace | None) -> LabelSpace:
    """The classes to score: a label map, or all ids of the truth, named by their numbers.

    Raises DataError for a label map without any class of the truth.
    """
    if isinstance(labels, LabelSpace):
        return labels
    ids = sorted(set(truth.labels[truth.labels != NO_LABEL].tolist()))
    if labels is not None:
        space = read_label_map(labels)
        if ids and not set(ids) & set(space.ids):
            raise DataError(
                "the label map has no class of the ground truth",
                where=labels,
                expected=f"ids from {ids[0]} to {ids[-1]}",
                got=f"ids from {min(space.ids)} to {max(space.ids)}",
                hint="pass the label map that belongs to the ground truth",
                arguments=("labels",),
            )
        return space
    return LabelSpace(ids=tuple(ids), names=tuple(str(i) for i in ids))


def _joined(found: BoxTable, known: BoxTable, excluded: Annotations | None) -> Joined:
    return join(found, known, frame_list(excluded) if excluded is not None else [])


def _with(doubts: Sequence[Doubt], report: FrameReport) -> FrameReport:
    return replace(report, doubts=(*doubts, *report.doubts))
