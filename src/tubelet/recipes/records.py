"""What `tubelet recipes` lists: of each recipe its paper, model, cost, data and scores."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tubelet.config import encode
from tubelet.data.sources import SourceConfig
from tubelet.labels import LabelSpace
from tubelet.models.cost import count
from tubelet.models.create import variants
from tubelet.models.detector import ActionModelConfig
from tubelet.models.memory.collaborative import CollaborativeMemoryConfig
from tubelet.recipes import experiments, recipe_named, recipe_names
from tubelet.testing.config import Test
from tubelet.testing.figures import figure_names, keys, server_figures
from tubelet.train.recipe import Experiment, Recipe

Filled = Literal["run", "server"]
COSTS = Path(__file__).with_name("costs.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeRecord:
    """One line of the list. `parameters` and `gflops` are of the model that is tested, for one view
    at its own size (sums, for an ensemble); `views`: how many per clip or video. `data`: folders
    below the data folder. `published`: what the paper prints, "<test> <figure>" → percent;
    `filled_by`: whether a run measures each of these, or the server that its submission is sent to;
    `reproduced`: what was measured here."""

    name: str
    summary: str
    paper: str | None
    table: str | None
    row: str | None
    model: str
    stages: tuple[str, ...]
    parameters: int
    gflops: float
    views: int
    data: tuple[str, ...]
    published: Mapping[str, float]
    filled_by: Mapping[str, Filled]
    published_gflops: float | None
    published_parameters: float | None
    published_cost_ratio: float | None
    reproduced: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """A plain dict."""
        return asdict(self)


def recipe_records(pattern: str = "*") -> list[RecipeRecord]:
    """Records of the matching names.

    Costs come from `costs.json` beside this file, which `benchmarks/recipe_costs.py` writes and a
    test compares with fresh counts: counting all of them anew takes a minute. What is not recorded
    there is counted now.
    """
    costs = json.loads(COSTS.read_text())
    return [
        _record(recipe_named(name), costs.get(name) or count_recipe(name))
        for name in recipe_names(pattern)
    ]


def count_recipe(name: str, known: dict[str, dict[str, float]] | None = None) -> dict[str, float]:
    """Parameters and GFLOPs of a recipe's model, counted now without allocating it; `known`
    remembers those of models that were counted before."""
    total = {"parameters": 0.0, "gflops": 0.0}
    for recipe in _members(experiments()[name]):
        for key, value in _count(recipe.model, {} if known is None else known).items():
            total[key] += value
    return {"parameters": int(total["parameters"]), "gflops": round(total["gflops"], 2)}


def _count(config: ActionModelConfig, known: dict[str, dict[str, float]]) -> dict[str, float]:
    key = json.dumps(encode(config), sort_keys=True)
    if key not in known:
        crop = config.input.crop
        size = config.input.short_side if crop is None else crop
        cost = count(config, size=size)
        known[key] = {"parameters": cost.parameters, "gflops": cost.gmacs}
    return known[key]


def _members(experiment: Experiment) -> list[Recipe]:
    if isinstance(experiment, Recipe):
        return [experiment]
    found = [experiments()[name] for name in experiment.members]
    return [recipe for recipe in found if isinstance(recipe, Recipe)]


def _record(experiment: Experiment, cost: Mapping[str, float]) -> RecipeRecord:
    row = experiment.published
    members = _members(experiment)
    single = isinstance(experiment, Recipe)
    test = experiment.tests[0]
    return RecipeRecord(
        name=experiment.name,
        summary=experiment.summary,
        paper=None if row is None else row.paper,
        table=None if row is None else row.table,
        row=None if row is None else row.row,
        model=model_name(members[0].model) if single else f"{len(members)} models",
        stages=tuple(stage.name for stage in members[0].stages) if single else (),
        parameters=int(cost["parameters"]),
        gflops=cost["gflops"],
        views=test.views.count,
        data=tuple(sorted({folder for recipe in members for folder in _folders(recipe)})),
        published={} if row is None else row.scores,
        filled_by={} if row is None else {k: v for k, v in paths(experiment) if k in row.scores},
        published_gflops=None if row is None else row.gflops,
        published_parameters=None if row is None else row.parameters,
        published_cost_ratio=None if row is None else row.cost_ratio,
        reproduced=experiment.reproduced,
    )


def paths(experiment: Experiment) -> list[tuple[str, Filled]]:
    """Every figure that a run of `experiment` leads to, by its key in `published` and `reproduced`,
    and what fills it: the run itself, or the server that its submission is sent to."""
    found: list[tuple[str, Filled]] = []
    for test in experiment.tests:
        measured = figure_names(test, labels_of(experiment, test))
        found += [(key, "run") for key in keys(test.name, measured)]
        found += [(key, "server") for key in keys(test.name, server_figures(test))]
    return found


def labels_of(experiment: Experiment, test: Test) -> LabelSpace:
    """The classes of the model that `test` is of; every member of an ensemble has the same."""
    recipe = _members(experiment)[0]
    last = len(recipe.stages) - 1
    index = next((i for i in range(last) if test in recipe.tests_of(i)), last)
    stage = recipe.stages[index]
    named = [part.model for part in stage.mixture.parts if part.data.name == test.part]
    config = next((model for model in named if model is not None), recipe.model_at(index))
    return config.labels


def model_name(config: ActionModelConfig) -> str:
    """The backbone's name in `tubelet models`, with its head and memory where they are special."""
    backbone, spec = config.backbone.architecture(), config.input
    named = {
        name: row.input.stride
        for name, row in variants().items()
        if backbone in (row.backbone, row.detection) and row.input.frames == spec.frames
    }
    exact = [name for name, stride in named.items() if stride == spec.stride]
    parts = [*exact, *(f"{name} at stride {spec.stride}" for name in named), backbone.title()][:1]
    head = config.head.title()
    parts += [] if head in ("Clip", "Linear") else [head]
    if config.memory is not None:
        shared = isinstance(config.memory, CollaborativeMemoryConfig)
        parts.append("collaborative memory" if shared else "memory bank")
    return " + ".join(parts)


def _folders(recipe: Recipe) -> Iterator[str]:
    """The first part of every path that a recipe reads."""
    for stage in recipe.stages:
        yield from _folders_of(part.data for part in stage.mixture.parts)
        if stage.bank_data is not None:
            yield from _folders_of([stage.bank_data])
        if stage.start.weights is not None:
            yield stage.start.weights
    for test in recipe.tests:
        more = (test.bank_data, test.training)
        yield from _folders_of([test.data, *(source for source in more if source is not None)])


def _folders_of(sources: Iterable[SourceConfig]) -> Iterator[str]:
    for source in sources:
        yield from source.folders()
