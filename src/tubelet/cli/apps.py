"""What all of `tubelet`'s commands share beyond what Typer provides."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption
from typer.models import CommandFunctionType

from tubelet.errors import TubeletError


class Command(TyperCommand):
    """A command that names the options an error is about.

    The library knows nothing of options: `TubeletError.arguments` names the function's arguments,
    and those of them that this command has are spelled as the user types them.
    """

    def invoke(self, ctx: Any) -> Any:  # Typer brings a click of its own, or not: by its version
        try:
            return super().invoke(ctx)
        except TubeletError as error:
            spelled = option_names(self.params, error.arguments)
            if spelled:
                error.add_note(f"  option:   {', '.join(spelled)}")
            raise


def option_names(params: Iterable[object], arguments: Iterable[str]) -> list[str]:
    """How the command line spells those `arguments` that are among its options."""
    flags = {p.name: p.opts[0] for p in params if isinstance(p, TyperOption) and p.name}
    return [flags[name] for name in arguments if name in flags]


class DefaultGroup(TyperGroup):
    """A group with a command that need not be named, `default`."""

    default: ClassVar[str]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        if not named and not ctx.resilient_parsing:  # a shell that completes is told all commands
            args = [self.default, *args]
        return super().parse_args(ctx, args)


class ListingGroup(DefaultGroup):
    """A group that lists: `tubelet models slowfast` is short for `tubelet models list slowfast`."""

    default = "list"


class FindingGroup(DefaultGroup):
    """A group that finds: `tubelet people film.mp4` is short for `tubelet people find film.mp4`."""

    default = "find"


class App(typer.Typer):
    """Typer with `Command` for every command, and without markup in help texts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(pretty_exceptions_enable=False, rich_markup_mode=None, **options)

    def command(
        self, name: str | None = None, **options: Any
    ) -> Callable[[CommandFunctionType], CommandFunctionType]:
        return super().command(name, **{"cls": Command, **options})
