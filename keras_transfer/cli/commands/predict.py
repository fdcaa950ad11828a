"""Classify images with a trained model."""

import argparse

from keras_transfer.cli import options
from keras_transfer.errors import UserError

EXAMPLES = (
    "keras-transfer predict runs/flowers new.jpg",
    "keras-transfer predict model.keras holiday/ --top 5 --csv predictions.csv --output predictions.png",
    "keras-transfer predict runs/flowers archive/ --parquet predictions/ --ray auto",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, or folders of images")
    parser.add_argument("--top", type=options.positive, default=3, metavar="K", help="classes per image (default: 3)")
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", metavar="FILE", dest="json_file", help="write the predictions as JSON")
    output.add_argument("--csv", metavar="FILE", dest="csv_file", help="write the predictions as CSV")
    options.add_parts(output, "the predictions")
    options.add_picture(parser, "grid_file", "draw the images with their predictions", "--grid")
    options.add_flips(parser)
    options.add_backend(parser)
    options.add_engine(parser)
    options.add_ray(parser, "predict")


def run(arguments: argparse.Namespace) -> None:
    options.check_parts(arguments)
    if arguments.parquet is not None:
        from keras_transfer.batch import predict_parts

        if arguments.grid_file is not None:
            raise UserError("--output draws predictions that are printed or in one file: leave it out, or --parquet")
        predict_parts(arguments.source, arguments.paths, arguments.parquet, top=arguments.top, ray=arguments.ray,
                      backend=arguments.backend, device=arguments.device, engine=arguments.engine,
                      flips=arguments.flips)  # fmt: skip
        return
    from keras_transfer.inference import predict

    predict(arguments.source, arguments.paths, top=arguments.top, json_file=arguments.json_file,
            csv_file=arguments.csv_file, grid_file=arguments.grid_file, backend=arguments.backend,
            device=arguments.device, engine=arguments.engine, flips=arguments.flips)  # fmt: skip
