"""Any object detector of Hugging Face `transformers` as a person detector (extra `tubelet[hf]`).

`people.rows` lists good ones with free licences. Only safetensors weights are read, and no remote
code is run. What lies in the hub's cache is read without asking the hub.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch

from tubelet.boxes import clip_unit
from tubelet.errors import ConfigError, InputError
from tubelet.people.detectors.base import Image, NamedDetector, check_image
from tubelet.people.detectors.preprocessing import FILE, PlainProcessor, of_queries
from tubelet.people.hub import cached, reachable
from tubelet.types import Floats, People

PREFIX = "hf:"
# The PIL processors are named outright: the automatic choice imports torchvision, which the core
# does not have and which may be broken beside a CPU build of torch.
_PROCESSORS = {
    "d_fine": "RTDetrImageProcessorPil",
    "deimv2": "RTDetrImageProcessorPil",
    "rt_detr": "RTDetrImageProcessorPil",
    "rt_detr_v2": "RTDetrImageProcessorPil",
    "detr": "DetrImageProcessorPil",
    "conditional_detr": "ConditionalDetrImageProcessorPil",
    "deformable_detr": "DeformableDetrImageProcessorPil",
    "lw_detr": "DeformableDetrImageProcessorPil",
    "yolos": "YolosImageProcessorPil",
}
# Their processors exist for torchvision only; a sigmoid for every query and class.
_PLAIN = ("rf_detr",)


class HuggingFaceDetector(NamedDetector):
    """A PersonDetector around `AutoModelForObjectDetection`.

    `model_id`: a hub id or a folder. `class_name`: the class that is kept, as the model's
    `id2label` spells it. Raises InputError when `transformers` is not installed, the model is
    unavailable, of an unsupported family, or has no such class.
    """

    spelling: ClassVar[str] = f"{PREFIX}<model id or folder>"
    summary: ClassVar[str] = "any object detector of transformers (extra tubelet[hf])"

    @classmethod
    def claims(cls, name: str) -> bool:
        return name.startswith(PREFIX)

    @classmethod
    def named(cls, name: str, *, threshold: float | None, device: torch.device | str) -> Self:
        model_id = name.removeprefix(PREFIX)
        if threshold is None:
            return cls(model_id, device=device)
        return cls(model_id, threshold=threshold, device=device)

    def __init__(
        self,
        model_id: str,
        *,
        threshold: float = 0.3,
        max_people: int = 100,
        class_name: str = "person",
        revision: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 0 <= threshold <= 1 or max_people < 1:
            raise ConfigError(
                "a person detector needs a threshold in [0, 1] and one person at least",
                got=f"threshold {threshold}, max_people {max_people}",
            )
        self.model_id, self.threshold, self.max_people = model_id, threshold, max_people
        self.name = f"{PREFIX}{model_id}"
        self.device = torch.device(device)
        transformers = _transformers()
        source, options = _source(model_id, revision)
        config = _fetch(transformers.AutoConfig, source, **options)
        self._class = _class_index(getattr(config, "id2label", {}), class_name, model_id)
        self._plain = None
        if config.model_type in _PLAIN:
            self._plain = PlainProcessor.read(_file(source, FILE, options))
        elif (name := _PROCESSORS.get(config.model_type)) is not None:
            self._processor = _fetch(getattr(transformers, name), source, **options)
        else:
            raise InputError(
                "unsupported family of detectors",
                where=model_id,
                expected=", ".join([*_PROCESSORS, *_PLAIN]),
                got=config.model_type,
            )
        model = _fetch(
            transformers.AutoModelForObjectDetection, source, use_safetensors=True, **options
        )
        self._model = model.to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, image: Image) -> People:
        """People of one upright RGB frame u8 `(H, W, 3)`, best first, boxes in [0, 1]."""
        check_image(image)
        boxes, scores = self._queries(image) if self._plain else self._processed(image)
        people = np.flatnonzero(scores >= self.threshold)
        people = people[np.argsort(-scores[people], kind="stable")][: self.max_people]
        return People.of(clip_unit(boxes[people]), scores[people])

    def _queries(self, image: Image) -> tuple[Floats, Floats]:
        assert self._plain is not None
        inputs = {k: v.to(self.device) for k, v in self._plain.inputs(image).items()}
        return of_queries(self._model(**inputs), self._class)

    def _processed(self, image: Image) -> tuple[Floats, Floats]:
        """Boxes and scores of the class, through the processor of `transformers`."""
        inputs = self._processor(images=image, return_tensors="pt").to(self.device)
        # A target of 1×1 pixels gives boxes in fractions of the frame.
        found = self._processor.post_process_object_detection(
            self._model(**inputs), threshold=self.threshold, target_sizes=[(1, 1)]
        )[0]
        boxes, scores, labels = (
            found[name].float().cpu().numpy() for name in ("boxes", "scores", "labels")
        )
        wanted = labels == self._class
        return boxes[wanted], scores[wanted]


def _transformers() -> Any:
    try:
        return importlib.import_module("transformers")
    except ImportError as error:
        raise InputError(
            "detectors from Hugging Face need an optional extra",
            expected="the package transformers",
            got=error,
            hint='pip install "tubelet[hf]", or use person_small',
            arguments=("people", "detector"),
        ) from error


def _source(model_id: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """What `from_pretrained` reads: a folder, the hub's cache where all files are, or the hub."""
    if Path(model_id).is_dir():
        return model_id, {}
    if (folder := cached(model_id, revision)) is not None:
        return str(folder), {"local_files_only": True}
    # Where the hub does not answer, transformers would ask it for half a minute.
    return model_id, {"revision": revision, "local_files_only": not reachable(model_id)}


def _file(source: str, name: str, options: dict[str, Any]) -> Path:
    """The path of one of a detector's files."""
    if Path(source).is_dir():
        return Path(source) / name
    hub = importlib.import_module("huggingface_hub")
    return Path(_called(hub.hf_hub_download, source, name, **options))


def _fetch(factory: Any, model_id: str, **options: Any) -> Any:
    """`factory.from_pretrained`, its many ways to fail raised as one."""
    return _called(factory.from_pretrained, model_id, **options)


def _called(read: Callable[..., Any], model_id: str, *more: str, **options: Any) -> Any:
    try:
        return read(model_id, *more, **options)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"the detector {model_id!r} cannot be loaded",
            where=read.__qualname__,
            got=str(error).strip().splitlines()[0],
            hint="check the id on huggingface.co and the connection, or pass a local folder",
        ) from error


def _class_index(names: dict[int, str], wanted: str, model_id: str) -> int:
    for index, name in names.items():
        if name.casefold() == wanted.casefold():
            return int(index)
    raise InputError(
        f"unknown class {wanted!r} of the detector",
        where=model_id,
        got=", ".join(list(names.values())[:8]),
        hint="pass class_name as the model's id2label spells it",
    )
