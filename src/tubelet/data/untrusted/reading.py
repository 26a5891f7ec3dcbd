"""Reading, writing and finding files whose names and contents are untrusted."""

from __future__ import annotations

import codecs
import gzip
import io
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path
from xml.parsers import expat

from tubelet.data.untrusted.archives import MAX_BYTES, in_archive, read_member
from tubelet.errors import DataError, InputError, did_you_mean
from tubelet.files import atomic_path
from tubelet.film_ids import EXTENSIONS

_GZIP_MAGIC = b"\x1f\x8b"


def read_bytes(path: str | Path, *, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a file, unpacked if it is gzip; `export.zip/a.json` is a file of an archive.

    Raises InputError if it cannot be read, DataError if it holds more than `limit` bytes
    (packed or unpacked: a small archive can stand for terabytes) or is damaged.
    """
    packed = in_archive(path)
    if packed is not None:
        return read_member(*packed, limit=limit)
    try:
        with Path(path).open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        raise InputError(
            "cannot read the file", where=path, got=error, hint="check the path"
        ) from error
    if data[:2] == _GZIP_MAGIC:
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as unpacked:
                data = unpacked.read(limit + 1)
        except (OSError, EOFError, zlib.error) as error:
            raise DataError("the gzip file is damaged", where=path, got=error) from error
    if len(data) > limit:
        raise DataError("the file is too large", where=path, expected=f"at most {limit} bytes")
    return data


def read_head(path: str | Path, size: int) -> bytes:
    """The first bytes of a file, unpacked if it is gzip. Raises InputError if it cannot be read."""
    packed = in_archive(path)
    if packed is not None:
        return read_member(*packed)[:size]
    try:
        with Path(path).open("rb") as file:
            head = file.read(size)
        if head[:2] == _GZIP_MAGIC:
            with gzip.open(path) as unpacked:
                head = unpacked.read(size)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise InputError("cannot read the file", where=path, got=error) from error
    return head


def as_utf8(data: bytes) -> bytes:
    """The bytes of a text as UTF-8 without a byte-order mark, if they are UTF-16 (which says so in
    its first two bytes) or UTF-8."""
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return data.decode("utf-16", "replace").encode()
    return data.removeprefix(codecs.BOM_UTF8)


def decode(data: bytes, path: str | Path) -> str:
    """UTF-8 text, with or without a byte-order mark, or UTF-16 with one; DataError names the line
    that is not."""
    data = as_utf8(data)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            "the file is not UTF-8 text",
            where=f"{path}, row {line}",
            got=f"byte 0x{data[error.start]:02x}",
            hint="save it as UTF-8",
        ) from None


def read_text(path: str | Path, *, limit: int = MAX_BYTES) -> str:
    """The text of a UTF-8 (or UTF-16) file; raises as `read_bytes` and `decode` do."""
    return decode(read_bytes(path, limit=limit), path)


def parse_xml(path: str | Path, root_name: str, what: str) -> ET.Element:
    """The root of an XML file. Raises DataError unless it is a `<root_name>`, and for a document
    type, which could define entity bombs."""
    data = read_bytes(path)

    def refuse(name: str, *_rest: object) -> None:
        raise DataError(f"the XML declares a document type, which {what} never does", where=path)

    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = refuse
    try:
        guard.Parse(data, True)
        root = ET.fromstring(data)
    except (expat.ExpatError, ET.ParseError, ValueError, LookupError) as error:
        raise DataError(
            "invalid XML", where=f"{path}, row {guard.ErrorLineNumber}", got=error
        ) from None
    if root.tag != root_name:
        raise DataError(
            f"not a {what} XML file", where=path, expected=f"<{root_name}>", got=root.tag
        )
    return root


def write_atomic(path: str | Path, data: bytes | str) -> None:
    """Write `path` whole or not at all. Raises InputError where it cannot be written."""
    with atomic_path(Path(path)) as part:
        part.write_bytes(data.encode() if isinstance(data, str) else data)


def inside(folder: str | Path, video_id: str) -> Path:
    """`folder / video_id`, refusing an id that points outside the folder. Ids

    may contain folders (`Basketball/v_Basketball_g01_c01`). Raises DataError for
    an absolute path, `..`, a backslash, a drive letter, a NUL or an empty id.
    """
    parts = video_id.split("/")
    unsafe = (
        not video_id.strip()
        or ".." in parts
        or "" in parts
        or any(mark in video_id for mark in ("\\", "\0"))
        or (len(parts[0]) == 2 and parts[0][1] == ":")
    )
    if unsafe:
        raise DataError(
            "invalid video id: not a name inside the video folder",
            got=repr(video_id),
            expected="a file name, or folder/name, without '..'",
        )
    return Path(folder).joinpath(*parts)


def find_video(folder: str | Path, video_id: str) -> Path | None:
    """The video file (the id as it is, or with any extension that `media` opens) or the folder of
    extracted frames that belongs to `video_id`, or None. Raises as `inside` does."""
    exact = inside(folder, video_id)
    try:
        if exact.is_file():
            return exact
        for suffix in (".mp4", *sorted(EXTENSIONS - {".mp4"})):
            for candidate in (f"{exact.name}{suffix}", f"{exact.name}{suffix.upper()}"):
                if exact.with_name(candidate).is_file():
                    return exact.with_name(candidate)
        return exact if exact.is_dir() else None
    except OSError:
        # A name the file system refuses (too long) cannot be a file's.
        return None


def video_path(folder: str | Path, video_id: str) -> Path:
    """As `find_video`, but a missing video is an InputError that names the nearest one there."""
    found = find_video(folder, video_id)
    if found is not None:
        return found
    if not Path(folder).is_dir():
        raise InputError("the video folder does not exist", where=folder)
    there = sorted({p.stem for p in Path(folder).iterdir()})
    raise InputError(
        f"missing video {video_id!r}",
        where=folder,
        expected=f"{video_id}.mp4, .mkv, … or a folder of frames",
        got=f"{len(there)} other entries",
        hint=did_you_mean(video_id, there) or "check the video folder and the ids' spelling",
    )
