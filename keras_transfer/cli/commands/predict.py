"""Classify images with a trained model."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer predict runs/flowers new.jpg",
    "keras-transfer predict runs/flowers holiday/ --top 5 --json predictions.json",
    "keras-transfer predict model.keras holiday/ --csv predictions.csv --output predictions.png",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, or folders of images")
    parser.add_argument("--top", type=options.positive, default=3, metavar="K", help="classes per image (default: 3)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", metavar="FILE", dest="json_file", help="write the predictions as JSON")
    output.add_argument("--csv", metavar="FILE", dest="csv_file", help="write the predictions as CSV")
    options.add_picture(parser, "grid_file", "draw the images with their predictions", "--grid")
    options.add_flips(parser)
    options.add_backend(parser)
    options.add_engine(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.inference import predict

    predict(arguments.source, arguments.paths, top=arguments.top, json_file=arguments.json_file,
            csv_file=arguments.csv_file, grid_file=arguments.grid_file, backend=arguments.backend,
            device=arguments.device, engine=arguments.engine, flips=arguments.flips)  # fmt: skip
