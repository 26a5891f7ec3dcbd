"""Draws the documentation's pictures anew from the demo: a frame of the overlay, and the page.

python scripts/pictures.py        # needs Chromium on the PATH and Playwright; writes docs/pictures
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av
from playwright.sync_api import sync_playwright

from tubelet.media.video import Video

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
SECOND = 1.5


def main() -> None:
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "tubelet", "demo", "--out", folder],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        overlay_picture(Path(folder) / "overlay.mp4", PICTURES / "overlay.jpg")
        page_picture(Path(folder) / "report.html", PICTURES / "report.jpg")
    for path in sorted(PICTURES.iterdir()):
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def overlay_picture(film: Path, target: Path) -> None:
    """One frame as JPEG."""
    with Video(film) as video:
        frame = next(f for f in video.frames() if f.time_ms >= SECOND * 1000)
    with av.open(str(target), "w", format="image2") as out:
        stream = out.add_stream("mjpeg", rate=1, options={"qscale": "4"})
        stream.height, stream.width = frame.image.shape[:2]
        stream.pix_fmt = "yuvj420p"
        picture = av.VideoFrame.from_ndarray(frame.image, format="rgb24").reformat(
            format="yuvj420p"
        )
        out.mux(stream.encode(picture))
        out.mux(stream.encode())


def page_picture(page: Path, target: Path) -> None:
    """The report as a browser shows it, stopped at `SECOND`."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("no Chromium on the PATH; on Debian: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu"]
        )
        view = browser.new_page(viewport={"width": 1000, "height": 860})
        view.goto(page.as_uri())
        view.evaluate("s => { document.querySelector('video').currentTime = s; }", SECOND)
        view.wait_for_timeout(2000)
        view.screenshot(path=target, type="jpeg", quality=75)
        browser.close()


if __name__ == "__main__":
    main()
