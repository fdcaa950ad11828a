"""A server in a thread of this process, on a real port."""

from __future__ import annotations

import io
import json
import threading
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CLASSES = ["apple", "big berry", "<b>cherry</b>"]
METADATA = {"classes": CLASSES, "image_size": [32, 40], "color": "rgb", "resize": "squash", "backbone": "tiny"}


def encoded(kind: str = "PNG", seed: int = 0, size: tuple[int, int] = (60, 90), mode: str = "RGB") -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize(size[::-1]).convert(mode).save(buffer, kind)
    return buffer.getvalue()


@dataclass
class Site:
    """A running server: its address, the corrections folder and the predictor."""

    url: str
    folder: Path
    predictor: Any

    def send(self, path: str, data: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Send a request; return the status and the decoded answer."""
        request = urllib.request.Request(self.url + path, data, {k.replace("_", "-"): v for k, v in headers.items()})
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def post(self, path: str, file: bytes | None, name: str = "x.png", headers: Any = None, **fields: str) -> Any:
        """Post a form with a file."""
        mark = uuid.uuid4().hex
        parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
        body = "".join(parts).encode()
        if file is not None:
            head = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
            body += head.encode() + file + b"\r\n"
        body += f"--{mark}--\r\n".encode()
        return self.send(path, body, Content_Type=f"multipart/form-data; boundary={mark}", **(headers or {}))


def start_site(folder: Path, predictor: Any, **limits: Any) -> tuple[Site, Any]:
    """Start a server; return it and a function that stops it."""
    import uvicorn
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    from keras_transfer.serve.app import Limits, create_app
    from keras_transfer.serve.corrections import Corrections
    from keras_transfer.serve.patience import impatient
    from keras_transfer.serve.server import _bind

    listener = _bind("127.0.0.1", 0)
    chosen = Limits(**limits)
    app = create_app(predictor, Corrections(folder, predictor.classes), chosen)
    protocol = impatient(AutoHTTPProtocol, chosen.patience)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", http=protocol, ws="none"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.01)

    def stop() -> None:
        server.should_exit = True
        thread.join()
        listener.close()

    return Site(f"http://127.0.0.1:{listener.getsockname()[1]}", folder, predictor), stop


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    from keras_transfer.models.classifier import build_classifier
    from keras_transfer.serve.predictor import Predictor

    model = build_classifier("tiny", 3, image_size=(32, 40), weights="none", seed=1)
    rng = np.random.default_rng(0)
    model.get_layer("logits").set_weights([rng.normal(0, 2, (32, 3)), np.zeros(3)])
    predictor = Predictor(model, METADATA)
    predictor.warm_up()
    found, stop = start_site(tmp_path_factory.mktemp("site") / "corrections", predictor, upload=200_000)
    yield found
    stop()
