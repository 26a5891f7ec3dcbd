"""Released weights, one row each, and the file behind a name.

A release ships inside the package, or is downloaded once into the cache folder. A laboratory adds
rows of its own with an index: TUBELET_RELEASES names a JSON file, or an address of one, that says
`{"releases": [{"name": …, "url": …, "sha256": …, "bytes": …, "summary": …}]}`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from tubelet.config import decode
from tubelet.errors import CheckpointError, ConfigError, InputError, did_you_mean
from tubelet.files import cache_folder, offline, write_text
from tubelet.releases.download import (
    Progress,
    check_url,
    difference,
    download,
    read_text,
    unreachable,
)
from tubelet.releases.foreign import published_weights
from tubelet.releases.hub import PREFIX, WEIGHTS, hub_weights
from tubelet.releases.published import PublishedWeights, listed, published

FOLDER = Path(__file__).parents[1] / "weights"
INDEX = "TUBELET_RELEASES"
_SUFFIX = ".safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """Weights under a name: inside the package, with their model card beside them, or at `url`.

    A downloadable row says the file's `sha256` (64 hexadecimal digits) and its length in `bytes`.
    Raises ConfigError for a name that is not a plain file name, or where one of the three is
    missing or impossible.
    """

    name: str
    summary: str = ""
    url: str | None = None
    sha256: str | None = None
    bytes: int | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name) or self.name.endswith(
            _SUFFIX
        ):
            raise ConfigError(
                f"invalid name for released weights: {self.name!r}",
                expected="letters, digits, '.', '_' and '-'; no folders, no .safetensors",
            )
        if self.shipped and self.sha256 is None and self.bytes is None:
            return
        where = f"release {self.name!r}"
        if self.url is None or self.sha256 is None or self.bytes is None:
            raise ConfigError(
                "a release to download needs url, sha256 and bytes together", where=where
            )
        check_url(self.url)
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise ConfigError(
                "not a sha256",
                where=where,
                expected="64 digits 0-9a-f, as `sha256sum` prints them",
                got=repr(self.sha256),
            )
        if self.bytes < 1:
            raise ConfigError("a file has at least one byte", where=where, got=self.bytes)

    @property
    def shipped(self) -> bool:
        """Whether the weights are inside the package."""
        return self.url is None

    @property
    def path(self) -> Path:
        """Where the weights are, or will be; the hash keeps apart what shares a name."""
        if self.sha256 is None:
            return FOLDER / f"{self.name}{_SUFFIX}"
        return cache_folder() / "weights" / f"{self.name}-{self.sha256[:12]}{_SUFFIX}"

    @property
    def card(self) -> Path:
        return self.path.with_suffix(".md")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseIndex:
    """The rows that an index file holds."""

    releases: tuple[Release, ...]

    def __post_init__(self) -> None:
        names = [row.name for row in self.releases]
        for row in self.releases:
            if row.shipped:
                raise ConfigError(f"release {row.name!r} of an index needs a url")
            if names.count(row.name) > 1 or row.name in RELEASES or row.name in listed():
                raise ConfigError(
                    f"duplicate release name {row.name!r}", hint="give the release a different name"
                )


RELEASES = {
    row.name: row
    for row in (
        Release(name="playground_small", summary="17 actions of the rendered playground"),
        Release(name="jhmdb21_small", summary="21 actions of JHMDB-21, split 1"),
        Release(name="person_small", summary="person detector, for people's boxes"),
    )
}


def releases() -> dict[str, Release]:
    """Every known release by name: the package's rows, then those of the index, if one is named.

    Raises InputError where the index cannot be read, ConfigError where it says something wrong.
    """
    source = os.environ.get(INDEX, "").strip()
    if not source:
        return dict(RELEASES)
    rows = _index_at(source) if "://" in source else _index_of(_read(Path(source)), source)
    return {**RELEASES, **{row.name: row for row in rows}}


def fetch(release: Release, *, progress: Progress | None = None) -> Path:
    """The file of a release, downloaded if it is not in the cache.

    A cached file is checked against its sha256 each time, and replaced if it was damaged.
    Raises InputError offline, and as `download` does.
    """
    path, url, sha256, size = release.path, release.url, release.sha256, release.bytes
    if url is None or sha256 is None or size is None:
        return path
    wrong = difference(path, sha256=sha256, size=size) if path.is_file() else None
    if path.is_file() and wrong is None:
        return path
    if offline():
        if wrong is not None:
            raise CheckpointError(
                "a file in the cache is not the released one",
                where=path,
                expected=wrong[0],
                got=wrong[1],
                hint="go online to replace it, or put the right file there",
            )
        raise unreachable(url, "offline by TUBELET_OFFLINE or HF_HUB_OFFLINE", target=path)
    download(url, path, sha256=sha256, size=size, progress=progress)
    return path


def weights_path(name: str | Path, *, keep: bool = False, progress: Progress | None = None) -> Path:
    """The weights file behind a name.

    In this order: a release of the package, `hf://user/repo[@revision][/file.safetensors]`, an
    encoder `hf:ID` to train from (kept in the cache, without classes), a file, a folder that
    `save_pretrained` wrote, a published checkpoint (downloaded and converted if need be; `progress`
    is told how far, `keep` leaves the original in the cache), a release of the index (downloaded if
    need be).
    Raises InputError naming the nearest release, and as `fetch` and `published_weights`.
    """
    text = str(name)
    if text in RELEASES:
        return RELEASES[text].path
    if isinstance(name, str) and "://" in text:
        return _addressed(text)
    if isinstance(name, str) and text.startswith("hf:"):
        from tubelet.releases.encoders import encoder_weights  # loads torch, as no listing does

        return encoder_weights(text, cache_folder() / "encoders")
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir() and (path / WEIGHTS).is_file():
        return path / WEIGHTS
    if path.is_dir() and (path / "recipe.json").is_file():
        raise InputError(
            "this run has no model yet",
            where=path,
            expected=WEIGHTS,
            hint="train it to its end, or finish it, which writes the model of its last checkpoint",
            arguments=("finish",),
        )
    if isinstance(name, Path) or path.suffix == _SUFFIX or path.name != text:
        expected = f"a file, or a folder that holds {WEIGHTS}"
        raise InputError("no such weights file", where=path, expected=expected)
    if text in listed():
        return published_weights(_offered(text), keep=keep, progress=progress)
    known = releases()
    if text in known:
        return fetch(known[text], progress=progress)
    raise InputError(
        f"unknown released weights {text!r}",
        expected=f"one of {', '.join(known)}, a published checkpoint's name, "
        "a .safetensors file, or hf://user/repo",
        hint=did_you_mean(text, [*known, *published()]) or "`tubelet models` lists them",
    )


def _offered(name: str) -> PublishedWeights:
    """The row of that name. Raises InputError for one that is listed but not offered."""
    row = listed()[name]
    if row.refused is not None:
        raise InputError(f"{name} is known but not offered", where=row.url, got=row.refused)
    return row


def _addressed(text: str) -> Path:
    if text.startswith(PREFIX):
        return hub_weights(text)
    raise InputError(
        "a bare address does not identify the file",
        where=text,
        expected="a release's name, a path, or hf://user/repo",
        hint=f"describe it with its sha256 in an index, and name the index in {INDEX}",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            "cannot read the index of releases", where=path, got=error, hint=f"check {INDEX}"
        ) from error


def _index_of(text: str, source: str) -> tuple[Release, ...]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            "invalid JSON in the index of releases", where=source, got=error
        ) from error
    return decode(ReleaseIndex, data, where=source).releases


def _index_at(url: str) -> tuple[Release, ...]:
    """The index at an address; where it is out of reach, as it was when it was last read."""
    check_url(url)
    copy = cache_folder() / "indexes" / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.json"
    text = None if offline() else read_text(url)
    if text is None:
        if not copy.is_file():
            raise unreachable(f"the index {url}", "no connection", target=copy)
        return _index_of(_read(copy), str(copy))
    rows = _index_of(text, url)
    write_text(copy, text)
    return rows
