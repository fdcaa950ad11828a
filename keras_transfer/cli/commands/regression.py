"""Say whether a new model is better than an old one: what got better and worse, and McNemar's test."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer regression runs/flowers runs/flowers-2",
    "keras-transfer regression runs/flowers runs/flowers-2 --data new_photos/ --output report/",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", metavar="RUN_OR_MODEL", help="the old run directory or model.keras file")
    parser.add_argument("new", metavar="RUN_OR_MODEL", help="the new one")
    parser.add_argument(
        "--data", metavar="DATA", help="compare on these pictures instead of the new run's test pictures"
    )
    parser.add_argument("--output", metavar="DIR", help="folder for regression.html and .json (default: the new run)")
    options.add_backend(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.revise.comparison import compare_runs

    compare_runs(arguments.old, arguments.new, data=arguments.data, output=arguments.output, backend=arguments.backend,
                 device=arguments.device)  # fmt: skip
