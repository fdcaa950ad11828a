"""Serving: 200 concurrent requests to the JSON endpoint, against plain loops over the same files; images per second.

The endpoint is that of `serve`, in its own process; the requests come from this process on the same machine. A plain loop
reads, decodes and resizes each file as the endpoint does, and computes logits of 1 or 16 images at a time, on OpenVINO (a graph
of the same model) and on PyTorch (the hand-written model).
"""

from __future__ import annotations

import asyncio
import atexit
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.contenders import CLASSES, keras_classifier, torch_module
from benchmarks.harness import Case, Options, Rival
from benchmarks.images import jpeg_folder
from keras_transfer.errors import UserError
from keras_transfer.runtime import BACKENDS

MODELS = ("efficientnet_lite0", "mobilenet_v2", "resnet50")
REQUESTS, SIZE, BATCHES = 200, 64, (1, 16)
Compute = Callable[[np.ndarray], np.ndarray]


def cases(options: Options) -> list[Case]:
    requests, size = options.images or REQUESTS, options.size or SIZE
    found = []
    for model in options.choose("models", MODELS) if options.models else MODELS[:1]:
        common = {"model": model, "size": size, "requests": requests}
        loops = [
            Rival(
                f"{title}, batch {batch}",
                f"{__name__}:loop",
                {**common, "batch": batch, "engine": engine},
                {"KERAS_BACKEND": "torch"},
            )
            for title, engine in (("OpenVINO", "openvino"), ("PyTorch", "torch"))
            for batch in BATCHES
        ]
        endpoints = [
            Rival(
                f"endpoint on {backend}",
                f"{__name__}:endpoint",
                {**common, "backend": backend},
                {"KERAS_BACKEND": backend},
                against=tuple(f"{title}, batch {BATCHES[-1]}" for title in ("OpenVINO", "PyTorch")),
                limits={"lost": 0},
            )
            for backend in options.choose("backends", BACKENDS)
        ]
        found.append(Case(f"{model}, {size} px, {requests} at once", "images/s", (*loops, *endpoints)))
    return found


def loop(model: str, size: int, requests: int, batch: int, engine: str) -> Callable[[], float]:
    from keras_transfer.data.augment import Transform
    from keras_transfer.data.images.store import EncodedImage

    compute = {"openvino": _openvino, "torch": _torch}[engine](model, size)
    files, transform = _files(requests), Transform((size, size))

    def measure() -> float:
        began = time.perf_counter()
        for first in range(0, requests, batch):
            images = [EncodedImage(file.name, file.read_bytes()) for file in files[first : first + batch]]
            compute(np.stack([transform(image) for image in images]))
        return requests / (time.perf_counter() - began)

    measure()
    return measure


def _openvino(model: str, size: int) -> Compute:
    try:
        import openvino
    except ImportError:
        raise UserError("needs openvino: pip install openvino") from None
    from keras_transfer.engine.openvino_graph import translate

    graph = translate(keras_classifier(model, size, "float32", "torch", ours=False), -1, np.uint8)
    compiled = openvino.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: compiled(images)[0]


def _torch(model: str, size: int) -> Compute:
    torch, module, _ = torch_module(model, compiled=False)
    module.cpu().eval()

    def compute(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found: np.ndarray = module(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
            return found

    return compute


def endpoint(model: str, size: int, requests: int, backend: str) -> Callable[[], dict[str, float]]:
    from keras_transfer.models.bundle import save

    folder = tempfile.mkdtemp()
    facts = {
        "classes": [str(k) for k in range(CLASSES)],
        "image_size": [size, size],
        "color": "rgb",
        "resize": "squash",
    }
    save(
        keras_classifier(model, size, "float32", backend, ours=False),
        Path(folder, "model.keras"),
        {**facts, "backbone": model},
    )
    command = [sys.executable, "-m", "keras_transfer", "serve", str(Path(folder, "model.keras")), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    atexit.register(server.terminate)
    assert server.stdout is not None
    address = (
        next((line for line in server.stdout if line.startswith("serving")), "").partition(" at ")[2].split(" ")[0]
    )
    if not address:
        raise UserError('the server did not start: pip install "keras_transfer[demo]"')
    host, _, port = address.removeprefix("http://").partition(":")
    bodies = [_request(file) for file in _files(requests)]

    def measure() -> dict[str, float]:
        began = time.perf_counter()
        answers = asyncio.run(_ask_all(host, int(port), bodies))
        seconds = time.perf_counter() - began
        waited = [one for one in answers if one is not None]
        median, p95 = np.percentile(waited, [50, 95]) if waited else (np.inf, np.inf)
        return {
            "value": len(waited) / seconds,
            "lost": requests - len(waited),
            "median s": float(median),
            "p95 s": float(p95),
        }

    measure()
    return measure


async def _ask_all(host: str, port: int, bodies: list[bytes]) -> list[float | None]:
    return await asyncio.gather(*(_ask(host, port, body) for body in bodies))


async def _ask(host: str, port: int, body: bytes) -> float | None:
    """Return the seconds until the answer; None if there was none, or one without probabilities."""
    began = time.perf_counter()
    try:
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(body)
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    except OSError:
        return None
    seconds = time.perf_counter() - began
    answered = head.startswith(b"HTTP/1.1 200 ") and sum(one["probability"] for one in _classes(content)) > 0.1
    return seconds if answered else None


def _classes(content: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(content)["classes"]
    return found


def _request(file: Path) -> bytes:
    mark = "a-mark-between-the-parts"
    body = (
        f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    ).encode() + file.read_bytes() + f"\r\n--{mark}--\r\n".encode()  # fmt: skip
    head = (
        "POST /api/predict HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary={mark}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _files(count: int) -> list[Path]:
    return sorted(jpeg_folder(count).rglob("*.jpg"))
