"""Throw damaged and hostile inputs at every door: python scripts/fuzz.py images|models|lists|http --seconds N --seed S.

An input must be used or refused with one line. A fall is a traceback or a crash, more than 5 seconds, more than 1 GiB above
the beginning, or (http) an answer of 5xx. What fell is written to fuzz-failures/, from where it goes into a test.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import random
import struct
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

LIMIT_SECONDS, LIMIT_MIB = 5.0, 1024
Outcome = str
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM")
NUMBERS = (0, 1, 2, 7, 255, 256, 65535, 1 << 16, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


def peak_mib() -> float:
    """Return the highest memory of this process so far in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with a few changes: bits, numbers, pieces cut, repeated, moved or replaced."""
    found = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if len(found) < 8:
            break
        at, end = sorted((rng.randrange(min(len(found), rng.choice((64, 1 << 30)))), rng.randrange(len(found))))
        kind = rng.randrange(6)
        if kind == 0:
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            packed = struct.pack(rng.choice("<>") + rng.choice("HI"), rng.choice(NUMBERS) & 0xFFFF)
            found[at : at + len(packed)] = packed
        elif kind == 2:
            found[at : at + 4] = struct.pack(rng.choice("<>") + "I", rng.choice(NUMBERS))
        elif kind == 3:
            del found[at : min(end, at + rng.choice((1, 4, 64, 4096)))]
        elif kind == 4:
            piece = bytes(found[at : min(end, at + rng.choice((2, 16, 256)))])
            found[at:at] = piece * rng.choice((1, 2, 50))
        else:
            found[at : at + 2] = b"\xff" + bytes([rng.randrange(256)])
    return bytes(found)


def images(rng: random.Random, folder: Path) -> Callable[[], tuple[bytes, Callable[[], Any]]]:
    """Image files of all formats."""
    from PIL import Image

    from keras_transfer.data.samples import FileStore

    pixels = np.random.default_rng(rng.randrange(1 << 30)).integers(0, 256, (40, 50, 3), np.uint8)
    seeds = []
    for kind in FORMATS:
        for mode in ("RGB", "L", "P", "RGBA", "CMYK", "1"):
            for options in ({}, {"progressive": True}, {"compression": "tiff_lzw"}, {"save_all": True}):
                stream = io.BytesIO()
                try:
                    Image.fromarray(pixels).convert(mode).save(stream, kind, **options)
                except (OSError, ValueError, KeyError):
                    continue
                seeds.append(stream.getvalue())

    def make() -> tuple[bytes, Callable[[], Any]]:
        data = damaged(rng.choice(seeds), rng)
        (folder / "x.jpg").write_bytes(data)
        return data, lambda: FileStore(["x.jpg"], folder).read(0)

    return make


def models(rng: random.Random, folder: Path) -> Callable[[], tuple[bytes, Callable[[], Any]]]:
    """Model files with changed configurations and bytes."""
    import keras_transfer as kt

    good = folder / "good.keras"
    kt.Classifier("tiny", ["a", "b"], image_size=32, weights="none").save(good)
    with zipfile.ZipFile(good) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}

    def changed(tree: Any) -> None:
        places: list[tuple[Any, Any]] = []
        stack = [tree]
        while stack:
            node = stack.pop()
            items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
            for key, value in list(items):
                places.append((node, key))
                stack.append(value)
        for _ in range(rng.choice((1, 1, 2, 5))):
            node, key = rng.choice(places)
            value = rng.choice(
                (rng.choice(NUMBERS), None, True, "same", [], {}, -1, 1.5, float("nan"), [1 << 20] * 2, "same" * 1000)
            )
            other = copy.deepcopy(rng.choice(places)[0])
            if rng.random() < 0.1 and isinstance(node, dict):
                node.pop(key, None)
            elif isinstance(node, dict) or (isinstance(key, int) and key < len(node)):
                node[key] = other if rng.random() < 0.2 else value

    def make() -> tuple[bytes, Callable[[], Any]]:
        now = dict(members)
        name = rng.choice(("config.json",) * 5 + tuple(members))
        if name.endswith(".json") and rng.random() < 0.9:
            tree = json.loads(now[name])
            changed(tree)
            now[name] = json.dumps(tree).encode()
        else:
            now[name] = damaged(now[name], rng)
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            for member, content in now.items():
                archive.writestr(member, content)
        data = stream.getvalue() if rng.random() < 0.95 else damaged(stream.getvalue(), rng)
        (folder / "x.keras").write_bytes(data)
        return data, lambda: kt.load(folder / "x.keras")

    return make


def lists(rng: random.Random, folder: Path) -> Callable[[], tuple[bytes, Callable[[], Any]]]:
    """Lists, CSV files, YAML configurations and class files."""
    from PIL import Image

    import keras_transfer as kt

    for i in range(8):
        Image.fromarray(np.full((8, 8, 3), 20 * i, np.uint8)).save(folder / f"{i}.png")
    seeds = {
        "x.txt": "".join(f"{i}.png {'cat' if i % 2 else 'dog'}\n" for i in range(8)),
        "x.csv": "path,label,split,weight,group\n" + "".join(f"{i}.png,{i % 2},train,1.5,g{i}\n" for i in range(8)),
        "x.yaml": "data: {path: ., image_size: 32, augment: [flip]}\nmodel: {backbone: tiny}\nphases: [{name: head, epochs: 1}]\n",
    }
    readers: dict[str, Callable[[Path], Any]] = {
        "x.txt": lambda path: kt.data.list_file(path, 8),
        "x.csv": lambda path: kt.data.csv(path, 8),
        "x.yaml": lambda path: kt.load_config(path),
    }
    odd = (
        "\0",
        "\u2028",
        "\x85",
        "\ufeff",
        '"',
        "'",
        ",",
        "\t",
        "9" * 5000,
        "-1",
        "nan",
        "../",
        "é",
        "\r",
        "&a",
        "*a",
        "!!python/x ",
    )

    def make() -> tuple[bytes, Callable[[], Any]]:
        name = rng.choice(list(seeds))
        text = list(seeds[name])
        for _ in range(rng.choice((1, 2, 5))):
            at = rng.randrange(len(text))
            text[at : at + rng.choice((0, 1, 3))] = rng.choice(odd)
        data = "".join(text).encode()
        data = damaged(data, rng) if rng.random() < 0.2 else data
        (folder / name).write_bytes(data)
        return data, lambda: readers[name](folder / name)

    return make


def http(rng: random.Random, folder: Path) -> Callable[[], tuple[bytes, Callable[[], Any]]]:
    """Requests to the page's server, raw bytes over a socket."""
    import socket
    import threading

    import uvicorn
    from PIL import Image
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    import keras_transfer as kt
    from keras_transfer.serve.app import Limits, create_app
    from keras_transfer.serve.corrections import Corrections
    from keras_transfer.serve.patience import impatient
    from keras_transfer.serve.predictor import Predictor

    clf = kt.Classifier("tiny", ["a", "b"], image_size=32, weights="none")
    predictor = Predictor(clf.model, clf.metadata)
    predictor.warm_up()  # as `serve` does, so that no request waits for it
    app = create_app(predictor, Corrections(folder / "corrections", ["a", "b"]), Limits(upload=100_000, patience=1))
    config = uvicorn.Config(app, port=0, http=impatient(AutoHTTPProtocol, 1), log_level="critical")
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(config)
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    address = listener.getsockname()
    stream = io.BytesIO()
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(stream, "PNG")

    def request() -> bytes:
        path = rng.choice(
            ("/api/predict", "/api/predict/many?top=2", "/api/correct", "/api/model", "/", "/page/page.js", "/x")
        )
        field = "files" if "many" in path else "file"
        image = damaged(stream.getvalue(), rng) if rng.random() < 0.5 else stream.getvalue()
        body = f'--q\r\nContent-Disposition: form-data; name="{field}"; filename="x.png"\r\n\r\n'.encode() + image
        body += b'\r\n--q\r\nContent-Disposition: form-data; name="label"\r\n\r\na\r\n--q--\r\n'
        head = (
            f"{rng.choice(('POST', 'POST', 'GET', 'PUT'))} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        )
        head += f"Content-Type: multipart/form-data; boundary=q\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def ask(data: bytes) -> None:
        with socket.create_connection(address, timeout=LIMIT_SECONDS) as client:
            client.sendall(data)
            answer = b""
            try:
                while part := client.recv(65536):
                    answer += part
            except ConnectionError:
                pass
        if answer.startswith(b"HTTP/1.1 5"):
            raise RuntimeError(answer[:300].decode("latin-1"))

    def make() -> tuple[bytes, Callable[[], Any]]:
        data = damaged(request(), rng) if rng.random() < 0.8 else request()
        return data, lambda: ask(data)

    return make


DOORS = {"images": images, "models": models, "lists": lists, "http": http}


def fuzz(door: str, seconds: float, seed: int, failures: Path) -> tuple[Counter[str], list[str]]:
    """Try inputs for so many seconds; return how many were used and refused, and what fell."""
    from keras_transfer.errors import UserError

    counts: Counter[str] = Counter()
    fallen: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        make = DOORS[door](random.Random(seed), Path(folder))
        before, end = peak_mib(), time.monotonic() + seconds
        while time.monotonic() < end:
            data, use = make()
            began, problem = time.process_time() if door != "http" else time.monotonic(), ""
            try:
                use()
                counts["used"] += 1
            except UserError as error:
                counts["refused"] += 1
                if str(error).count("\n") > 25:
                    problem = "a refusal of many lines"
            except Exception as error:
                problem = f"{type(error).__name__}: {str(error)[:200]}"
            took = (time.process_time() if door != "http" else time.monotonic()) - began
            if took > LIMIT_SECONDS:
                problem = problem or f"{took:.1f} s"
            if peak_mib() - before > LIMIT_MIB:
                problem, before = problem or f"{peak_mib() - before:.0f} MiB more", peak_mib()
            if problem:
                failures.mkdir(exist_ok=True)
                (failures / f"{door}-{seed}-{sum(counts.values())}-{len(fallen)}").write_bytes(data)
                fallen.append(problem)
    return counts, fallen


def main() -> int:
    """Run one fuzzer; exit with 1 if something fell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("door", choices=DOORS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--failures", type=Path, default=Path("fuzz-failures"))
    arguments = parser.parse_args()
    counts, fallen = fuzz(arguments.door, arguments.seconds, arguments.seed, arguments.failures)
    print(f"{arguments.door}: {sum(counts.values()) + len(fallen)} inputs, {dict(counts)}, {len(fallen)} fell")
    for problem, times in Counter(fallen).most_common(20):
        print(f"  {times} x {problem}")
    return bool(fallen)


if __name__ == "__main__":
    sys.exit(main())
