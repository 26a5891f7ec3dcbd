"""How a server says no: the project's errors as JSON, without a word about the machine."""

from __future__ import annotations

from typing import Any

from tubelet.errors import TubeletError


def described(error: TubeletError, private: str = "") -> dict[str, Any]:
    """The body of an answer: `what`, `expected`, `got`, and the `next` step.

    `where` stays out, and so does all that names the folder `private`: both are of the server.
    """
    said = {
        "what": error.what,
        "expected": error.expected,
        "got": error.got,
        "next": error.hint,
    }
    return {"error": {k: _public(v, private) for k, v in said.items() if v is not None}}


def _public(value: object, private: str) -> str:
    text = str(value)
    return "the film" if private and private in text else text
