"""Write the features of images, for search, clustering or another classifier."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer embed runs/flowers holiday/ --output features.npz",
    "keras-transfer embed model.keras holiday/ --output features.parquet",
    "keras-transfer embed runs/flowers archive/ --parquet features/ --ray auto",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="images, or folders of images")
    output = parser.add_mutually_exclusive_group(required=True)
    output.add_argument("--output", metavar="FILE", help="the file to write: .npz or .parquet")
    options.add_parts(output, "the features")
    parser.add_argument(
        "--batch-size", type=options.positive, default=32, metavar="N", help="images at once (default: 32)"
    )
    options.add_backend(parser)
    options.add_ray(parser, "compute")


def run(arguments: argparse.Namespace) -> None:
    options.check_parts(arguments)
    if arguments.parquet is not None:
        from keras_transfer.batch import embed_parts

        embed_parts(arguments.source, arguments.paths, arguments.parquet, ray=arguments.ray, backend=arguments.backend,
                    device=arguments.device)  # fmt: skip
        return
    from keras_transfer.inference.embed import embed_files

    embed_files(arguments.source, arguments.paths, arguments.output, batch_size=arguments.batch_size,
                backend=arguments.backend, device=arguments.device)  # fmt: skip
