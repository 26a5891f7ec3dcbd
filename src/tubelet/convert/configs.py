"""Facts from a config: a file that the user names, or text inside a checkpoint. Nothing is run."""

from __future__ import annotations

from pathlib import Path

from tubelet.convert import mmaction_config, pyslowfast_config, transformers_config
from tubelet.convert.facts import Facts, Said
from tubelet.errors import InputError

MAX_BYTES = 1 << 20


def said_by_file(path: Path) -> Said:
    """What a config file says: PySlowFast's YAML, MMAction2's Python with the `_base_` files beside
    it, or Hugging Face's `config.json`. Raises InputError for any other file, and for one without
    known settings."""
    readers = {".yaml": _yaml, ".yml": _yaml, ".py": mmaction_config.facts_of_file, ".json": _json}
    if path.suffix.lower() not in readers:
        raise InputError(
            "unsupported config file",
            where=path,
            expected="PySlowFast's .yaml, MMAction2's .py or Hugging Face's .json",
            got=path.suffix or path.name,
        )
    facts = readers[path.suffix.lower()](path)
    if not facts.given():
        raise InputError("the config does not describe a network", where=path)
    return Said(source=f"the config {path.name}", facts=facts)


def said_by_text(text: str, source: str) -> Said:
    """What config text inside a checkpoint says; nothing where it is neither kind."""
    if len(text) > MAX_BYTES:
        return Said(source=source, facts=Facts())
    if mmaction_config.looks_like(text):
        return Said(source=source, facts=mmaction_config.facts_of_text(text))
    return Said(source=source, facts=pyslowfast_config.facts_of_dump(text, where=source))


def _yaml(path: Path) -> Facts:
    return pyslowfast_config.facts_of_file(read_text(path), where=path)


def _json(path: Path) -> Facts:
    return transformers_config.facts_of_text(read_text(path), where=path)


def read_text(path: Path) -> str:
    """A small text file. Raises InputError if it is absent, large, or not text."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError("too large for a config", where=path, expected=f"{MAX_BYTES} bytes")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("cannot read the config", where=path, got=error) from error
