"""Pack the letters of GNU Unifont that tubelet can draw into `src/tubelet/drawing/glyphs.bin`.

    python scripts/pack_glyphs.py unifont.hex unifont_upper.hex

A line of a .hex file is `CODE:BITMAP`, 16 rows of 8 or 16 pixels. Left out are code points without
a letter, and scripts whose letters change with their neighbours in a way that `drawing.script` does
not know (the Indic ones, Tibetan, Myanmar, Khmer, Mongolian, Syriac, …): drawn one by one they
would be wrong. Unifont is under the SIL Open Font License 1.1 (`glyphs.LICENSE`).
"""

from __future__ import annotations

import sys
import unicodedata
import zlib
from pathlib import Path

import numpy as np

from tubelet.drawing.glyphs import MAGIC

TARGET = Path(__file__).parent.parent / "src" / "tubelet" / "drawing" / "glyphs.bin"
SHAPED = (
    (0x0700, 0x08FF), (0x0900, 0x0DFF), (0x0F00, 0x109F), (0x1700, 0x18AF), (0x1900, 0x1CFF),
    (0xA800, 0xA82F), (0xA840, 0xA8FF), (0xA900, 0xABFF), (0xD800, 0xF8FF),
)  # fmt: skip
KINDS = "LMNPS"


def wanted(code: int) -> bool:
    """Whether this code point is a letter, mark, number or sign that stands by itself."""
    shaped = any(first <= code <= last for first, last in SHAPED)
    return not shaped and unicodedata.category(chr(code))[0] in KINDS


def main(paths: list[str]) -> None:
    glyphs: dict[int, str] = {}
    for path in paths:
        for line in Path(path).read_text(encoding="ascii").splitlines():
            code, _, bitmap = line.partition(":")
            if len(bitmap) in (32, 64) and wanted(int(code, 16)):
                glyphs[int(code, 16)] = bitmap
    codes = np.array(sorted(glyphs), "<u4")
    rows = np.zeros((len(codes), 16), "<u2")
    wide = np.zeros(len(codes), "u1")
    for number, code in enumerate(codes):
        bitmap = glyphs[int(code)]
        wide[number] = len(bitmap) == 64
        digits = len(bitmap) // 16
        lines = [int(bitmap[i * digits : (i + 1) * digits], 16) for i in range(16)]
        rows[number] = [line << (0 if wide[number] else 8) for line in lines]
    # Row by row of all letters: neighbours in a script have their strokes in the same rows.
    packed = zlib.compress(codes.tobytes() + wide.tobytes() + rows.T.tobytes(), 9)
    TARGET.write_bytes(MAGIC + len(codes).to_bytes(4, "little") + packed)
    print(f"{len(codes)} letters, {TARGET.stat().st_size:,} bytes: {TARGET}")


if __name__ == "__main__":
    main(sys.argv[1:])
