"""Another label set for a loaded model: everything stays but the head's label layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tubelet.models.create import Labels, as_labels
from tubelet.models.detector import ActionModel
from tubelet.types import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange:
    """What a change of labels did: `kept` tensors copied, `replaced` ones freshly initialised."""

    kept: int
    replaced: tuple[str, ...]
    old_classes: int
    new_classes: int

    def __str__(self) -> str:
        return (
            f"{self.old_classes} → {self.new_classes} classes: kept {self.kept} tensors, "
            f"initialised {', '.join(self.replaced)} anew; train it before use"
        )


def replace_labels(model: ActionModel, labels: Labels) -> tuple[ActionModel, LabelChange]:
    """A copy of `model` for other `labels`, and what was kept and what was not.

    The head's `label_layers` are new even where the number of classes is the same: their rows mean
    other things.
    Raises ConfigError for a model without a classifier of its own.
    """
    space = as_labels(labels, model.task)
    changed = replace(model.config, labels=space).build()
    state = model.state_dict()
    fresh = changed.state_dict()
    layers = model.config.head.label_layers
    replaced = tuple(name for name in fresh if _is_in(name, layers))
    if not replaced:
        raise ConfigError(
            "this model has no classifier whose labels could change",
            got=type(model.config.head).__name__,
        )
    kept = {name: value for name, value in state.items() if name not in replaced}
    changed.load_state_dict({**fresh, **kept})
    device = next(model.parameters()).device
    report = LabelChange(
        kept=len(kept),
        replaced=replaced,
        old_classes=len(model.labels),
        new_classes=len(space),
    )
    return changed.to(device).train(model.training), report


def _is_in(name: str, layers: tuple[str, ...]) -> bool:
    return any(name == f"head.{own}" or name.startswith(f"head.{own}.") for own in layers)
