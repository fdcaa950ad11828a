"""Add a class to a model in seconds, and say whether the old classes became worse."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer add-class runs/flowers lily new_photos/lilies/",
    "keras-transfer add-class runs/flowers lily 1.jpg 2.jpg 3.jpg --output runs/flowers-lily",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_run(parser)
    parser.add_argument("name", metavar="NAME", help="name of the new class")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="pictures of it, and folders of pictures")
    options.add_fine_tune(parser)
    options.add_new_run(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.revise.classes import add_class

    add_class(
        arguments.run, arguments.name, arguments.paths, fine_tune=arguments.fine_tune, **options.new_run(arguments)
    )
