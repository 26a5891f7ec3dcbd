"""Test sets whose labels are not public: what is to be predicted, and no truth to score against."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, Protocol, runtime_checkable

from tubelet.data.annotations import Annotations
from tubelet.data.clips import ClipLabels
from tubelet.data.dataset import ClipDataset, VideoDataset
from tubelet.data.films import Footage
from tubelet.data.joined import JoinedDataset
from tubelet.data.whole import FilmReader, WholeVideoDataset
from tubelet.errors import ConfigError, DataError
from tubelet.labels import LabelSpace


@runtime_checkable
class WithoutLabels(Protocol):
    """A dataset whose `truth()` raises, because nobody outside the set's server has it."""

    def keyframes(self) -> Annotations:
        """A row without a box for every keyframe, its time as its list states it."""
        ...


def refuse_truth(name: str) -> NoReturn:
    """Raise ConfigError: whoever asks an unlabelled set for its truth would get a made-up one."""
    raise ConfigError(
        f"the labels of {name!r} are not public, so nothing can be scored or learnt from them",
        hint="its test writes a submission file for the set's server instead of a figure",
    )


class UnlabelledDataset(VideoDataset):
    """Keyframes of films with a detector's people, whose labels are not public: AVA's test set.

    `keyframes`: a row without a box for each; `boxes`: people at any moment, those at the keyframes
    are taken. Samples have no targets; a keyframe that the detector found nobody in is a sample
    without people. `labels` are the classes that the set's server knows.
    """

    def __init__(
        self,
        *,
        name: str,
        keyframes: Annotations,
        labels: LabelSpace,
        videos: Mapping[str, Path | Footage],
        boxes: Annotations,
        cache_short_side: int | None = None,
    ) -> None:
        super().__init__(
            name=name,
            annotations=keyframes,
            labels=labels,
            videos=videos,
            cache_short_side=cache_short_side,
            boxes=boxes,
        )
        self._listed = keyframes

    def keyframes(self) -> Annotations:
        return self._listed

    def truth(self) -> NoReturn:
        refuse_truth(self.name)


class UnlabelledVideos(WholeVideoDataset):
    """Whole videos whose classes are not public: Kinetics' test set. Its list names videos alone.

    Raises DataError for a list with classes: their videos can be scored here.
    """

    def __init__(
        self,
        *,
        name: str,
        clips: ClipLabels,
        labels: LabelSpace,
        videos: Mapping[str, Path | Footage] | None = None,
        films: FilmReader | None = None,
        missing: tuple[str, ...] = (),
        cache_short_side: int | None = None,
    ) -> None:
        labelled = clips.frame["label"].is_not_null()
        if labelled.any():
            raise DataError(
                f"the list of {name!r} has classes, so these labels are not hidden",
                where=f"{clips.source}, row {clips.frame['row'][labelled.arg_max() or 0]}",
                expected="a list of videos without classes",
                hint="test on them as a labelled set",
            )
        super().__init__(
            name=name,
            clips=clips,
            labels=labels,
            videos=videos,
            films=films,
            missing=missing,
            cache_short_side=cache_short_side,
        )

    def truth(self) -> NoReturn:
        refuse_truth(self.name)


def keyframes_of(dataset: ClipDataset) -> Annotations:
    """The keyframes of an unlabelled dataset, of a joined one those of all its parts. Raises
    ConfigError for a dataset with labels."""
    if isinstance(dataset, JoinedDataset):
        return Annotations.concat(map(keyframes_of, dataset.parts))
    if isinstance(dataset, WithoutLabels):
        return dataset.keyframes()
    raise ConfigError(
        f"{dataset.name!r} has labels: it is scored, not submitted",
        expected="a test set whose labels are not public",
        got=type(dataset).__name__,
    )
