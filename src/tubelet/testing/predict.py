"""Run a model over a dataset, in every view of it: the test half of a recipe.

A sample's scores depend on that sample alone. Clips share a forward pass only where they have one
size, because the zeros beside a smaller clip would reach its features; so neither the batch nor
the number of processes changes a score.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from tubelet.batch import Sample, collate
from tubelet.data.dataset import ClipDataset
from tubelet.data.joined import JoinedDataset, Picked
from tubelet.data.keyframes import KeyframesByVideo
from tubelet.data.whole import WholeVideoDataset
from tubelet.errors import ConfigError
from tubelet.media.transforms import View, boxes_in_clip, look
from tubelet.models.detector import ActionModel
from tubelet.models.inference import Inference
from tubelet.models.memory.inference import video_memory, video_scores
from tubelet.models.memory.stream import scores_with_memory
from tubelet.numerics.choices import PrecisionChoice
from tubelet.parallel.processes import World
from tubelet.results import Detections
from tubelet.testing.reader import Place, Read, read
from tubelet.testing.views import Views
from tubelet.types import InputSpec, Key, People


def predict(
    model: ActionModel,
    dataset: ClipDataset,
    *,
    views: Views | None = None,
    batch: int = 16,
    device: torch.device | None = None,
    precision: PrecisionChoice = "fp32",
    workers: int = 0,
    remembered: ClipDataset | None = None,
    shard: World | None = None,
    on_skip: Callable[[str], None] | None = None,
) -> Iterator[Detections]:
    """Action scores of the people of every sample, in the dataset's order.

    The people are those in the samples: annotated ones, or a detector's. For the other
    arguments, and what is raised, see `Predictor`.
    """
    predictor = Predictor(
        model=model,
        dataset=dataset,
        views=views or Views(),
        batch=batch,
        device=device or torch.device("cpu"),
        precision=precision,
        workers=workers,
        remembered=remembered,
        shard=shard or World(),
        on_skip=on_skip,
    )
    for item in predictor.items():
        yield detections_of(model, item)


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A model's scores of the people of sample `index`: `scores (N, K)`, joined over the views.
    The only "person" of a whole video is its frame."""

    index: int
    key: Key
    people: People
    scores: Tensor


def detections_of(model: ActionModel, item: Item, *, multiplied: bool = False) -> Detections:
    """The scores with their people; `multiplied` by the person detector's score."""
    scores = item.scores.numpy()
    if multiplied:
        scores = scores * item.people.scores[:, None]
    return Detections(
        key=item.key,
        boxes=item.people.boxes,
        person_scores=item.people.scores,
        action_scores=scores,
        track_ids=item.people.track_ids,
        labels=model.labels,
    )


def check_views(views: Views, dataset: ClipDataset) -> None:
    """Raise ConfigError if the views do not suit what the dataset labels."""
    if not isinstance(dataset, WholeVideoDataset) and views.moments * views.crops > 1:
        raise ConfigError(
            f"{dataset.name!r} labels people, who are seen in their whole frame at their moment",
            expected="views with 1 moment and 1 crop",
            got=f"{views.moments} moments, {views.crops} crops",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """A model, a dataset, and how the one is run over the other.

    `batch`: most clips of one forward pass. `shard`: only this process's share of the samples; of
    the videos, where the model has memory. `on_skip` is called for samples that cannot be decoded,
    which are left out; without it they raise VideoError.
    `on_note` is called with the layers that fail in a lower precision.

    A model with memory sees a video's keyframes from start to end, once per view. Of whole videos,
    collaborative memory is filled by the centre crops and shared by all views (004 §4.1), and a
    memory bank stays empty. `remembered`: further moments of the same videos, whose people a memory
    bank knows and who are not scored. Raises ConfigError if model, views and datasets do not fit
    together.
    """

    model: ActionModel
    dataset: ClipDataset
    views: Views = field(default_factory=Views)
    batch: int = 16
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    precision: PrecisionChoice = "fp32"
    workers: int = 0
    remembered: ClipDataset | None = None
    shard: World = field(default_factory=World)
    on_skip: Callable[[str], None] | None = None
    on_note: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        model, name = self.model, self.dataset.name
        if self.precision == "fp16" and model.config.memory is not None:
            raise ConfigError("a model with memory is tested in fp32 or bf16", got=self.precision)
        if self.of_videos and model.task == "detection" and model.memory is not None:
            raise ConfigError(
                f"{name!r} labels whole videos, whose memory a classification head uses",
                expected="ClipHeadConfig",
                got=type(model.config.head).__name__,
            )
        if not self.of_videos and model.task == "classification":
            raise ConfigError(
                f"{name!r} labels people, but the model classifies whole clips",
                expected="a detection head",
                got=type(model.config.head).__name__,
            )
        check_views(self.views, self.dataset)

    @property
    def of_videos(self) -> bool:
        """Whether a sample is a whole video, one score per class, instead of people."""
        return isinstance(self.dataset, WholeVideoDataset)

    def items(self) -> Iterator[Item]:
        """This process's share of the results, in the dataset's order."""
        inference = Inference(
            self.model, device=self.device, precision=self.precision, note=self.on_note
        )
        if self.of_videos or self.model.config.memory is None:
            return self._each_sample(inference)
        return self._each_film(inference)

    @property
    def _specs(self) -> tuple[InputSpec, ...]:
        return self.views.specs(self.model.input)

    def _each_sample(self, inference: Inference) -> Iterator[Item]:
        """Samples independent of one another."""
        times = self.views.times() if self.of_videos else (None,)
        scales = range(len(self._specs))
        own = range(len(self.dataset))[self.shard.rank :: self.shard.size]
        places = [Place(i, scale, time) for i in own for time in times for scale in scales]
        clips = len(times) * len(scales)  # of each sample
        alike = self.views.count // len(scales)  # views of each sample that have one size
        for reads in self._read(places, clips * max(1, self.batch // alike)):
            by_index: defaultdict[int, list[Clip]] = defaultdict(list)
            for place, sample, _ in reads:
                if sample is not None:
                    by_index[place.index].append(Clip(place, sample))
            whole = {i: found for i, found in by_index.items() if len(found) == clips}
            if self.of_videos and self.model.memory is not None:
                for found in whole.values():
                    yield _item(found[0], self._of_video(inference, found)[None])
            else:
                yield from self._of_samples(inference, whole)

    def _of_samples(
        self, inference: Inference, clips: Mapping[int, Sequence[Clip]]
    ) -> Iterator[Item]:
        """Samples by number, each with its clips, all views in the same forward passes."""
        looks = self.views.looks()
        seen = [self._cut(clip, view) for own in clips.values() for clip in own for view in looks]
        scores = iter(self._scores(inference, seen))
        for own in clips.values():
            joined = self._joined([next(scores) for _ in range(len(own) * len(looks))])
            yield _item(own[0], joined)

    @torch.inference_mode()
    def _scores(self, inference: Inference, samples: Sequence[Sample]) -> list[Tensor]:
        """Probabilities `(N, K)` of the people of each sample."""
        found: dict[int, Tensor] = {}
        for some in of_one_size(samples, self.batch):
            together = collate([samples[i] for i in some]).to(self.device)
            scores = inference.scores(together.frames, together.rois)
            sizes = [len(samples[i].people) for i in some]
            found |= dict(zip(some, torch.split(scores, sizes), strict=True))
        return [found[i] for i in range(len(samples))]

    def _of_video(self, inference: Inference, clips: Sequence[Clip]) -> Tensor:
        """Probabilities `(K,)` of a video whose clips share the memory of its centre crops."""
        looks = self.views.looks()
        centre = [view for view in looks if view.place == 0.5]
        with inference.autocast(clips[0].sample.frames[None]):
            memory = video_memory(inference.model, self._frames(clips, centre))
            views = self._frames(clips, looks)
            return video_scores(inference.model, views, memory, join=self.views.join).cpu()

    def _frames(self, clips: Sequence[Clip], looks: Sequence[View]) -> Iterator[Tensor]:
        """The views of some clips u8 `(b, 3, T, H, W)`, cut as they are needed."""
        for scale in range(len(self._specs)):
            wanted = [(c, view) for c in clips if c.place.scale == scale for view in looks]
            for first in range(0, len(wanted), self.batch):
                seen = [self._cut(*one).frames for one in wanted[first : first + self.batch]]
                yield torch.stack(seen).to(self.device)

    def _each_film(self, inference: Inference) -> Iterator[Item]:
        """Videos from start to end, once per view."""
        dataset = self._with_remembered()
        moments, videos = KeyframesByVideo(dataset), KeyframesByVideo(self.dataset).videos()
        looks = self.views.looks()
        passes = [(scale, n) for scale in range(len(self._specs)) for n in range(len(looks))]
        places = [
            Place(index, scale, None, number)
            for video in videos[self.shard.rank :: self.shard.size]
            for scale, number in passes
            for index in moments.samples(video)
        ]
        reads = (read for [read] in self._read(places, 1, dataset))
        for _, film in groupby(reads, lambda r: dataset.key(r.place.index).video):
            views: defaultdict[int, list[Item]] = defaultdict(list)
            for (_, number), one in groupby(film, lambda r: (r.place.scale, r.place.look)):
                for item in self._film(inference, one, looks[number]):
                    if item.index < len(self.dataset):
                        views[item.index].append(item)
            for found in views.values():
                if len(found) == len(passes):
                    yield replace(found[0], scores=self._joined([i.scores for i in found]))

    def _with_remembered(self) -> ClipDataset:
        """The dataset, and after it the remembered moments that are none of its own."""
        if self.remembered is None:
            return self.dataset
        own = {self.dataset.key(i) for i in range(len(self.dataset))}
        keys = [self.remembered.key(i) for i in range(len(self.remembered))]
        others = [i for i, key in enumerate(keys) if key not in own]
        if others and not {keys[i].video for i in others} & {key.video for key in own}:
            raise ConfigError(
                f"{self.remembered.name!r} remembers nobody of the videos of {self.dataset.name!r}",
                expected=f"moments of {next(iter(own)).video!r}",
                got=f"of {keys[others[0]].video!r}",
            )
        return JoinedDataset(
            name=self.dataset.name, parts=[self.dataset, Picked(self.remembered, others)]
        )

    def _film(self, inference: Inference, reads: Iterable[Read], view: View) -> Iterator[Item]:
        """A video in one view."""
        index_of: dict[int, int] = {}

        def samples() -> Iterator[Sample]:
            for place, sample, _ in reads:
                if sample is not None:
                    index_of[sample.key.time_ms] = place.index
                    yield self._cut(Clip(place, sample), view)

        for sample, scores in scores_with_memory(inference, samples()):
            yield Item(index_of[sample.key.time_ms], sample.key, sample.people, scores)

    def _read(
        self, places: Sequence[Place], together: int, dataset: ClipDataset | None = None
    ) -> Iterator[list[Read]]:
        """Every place in `dataset`, or in that of the test; without a sample where one cannot be
        decoded."""
        dataset, told = dataset or self.dataset, set[int]()
        for reads in read(dataset, places, self._specs, together=together, workers=self.workers):
            for place, _, fault in reads:
                if fault is None or place.index in told:
                    continue
                if self.on_skip is None:
                    raise fault
                told.add(place.index)
                self.on_skip(f"{dataset.key(place.index)}: {fault.what} ({fault.got})")
            yield reads

    def _cut(self, clip: Clip, view: View) -> Sample:
        """A view of a clip, its people's boxes with it."""
        sample, spec = clip.sample, self._specs[clip.place.scale]
        frames, geometry = look(sample.frames, sample.geometry, spec, view)
        if self.of_videos:  # the only "person" is all that the clip shows, zeros included
            height, width = frames.shape[2:]
            boxes_px = torch.tensor([[0.0, 0.0, width, height]])
        else:
            boxes_px = torch.from_numpy(boxes_in_clip(sample.people.boxes, geometry, spec)[0])
        return replace(sample, frames=frames, geometry=geometry, boxes_px=boxes_px)

    def _joined(self, views: Sequence[Tensor]) -> Tensor:
        together = torch.stack(list(views))
        return together.amax(dim=0) if self.views.join == "max" else together.mean(dim=0)


class Clip(NamedTuple):
    """A clip that was read, uncropped."""

    place: Place
    sample: Sample


def _item(clip: Clip, scores: Tensor) -> Item:
    return Item(clip.place.index, clip.sample.key, clip.sample.people, scores)


def of_one_size(samples: Sequence[Sample], most: int) -> Iterator[list[int]]:
    """Numbers of samples of one size, at most so many at a time."""
    sizes: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, sample in enumerate(samples):
        sizes[tuple(sample.frames.shape)].append(number)
    for numbers in sizes.values():
        for first in range(0, len(numbers), most):
            yield numbers[first : first + most]
