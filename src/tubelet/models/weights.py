"""An ActionModel as a weights file, and back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tubelet.answers import Answers
from tubelet.checkpoints import read_checkpoint, save_checkpoint
from tubelet.config import decode, encode
from tubelet.errors import CheckpointError
from tubelet.models.detector import ActionModel, ActionModelConfig


def save_model(
    path: Path,
    model: ActionModel,
    *,
    provenance: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model with its configuration and how its answers are to be read; floating tensors
    cast to `dtype` if given."""
    state = {
        name: t.to(dtype) if dtype is not None and t.is_floating_point() else t
        for name, t in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    header = {**model.answers.to_header(), "model": encode(model.config), **(provenance or {})}
    save_checkpoint(path, state, header)


def load_model(path: Path) -> ActionModel:
    """The model in a file, in eval mode and fp32. Raises CheckpointError if it does not fit, and
    ConfigError if its header says something that cannot be."""
    header, state = read_checkpoint(path)
    if "model" not in header:
        raise CheckpointError("not an action model's weights file", where=path)
    model = decode(ActionModelConfig, header["model"], where=str(path)).build()
    fill(model, state, where=path)
    model.answers = Answers.from_header(header, where=path)
    model.answers.check(len(model.labels), exclusive=model.labels.exclusive, where=path)
    return model.eval()


def fill(model: torch.nn.Module, state: Mapping[str, Tensor], *, where: object) -> None:
    """Load every tensor of `state` into `model`; names and shapes must agree exactly."""
    own = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    missing, extra = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    wrong = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if missing or extra or wrong:
        raise CheckpointError(
            "the weights do not fit the model",
            where=where,
            expected=f"{len(own)} tensors; missing {missing[:5]}, unexpected {extra[:5]}",
            got=f"{len(state)} tensors; wrong shape {sorted(wrong)[:5]}",
        )
    model.load_state_dict({k: v.to(own[k].dtype) for k, v in state.items()}, strict=False)


def weights_hash(model: torch.nn.Module) -> str:
    """sha256 over names, shapes and bytes of every tensor of the model."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(
            tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        )
    return digest.hexdigest()
