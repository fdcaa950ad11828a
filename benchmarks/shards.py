"""Shards against a folder: one epoch over 100,000 small JPEG files, images per second, from a disk, memory:// and HTTP with 50 ms latency.

All make the same augmented uint8 batches. Remote shards begin with an empty cache in every round, so that each is fetched within it; one
rival has room for half of the data only, and reads them in windows. The server is a process of its own.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.harness import Case, Options, Rival
from benchmarks.images import jpeg_folder
from keras_transfer.runtime import cache_dir

IMAGES, BATCH, SIZE, WORKERS, SIDE = 100_000, 256, 64, 2, 64
LATENCY = 0.05
SHARD = 16_000_000
GOALS = {"shards": 0.9, "shards, memory://": 0.8, "shards, HTTP": 0.8, "shards, HTTP, room for half": 0.8}


def cases(options: Options) -> list[Case]:
    arguments: dict[str, Any] = {
        "images": options.images or IMAGES,
        "batch": options.batch or BATCH,
        "size": options.size or SIZE,
        "workers": options.workers or WORKERS,
    }
    rivals = [Rival("folder", "benchmarks.shards:epochs", {"kind": "folder", **arguments})]
    for kind, goal in GOALS.items():
        rivals.append(Rival(kind, "benchmarks.shards:epochs", {"kind": kind, **arguments}, {}, ("folder",), goal))
    name = f"{arguments['images']:,} JPEG files of {SIDE} x {SIDE}, {arguments['workers']} workers"
    return [Case(name, "images/s", tuple(rivals), rounds=3)]


def epochs(kind: str, images: int, batch: int, size: int, workers: int) -> Callable[[], float]:
    from keras_transfer import data
    from keras_transfer.data.augment import Transform
    from keras_transfer.data.loading.loader import Loader

    folder = jpeg_folder(images, 90, SIDE, SIDE)
    shards = _shards(folder) if kind != "folder" else folder
    address, total = _address(kind, shards), sum(path.stat().st_size for path in shards.glob("*.tar"))
    room = {"shard_cache": (0.5 if "half" in kind else 2.0) * total / (1 << 30)} if kind != "folder" else {}
    transform = Transform((size, size), ["horizontal_flip"])
    numbers = iter(range(1 << 30))

    def measure() -> float:
        with _empty_cache():
            source = "folder" if kind == "folder" else "shards"
            opened = data.build(source, path=address, image_size=size, val_fraction=0.0, test_fraction=0.0, **room)
            epoch = next(numbers)
            began = time.perf_counter()
            with Loader(opened.train, transform, batch, shuffle=True, workers=workers) as loader:
                count = sum(len(x) for x, _ in loader.epoch(epoch))
                return count / (time.perf_counter() - began)

    measure()
    return measure


def _shards(folder: Path) -> Path:
    """Return the folder as shards, written once."""
    from keras_transfer.shard import shard

    output, total = folder.with_name(f"{folder.name}-shards"), sum(path.stat().st_size for path in folder.glob("*/*"))
    # Enough of them that half still makes several windows.
    size = min(SHARD, max(20_000, total // 20))
    shard(str(folder), str(output), size=size, say=lambda _: None)
    return output


def _address(kind: str, shards: Path) -> str:
    if "memory" in kind:
        import fsspec

        for path in shards.iterdir():
            fsspec.filesystem("memory").pipe_file(f"/shards/{path.name}", path.read_bytes())
        return "memory://shards"
    if "HTTP" in kind:
        return serve(shards)
    return str(shards)


class _empty_cache(contextlib.AbstractContextManager["_empty_cache"]):
    """A cache folder of its own, removed afterwards, on the disk of the usual one."""

    def __enter__(self) -> _empty_cache:
        self.before = os.environ.get("KERAS_TRANSFER_CACHE")
        self.folder = tempfile.mkdtemp(dir=cache_dir() / "benchmarks", prefix="cache-")
        os.environ["KERAS_TRANSFER_CACHE"] = self.folder
        return self

    def __exit__(self, *_: object) -> None:
        if self.before is None:
            del os.environ["KERAS_TRANSFER_CACHE"]
        else:
            os.environ["KERAS_TRANSFER_CACHE"] = self.before
        shutil.rmtree(self.folder, ignore_errors=True)


def serve(folder: Path) -> str:
    """Start a server of a folder in a process of its own, which ends with this one; return its address."""
    command = [sys.executable, "-c", "from benchmarks.shards import main; main()", str(folder), str(LATENCY)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process.stdout.readline().strip()


def main() -> None:
    """Serve the folder on the command line, with latency, until standard input ends."""
    import threading

    folder, latency = Path(sys.argv[1]), float(sys.argv[2])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(False)

        def do_GET(self) -> None:
            self.answer(True)

        def answer(self, body: bool) -> None:
            time.sleep(latency)
            path = folder / self.path.strip("/").rpartition("/")[2]
            if not path.is_file():
                self.send_error(404)
                return
            size, wanted = path.stat().st_size, self.headers.get("Range", "")
            start, end = 0, size
            if wanted.startswith("bytes="):
                first, _, last = wanted[6:].partition("-")
                start, end = int(first), min(int(last or size - 1) + 1, size)
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(end - start))
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{size}")
            self.end_headers()
            if body:
                with path.open("rb") as stream:
                    stream.seek(start)
                    self.wfile.write(stream.read(end - start))

        def log_message(self, *_: object) -> None:  # type: ignore[override]
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()
