"""Write the features of images, for search, clustering or another classifier."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer embed runs/flowers holiday/ --output features.npz",
    "keras-transfer embed model.keras holiday/ --output features.parquet",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, or folders of images")
    parser.add_argument("--output", metavar="FILE", required=True, help="the file to write: .npz or .parquet")
    parser.add_argument(
        "--batch-size", type=options.positive, default=32, metavar="N", help="images at once (default: 32)"
    )
    options.add_backend(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.inference.embed import embed_files

    embed_files(arguments.source, arguments.paths, arguments.output, batch_size=arguments.batch_size,
                backend=arguments.backend, device=arguments.device)  # fmt: skip
