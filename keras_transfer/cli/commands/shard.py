"""Write any data as tar shards with an index, for data larger than a disk."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer shard photos/ photos-shards/",
    "keras-transfer shard labels.csv s3://bucket/photos --size 1GB",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="DATA", help="folder, .txt list, .csv, .npz, shards, or a configuration")
    parser.add_argument("output", metavar="OUTPUT", help="a new folder, or an address such as s3://bucket/photos")
    parser.add_argument("--size", default="256MB", metavar="SIZE", help="largest size of a shard (default: 256MB)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="of the order in which images are written (default: 0)"
    )
    parser.add_argument("--on-bad-image", default="error", choices=("error", "skip"),
                        help="what to do with unreadable images: list them and stop (default), or leave them out")  # fmt: skip
    parser.add_argument("--workers", type=options.positive, default=None, metavar="N",
                        help="threads that read and decode images (default: one a core, at most 8)")  # fmt: skip


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.shard import shard

    shard(arguments.source, arguments.output, size=arguments.size, seed=arguments.seed,
          on_bad_image=arguments.on_bad_image, workers=arguments.workers or "auto")  # fmt: skip
