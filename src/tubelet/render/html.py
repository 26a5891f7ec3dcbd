"""Templates to self-contained HTML: all is escaped, style and script are allowed by hash."""

from __future__ import annotations

import base64
import hashlib
import json
from functools import lru_cache
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tubelet.drawing.surface import Colour


@lru_cache(maxsize=1)
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("tubelet.render"), autoescape=True, undefined=StrictUndefined
    )


def render(page: str, *, script: str | None = None, media: str = "'none'", **values: object) -> str:
    """The page `templates/<page>.html` with its styles and script inside.

    Every value is escaped unless it is Markup (from `as_json` or our own drawing). `media` is where
    a video may be loaded from. The policy in the page's head forbids everything else, so that a
    label or a file name cannot bring code with it even if an escape were forgotten.
    """
    style = _source("base.css") + _source(f"{page}.css")
    code = _source(script) if script else ""
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hash(style)}",
            f"script-src {_hash(code)}" if script else "script-src 'none'",
            f"media-src {media}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    return (
        _templates()
        .get_template(f"{page}.html")
        .render(policy=policy, style=Markup(style), script=Markup(code), **values)
    )


def as_json(value: object) -> Markup:
    """JSON that can stand inside a `<script>` block: no `<`, `>` or `&` is left in it."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def hex_colour(colour: Colour) -> str:
    """`#rrggbb`."""
    return "#" + bytes(colour).hex()


def _source(name: str) -> str:
    return files("tubelet.render").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
