"""Add a class to a model in seconds, and say whether the old classes became worse."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer add-class runs/flowers lily new_photos/lilies/",
    "keras-transfer add-class runs/flowers lily 1.jpg 2.jpg 3.jpg --output runs/flowers-lily",
    "keras-transfer add-class runs/scenes bridge new_photos/bridges/ --others-lack-it",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_run(parser)
    parser.add_argument("name", metavar="NAME", help="name of the new class")
    parser.add_argument("paths", nargs="+", metavar="PATH", help="pictures of it, and folders of pictures")
    options.add_fine_tune(parser)
    parser.add_argument("--others-lack-it", action="store_true", help="of a run with several labels per picture: its own pictures do "
                        "not have the new one, and pictures that are new to it have no other")  # fmt: skip
    options.add_new_run(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.revise.classes import add_class

    add_class(arguments.run, arguments.name, arguments.paths, fine_tune=arguments.fine_tune,
              others_lack_it=arguments.others_lack_it, **options.new_run(arguments))  # fmt: skip
