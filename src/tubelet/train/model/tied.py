"""The models that a stage trains at once: the stage's own and one for each dataset with other
classes, all on one backbone (002 §3.1)."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from tubelet.errors import ConfigError
from tubelet.models.detector import ActionModel, ActionModelConfig
from tubelet.train.data.mixture import Mixture


class TiedModels(nn.Module):
    """`main` and the models of single datasets, whose backbones are the main one's parameters.

    A dense and a pooled form of one backbone (ViViT in detection and classification) share what
    they have in common; a parameter that only one of them has stays its own.
    """

    def __init__(self, main: ActionModel, others: Mapping[str, ActionModelConfig]) -> None:
        super().__init__()
        self.main = main
        self._place = {name: _as_key(name) for name in others}
        built: dict[str, nn.Module] = {
            _as_key(name): config.build() for name, config in others.items()
        }
        self.others = nn.ModuleDict(built)
        self.share()

    @classmethod
    def for_mixture(cls, main: ActionModel, mixture: Mixture) -> TiedModels:
        """The models that a stage's data needs."""
        return cls(main, {p.data.name: p.model for p in mixture.parts if p.model is not None})

    def model_of(self, dataset: str) -> ActionModel:
        """The model that `dataset`'s clips train; the main one unless it has its own."""
        if dataset not in self._place:
            return self.main
        model = self.others[self._place[dataset]]
        assert isinstance(model, ActionModel)
        return model

    def by_dataset(self) -> dict[str | None, ActionModel]:
        """Every model by its dataset's name; the main one under None."""
        return {None: self.main, **{name: self.model_of(name) for name in self._place}}

    def share(self) -> None:
        """Tie the backbones again; moving a module to a device unties its buffers."""
        for name in self._place:
            _tie(self.main, self.model_of(name), name)


def _as_key(name: str) -> str:
    """A name that a module may have: no dots, and none of its methods'."""
    return "of_" + name.replace("%", "%25").replace(".", "%2E")


def _tie(model: ActionModel, other: ActionModel, dataset: str) -> None:
    source, shared = dict(model.backbone.named_modules()), 0
    for name, module in other.backbone.named_modules():
        twin = source.get(name)
        if twin is None:
            continue
        for members, theirs in (
            (module._parameters, twin._parameters),
            (module._buffers, twin._buffers),
        ):
            for key, own in members.items():
                same = theirs.get(key)
                if own is not None and same is not None and own.shape == same.shape:
                    members[key] = same
                    shared += 1
    if not shared:
        raise ConfigError(
            f"the model of {dataset!r} has a different backbone than the stage's",
            expected=type(model.config.backbone).__name__,
            got=type(other.config.backbone).__name__,
        )
