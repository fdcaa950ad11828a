"""Serve a web page and a JSON endpoint for a model on this computer."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer serve runs/flowers",
    "keras-transfer serve model.keras --port 8000 --corrections corrections/",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this computer)")
    parser.add_argument("--port", type=int, default=7860, help="default: 7860; 0: any free port")
    parser.add_argument("--corrections", metavar="DIR", help="folder for corrections (default: beside the model)")
    parser.add_argument("--max-upload", type=float, default=10, metavar="MIB", help="largest upload (default: 10)")
    parser.add_argument("--public-host", action="append", default=[], metavar="NAME",
                        help="name by which browsers reach the page through a proxy; may be repeated")  # fmt: skip
    parser.add_argument(
        "--root-path", default="", metavar="PATH", help="path that a proxy adds and removes, e.g. /demo"
    )
    parser.add_argument("--trust-proxy", action="append", default=[], metavar="ADDRESS",
                        help="address of a proxy whose X-Forwarded headers are believed; may be repeated")  # fmt: skip
    parser.add_argument("--tls-certificate", metavar="PEM", help="certificate, to serve https")
    parser.add_argument("--tls-key", metavar="PEM", help="its private key")
    options.add_backend(parser)
    options.add_engine(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.serve.server import Proxy, serve

    proxy = Proxy(arguments.root_path, arguments.public_host, arguments.trust_proxy, arguments.tls_certificate,
                  arguments.tls_key)  # fmt: skip
    serve(arguments.source, host=arguments.host, port=arguments.port, corrections=arguments.corrections,
          max_upload=arguments.max_upload, backend=arguments.backend, device=arguments.device, proxy=proxy,
          engine=arguments.engine)  # fmt: skip
