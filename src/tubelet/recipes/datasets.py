"""Where the papers' data lies below the data folder; `docs/recipes.md` shows the folders."""

from __future__ import annotations

from typing import Literal

from tubelet.data.sources import (
    Boxes,
    CharadesSource,
    ClipSource,
    JoinedSource,
    UnlabelledClipSource,
    UnlabelledSource,
    VideoSource,
)

Kinetics = Literal[400, 600, 700]
_AVA = "ava/annotations/ava_"
_EVALUATED = f"{_AVA}action_list_v2.2_for_activitynet_2019.pbtxt"


def ava(
    split: str,
    *,
    version: str = "2.2",
    boxes: Boxes = "truth",
    threshold: float = 0.0,
    iou: float = 0.9,
    detector: str = "boxes",
) -> VideoSource:
    """AVA's keyframes with the annotated people, a detector's, or both (`VideoSource`).

    `detector`: whose proposals, `ava/<detector>/<split>.csv`. Both versions have one label map.
    """
    return VideoSource(
        name=f"ava_{split}",
        videos="ava/videos",
        annotations=f"{_AVA}{split}_v{version}.csv",
        labels=f"{_AVA}action_list_v2.2.pbtxt",
        evaluated=_EVALUATED,
        begin_s=900.0,
        excluded=f"{_AVA}{split}_excluded_timestamps_v{version}.csv",
        proposals=None if boxes == "truth" else f"ava/{detector}/{split}.csv",
        boxes=boxes,
        proposal_iou=iou,
        score_threshold=threshold,
    )


def kinetics_boxes(
    split: str, *, boxes: Boxes = "truth", threshold: float = 0.0, detector: str = "boxes"
) -> VideoSource:
    """The Kinetics part of AVA-Kinetics: one labelled keyframe in each clip of ten seconds."""
    return VideoSource(
        name=f"kinetics_{split}",
        videos="ava_kinetics/videos",
        annotations=f"ava_kinetics/annotations/kinetics_{split}_v1.0.csv",
        labels=f"{_AVA}action_list_v2.2.pbtxt",
        evaluated=_EVALUATED,
        proposals=None if boxes == "truth" else f"ava_kinetics/{detector}/{split}.csv",
        boxes=boxes,
        score_threshold=threshold,
    )


def kinetics_every_second(split: str) -> VideoSource:
    """People of every second of the same clips, without labels: what a memory bank remembers."""
    return VideoSource(
        name=f"kinetics_{split}_every_second",
        videos="ava_kinetics/videos",
        annotations=f"ava_kinetics/annotations/kinetics_{split}_every_second.csv",
        labels=f"{_AVA}action_list_v2.2.pbtxt",
        evaluated=_EVALUATED,
    )


def ava_hidden(*, threshold: float, detector: str = "boxes") -> UnlabelledSource:
    """AVA's test films, whose labels only its server has: every included timestamp of each."""
    return UnlabelledSource(
        name="ava_test",
        videos="ava/videos",
        keyframes=f"{_AVA}test_v2.2.txt",
        included=f"{_AVA}included_timestamps_v2.2.txt",
        excluded=f"{_AVA}test_excluded_timestamps_v2.2.csv",
        labels=f"{_AVA}action_list_v2.2.pbtxt",
        evaluated=_EVALUATED,
        begin_s=900.0,
        proposals=f"ava/{detector}/test.csv",
        score_threshold=threshold,
    )


def kinetics_boxes_hidden(*, threshold: float, detector: str = "boxes") -> UnlabelledSource:
    """The Kinetics part of AVA-Kinetics' test set: a list of clips, each with its moment."""
    return UnlabelledSource(
        name="kinetics_test",
        videos="ava_kinetics/videos",
        keyframes="ava_kinetics/annotations/kinetics_test_v1.0.csv",
        labels=f"{_AVA}action_list_v2.2.pbtxt",
        evaluated=_EVALUATED,
        proposals=f"ava_kinetics/{detector}/test.csv",
        score_threshold=threshold,
    )


def joined(name: str, *parts: VideoSource | UnlabelledSource) -> JoinedSource:
    """Several sets with the same classes as one."""
    return JoinedSource(name=name, parts=parts)


def kinetics(classes: Kinetics, split: str) -> ClipSource:
    """Kinetics-400, -600 or -700, its clips in folders called by their class."""
    return ClipSource(
        name=f"k{classes}_{split}",
        videos=f"kinetics{classes}/{split}",
        annotations=f"kinetics{classes}/annotations/{split}.csv",
        by_class=True,
        allow_missing=True,
    )


def kinetics_hidden(classes: Kinetics) -> UnlabelledClipSource:
    """Kinetics' test clips, whose classes only its server has; their names are the validation
    split's."""
    folder = f"kinetics{classes}"
    return UnlabelledClipSource(
        name=f"k{classes}_test",
        videos=f"{folder}/test",
        annotations=f"{folder}/annotations/test.csv",
        classes=f"{folder}/annotations/val.csv",
        allow_missing=True,
    )


def moments(split: Literal["train", "val"]) -> ClipSource:
    """Moments in Time, its clips in folders called by their class."""
    listed = {"train": "trainingSet", "val": "validationSet"}[split]
    return ClipSource(
        name=f"mit_{split}",
        videos="moments/training" if split == "train" else "moments/validation",
        annotations=f"moments/{listed}.csv",
        labels="moments/moments_categories.txt",
        by_class=True,
    )


def something(version: Literal[1, 2], split: Literal["train", "val"]) -> ClipSource:
    """Something-Something: v1 is folders of frames at 12 per second, v2 films."""
    full = {"train": "train", "val": "validation"}[split]
    if version == 1:
        return ClipSource(
            name=f"ssv1_{split}",
            videos="ssv1/frames",
            annotations=f"ssv1/something-something-v1-{full}.csv",
            labels="ssv1/something-something-v1-labels.csv",
            frame_rate=12.0,
        )
    return ClipSource(
        name=f"ssv2_{split}",
        videos="ssv2/videos",
        annotations=f"ssv2/labels/{full}.json",
        labels="ssv2/labels/labels.json",
    )


def charades(split: Literal["train", "test"]) -> CharadesSource:
    """Charades; testing is against every class of a video."""
    return CharadesSource(
        name=f"charades_{split}",
        videos="charades/videos",
        annotations=f"charades/Charades_v1_{split}.csv",
        labels="charades/Charades_v1_classes.txt",
        targets_of="window" if split == "train" else "video",
    )
