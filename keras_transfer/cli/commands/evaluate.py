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
    options.add_parts(parser, "logits and labels")
    options.add_ray(parser, "evaluate")


def run(arguments: argparse.Namespace) -> None:
    options.check_parts(arguments)
    if arguments.parquet is not None:
        _in_parts(arguments)
        return
    from keras_transfer.inference import evaluate

    evaluate(arguments.source, data=arguments.data, split=arguments.split, json_file=arguments.json_file,
             backend=arguments.backend, device=arguments.device, engine=arguments.engine, flips=arguments.flips)  # fmt: skip


def _in_parts(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from keras_transfer.batch import evaluate_parts
    from keras_transfer.console import wrote
    from keras_transfer.evaluation.table import metrics_table
    from keras_transfer.files import check_output, write_json

    check_output("--json", arguments.json_file)
    metrics = evaluate_parts(arguments.source, arguments.parquet, data=arguments.data, split=arguments.split, ray=arguments.ray,
                             backend=arguments.backend, device=arguments.device, engine=arguments.engine,
                             flips=arguments.flips)  # fmt: skip
    Console().print(metrics_table(metrics))
    if arguments.json_file is not None:
        write_json(arguments.json_file, metrics)
        wrote(arguments.json_file)
