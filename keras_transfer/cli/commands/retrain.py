"""Train a run again with corrections and more pictures, and say whether the new model is better."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer retrain runs/flowers",
    "keras-transfer retrain runs/flowers --add corrections.txt --output runs/flowers-2",
    "keras-transfer retrain runs/flowers --data more_photos/ --head-only",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_run(parser)
    parser.add_argument("--add", metavar="FILE", help="list of `path label` lines, as serve and suggest write it; of several labels, `path cat;dog` "
                        "(default: the corrections that serve keeps in RUN)")  # fmt: skip
    parser.add_argument("--data", metavar="DATA", help="further pictures: a folder (or .csv, .txt list, .npz)")
    parser.add_argument("--new-class", metavar="NAME", dest="new_classes", action="append",
                        help="a class in --add or --data that the run does not have; may be repeated")  # fmt: skip
    parser.add_argument(
        "--head-only", action="store_true", help="keep the network and solve its last layer again: in seconds"
    )
    options.add_new_run(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.revise.retrain import retrain

    retrain(arguments.run, add=arguments.add, data=arguments.data, new_classes=arguments.new_classes,
            head_only=arguments.head_only, **options.new_run(arguments))  # fmt: skip
