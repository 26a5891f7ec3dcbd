"""Another label set for a loaded model: everything stays but the head's label layers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tubelet.errors import ConfigError
from tubelet.labels import LabelSpace
from tubelet.models.create import Labels, as_labels
from tubelet.models.detector import ActionModel


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange:
    """What a change of labels did: `kept` tensors copied, `replaced` ones freshly initialised but
    for the rows of `known`, the classes that both label sets have by name."""

    kept: int
    replaced: tuple[str, ...]
    old_classes: int
    new_classes: int
    known: tuple[str, ...] = ()

    def __str__(self) -> str:
        but = f" but for {', '.join(self.known)}" if self.known else ""
        return (
            f"{self.old_classes} → {self.new_classes} classes: kept {self.kept} tensors, "
            f"initialised {', '.join(self.replaced)} anew{but}; train it before use"
        )


def replace_labels(
    model: ActionModel, labels: Labels, *, keep_known: bool = False
) -> tuple[ActionModel, LabelChange]:
    """A copy of `model` for other `labels`, and what was kept and what was not.

    The head's `label_layers` are new even where the number of classes is the same: their rows mean
    other things. With `keep_known` the rows of classes that both have by the same name are copied.
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
            "this model has no classifier to relabel",
            got=type(model.config.head).__name__,
        )
    known = common_classes(model.labels, space) if keep_known else ()
    for name in replaced:
        for label in known:
            row, from_row = space.column_of(label), model.labels.column_of(label)
            fresh[name][row] = state[name][from_row]
    kept = {name: value for name, value in state.items() if name not in replaced}
    changed.load_state_dict({**fresh, **kept})
    device = next(model.parameters()).device
    report = LabelChange(
        kept=len(kept),
        replaced=replaced,
        old_classes=len(model.labels),
        new_classes=len(space),
        known=known,
    )
    return changed.to(device).train(model.training), report


def _is_in(name: str, layers: tuple[str, ...]) -> bool:
    return any(name == f"head.{own}" or name.startswith(f"head.{own}.") for own in layers)


def common_classes(one: LabelSpace, other: LabelSpace) -> tuple[str, ...]:
    """Classes that both spaces have by the same name; classes without names have nothing in common.

    Softmax and sigmoid logits do not mix: spaces of different kind have nothing in common either.
    """
    if one.is_nameless or other.is_nameless or _kind(one) != _kind(other):
        return ()
    return tuple(name for name in other.names if name in one.names)


def _kind(space: LabelSpace) -> tuple[bool, tuple[tuple[str, ...], ...]]:
    """Which classes share a softmax."""
    groups = (space.groups[name] for name in space.exclusive_groups)
    return space.exclusive, tuple(
        tuple(space.names[space.column(i)] for i in group) for group in groups
    )
