"""Give a class of a model another name, without training."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer rename-class runs/flowers daisy 'oxeye daisy'",
    "keras-transfer rename-class runs/flowers daisy Bellis --output runs/flowers-latin",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_run(parser)
    parser.add_argument("name", metavar="NAME", help="the class")
    parser.add_argument("new", metavar="NEW", help="its new name")
    options.add_new_run(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.revise.classes import rename_class

    rename_class(arguments.run, arguments.name, arguments.new, **options.new_run(arguments))
