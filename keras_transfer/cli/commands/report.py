"""Write report.html of a finished run again."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer report runs/flowers",
    "keras-transfer report runs/flowers --backend jax",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="RUN", help="a finished run directory")
    parser.add_argument("--data", metavar="DATA", help="where the data of the run are now, if they have moved")
    options.add_backend(parser)
    options.add_engine(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.report.command import report

    report(arguments.source, data=arguments.data, backend=arguments.backend, device=arguments.device,
           engine=arguments.engine)  # fmt: skip
