"""What is known of a file before its format is: its first text, cells, JSON or XML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from tubelet.data.dialects import canonical
from tubelet.data.untrusted.reading import as_utf8, read_bytes, read_head
from tubelet.errors import DataError

_HEAD = 1 << 16
# Larger JSON is recognised by its first 64 KiB alone.
_WHOLE = 1 << 28


class Glance:
    """The file at `path`, looked at as far as needed. Raises InputError if it cannot be read."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.head = read_head(path, _HEAD)

    @cached_property
    def is_pickle(self) -> bool:
        """Protocol 2 and later say so; protocol 0 begins with a mark and a container."""
        return (
            re.match(rb"\x80[\x02-\x05]|\((d|l|t|i)p\d+\n|\]q|\}q|\(\(?lp\d", self.head) is not None
        )

    @cached_property
    def text(self) -> str:
        """The first 64 KiB of text, in whole lines."""
        text = as_utf8(self.head).decode("utf-8", "replace")
        if len(self.head) == _HEAD:
            text = text.rpartition("\n")[0] or text
        return text

    @cached_property
    def lines(self) -> list[str]:
        """The first lines that are not blank."""
        return [line for line in self.text.splitlines()[:200] if line.strip()]

    @cached_property
    def cells(self) -> list[list[str]]:
        """The cells of the first lines, in whatever dialect of comma-separated text."""
        text = canonical(self.text.encode()).decode()
        lines = [line for line in text.splitlines()[:200] if line.strip()]
        return [re.split(r"[,\t]", line) for line in lines]

    @cached_property
    def words(self) -> list[list[str]]:
        """The words of the first lines, between spaces."""
        return [line.split() for line in self.lines]

    @cached_property
    def json(self) -> Any:
        """The JSON value of the whole file; None if it is none, or too large."""
        if not self.text.lstrip().startswith(("{", "[")):
            return None
        try:
            return json.loads(as_utf8(read_bytes(self.path, limit=_WHOLE)))
        except (ValueError, RecursionError, DataError):
            return None  # no JSON, or too much of it to read twice

    @cached_property
    def keys(self) -> frozenset[str]:
        """The names in the JSON object; or, in a list, in its first object."""
        value = self.json
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, Mapping):
            return frozenset(map(str, value))
        if self.text.lstrip().startswith(("{", "[")):
            return frozenset(re.findall(r'"(\w{1,40})"\s*:', self.text))
        return frozenset()

    @property
    def is_object(self) -> bool:
        """Whether the text begins as a JSON object."""
        return self.text.lstrip().startswith("{")

    @property
    def is_list(self) -> bool:
        """Whether the text begins as a JSON list of objects."""
        return re.match(r"\s*\[\s*\{", self.text) is not None

    @cached_property
    def xml_root(self) -> str | None:
        """The name of an XML file's first element."""
        found = re.match(
            r"\s*(<\?xml[^>]*>)?\s*(<!--.*?-->\s*)*<([A-Za-z_][\w.-]*)", self.text, re.DOTALL
        )
        return found[3] if found else None
