"""What of a recipe its paper prints, and what had to be assumed: notes, setting by setting."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from tubelet.config import values_at
from tubelet.testing.config import Assumption, Test
from tubelet.train.recipe import Experiment, Recipe, Stage

T = TypeVar("T", bound=Experiment)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notes:
    """`cited`: setting → where it is printed; `assumed`: setting → why it is what it is.

    A setting is a path as `override` takes it, from what the notes are about on, and stands for all
    below it that has no note of its own.
    """

    cited: Mapping[str, str] = field(default_factory=dict)
    assumed: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, later: Notes) -> Notes:
        """Both; of a setting in both, the later note."""
        cited = {key: at for key, at in self.cited.items() if key not in later.assumed}
        assumed = {key: why for key, why in self.assumed.items() if key not in later.cited}
        return Notes(cited={**cited, **later.cited}, assumed={**assumed, **later.assumed})

    def below(self, path: str) -> Notes:
        """The same notes, of what lies at `path`."""
        return Notes(
            cited={f"{path}.{key}": at for key, at in self.cited.items()},
            assumed={f"{path}.{key}": why for key, why in self.assumed.items()},
        )

    def within(self, part: str) -> Notes:
        """Only the notes on what lies below `part`."""
        return Notes(
            cited={key: at for key, at in self.cited.items() if key.startswith(f"{part}.")},
            assumed={key: why for key, why in self.assumed.items() if key.startswith(f"{part}.")},
        )

    def borrowed(self, why: str) -> Notes:
        """All that is printed here, assumed there: another paper's settings where one prints none,
        which `why` says, with where they are printed."""
        lent = {key: f"{why} ({at})" for key, at in self.cited.items()}
        return Notes(assumed={**lent, **self.assumed})


def cite(where: str, *settings: str) -> Notes:
    """These settings are printed there."""
    return Notes(cited=dict.fromkeys(settings, where))


def assume(why: str, *settings: str) -> Notes:
    """These settings are not printed."""
    return Notes(assumed=dict.fromkeys(settings, why))


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperNotes:
    """The notes of a paper's recipes: on each stage, each test, and each ensemble by its name."""

    stage: Callable[[Stage], Notes]
    test: Callable[[Test], Notes]
    ensembles: Mapping[str, Notes] = field(default_factory=dict)


def documented(experiment: Experiment, paper: PaperNotes) -> Experiment:
    """`experiment` with the paper's notes on it; those on a recipe's model are the last stage's.

    Raises ConfigError for a note on a setting that it does not have.
    """
    if isinstance(experiment, Recipe):
        notes = _of_recipe(experiment, paper)
    else:
        notes = paper.ensembles[experiment.name]
    values_at(experiment, notes.cited)
    assumed = tuple(Assumption(setting=key, why=why) for key, why in notes.assumed.items())
    return resolved(replace(experiment, cited=dict(notes.cited), assumed=assumed))


def _of_recipe(recipe: Recipe, paper: PaperNotes) -> Notes:
    notes, last = Notes(), Notes()
    for number, stage in enumerate(recipe.stages):
        last = paper.stage(stage)
        notes |= last.below(f"stages.{number}")
    notes |= last.within("model")
    for number, test in enumerate(recipe.tests):
        notes |= paper.test(test).below(f"tests.{number}")
    return notes


def resolved(experiment: T) -> T:
    """`experiment`, its assumptions with the values that it has now."""
    values = values_at(experiment, [one.setting for one in experiment.assumed])
    assumed = tuple(
        replace(one, value=json.dumps(values[one.setting], ensure_ascii=False))
        for one in experiment.assumed
    )
    return replace(experiment, assumed=assumed)
