"""Make one class of several in seconds, and say whether the model became worse."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer merge-classes runs/flowers daisy dandelion --into 'small flower'",
    "keras-transfer merge-classes runs/flowers daisy dandelion --into daisy --output runs/flowers-4",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_run(parser)
    parser.add_argument("names", nargs="+", metavar="NAME", help="the classes to merge, at least two")
    parser.add_argument("--into", required=True, metavar="NAME", help="what they become: one of them, or a new name")
    options.add_fine_tune(parser)
    options.add_new_run(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.revise.classes import merge_classes

    merge_classes(
        arguments.run, arguments.names, arguments.into, fine_tune=arguments.fine_tune, **options.new_run(arguments)
    )
