"""tubelet: who does what, where and when in a video.

model = tubelet.load("jhmdb21_small")
tubes = tubelet.link(model.detect("clip.mp4"))
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.3.0.dev0"

# Public names and where they live; loaded on first use, so that `import tubelet` stays quick.
_PUBLIC = {
    "ActionDetector": "api",
    "ActionModel": "models.detector",
    "Annotations": "data.annotations",
    "Detections": "results",
    "InputSpec": "types",
    "Key": "types",
    "LabelSpace": "labels",
    "People": "types",
    "TubeletError": "types",
    "Tube": "results",
    "create_model": "models.create",
    "evaluate_files": "evaluate.scoring",
    "evaluate_frames": "evaluate.frame_map",
    "link": "people.linking",
    "load": "api",
    "push_to_hub": "releases.hub",
    "save_pretrained": "releases.pretrained",
}

__all__ = [
    "ActionDetector",
    "ActionModel",
    "Annotations",
    "Detections",
    "InputSpec",
    "Key",
    "LabelSpace",
    "People",
    "Tube",
    "TubeletError",
    "__version__",
    "create_model",
    "evaluate_files",
    "evaluate_frames",
    "link",
    "load",
    "push_to_hub",
    "save_pretrained",
]

if TYPE_CHECKING:
    from tubelet.api import ActionDetector, load
    from tubelet.data.annotations import Annotations
    from tubelet.evaluate.frame_map import evaluate_frames
    from tubelet.evaluate.scoring import evaluate_files
    from tubelet.labels import LabelSpace
    from tubelet.models.create import create_model
    from tubelet.models.detector import ActionModel
    from tubelet.people.linking import link
    from tubelet.releases.hub import push_to_hub
    from tubelet.releases.pretrained import save_pretrained
    from tubelet.results import Detections, Tube
    from tubelet.types import InputSpec, Key, People, TubeletError


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tubelet' has no attribute {name!r}")
    value = getattr(import_module(f"tubelet.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
