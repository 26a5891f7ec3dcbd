"""Any object detector of Hugging Face `transformers` as a person detector (extra `tubelet[hf]`).

D-FINE and RT-DETRv2 are Apache-2.0 and good: `hf:ustc-community/dfine-nano-coco`,
`hf:PekingU/rtdetr_v2_r18vd`. Only safetensors weights are read, and no remote code is run.
"""

from __future__ import annotations

import importlib
from typing import Any, ClassVar, Self

import numpy as np
import torch

from tubelet.boxes import clip_unit
from tubelet.errors import ConfigError, InputError
from tubelet.people.detectors.base import Image, NamedDetector, check_image
from tubelet.types import People

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
    "yolos": "YolosImageProcessorPil",
}


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
        self.device = torch.device(device)
        transformers = _transformers()
        config = _fetch(transformers.AutoConfig, model_id, revision=revision)
        self._class = _class_index(getattr(config, "id2label", {}), class_name, model_id)
        name = _PROCESSORS.get(config.model_type)
        if name is None:
            raise InputError(
                "unsupported family of detectors",
                where=model_id,
                expected=", ".join(_PROCESSORS),
                got=config.model_type,
            )
        self._processor = _fetch(getattr(transformers, name), model_id, revision=revision)
        model = _fetch(
            transformers.AutoModelForObjectDetection,
            model_id,
            revision=revision,
            use_safetensors=True,
        )
        self._model = model.to(self.device).eval()

    @torch.inference_mode()
    def __call__(self, image: Image) -> People:
        """People of one upright RGB frame u8 `(H, W, 3)`, best first, boxes in [0, 1]."""
        check_image(image)
        inputs = self._processor(images=image, return_tensors="pt").to(self.device)
        # A target of 1×1 pixels gives boxes in fractions of the frame.
        found = self._processor.post_process_object_detection(
            self._model(**inputs), threshold=self.threshold, target_sizes=[(1, 1)]
        )[0]
        boxes, scores, labels = (
            found[name].float().cpu().numpy() for name in ("boxes", "scores", "labels")
        )
        people = np.flatnonzero(labels == self._class)
        people = people[np.argsort(-scores[people], kind="stable")][: self.max_people]
        return People.of(clip_unit(boxes[people]), scores[people])


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


def _fetch(factory: Any, model_id: str, **options: Any) -> Any:
    """`factory.from_pretrained`, its many ways to fail raised as one."""
    try:
        return factory.from_pretrained(model_id, **options)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"the detector {model_id!r} cannot be loaded",
            where=factory.__name__,
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
