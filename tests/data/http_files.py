"""A web server of a folder: with latency, ranges or none, and files that can be made to fail."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server:
    """What the server does, and what it was asked for."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.latency = 0.0
        self.ranges = True
        self.failures: Counter[str] = Counter()  # name → requests that are answered with 503
        self.asked: Counter[str] = Counter()
        self.address = ""


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    state = Server(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.answer(head=True)

        def do_GET(self):
            self.answer(head=False)

        def answer(self, head):
            time.sleep(state.latency)
            name = self.path.strip("/")
            state.asked[name] += not head
            if not head and state.failures[name] > 0:
                state.failures[name] -= 1
                return self.send(503, b"", head)
            path = state.folder / name
            if path.is_dir():
                links = "".join(f'<a href="{p.name}{"/" * p.is_dir()}">{p.name}</a>' for p in sorted(path.iterdir()))
                return self.send(200, links.encode(), head)
            if not path.is_file():
                return self.send(404, b"", head)
            content, status, more = path.read_bytes(), 200, {}
            wanted = self.headers.get("Range", "")
            if state.ranges:
                more["Accept-Ranges"] = "bytes"
            if state.ranges and wanted.startswith("bytes="):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start, end = int(first), int(last or len(content) - 1) + 1
                more["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
                content, status = content[start:end], 206
            return self.send(status, content, head, **more)

        def send(self, status, content, head, **headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if not head:
                self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
