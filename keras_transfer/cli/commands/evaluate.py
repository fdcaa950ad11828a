"""Measure a trained model on a data set."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer evaluate runs/flowers",
    "keras-transfer evaluate runs/flowers --split val --json val.json",
    "keras-transfer evaluate model.keras --data other_photos/",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    parser.add_argument("--data", metavar="DATA", help="evaluate on this data instead of the run's own")
    options.add_split(parser)
    options.add_json(parser, "the metrics")
    options.add_flips(parser)
    options.add_backend(parser)
    options.add_engine(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.inference import evaluate

    evaluate(arguments.source, data=arguments.data, split=arguments.split, json_file=arguments.json_file,
             backend=arguments.backend, device=arguments.device, engine=arguments.engine, flips=arguments.flips)  # fmt: skip
