"""The composition root of inference: a video goes in, who does what and when comes out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tubelet.batch import Sample, collate
from tubelet.boxes import short_side_hw
from tubelet.checkpoints import describe_source, read_header
from tubelet.engines.choices import EngineChoice
from tubelet.engines.prepared import engine_for, open_exported
from tubelet.errors import InputError
from tubelet.labelsets.sensitive import sensitive_columns
from tubelet.media.frames import Film, open_film, video_name
from tubelet.media.sampling import Window, check_period, hole_ms, keyframe_times, windows
from tubelet.media.transforms import boxes_in_clip, clip_size, prepare
from tubelet.media.video import Frame, VideoInfo
from tubelet.media.watching import moments_between, watched
from tubelet.models.detector import ActionModel
from tubelet.models.inference import Engine, Inference
from tubelet.models.memory.stream import scores_with_memory
from tubelet.models.shapes import meta_twin
from tubelet.models.weights import load_model
from tubelet.numerics.choices import PrecisionChoice
from tubelet.people.detectors.base import Image, PersonDetector
from tubelet.people.given import GivenPeople
from tubelet.people.linking import LinkConfig, Linker
from tubelet.people.named import DEFAULT, person_detector
from tubelet.people.tracking import TRACK_RATE, Follower, OnPeople, Tracker
from tubelet.releases.download import Progress
from tubelet.releases.hub import push_to_hub
from tubelet.releases.pretrained import save_pretrained
from tubelet.releases.table import weights_path
from tubelet.results import Detections
from tubelet.types import Key, People

PeopleChoice = str | Path | PersonDetector | GivenPeople
KEYFRAME_SHORT_SIDE = (
    480  # of the picture a person detector sees; people are larger than this loses
)
_CLIPS_AT_ONCE = 4  # on a GPU


def choose_device(name: str = "auto") -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises InputError for what is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda") and not name.startswith("cuda:"):
        raise InputError(f"unknown device {name!r}", expected="auto, cpu or cuda")
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("no CUDA device available", hint="use the cpu", arguments=("device",))
    return torch.device(name)


def choose_people(
    choice: PeopleChoice, device: torch.device, on_note: Callable[[str], None] | None = None
) -> PersonDetector | GivenPeople:
    """A detector's name, a CSV of boxes, or either as an object; `on_note` is told what "auto"
    took. Results may record `tubelet.people.named.name_of` what is returned."""
    if isinstance(choice, Path) or (isinstance(choice, str) and choice.lower().endswith(".csv")):
        return GivenPeople.read(Path(choice))
    if isinstance(choice, str):
        return person_detector(choice, device=device, on_note=on_note)
    return choice


def _followed(
    frames: Iterable[Frame],
    follower: Follower,
    info: VideoInfo,
    keys: Sequence[int],
    hw: tuple[int, int],
) -> Iterator[Frame]:
    """The same frames, while people are followed through them."""
    return watched(
        frames,
        moments_between(keys, info, follower.rate),
        lambda time_ms, frame: follower.look(time_ms, frame.resized(hw)),
        longest_ms=hole_ms(info),
    )


def _whole_picture(image: Image) -> People:
    """What a classifier of whole pictures sees."""
    return People.of([[0.0, 0.0, 1.0, 1.0]])


def load(
    name: str | Path,
    *,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
    engine: EngineChoice = "auto",
    classes: Sequence[str] = (),
    progress: Progress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> ActionDetector:
    """A detector from a release's name, `hf://user/repo`, a weights file, a saved folder, or an
    exported `.onnx` or `.xml` file.

    `classes`: the only ones wanted, as `LabelSpace.columns_of` reads them; all if empty.
    `progress` is called with the bytes downloaded so far, and the total, `on_note` with what was
    found of the layers in a lower precision. Raises InputError
    for an unknown name and offline, CheckpointError for a file that cannot be used.
    """
    path = weights_path(name, progress=progress)
    if path.suffix.lower() in (".onnx", ".xml"):
        graph = open_exported(path, engine, precision)
        twin = meta_twin(graph.card.config)
        twin.answers = graph.card.answers
        exported = ActionDetector(twin, engine=graph, classes=classes, on_note=on_note)
        exported.origin = graph.card.origin
        return exported
    model = load_model(path)
    if not model.config.head.label_layers:
        raise InputError(
            "these weights know no classes: they are an encoder to train from",
            where=name,
            hint="start a recipe from them, as `tubelet data prepare` writes it",
        )
    detector = ActionDetector(
        model, device=device, precision=precision, engine=engine, classes=classes, on_note=on_note
    )
    detector.origin = tuple(describe_source(read_header(path)))
    return detector


class ActionDetector:
    """An ActionModel on a device, ready to be pointed at videos.

    `precision`: "fp32", "bf16", "fp16", or "auto", the fastest that is right on the device: bf16
    where the hardware has units for it, else fp32. `on_note` is called for layers that cannot run
    in the requested precision. `engine`: "torch", "openvino", "onnxruntime", or "auto", torch
    unless `tubelet engines` measured a faster one here; or an `Engine` of your own that gives
    `model`'s probabilities on the CPU. `classes`: the only ones reported, all if empty; a score is
    the same as among all. `origin`: in words, where converted weights come from and what was
    assumed about them; empty for others. `person_threshold`: the least score of a person's
    box in the latest `detect`, None where boxes were given. Raises ConfigError for another
    precision.
    """

    origin: tuple[str, ...] = ()
    person_threshold: float | None = None

    def __init__(
        self,
        model: ActionModel,
        *,
        device: str = "auto",
        precision: PrecisionChoice = "auto",
        engine: EngineChoice | Engine = "auto",
        on_note: Callable[[str], None] | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        self.device = choose_device(device)
        self.model = model
        running = None if isinstance(engine, str) else engine
        if isinstance(engine, str) and (self.device.type == "cpu" or engine != "auto"):
            running = engine_for(model, engine, precision=precision, note=on_note)
        if running is not None:  # these run on the processor
            self.device = torch.device("cpu")
        model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self._inference = Inference(
            model, device=self.device, precision=precision, note=on_note, engine=running
        )
        # On a CPU several clips at once are slower than one by one, and each takes its memory.
        self._clips_at_once = 1 if self.device.type == "cpu" else _CLIPS_AT_ONCE
        known = model.labels
        self._columns = list(known.columns_of(classes) if classes else range(len(known)))
        self.label_space = known.only(known.names[i] for i in self._columns) if classes else known

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the actions, in the order of every score array."""
        return self.label_space.names

    @property
    def threshold(self) -> float:
        """The score from which an action is worth showing: the model's own, or 0.3."""
        return self.model.answers.shown_from

    @property
    def sensitive_threshold(self) -> float:
        """The same for the `sensitive` actions: the model's own, or 0.8."""
        return self.model.answers.sensitive_from

    @property
    def sensitive(self) -> tuple[str, ...]:
        """Which of the actions harm somebody when they are said wrongly: weapons, violence."""
        return tuple(self.labels[i] for i in sensitive_columns(self.labels))

    @property
    def limits(self) -> tuple[str, ...]:
        """In sentences, what the model does not know; empty where its weights do not say."""
        return self.model.answers.limits

    def save_pretrained(self, folder: str | Path, **card: Any) -> None:
        """Write the model to a folder, as `tubelet.save_pretrained` does. Raises InputError for a
        detector of an exported graph."""
        self._check_weights()
        save_pretrained(self.model, folder, **card)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the model to `user/repo`, as `tubelet.push_to_hub` does. Raises InputError for a
        detector of an exported graph."""
        self._check_weights()
        return push_to_hub(self.model, repo_id, **options)

    def _check_weights(self) -> None:
        if any(p.is_meta for p in self.model.parameters()):
            raise InputError(
                "this detector runs an exported graph and has no weights to save",
                hint="load the weights file that it was exported from",
            )

    def detect(
        self,
        video: str | Path,
        *,
        people: PeopleChoice = DEFAULT,
        every: float | None = None,
        fps: float | None = None,
        name: str | None = None,
        link: LinkConfig | None = None,
        track_rate: float = TRACK_RATE,
        on_people: OnPeople | None = None,
        on_keyframe: Callable[[int, VideoInfo], None] | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> Iterator[Detections]:
        """One Detections for each keyframe, in order of time, people already tracked.

        `people`: a detector's name ("auto": the best that can be had here, `on_note` is told which;
        "person_small" never asks the network), a detector, or given boxes. `every`: seconds between
        keyframes, 1 by default; where boxes are given, all of their moments by default, and with
        `every` of each period the nearest. A model that classifies whole pictures needs no people:
        the picture is the one person of each keyframe.
        `track_rate`: how often a second people are detected and followed, keyframes included; 0:
        on keyframes only, as given people always are. `on_people` is called with the time of each
        such moment and its people, track ids set, in order of time; `tubelet.link(…, seen=…)`
        draws paths from them. `link`: what counts as the same person.
        `fps`: the rate of a video that is a folder of frames. `name`: its id in the results and in
        given boxes, by default its file's name without the suffix.
        `on_keyframe` is called with the time and the video, `on_note` with what was wrong with a
        damaged file. Memory does not grow with the film: each frame is decoded once and forgotten.
        A model with memory gives out a keyframe once it has seen what follows: after its bank's
        `after_ms`, or the N − 1 strides of its collaborative memory.
        Raises InputError, and VideoError for a file with nothing to show.
        """
        if every is not None:
            check_period(every)
        whole = self.model.task == "classification"
        found = _whole_picture if whole else choose_people(people, self.device, on_note)
        self.person_threshold = getattr(found, "threshold", None)
        with open_film(video, fps=fps) as opened:
            called = name or video_name(opened.path)
            every_ms = None if every is None else round(every * 1000)
            given = found.free_id(called) if isinstance(found, GivenPeople) else 1
            linker = Linker(link, first_id=given)
            follower = None
            if track_rate != 0 and not whole and not isinstance(found, GivenPeople):
                follower = Follower(found, Tracker(link), on_people, rate=track_rate)
            for detections in self._detect(opened, called, found, every_ms, follower, on_note):
                if on_keyframe is not None:
                    on_keyframe(detections.key.time_ms, opened.info)
                yield detections if follower else linker.update(detections)
            if opened.damage is not None and on_note is not None:
                on_note(f"{video}: {opened.damage}; the rest was used")

    def _detect(
        self,
        video: Film,
        name: str,
        people: PersonDetector | GivenPeople,
        every_ms: int | None,
        follower: Follower | None = None,
        on_note: Callable[[str], None] | None = None,
    ) -> Iterator[Detections]:
        info = video.info
        given = people if isinstance(people, GivenPeople) else None
        keys = (
            [key.time_ms for key in given.keys(name, every_ms=every_ms)]
            if given
            else keyframe_times(info, every_ms or 1000)
        )
        hw = clip_size(info.hw, self.model.input)
        key_hw = short_side_hw(info.hw, min(KEYFRAME_SHORT_SIDE, *info.hw))
        kernel = self.model.input.preprocessing.kernel
        frames = video.frames(hw, keep_source=True, kernel=kernel)
        if follower is not None:
            frames = _followed(frames, follower, info, keys, key_hw)

        def on_hole(before_ms: int, after_ms: int) -> None:
            if on_note is not None:
                on_note(
                    f"{video.path}: a hole in the recording from {before_ms / 1000:.3f} to "
                    f"{after_ms / 1000:.3f} s; nothing is detected in it or across it"
                )

        clips = windows(
            frames,
            keys,
            self.model.input,
            key_hw=None if given or follower else key_hw,
            longest_ms=hole_ms(info),
            on_hole=on_hole,
        )

        def people_of(window: Window) -> People:
            if follower is not None:
                return follower.at(window.key_ms)
            if isinstance(people, GivenPeople):
                return people(Key(video=name, time_ms=window.key_ms))
            return people(window.image)

        if self.model.config.memory is not None:
            yield from self._remember(name, info, clips, people_of)
        else:
            while some := list(islice(clips, self._clips_at_once)):
                yield from self._classify(name, info, some, [people_of(window) for window in some])
        if follower is not None:
            deque(frames, maxlen=0)  # people are followed to the end, behind the last clip too

    def _remember(
        self,
        name: str,
        info: VideoInfo,
        clips: Iterable[Window],
        people_of: Callable[[Window], People],
    ) -> Iterator[Detections]:
        """With memory every clip waits for the rest of its window; one is computed at a time."""
        samples = (self._sample(name, info, w, people_of(w)) for w in clips)
        for sample, scores in scores_with_memory(self._inference, samples, abstain=True):
            yield self._detections(sample, scores)

    @torch.inference_mode()
    def _classify(
        self, name: str, info: VideoInfo, clips: Sequence[Window], found: Sequence[People]
    ) -> Iterator[Detections]:
        samples = [
            self._sample(name, info, window, people)
            for window, people in zip(clips, found, strict=True)
        ]
        sizes = [len(s.people) for s in samples]
        scores = torch.zeros(0, len(self.model.labels))
        if any(sizes):
            batch = collate([s for s in samples if len(s.people)]).to(self.device)
            scores = self._inference.scores(batch.frames, batch.rois, abstain=True)
        for sample, part in zip(samples, torch.split(scores, sizes), strict=True):
            yield self._detections(sample, part)

    def _detections(self, sample: Sample, scores: Tensor) -> Detections:
        return Detections(
            key=sample.key,
            boxes=sample.people.boxes,
            person_scores=sample.people.scores,
            action_scores=scores[:, self._columns].numpy(),
            track_ids=sample.people.track_ids,
            labels=self.label_space,
        )

    def _sample(self, name: str, info: VideoInfo, window: Window, people: People) -> Sample:
        frames, geometry = prepare(window.clip, info.hw, self.model.input)
        boxes_px, _ = boxes_in_clip(people.boxes, geometry, self.model.input)
        return Sample(
            key=Key(video=name, time_ms=window.key_ms),
            frames=frames,
            people=people,
            boxes_px=torch.from_numpy(boxes_px),
            targets=None,
            known=torch.ones(len(self.model.labels), dtype=torch.bool),
            geometry=geometry,
            dataset=name,
        )
