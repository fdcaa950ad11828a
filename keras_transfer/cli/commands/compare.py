"""Train several configurations one after the other, and compare the runs."""

import argparse

from keras_transfer import text
from keras_transfer.cli import options
from keras_transfer.errors import EXIT_FAILED, UserError

EXAMPLES = (
    "keras-transfer compare cifar10_resnet18 cifar10_alexnet --set data.path=cifar10.tar.gz",
    "keras-transfer compare runs/flowers runs/flowers-large",
    "keras-transfer compare quickstart --backends torch,tensorflow,jax",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sources", nargs="+", metavar="CONFIG_OR_RUN",
                        help="a YAML file, the name of one in configs/, or a finished run directory")  # fmt: skip
    options.add_overrides(parser)
    parser.add_argument("--output", default="runs/compare", metavar="DIR",
                        help="folder for the runs, the table and the plot (default: runs/compare)")  # fmt: skip
    options.add_backends(parser, "train each configuration on each of these (default: one, chosen as by train)")
    options.add_device(parser)
    options.add_accept_changes(parser)


def run(arguments: argparse.Namespace) -> int:
    """Train and compare; fail if a run is not finished."""
    from keras_transfer.compare import compare

    report = compare(arguments.sources, options.overrides(arguments), output=arguments.output, backends=arguments.backends,
                     device=arguments.device, accept_changes=arguments.accept_changes)  # fmt: skip
    text.say(f"compare: {arguments.output}")
    lost = [row for row in report["runs"] if row["state"] != "finished"]
    if lost and all(row["state"] == "failed" for row in lost):
        raise UserError("\n".join(f"{row['name']}: {line}" for row in lost for line in row["problem"].splitlines()))
    return EXIT_FAILED if lost else 0
