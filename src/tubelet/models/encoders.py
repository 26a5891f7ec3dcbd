"""Encoders of the hub by id: configuration, weights and licence of `hf:ID` (extra `tubelet[hf]`).

Only safetensors are read and no remote code runs; a folder that `save_pretrained` of transformers
wrote serves as well as an id.
"""

from __future__ import annotations

import importlib
import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from tubelet.errors import CheckpointError, InputError
from tubelet.models.backbones.base import Variant
from tubelet.models.backbones.hf import (
    EncoderClass,
    HubBackbone,
    HubConfig,
    Triple,
    encoder_class,
    transformers_or_refuse,
)
from tubelet.types import InputSpec

PREFIX = "hf:"
log = logging.getLogger(__name__)

_NOT_THE_ENCODERS = ("architectures", "dtype", "id2label", "label2id", "transformers_version")


def settings_text(settings: Any) -> str:
    """A configuration of transformers as `HubConfig.settings` keeps it: what differs from the
    class's defaults, without labels and versions."""
    data = {k: v for k, v in settings.to_diff_dict().items() if k not in _NOT_THE_ENCODERS}
    return json.dumps({**data, "model_type": settings.model_type}, sort_keys=True)


def hub_variant(name: str) -> Variant[HubConfig]:
    """The backbone and the input of `hf:ID`, a repository of the hub or a folder.

    Mean and deviation are its preprocessor file's, where it has one. Raises InputError if the
    configuration is unavailable, ConfigError for an unknown class.
    """
    id_ = name.removeprefix(PREFIX)
    transformers = transformers_or_refuse()
    settings = _fetch(transformers.AutoConfig, id_)
    settings = getattr(settings, "vision_config", settings)
    facts = encoder_class(settings.model_type)
    backbone = HubConfig(id=id_, settings=settings_text(settings))
    mean, std = _normalisation(id_, facts)
    side = getattr(settings, "crop_size", None) or settings.image_size
    return Variant(
        backbone=replace(backbone, detection=False),
        detection=backbone,
        input=InputSpec(
            frames=facts.frames(settings),
            stride=facts.stride,
            short_side=int(side),
            multiple=facts.tubelet(settings)[1],
            mean=mean,
            std=std,
        ),
        cost_size=int(side),
        weights=licence_line(id_),
    )


def _normalisation(id_: str, facts: EncoderClass) -> tuple[Triple, Triple]:
    for name in ("video_preprocessor_config.json", "preprocessor_config.json"):
        path = _cached_file(id_, name, _raise_exceptions_for_missing_entries=False)
        if path is None:
            continue
        said = json.loads(Path(path).read_text(encoding="utf-8"))
        if not said.get("do_normalize", True):
            return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
        if "image_mean" in said and "image_std" in said:
            return _triple(said["image_mean"]), _triple(said["image_std"])
    return facts.mean, facts.std


def _cached_file(id_: str, name: str, **options: Any) -> str | None:
    """The local path of a repository's file; None where it has no such file."""
    found: str | None = importlib.import_module("transformers.utils").cached_file(
        id_, name, **options
    )
    return found


def _triple(values: Any) -> Triple:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def load_hub_weights(backbone: HubBackbone) -> dict[str, Tensor]:
    """Fill `backbone` with the weights of its id, in place; what its classifier adds, by our names.

    The classifier's tensors (`weight`, `bias`) are returned where the repository holds a
    classifier and the backbone pools as it does, else nothing. Only safetensors are read, and no
    remote code runs. The licence is logged on first use. Raises InputError if they are unavailable,
    CheckpointError where they do not fit.
    """
    transformers, facts = transformers_or_refuse(), backbone.facts
    id_ = backbone.config.id
    if not _is_here(id_):
        log.warning("%s: %s", id_, licence_line(id_))
    published = _fetch(transformers.AutoConfig, id_).architectures or ()
    classified = not backbone.config.detection and facts.classifier in published
    kind = facts.classifier if classified and facts.classifier else facts.model
    options = {} if classified else facts.options
    whole = _fetch(getattr(transformers, kind), id_, use_safetensors=True, **options)
    encoder = getattr(whole, facts.base) if classified else whole
    encoder = getattr(encoder, facts.part) if facts.part else encoder
    _fill(backbone.encoder, encoder, id_)
    if not classified:
        return {}
    if backbone.pooler is not None:
        _fill(backbone.pooler, getattr(whole, "fc_norm", None) or whole.pooler, id_)
    found: dict[str, Tensor] = whole.classifier.state_dict()
    return found


def _fill(own: nn.Module, source: nn.Module, id_: str) -> None:
    try:
        own.load_state_dict(source.state_dict())
    except RuntimeError as error:
        raise CheckpointError(
            "the hub's weights do not fit their configuration", where=id_, got=error
        ) from error


def _is_here(id_: str) -> bool:
    """Whether the repository's configuration and weights are a folder or in the local cache."""
    options = {"local_files_only": True, "_raise_exceptions_for_missing_entries": False}
    options["_raise_exceptions_for_connection_errors"] = False
    return _cached_file(id_, "model.safetensors", **options) is not None


def _fetch(factory: Any, id_: str, **options: Any) -> Any:
    """`factory.from_pretrained`, its many ways to fail raised as one."""
    try:
        return factory.from_pretrained(id_, **options)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"the encoder {id_!r} cannot be loaded",
            where=factory.__name__,
            got=str(error).strip().splitlines()[0],
            hint="check the id on huggingface.co and the connection, or pass a local folder",
        ) from error


NON_COMMERCIAL = "CC-BY-NC-4.0, not for commercial use"
LICENCES: dict[str, str] = {
    "facebook/vjepa2-vitl-fpc64-256": "MIT (the pages of g and H say Apache-2.0)",
    "facebook/vjepa2-vith-fpc64-256": "Apache-2.0",
    "facebook/vjepa2-vitg-fpc64-256": "Apache-2.0",
    "facebook/vjepa2-vitg-fpc64-384": "Apache-2.0",
    "facebook/vjepa2-vitl-fpc16-256-ssv2": "MIT (the pages of g and H say Apache-2.0)",
    "google/videoprism-base-f16r288": "code Apache-2.0, weights CC-BY-4.0",
    "google/videoprism-large-f8r288": "code Apache-2.0, weights CC-BY-4.0",
    "google/vivit-b-16x2-kinetics400": "MIT",
    "MCG-NJU/videomae-base": NON_COMMERCIAL,
    "MCG-NJU/videomae-large": NON_COMMERCIAL,
    "MCG-NJU/videomae-small-finetuned-kinetics": NON_COMMERCIAL,
    "MCG-NJU/videomae-base-finetuned-kinetics": NON_COMMERCIAL,
    "MCG-NJU/videomae-large-finetuned-kinetics": NON_COMMERCIAL,
    "MCG-NJU/videomae-huge-finetuned-kinetics": NON_COMMERCIAL,
    "MCG-NJU/videomae-small-finetuned-ssv2": NON_COMMERCIAL,
    "MCG-NJU/videomae-base-finetuned-ssv2": NON_COMMERCIAL,
    "facebook/timesformer-base-finetuned-k400": NON_COMMERCIAL,
    "facebook/timesformer-base-finetuned-k600": NON_COMMERCIAL,
    "facebook/timesformer-base-finetuned-ssv2": NON_COMMERCIAL,
    "facebook/timesformer-hr-finetuned-k400": NON_COMMERCIAL,
    "facebook/timesformer-hr-finetuned-k600": NON_COMMERCIAL,
    "facebook/timesformer-hr-finetuned-ssv2": NON_COMMERCIAL,
}
"""Encoders that are known to exist, by id: their licence as their pages stated it."""


def licence_line(id_: str) -> str:
    """One sentence about the licence of an encoder's weights."""
    known = LICENCES.get(id_)
    if known is None:
        return "licence unknown to tubelet: read its page before you use it"
    return f"licence: {known}"
