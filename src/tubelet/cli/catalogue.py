"""`tubelet models` and `tubelet recipes`: list them, or show one in full."""

from __future__ import annotations

from typing import Annotated

import typer

from tubelet.cli.apps import App, ListingGroup
from tubelet.cli.options import Json, Pattern, RecipeName, Settings

models = App(cls=ListingGroup, help="Architectures and weights: list them, or show one.")
recipes = App(cls=ListingGroup, help="What `tubelet train` runs: list recipes, or show one.")


@models.command("list")
def models_list(
    pattern: Pattern = "*",
    released: Annotated[
        bool,
        typer.Option("--released", help="checkpoints published by other projects, by data set"),
    ] = False,
    as_json: Json = False,
) -> None:
    """List released weights and architectures.

    `tubelet models slowfast` is short for `tubelet models list slowfast`.
    """
    if released:
        from tubelet.cli.released import list_released

        list_released(pattern, as_json=as_json)
        return
    from tubelet.cli.listing import list_models

    list_models(pattern, as_json=as_json)


@models.command("show")
def models_show(
    name: Annotated[
        str, typer.Argument(help="released weights, an architecture, or a .safetensors file")
    ],
    as_json: Json = False,
) -> None:
    """Show everything known about one model.

    Its input, parameters, cost, scores and classes, and where it came from.
    """
    from tubelet.cli.showing import show_model

    show_model(name, as_json=as_json)


@recipes.command("list")
def recipes_list(pattern: Pattern = "*", as_json: Json = False) -> None:
    """List recipes with cost, data and scores.

    `tubelet recipes relation` is short for `tubelet recipes list relation`.
    """
    from tubelet.cli.listing import list_recipes

    list_recipes(pattern, as_json=as_json)


@recipes.command("show")
def recipes_show(recipe: RecipeName, settings: Settings = None) -> None:
    """Print one full recipe, as JSON.

    `tubelet train` also takes a file of it.
    """
    from tubelet.cli.showing import show_recipe

    show_recipe(recipe, settings or [])
