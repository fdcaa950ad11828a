"""The ``serve`` command."""

from __future__ import annotations

import errno
import importlib.util
import socket
import sys
from pathlib import Path
from typing import Any

from keras_transfer import text
from keras_transfer.errors import MissingExtra, UserError
from keras_transfer.inference import find_model, start

_PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
_CONNECTIONS = 512  # further ones get status 503


def serve(
    source: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    corrections: str | Path | None = None,
    max_upload: float = 10,
    backend: str | None = None,
    device: str | None = None,
) -> None:
    """Serve a web page and a JSON API for a model until interrupted.

    Args:
        source: run directory or model file.
        host: address to listen on; by default only this computer can reach it.
        port: port to listen on; 0 picks a free one.
        corrections: folder for corrected images; None: ``corrections`` beside the model.
        max_upload: maximum file size in MiB.
        backend: Keras backend.
        device: compute device.

    Raises:
        UserError: no model; corrections folder is a file; address or port not available.
        MissingExtra: the packages of the extra ``demo`` are not installed.
    """
    _require_packages()
    if not 0 < max_upload <= 1024:
        raise UserError(f"--max-upload: expected more than 0 and at most 1024 MiB, got {max_upload:g}")
    model_file, _ = find_model(source)
    folder = Path(corrections) if corrections is not None else model_file.parent / "corrections"
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--corrections: {folder} is a file; name a folder")
    with _bind(host, port) as listener:  # before the slow import of a framework
        model, metadata, _ = start(source, backend, device)
        from keras_transfer.serve.app import Limits, create_app
        from keras_transfer.serve.corrections import Corrections
        from keras_transfer.serve.guard import LOOPBACK
        from keras_transfer.serve.predictor import Predictor

        saved = Corrections(folder, metadata["classes"])
        predictor = Predictor(model, metadata)
        predictor.warm_up()
        app = create_app(predictor, saved, Limits(upload=int(max_upload * 2**20), local=host in LOOPBACK))
        if host not in LOOPBACK:
            print(f"warning: anyone who can reach {host} can use this page and save corrections", file=sys.stderr)
        listener.listen(_CONNECTIONS)  # from here on clients can connect; they wait for the server
        text.say(f"serving {source} at {_address(host, listener)} (Ctrl-C stops)")
        sys.stdout.flush()
        _listen(app, listener)


def _listen(app: Any, listener: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        limit_concurrency=_CONNECTIONS,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    try:
        uvicorn.Server(config).run(sockets=[listener])
    except KeyboardInterrupt:  # the usual way to stop
        print("stopped", file=sys.stderr)


def _require_packages() -> None:
    for module, package in _PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            raise MissingExtra(package, "demo", "serve")


def _bind(host: str, port: int) -> socket.socket:
    """Bind the address without accepting connections yet."""
    if not 0 <= port <= 65535:
        raise UserError(f"--port: expected 0..65535, got {port}")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
    except OSError as error:
        raise UserError(f"cannot listen on {host!r}: {error.strerror or error}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        hint = "; another program uses this port: choose another with --port" if error.errno == errno.EADDRINUSE else ""
        raise UserError(f"cannot listen on {host} port {port}: {error.strerror or error}{hint}") from error
    return listener


def _address(host: str, listener: socket.socket) -> str:
    port = listener.getsockname()[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
