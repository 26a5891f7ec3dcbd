"""How many films a server takes, how long they wait, and whether memory stays flat; on loopback.

    python benchmarks/serve_load.py --requests 40 --clients 3

Starts `tubelet serve playground_small` with one worker, sends the same rendered clip from several
clients, and every fifth time wrong bytes or half a film. Prints requests a second, percentiles and
resident memory after the first and after the last tenth.
"""

from __future__ import annotations

import argparse
import http.client
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tubelet.playground.make import write_dataset
from tubelet.playground.world import PlaygroundConfig

CLIP = PlaygroundConfig(height=72, width=96, seconds=2.0, people=(1, 1))


def ask(port: int, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def cut(port: int, film: bytes) -> None:
    """Half a film, and then nothing more."""
    head = f"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(film)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port)) as wire:
        wire.sendall(head.encode() + film[: len(film) // 2])


def resident(port: int) -> dict[str, int]:
    """MiB of each process, as /metrics tells."""
    _, text = ask(port, "GET", "/metrics")
    rows = [line for line in text.decode().splitlines() if line.startswith("tubelet_resident")]
    return {row.split('"')[1]: int(row.split()[-1]) >> 20 for row in rows}


def load(port: int, film: bytes, requests: int, clients: int) -> None:
    answers: Counter[str] = Counter()
    seconds: list[float] = []
    memory: list[dict[str, int]] = []
    lock, left = threading.Lock(), iter(range(requests))

    def client() -> None:
        while True:
            with lock:
                number = next(left, None)
            if number is None:
                return
            begun = time.perf_counter()
            if number % 10 == 4:
                status, _ = ask(port, "POST", "/detect", b"no film" * 500)
                answers[f"wrong bytes: {status}"] += 1
            elif number % 10 == 9:
                cut(port, film)
                answers["cut"] += 1
            else:
                status, _ = ask(port, "POST", "/detect", film)
                with lock:
                    answers[f"film: {status}"] += 1
                    if status == 200:
                        seconds.append(time.perf_counter() - begun)
            if number in (requests // 10, requests - 1):
                memory.append(resident(port))

    begun = time.perf_counter()
    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - begun
    seconds.sort()
    print("answers:", ", ".join(f"{said} × {n}" for said, n in sorted(answers.items())))
    print(
        f"{requests / wall:.2f} requests/s, {len(seconds) / wall:.2f} films/s by {clients} clients"
    )
    at = {q: seconds[min(len(seconds) - 1, int(q * len(seconds)))] for q in (0.5, 0.95)}
    print(f"a film: median {at[0.5]:.2f} s, p95 {at[0.95]:.2f} s")
    print(f"MiB after a tenth {memory[0]}, at the end {memory[-1]}")
    print("left over:", ask(port, "GET", "/health")[1].decode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--clients", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = write_dataset(Path(folder) / "made", clips=1, config=CLIP)
        film = made.videos[0].read_bytes()
        program = [sys.executable, "-m", "tubelet", "serve", "playground_small", "--port", "0"]
        program += ["--people", "person_small", "--track-rate", "0"]
        program += ["--workers", str(options.workers), "--waiting", str(options.clients)]
        server = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            port = int(server.stdout.readline().rsplit(":", 1)[1].strip().rstrip("/"))
            load(port, film, options.requests, options.clients)
        finally:
            server.terminate()
            server.wait()


if __name__ == "__main__":
    main()
