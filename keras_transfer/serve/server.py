"""The ``serve`` command."""

from __future__ import annotations

import errno
import gc
import importlib.util
import socket
import ssl
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_transfer import text
from keras_transfer.engine.forward import check_engine
from keras_transfer.errors import MissingExtra, UserError
from keras_transfer.inference import engine_of, find_model, start

_PACKAGES = {"fastapi": "fastapi", "uvicorn": "uvicorn", "python_multipart": "python-multipart"}
_CONNECTIONS = 512  # further ones get status 503


@dataclass(frozen=True)
class Proxy:
    """How the page is reached from elsewhere: through a proxy, or encrypted by itself.

    Attributes:
        root_path: what the proxy puts before every path, and removes: ``/demo``.
        hosts: names by which browsers know the page, accepted as ``Host``.
        trusted: addresses of proxies whose ``X-Forwarded-For`` and ``X-Forwarded-Proto`` are believed; none by default.
        certificate, key: PEM files for TLS.
    """

    root_path: str = ""
    hosts: Sequence[str] = ()
    trusted: Sequence[str] = ()
    certificate: str | None = None
    key: str | None = None

    def check(self) -> None:
        """Raise UserError for a root path of another form, or a certificate and key that cannot be used."""
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise UserError(f"--root-path: expected a path such as /demo, got {self.root_path!r}")
        if (self.certificate is None) != (self.key is None):
            raise UserError("--tls-certificate and --tls-key: expected both or neither")
        if self.certificate is not None and self.key is not None:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key)
            except (OSError, ValueError) as error:  # ssl's own errors among them
                raise UserError(
                    f"--tls-certificate {self.certificate!r} and --tls-key {self.key!r}: {error}"
                ) from error


DIRECT = Proxy()
"""Without a proxy and without TLS."""


def serve(
    source: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    corrections: str | Path | None = None,
    max_upload: float = 10,
    backend: str | None = None,
    device: str | None = None,
    proxy: Proxy = DIRECT,
    engine: str = "auto",
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
        proxy: how the page is reached from elsewhere.
        engine: what computes probabilities: ``"auto"``, ``"native"`` (the backend) or ``"openvino"``.

    Raises:
        UserError: no model; a certificate that cannot be read; corrections folder is a file; address or port not available.
        MissingExtra: the packages of the extra ``demo`` are not installed.
    """
    _require_packages()
    if not 0 < max_upload <= 1024:
        raise UserError(f"--max-upload: expected more than 0 and at most 1024 MiB, got {max_upload:g}")
    proxy.check()
    check_engine(engine, device)
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
        predictor = Predictor(model, metadata, engine_of(model, metadata, model_file, engine))
        predictor.warm_up()
        limits = Limits(upload=int(max_upload * 2**20), local=host in LOOPBACK, hosts=tuple(proxy.hosts))
        app = create_app(predictor, saved, limits)
        if host not in LOOPBACK:
            _warn(host, proxy)
        listener.listen(_CONNECTIONS)  # from here on clients can connect; they wait for the server
        text.say(f"serving {source} at {_address(host, listener, proxy)} (Ctrl-C stops)")
        sys.stdout.flush()
        gc.collect()
        gc.freeze()  # looking through a framework's objects again takes as long as a hundred requests
        _listen(app, listener, proxy, limits.patience)


def _warn(host: str, proxy: Proxy) -> None:
    print(f"warning: anyone who can reach {host} can use this page and save corrections", file=sys.stderr)
    if proxy.certificate is None:
        print(
            "warning: without encryption: give --tls-certificate and --tls-key, or let a proxy encrypt",
            file=sys.stderr,
        )


def _listen(app: Any, listener: socket.socket, proxy: Proxy, patience: float) -> None:
    import uvicorn
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    from keras_transfer.serve.patience import impatient

    config = uvicorn.Config(
        app,
        http=impatient(AutoHTTPProtocol, patience),
        ws="none",
        root_path=proxy.root_path,
        proxy_headers=bool(proxy.trusted),
        forwarded_allow_ips=list(proxy.trusted),
        ssl_certfile=proxy.certificate,
        ssl_keyfile=proxy.key,
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


def _address(host: str, listener: socket.socket, proxy: Proxy) -> str:
    port, scheme = listener.getsockname()[1], "http" if proxy.certificate is None else "https"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
