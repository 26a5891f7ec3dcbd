"""Fixtures that every kind of test shares."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# No test asks the hub or finds what a developer has of it: its client reads these once, when it is
# imported, here and in the programs that tests start. Nothing listens on port 9.
os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
os.environ["HF_HOME"] = str(Path(tempfile.gettempdir()) / "tubelet-tests-without-a-hub")

# How long an example takes says something of the machine, not of the code.
settings.register_profile("tubelet", deadline=None)
settings.load_profile("tubelet")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and golden figures beside the checkout; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the reference data folder, absent here: {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def extract_frames() -> Callable[..., None]:
    """`extract_frames(video, folder, "img_%05d.jpg", every=1, hw=None)` writes a film's frames as
    pictures numbered from 1: JPEG, or PNG, which loses nothing."""
    return _extract_frames


def _extract_frames(
    video: Path, folder: Path, name: str, *, every: int = 1, hw: tuple[int, int] | None = None
) -> None:
    from tubelet.media.video import Video

    folder.mkdir(parents=True)
    with Video(video) as film:
        for number, frame in enumerate(list(film.frames(hw))[::every], 1):
            _write_picture(folder / (name % number), frame.image)


def _write_picture(path: Path, image: Any) -> None:
    import av
    from av.video.frame import VideoFrame

    codec, pixels = ("png", "rgb24") if path.suffix == ".png" else ("mjpeg", "yuvj420p")
    with av.open(str(path), "w", format="image2") as container:
        stream: Any = container.add_stream(codec, rate=1)
        (stream.height, stream.width), stream.pix_fmt = image.shape[:2], pixels
        frame = VideoFrame.from_ndarray(image, format="rgb24").reformat(format=pixels)
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
