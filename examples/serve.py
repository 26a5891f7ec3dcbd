"""A trained model behind HTTP: POST a video, get who does what from when to when as JSON.

    python examples/serve.py runs/mine/model.safetensors --port 8000
    curl --data-binary @film.mp4 http://127.0.0.1:8000/

One request at a time, on the loopback interface: a beginning, to be put behind a real server.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import tubelet
from tubelet.errors import TubeletError

LARGEST = 1 << 30  # bytes of a video


def actions(model: Any, film: Path, *, every: float, threshold: float) -> list[dict[str, Any]]:
    """One entry per person: the track's moments, boxes, and actions above `threshold`."""
    found = []
    for tube in tubelet.link(model.detect(film, every=every)):
        moments = [
            {
                "time_s": int(time) / 1000,
                "box": [round(float(edge), 4) for edge in box],
                "actions": {
                    name: round(float(score), 4)
                    for name, score in zip(model.labels, scores, strict=True)
                    if score >= threshold
                },
            }
            for time, box, scores in zip(tube.times_ms, tube.boxes, tube.action_scores, strict=True)
        ]
        found.append({"person": int(tube.track_id), "moments": moments})
    return found


def handler(model: Any, every: float, threshold: float) -> type[BaseHTTPRequestHandler]:
    """The request handler of one loaded model."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 30  # seconds without a byte

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not length.isdigit() or not 0 < int(length) <= LARGEST:
                self._answer(411, {"error": "send a video of up to 1 GiB with its Content-Length"})
                return
            with tempfile.TemporaryDirectory() as folder:
                film = Path(folder) / "film"
                if not self._receive(film, int(length)):
                    self._answer(400, {"error": "the video stopped before its end"})
                    return
                try:
                    people = actions(model, film, every=every, threshold=threshold)
                except TubeletError as error:
                    self._answer(422, {"error": error.what})
                else:
                    self._answer(200, {"people": people})

        def _receive(self, film: Path, length: int) -> bool:
            with film.open("wb") as file:
                try:
                    while length and (chunk := self.rfile.read(min(length, 1 << 20))):
                        length -= file.write(chunk)
                except TimeoutError:
                    return False
            return length == 0

        def _answer(self, status: int, content: dict[str, Any]) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a weights file, or a release's name")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--every", type=float, default=0.5, help="seconds between detections")
    parser.add_argument("--threshold", type=float, default=0.3)
    options = parser.parse_args()
    model = tubelet.load(options.model)
    serve = handler(model, options.every, options.threshold)
    with HTTPServer(("127.0.0.1", options.port), serve) as server:
        print(f"serving on http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
