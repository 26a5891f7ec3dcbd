"""The whole way from a film to scores, the originals beside ours: loader, network, probabilities.

    python -m benchmarks.originals --clips ../shared/data/clips --pyslowfast DIR --mmaction2 DIR
        --pytorchvideo DIR [--only PART …] [--out parity.json] [--keep tests/golden/originals.json]

Each DIR is a checkout of the project, which this interpreter must be able to import with what the
project needs (OpenCV, Detectron2 or MMCV's RoIAlign, …). Checkpoints are random but seeded, in the
original's layout, with the last layer stretched until the people of the first film differ by a
logit and a half. AVA's loaders read pictures that FFmpeg cuts from the film at 30 a second and that
are stored losslessly; ours reads the film. `--keep` adds to the figures that the tests hold.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import math
import os
import pickle
import platform
import subprocess
import sys
import tempfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tubelet.api import ActionDetector
from tubelet.convert import convert_state
from tubelet.convert.facts import Facts, Said
from tubelet.media import originals
from tubelet.media.sampling import read_window, window
from tubelet.media.transforms import boxes_in_clip, clip_size, prepare
from tubelet.media.video import Video
from tubelet.models.detector import ActionModel
from tubelet.people.given import GivenPeople
from tubelet.types import InputSpec, Key, People, Preprocessing

BOUND = 1e-3
SPREAD = 1.5
KEPT_CLASSES = 8
FIRST_SECOND = 900  # of AVA's pictures


@dataclass(frozen=True, kw_only=True)
class Film:
    """A film and the people of one moment, given by hand; one of them reaches the edge."""

    path: Path
    second: int
    boxes: tuple[tuple[float, float, float, float], ...]

    @property
    def name(self) -> str:
        """As long as AVA's: MMAction2 takes other lengths for Kinetics' names with their times."""
        return self.path.stem[:11]


FILMS = (
    ("misc/two_children_jumping_bed_960x540.mp4", 3),
    ("misc/man_juggling_football_1280x720.mp4", 4),
)
_PTV = InputSpec(fps=30.0, short_side=256, preprocessing=originals.PYTORCHVIDEO_AVA)
_MM = InputSpec(
    fps=30.0,
    short_side=256,
    mean=(123.675 / 255, 116.28 / 255, 103.53 / 255),
    std=(58.395 / 255, 57.12 / 255, 57.375 / 255),
    preprocessing=originals.MMACTION_AVA,
)
_ALPHACTION = InputSpec(
    fps=25.0,
    short_side=256,
    multiple=16,
    mean=(122.7717 / 255, 115.9465 / 255, 102.9801 / 255),
    std=(57.375 / 255,) * 3,
)
INPUTS = {
    "ptv_slow": replace(_PTV, frames=4, stride=16),
    "ptv_slowfast": _PTV,
    "sf_slowfast": replace(_PTV, short_side=224, preprocessing=originals.PYSLOWFAST_AVA),
    "mm_slowfast": _MM,
    "mm_videomae": replace(_MM, frames=16, stride=4, preprocessing=originals.MMACTION_AVA_KINETICS),
    "umt_vit": replace(_ALPHACTION, frames=8, stride=8, preprocessing=originals.UMT_AVA),
    "videomae_vit": replace(_ALPHACTION, frames=16, stride=4, preprocessing=originals.VIDEOMAE_AVA),
}
MMACTION_CONFIGS = {
    "mm_slowfast": "slowfast_kinetics400-pretrained-r50_8xb16-4x16x1-20e_ava21-rgb",
    "mm_videomae": "vit-base-p16_videomae-k400-pre_8xb8-16x4x1-20e-adamw_ava-kinetics-rgb",
}
BOXES = (
    ((0.11, 0.05, 0.42, 0.93), (0.52, 0.13, 0.83, 0.88), (0.0, 0.31, 1.0, 1.0)),
    ((0.36, 0.21, 0.63, 0.97), (0.02, 0.0, 0.31, 0.57), (0.7, 0.44, 1.0, 1.0)),
)


def films_in(clips: Path) -> list[Film]:
    return [
        Film(path=clips / name, second=second, boxes=boxes)
        for (name, second), boxes in zip(FILMS, BOXES, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one side made of a film: `frames (T,)` of the film, `clip (3, T, h, w)` in grey levels,
    `boxes_px (N, 4)`, `scores (N, K)`."""

    frames: list[int]
    clip: Tensor
    boxes_px: Tensor
    scores: Tensor


class Project(ABC):
    """One original: its loader and network on a film."""

    name: str
    spec: InputSpec
    facts: Facts
    """What tensors do not say, but for the clip."""
    network: Any
    last: nn.Linear
    """The layer that gives the logits."""

    @abstractmethod
    def look(self, film: Film) -> Seen:
        """Load the film as the project's own test does, and run its network."""

    def columns(self, scores: Tensor) -> Tensor:
        """Scores without what is no class."""
        return scores

    def draw(self, film: Film) -> Seen:
        """Seed every tensor by its name, then stretch the last layer over the film's people; what
        the network says of them."""
        self.network.load_state_dict(
            {name: fill(name, list(t.shape)) for name, t in self.network.state_dict().items()}
        )
        self.network.eval()
        last, people = self.last, list[Tensor]()
        hook = last.register_forward_hook(lambda _, inputs, __: people.append(inputs[0]))
        seen = self.look(film)
        hook.remove()
        with torch.no_grad():
            logits = last(people[0]).reshape(len(film.boxes), -1).double()
            middle = logits.mean(0)
            gain = SPREAD / (logits - middle).std()
            last.weight *= gain
            last.bias.copy_(((last.bias.double() - middle) * gain).float())
            # The network again, but for the layers before the last, which are as they were.
            scores = last(people[0]).reshape(len(film.boxes), -1).sigmoid()
        self.gain, self.bias = float(gain), last.bias.tolist()
        return replace(seen, scores=scores)

    def ours(self, rules: Preprocessing) -> ActionModel:
        """The checkpoint converted, with the project's own preprocessing or another."""
        spec = replace(self.spec, preprocessing=rules)
        return converted(self.network.state_dict(), spec, self.facts)


def converted(state: dict[str, Tensor], spec: InputSpec, facts: Facts) -> ActionModel:
    """An original's checkpoint as our detector, with the clip of `spec`."""
    stated = replace(
        facts,
        task="detection",
        exclusive=False,
        frames=spec.frames,
        stride=spec.stride,
        fps=spec.fps,
        short_side=spec.short_side,
        mean=spec.mean,
        std=spec.std,
        preprocessing=spec.preprocessing,
    )
    said = (Said(source="the original's configuration", facts=stated),)
    found = convert_state(state, said=said)
    model = found.config.build()
    model.load_state_dict(found.state)
    return model


def theirs(module: str) -> Any:
    """A module of an original, out of the checkout that was named."""
    return importlib.import_module(module)


def fill(name: str, shape: list[int]) -> Tensor:
    """The recipe "gs" of ../shared/golden/README.md: each draw depends on the name alone."""
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    if "num_batches_tracked" in name:
        return torch.zeros((), dtype=torch.int64)
    if "running_var" in name:
        return 0.5 + torch.rand(shape, generator=generator)
    if "running_mean" in name or name.endswith("bias"):
        return 0.1 * torch.randn(shape, generator=generator)
    if len(shape) == 1 and name.endswith(".weight"):
        return 0.5 * (0.5 + torch.rand(shape, generator=generator))
    return torch.randn(shape, generator=generator) * math.sqrt(1 / math.prod(shape[1:]))


class Pictures:
    """Films cut into pictures by FFmpeg's own rate conversion, losslessly, and which frame of the
    film each picture shows."""

    def __init__(self, folder: Path, rate: int = 30) -> None:
        self.folder, self.rate = folder, rate
        self._cut: dict[Path, list[int]] = {}

    def of(self, film: Film) -> tuple[Path, list[int]]:
        folder = self.folder / film.name
        if film.path not in self._cut:
            folder.mkdir(parents=True, exist_ok=True)
            numbers: dict[bytes, int] = {}
            for index, image in enumerate(decoded(film.path)):
                numbers.setdefault(hashlib.sha256(image.tobytes()).digest(), index)
            shown = []
            for number, image in enumerate(decoded(film.path, self.rate), 1):
                write_picture(folder / f"img_{number:05d}.png", image)
                shown.append(numbers[hashlib.sha256(image.tobytes()).digest()])
            self._cut[film.path] = shown
        return folder, self._cut[film.path]


def decoded(path: Path, rate: int | None = None) -> Iterator[npt.NDArray[np.uint8]]:
    """RGB pictures of a film, converted to `rate` by FFmpeg's `fps` filter."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        if rate is None:
            yield from (rgb(frame) for frame in container.decode(stream))
            return
        graph = av.filter.Graph()
        graph.link_nodes(
            graph.add_buffer(template=stream),
            graph.add("fps", f"fps={rate}"),
            graph.add("buffersink"),
        ).configure()
        for frame in container.decode(stream):
            graph.push(frame)
            yield from pulled(graph)
        graph.push(None)
        yield from pulled(graph)


def rgb(frame: Any) -> npt.NDArray[np.uint8]:
    return np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def pulled(graph: Any) -> Iterator[npt.NDArray[np.uint8]]:
    while True:
        try:
            yield rgb(graph.pull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def write_picture(path: Path, image: npt.NDArray[np.uint8]) -> None:
    """A PNG, which loses nothing, or a JPEG at FFmpeg's best quality."""
    codec, pixels = ("png", "rgb24") if path.suffix == ".png" else ("mjpeg", "yuvj420p")
    with av.open(str(path), "w", format="image2") as out:
        stream: Any = out.add_stream(codec, rate=1, options={"qmin": "1", "q": "1"})
        (stream.height, stream.width), stream.pix_fmt = image.shape[:2], pixels
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
        out.mux(stream.encode(frame))
        out.mux(stream.encode())


def levels(clip: Tensor, spec: InputSpec) -> Tensor:
    """A normalised clip `(3, T, h, w)` in grey levels again."""
    mean, std = (torch.tensor(v).view(3, 1, 1, 1).double() for v in (spec.mean, spec.std))
    return (clip.double() * std + mean) * 255


class PySlowFast(Project):
    name = "PySlowFast AVA, SlowFast R50 32×2"
    facts = Facts(aligned=True, alpha=4, colour="rgb")
    spec = INPUTS["sf_slowfast"]

    def __init__(self, root: Path, pictures: Pictures) -> None:
        self._pictures = pictures
        self._cfg = theirs("slowfast.config.defaults").get_cfg()
        self._cfg.merge_from_file(str(root / "configs" / "AVA" / "SLOWFAST_32x2_R50_SHORT.yaml"))
        self._cfg.NUM_GPUS = 0
        self.network = theirs("slowfast.models").build_model(self._cfg)
        self.last = self.network.head.projection

    def look(self, film: Film) -> Seen:
        dataset = theirs("slowfast.datasets.ava_dataset")
        collate = theirs("slowfast.datasets.loader").detection_collate
        folder, shown = self._pictures.of(film)
        lists, cfg = folder.parent / "lists", self._cfg
        lists.mkdir(exist_ok=True)
        rows = (f"{film.path.stem} 0 {i} img_{i + 1:05d}.png -1" for i in range(len(shown)))
        (lists / "frames.csv").write_text("\n".join(["original_vido_id …", *rows]) + "\n")
        people = "\n".join(
            f"{film.path.stem},{FIRST_SECOND + film.second:04d},{','.join(map(str, box))},,0.99"
            for box in film.boxes
        )
        (lists / "people.csv").write_text(people + "\n")
        cfg.AVA.FRAME_LIST_DIR = cfg.AVA.ANNOTATION_DIR = str(lists)
        cfg.AVA.FRAME_DIR = str(folder)
        cfg.AVA.TEST_LISTS, cfg.AVA.TEST_PREDICT_BOX_LISTS = ["frames.csv"], ["people.csv"]
        inputs, _, _, _, extra = collate([dataset.Ava(cfg, "test")[0]])
        with torch.inference_mode():
            scores = self.network(inputs, extra["boxes"])
        return Seen(
            frames=[],
            clip=levels(inputs[1][0], self.spec),
            boxes_px=extra["boxes"][:, 1:],
            scores=scores,
        )


class PyTorchVideo(Project):
    def __init__(self, model: str, spec: InputSpec) -> None:
        self.name, self.spec = f"PyTorchVideo hub, {model}", spec
        self.network = getattr(theirs("pytorchvideo.models.hub"), model)(pretrained=False)
        self.last = self.network.detection_head.proj
        self._alpha = 4 if model.startswith("slowfast") else None
        self.facts = Facts(aligned=False, alpha=self._alpha, colour="rgb")

    def look(self, film: Film) -> Seen:
        """As the hub's tutorial on detection: one second about the key, then its transforms."""
        own = theirs("pytorchvideo.transforms.functional")
        opened = theirs("pytorchvideo.data.encoded_video").EncodedVideo.from_path(str(film.path))
        seen = opened.get_clip(film.second - 0.5, film.second + 0.5)
        clip = own.uniform_temporal_subsample(seen["video"], self.spec.frames).float() / 255.0
        height, width = clip.shape[2:]
        boxes = np.array(film.boxes) * np.array([width, height, width, height])
        boxes = own.clip_boxes_to_image(boxes, height, width)
        clip, boxes = own.short_side_scale_with_boxes(clip, boxes, self.spec.short_side)
        mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in (self.spec.mean, self.spec.std))
        clip = (clip - mean) / std
        boxes = own.clip_boxes_to_image(boxes, *clip.shape[2:])
        inputs: Any = clip[None]
        if self._alpha:
            count = clip.shape[1]
            slow = torch.linspace(0, count - 1, count // self._alpha).long()
            inputs = [clip[None, :, slow], clip[None]]
        boxes_px = torch.from_numpy(boxes).float()
        with torch.inference_mode():
            rows = torch.cat([torch.zeros(len(boxes), 1), boxes_px], 1)
            scores = self.network(inputs, rows)
        return Seen(frames=[], clip=levels(clip, self.spec), boxes_px=boxes_px, scores=scores)


class MMAction2(Project):
    def __init__(self, root: Path, config: str, spec: InputSpec, pictures: Pictures) -> None:
        theirs("mmaction.models")
        registry = theirs("mmengine.registry")
        registry.init_default_scope("mmaction")
        self.facts = Facts(background=True, temporal_pool="mean")
        if "slowfast" in config:
            self.facts = replace(self.facts, alpha=8)
        self.name, self.spec, self._pictures = f"MMAction2 AVA, {config}", spec, pictures
        (path,) = (root / "configs" / "detection").glob(f"*/{config}*.py")
        self._config = theirs("mmengine.config").Config.fromfile(str(path))
        if "vit" in config:  # the golden reference's size: full width is minutes of two cores
            self._config.model.backbone.update(embed_dims=192, depth=4, num_heads=3)
            self._config.model.roi_head.bbox_head.in_channels = 192
        self.network = registry.MODELS.build(self._config.model)
        self.last = self.network.roi_head.bbox_head.fc_cls

    def columns(self, scores: Tensor) -> Tensor:
        return scores[:, 1:]

    def look(self, film: Film) -> Seen:
        folder, _ = self._pictures.of(film)
        lists = folder.parent / "lists"
        lists.mkdir(exist_ok=True)
        second, name = FIRST_SECOND + film.second, film.name
        box = ",".join(map(str, film.boxes[0]))
        (lists / "truth.csv").write_text(f"{name},{second:04d},{box},1,0\n")
        (lists / "none.csv").write_text("")
        with (lists / "people.pkl").open("wb") as file:
            pickle.dump({f"{name},{second:04d}": np.array(film.boxes)}, file)
        settings = self._config.test_dataloader.dataset.copy()
        settings.update(
            ann_file=str(lists / "truth.csv"),
            exclude_file=str(lists / "none.csv"),
            label_file=None,
            proposal_file=str(lists / "people.pkl"),
            data_prefix={"img": str(folder.parent)},
            filename_tmpl="img_{:05}.png",
            # Their films last as long as AVA's; this one ends with its pictures.
            timestamp_end=FIRST_SECOND + math.ceil(len(list(folder.iterdir())) / 30),
        )
        dataset = theirs("mmaction.registry").DATASETS.build(settings)
        loaded = theirs("mmengine.dataset").pseudo_collate([dataset[0]])
        data = self.network.data_preprocessor(loaded, False)
        with torch.inference_mode():
            found = self.network(**data, mode="predict")[0]
        proposals = data["data_samples"][0].proposals.bboxes
        return Seen(
            frames=[],
            clip=levels(data["inputs"][0], self.spec),
            boxes_px=torch.as_tensor(proposals),
            scores=found.pred_instances.scores,
        )


def mine(model: ActionModel, film: Film) -> Seen:
    """Our way from the film, as `tubelet detect` takes it with the given people."""
    key = Key(video=film.path.stem, time_ms=film.second * 1000)
    given = GivenPeople([(key, People.of(film.boxes))])
    detector = ActionDetector(model, device="cpu", precision="fp32")
    (found,) = detector.detect(film.path, people=given)
    return replace(taken(model.input, film), scores=torch.from_numpy(found.action_scores))


def taken(spec: InputSpec, film: Film) -> Seen:
    """Our clip and boxes of the film, without scores."""
    key_ms = film.second * 1000
    with Video(film.path) as video:
        hw = video.info.hw
        times = [frame.time_ms for frame in video.frames((16, 16))]
    pixels = read_window(film.path, key_ms, spec, clip_size(hw, spec))
    clip, geometry = prepare(pixels, hw, spec)
    boxes_px, _ = boxes_in_clip(People.of(film.boxes).boxes, geometry, spec)
    return Seen(
        frames=window(times, key_ms, spec).tolist(),
        clip=clip.double(),
        boxes_px=torch.from_numpy(boxes_px),
        scores=torch.zeros(len(film.boxes), 0),
    )


def apart(one: Seen, other: Seen, project: Project) -> dict[str, float]:
    """The largest differences: of a probability, a grey level (and the mean one), a box edge."""
    result = {"probability": float((one.scores - project.columns(other.scores)).abs().max())}
    if one.clip.shape == other.clip.shape:
        levels = (one.clip - other.clip).abs()
        result |= {"level": float(levels.max()), "level_mean": float(levels.mean())}
    result["box_px"] = float((one.boxes_px - other.boxes_px).abs().max())
    return result


def compare(project: Project, films: list[Film]) -> dict[str, Any]:
    drawn = project.draw(films[0])
    exact = project.spec.preprocessing
    ways = {"exact": exact, "kernel swscale": replace(exact, kernel="swscale")}
    report: dict[str, Any] = {"gain": project.gain, "bias": project.bias, "films": {}}
    models = {way: project.ours(rules) for way, rules in ways.items()}
    for film in films:
        original = drawn if film is films[0] else project.look(film)
        rows, kept = {}, {}
        for way, model in models.items():
            own = mine(model, film)
            rows[way] = apart(own, original, project)
            if way == "exact":
                kept = figures(own.frames, original, project)
        report["films"][film.path.name] = {"difference": rows, "kept": kept}
        for way, row in rows.items():
            text = "  ".join(f"{key} {value:.2e}" for key, value in row.items())
            sys.stdout.write(f"{project.name:48} {film.path.stem[:24]:24} {way:18} {text}\n")
            sys.stdout.flush()
    return report


def figures(frames: list[int], original: Seen, project: Project) -> dict[str, Any]:
    """What the tests hold of a film: the original's clip at places, its boxes and its scores of the
    first classes; the frames are ours, whose pixels are the same."""
    count, height, width = original.clip.shape[1:]
    places = [(0, 0, 0), (count // 2, height // 2, width // 2), (count - 1, height - 1, width - 1)]
    return {
        "frames": frames,
        "size": [height, width],
        "pixels": [original.clip[:, t, y, x].tolist() for t, y, x in places],
        "level_sum": float(original.clip.sum()),
        "boxes_px": original.boxes_px.tolist(),
        "scores": project.columns(original.scores)[:, :KEPT_CLASSES].tolist(),
    }


def keep(report: dict[str, Any], path: Path) -> None:
    """Add a report's figures to those that the tests hold, rounded to what they compare."""
    known = json.loads(path.read_text()) if path.exists() else {}
    for name, project in report.items():
        films = {film: found["kept"] for film, found in project["films"].items()}
        known[name] = {"gain": project["gain"], "bias": project["bias"], "films": films}
    rounded = json.loads(json.dumps(known), parse_float=lambda text: round(float(text), 5))
    path.write_text(json.dumps(rounded) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    for option in ("--pyslowfast", "--mmaction2", "--pytorchvideo"):
        parser.add_argument(option, type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="parts of names")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="tests/golden/originals.json")
    options = parser.parse_args()
    films = films_in(options.clips)
    roots = (options.pyslowfast, options.mmaction2, options.pytorchvideo)
    sys.path[:0] = [str(root.resolve()) for root in roots if root]
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        pictures = Pictures(Path(folder))
        for project in projects(options, pictures):
            if all(part in project.name for part in options.only):
                report[project.name] = compare(project, films)
    worst = max(
        film["difference"]["exact"]["probability"]
        for found in report.values()
        for film in found["films"].values()
    )
    sys.stdout.write(f"largest difference of a probability: {worst:.1e} (bound {BOUND})\n")
    if options.keep:
        keep(report, options.keep)
    if options.out:
        options.out.write_text(json.dumps(stamped(report), indent=1))
    return int(worst > BOUND)


def projects(options: argparse.Namespace, pictures: Pictures) -> Iterator[Project]:
    if options.pytorchvideo:
        yield PyTorchVideo("slow_r50_detection", INPUTS["ptv_slow"])
        yield PyTorchVideo("slowfast_r50_detection", INPUTS["ptv_slowfast"])
    if options.pyslowfast:
        yield PySlowFast(options.pyslowfast, pictures)
    if options.mmaction2:
        for name, config in MMACTION_CONFIGS.items():
            yield MMAction2(options.mmaction2, config, INPUTS[name], pictures)


def stamped(report: dict[str, Any]) -> dict[str, Any]:
    git = ["git", "rev-parse", "--short", "HEAD"]
    return {
        "benchmark": "originals",
        "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "torch": torch.__version__,
        "commit": subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip(),
        "results": report,
    }


if __name__ == "__main__":
    sys.exit(main())
