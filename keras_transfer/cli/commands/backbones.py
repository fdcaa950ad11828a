"""List the backbones: size, licence, where the weights come from; and what a checkpoint's folder holds."""

import argparse

EXAMPLES = (
    "keras-transfer backbones --installed",
    "keras-transfer backbones --licence apache --max-mb 30",
    "keras-transfer backbones path/to/checkpoint",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help="backbones or checkpoints to describe: hf:ORG/NAME, timm:NAME or a folder (default: the whole table)")  # fmt: skip
    parser.add_argument("--licence", metavar="TEXT", help="only those whose licence contains this, such as apache")
    parser.add_argument(
        "--max-mb", type=float, metavar="N", help="only those whose weights have at most N megabytes (float32)"
    )
    parser.add_argument("--installed", action="store_true", help="only those whose weights need no download")


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.models.backbones.listing import listed, table

    print(table(listed(arguments.names, arguments.licence, arguments.max_mb, arguments.installed)))
