"""Remove classes from a model, without training."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer remove-class runs/flowers daisy",
    "keras-transfer remove-class runs/flowers daisy tulip --output runs/flowers-3",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_run(parser)
    parser.add_argument("names", nargs="+", metavar="NAME", help="the classes to remove")
    options.add_new_run(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.revise.classes import remove_class

    remove_class(arguments.run, arguments.names, **options.new_run(arguments))
