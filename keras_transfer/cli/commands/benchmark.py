"""Measure speed side by side with other implementations."""

import argparse

from keras_transfer.cli import options
from keras_transfer.errors import EXIT_FAILED

EXAMPLES = (
    "keras-transfer benchmark pipeline scale --json results.json",
    "keras-transfer benchmark train-step --models resnet50 --precisions bfloat16 --rounds 7",
)
_LISTS = {
    "models": "only these models",
    "backends": "only these backends",
    "precisions": "only these precisions",
    "rivals": "only rivals whose name contains one of these words",
}
_NUMBERS = {
    "rounds": "measurements per rival",
    "batch": "batch size",
    "size": "height and width of the images",
    "images": "number of images",
    "epochs": "number of epochs",
    "workers": "threads or processes that prepare images",
    "timeout": "seconds that a rival may take to prepare, and for each round (default: 1800; more where a benchmark needs it)",
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="benchmarks to run (default: all)")
    for name, text in _LISTS.items():
        parser.add_argument(f"--{name}", type=options.words, metavar="A,B,…", help=text)
    for name, text in _NUMBERS.items():
        parser.add_argument(f"--{name}", type=options.positive, metavar="N", help=text)
    options.add_json(parser, "all results, with hardware and versions,")


def run(arguments: argparse.Namespace) -> int:
    """Print the measurements; fail if a rival failed."""
    from keras_transfer.benchmark import run_benchmarks

    given = {name: getattr(arguments, name) for name in (*_LISTS, *_NUMBERS)}
    return 0 if run_benchmarks(arguments.names, given, json_file=arguments.json_file) else EXIT_FAILED
