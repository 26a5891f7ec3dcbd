"""Weights from one model into another of a different shape, with an account of every tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from torch import Tensor, nn

from tubelet.checkpoints import read_checkpoint
from tubelet.errors import CheckpointError
from tubelet.models.detector import ActionModel
from tubelet.releases.table import weights_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What a stage began with: tensors `loaded` from the source, those of them that were `resized`
    because the new model is for clips of another size, those `dropped` because it has no such name
    or another shape there, those not `asked` for, and those that are `new`: freshly initialised."""

    loaded: tuple[str, ...]
    resized: tuple[str, ...]
    dropped: tuple[str, ...]
    unasked: tuple[str, ...]
    new: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for what in ("resized", "dropped", "unasked", "new"):
            names: tuple[str, ...] = getattr(self, what)
            if names:
                more = f", … {len(names) - 4} more" if len(names) > 4 else ""
                parts.append(f"{len(names)} {what} ({', '.join(names[:4])}{more})")
        return "; ".join(parts)


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a parameter's name fits one of the shell patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def transfer(
    state: Mapping[str, Tensor],
    model: nn.Module,
    *,
    parts: Sequence[str] = ("*",),
    required: Sequence[str] = (),
    where: object = None,
) -> Transfer:
    """Copy the tensors of `state` that match `parts` and fit `model`.

    Raises CheckpointError when nothing was loaded, or a tensor of `model` that matches `required`
    was not.
    """
    own = {k: v for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    given = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    asked = {name for name in given if matches(name, parts)}
    fits = {n: given[n] for n in asked if n in own and given[n].shape == own[n].shape}
    resized = dict(_resized({n: given[n] for n in asked if n in own and n not in fits}, model, own))
    fits |= resized
    lost = [n for n in own if n not in fits and matches(n, required)]
    if not fits or lost:
        raise CheckpointError(
            "the weights to start from lack what this model needs",
            where=where,
            expected=f"tensors like {', '.join((lost or list(own))[:4])}",
            got=", ".join(list(given)[:4]),
            hint="check the stage's `start`, and that the file is of this backbone",
        )
    model.load_state_dict({n: v.to(own[n].dtype) for n, v in fits.items()}, strict=False)
    return Transfer(
        loaded=tuple(n for n in own if n in fits),
        resized=tuple(n for n in own if n in resized),
        dropped=tuple(n for n in given if n in asked and n not in fits),
        unasked=tuple(n for n in given if n not in asked),
        new=tuple(n for n in own if n not in fits),
    )


def _resized(
    state: Mapping[str, Tensor], model: nn.Module, own: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Those of `state`, whose shapes are not the model's, that its backbone knows how to resize."""
    for name, tensor in state.items():
        part, _, within = name.partition(".")
        if isinstance(model, ActionModel) and part == "backbone":
            found = model.backbone.refit(within, tensor)
            if found is not None and found.shape == own[name].shape:
                yield name, found


def read_weights(name: str, root: Path) -> tuple[Mapping[str, Tensor], Path]:
    """The tensors of a weights file: a path, also below the data folder `root`, or the name of a
    released model."""
    path = root / name if (root / name).is_file() else weights_path(name)
    return read_checkpoint(path)[1], path
