"""Which uploads are films: by their first bytes, before FFmpeg sees them.

FFmpeg also opens playlists (HLS, DASH, concat), and they name other files: an upload could so have
films of the server's disk decoded. Only containers that hold their own pictures pass.
"""

from __future__ import annotations

from pathlib import Path

from tubelet.errors import Refusal

_HEAD = 1 << 20
_KNOWN = "MP4, MOV, Matroska, WebM, AVI, MPEG-TS, MPEG-PS, FLV, Ogg"
_BOXES = frozenset({b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"})
_PLAYLISTS = (b"#extm3u", b"<mpd", b"ffconcat", b"<?xml", b"<smoothstreamingmedia")


def check_container(path: Path) -> None:
    """Raises Refusal (422) for a file that is not one of the known containers."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    # What FFmpeg searches for in text ends at the first zero byte.
    text = head.split(b"\0", 1)[0].lower()
    if not _is_container(head) or any(mark in text for mark in _PLAYLISTS):
        raise Refusal(
            422,
            "these bytes are not a film",
            expected=_KNOWN,
            got=f"{path.stat().st_size} bytes of something else",
            hint="send the file itself, as the raw body or as the part `film` of a form",
        )


def _is_container(head: bytes) -> bool:
    return (
        head[4:8] in _BOXES
        or head.startswith((b"\x1a\x45\xdf\xa3", b"\0\0\1\xba", b"FLV\x01", b"OggS"))
        or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
        or any(_packets(head, at, step) for at, step in ((0, 188), (4, 192)))
    )


def _packets(head: bytes, at: int, step: int) -> bool:
    """Whether an MPEG transport stream's sync bytes stand where they have to."""
    return len(head) > 4 * step and all(head[at + i * step] == 0x47 for i in range(4))
