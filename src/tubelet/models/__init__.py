"""Models: backbones, heads, and the ActionModel that joins them."""

from tubelet.models.create import create_model, model_config, model_names, model_records
from tubelet.models.detector import ActionModel, ActionModelConfig

__all__ = [
    "ActionModel",
    "ActionModelConfig",
    "create_model",
    "model_config",
    "model_names",
    "model_records",
]
