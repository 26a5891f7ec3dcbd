"""A dataset's keyframes, video by video."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tubelet.data.dataset import ClipDataset
from tubelet.types import Ints


class KeyframesByVideo:
    """The keyframes of every video in time order, and the sample of each."""

    def __init__(self, dataset: ClipDataset) -> None:
        found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
        for index in range(len(dataset)):
            key = dataset.key(index)
            found[key.video].append((key.time_ms, index))
        self._times: dict[str, Ints] = {}
        self._samples: dict[str, Ints] = {}
        for video, rows in found.items():
            ordered = np.array(sorted(rows), np.int64)
            self._times[video], self._samples[video] = ordered[:, 0], ordered[:, 1]

    def videos(self) -> list[str]:
        """Every video, in the dataset's order of first appearance."""
        return list(self._times)

    def times(self, video: str) -> Ints:
        """Keyframes of `video` in milliseconds, ascending."""
        return self._times[video]

    def samples(self, video: str) -> list[int]:
        """Samples of `video` in time order."""
        return [int(i) for i in self._samples[video]]
