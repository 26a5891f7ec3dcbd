"""tubelet: who does what, where and when in a video.

    model = tubelet.load("jhmdb21_small")
    tubes = tubelet.link(model.detect("clip.mp4"))
    tubelet.save_results("walks.json", (tube.filter(classes="walk") for tube in tubes))

All public names are below. Configurations of backbones and heads to build a model from are in
`tubelet.models.backbones` and `tubelet.models.heads`; `tubelet.errors` draws the tree of errors.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.3.0.dev0"

# Public names and where they live; loaded on first use, so that `import tubelet` stays quick.
_PUBLIC = {
    # models
    "ActionDetector": "api",
    "ActionModel": "models.detector",
    "ActionModelConfig": "models.detector",
    "BackboneConfig": "models.backbones.base",
    "CollaborativeMemoryConfig": "models.memory.collaborative",
    "Engine": "models.inference",
    "FeatureMap": "batch",
    "FeatureSpec": "models.backbones.base",
    "HeadConfig": "models.heads.base",
    "Memory": "batch",
    "MemoryBankConfig": "models.memory.config",
    "Rois": "batch",
    "create_model": "models.create",
    "export_model": "engines.export",
    "load": "api",
    "push_to_hub": "releases.hub",
    "replace_labels": "models.relabel",
    "save_pretrained": "releases.pretrained",
    # videos and people
    "GivenPeople": "people.given",
    "InputSpec": "types",
    "LinkConfig": "people.linking",
    "People": "types",
    "PersonDetector": "people.detectors.base",
    "Preprocessing": "types",
    "Video": "media.video",
    "VideoInfo": "media.video",
    "link": "people.linking",
    # results
    "Detections": "results",
    "Key": "types",
    "LabelSpace": "labels",
    "Tube": "results",
    "read_tubes": "render.export",
    "save_results": "results",
    # annotations and evaluation
    "Annotations": "data.annotations",
    "BoxTable": "evaluate.boxtable",
    "EvaluationProtocol": "evaluate.protocols",
    "detections_table": "evaluate.scoring",
    "evaluate_files": "evaluate.scoring",
    "evaluate_frames": "evaluate.frame_map",
    "evaluate_tables": "evaluate.scoring",
    "read_ava_csv": "data.tables",
    "read_label_map": "data.labelmaps",
    # errors
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "DataError": "errors",
    "InputError": "errors",
    "OpenQuestions": "errors",
    "Refusal": "errors",
    "ShapeError": "errors",
    "Stopped": "errors",
    "TrainingError": "errors",
    "TubeletError": "errors",
    "VideoError": "errors",
}

__all__ = [
    "ActionDetector",
    "ActionModel",
    "ActionModelConfig",
    "Annotations",
    "BackboneConfig",
    "BoxTable",
    "CheckpointError",
    "CollaborativeMemoryConfig",
    "ConfigError",
    "DataError",
    "Detections",
    "Engine",
    "EvaluationProtocol",
    "FeatureMap",
    "FeatureSpec",
    "GivenPeople",
    "HeadConfig",
    "InputError",
    "InputSpec",
    "Key",
    "LabelSpace",
    "LinkConfig",
    "Memory",
    "MemoryBankConfig",
    "OpenQuestions",
    "People",
    "PersonDetector",
    "Preprocessing",
    "Refusal",
    "Rois",
    "ShapeError",
    "Stopped",
    "TrainingError",
    "Tube",
    "TubeletError",
    "Video",
    "VideoError",
    "VideoInfo",
    "__version__",
    "create_model",
    "detections_table",
    "evaluate_files",
    "evaluate_frames",
    "evaluate_tables",
    "export_model",
    "link",
    "load",
    "push_to_hub",
    "read_ava_csv",
    "read_label_map",
    "read_tubes",
    "replace_labels",
    "save_pretrained",
    "save_results",
]

if TYPE_CHECKING:
    from tubelet.api import ActionDetector, load
    from tubelet.batch import FeatureMap, Memory, Rois
    from tubelet.data.annotations import Annotations
    from tubelet.data.labelmaps import read_label_map
    from tubelet.data.tables import read_ava_csv
    from tubelet.engines.export import export_model
    from tubelet.errors import (
        CheckpointError,
        ConfigError,
        DataError,
        InputError,
        OpenQuestions,
        Refusal,
        ShapeError,
        Stopped,
        TrainingError,
        TubeletError,
        VideoError,
    )
    from tubelet.evaluate.boxtable import BoxTable
    from tubelet.evaluate.frame_map import evaluate_frames
    from tubelet.evaluate.protocols import EvaluationProtocol
    from tubelet.evaluate.scoring import detections_table, evaluate_files, evaluate_tables
    from tubelet.labels import LabelSpace
    from tubelet.media.video import Video, VideoInfo
    from tubelet.models.backbones.base import BackboneConfig, FeatureSpec
    from tubelet.models.create import create_model
    from tubelet.models.detector import ActionModel, ActionModelConfig
    from tubelet.models.heads.base import HeadConfig
    from tubelet.models.inference import Engine
    from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
    from tubelet.models.memory.config import MemoryBankConfig
    from tubelet.models.relabel import replace_labels
    from tubelet.people.detectors.base import PersonDetector
    from tubelet.people.given import GivenPeople
    from tubelet.people.linking import LinkConfig, link
    from tubelet.releases.hub import push_to_hub
    from tubelet.releases.pretrained import save_pretrained
    from tubelet.render.export import read_tubes
    from tubelet.results import Detections, Tube, save_results
    from tubelet.types import InputSpec, Key, People, Preprocessing


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tubelet' has no attribute {name!r}")
    value = getattr(import_module(f"tubelet.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
