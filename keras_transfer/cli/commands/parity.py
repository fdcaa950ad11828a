"""Check that the backends compute the same numbers."""

import argparse

from keras_transfer.cli import options
from keras_transfer.errors import EXIT_FAILED

EXAMPLES = (
    "keras-transfer parity --quick",
    "keras-transfer parity runs/flowers --backends torch,jax",
    "keras-transfer parity --set model.backbone=resnet50 --steps 50 --json parity.json",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", nargs="?", metavar="CONFIG_OR_RUN", help="what to compare (default: quickstart)")
    options.add_backends(parser, "backends to compare (default: all installed)")
    options.add_overrides(parser)
    parser.add_argument("--steps", type=options.positive, default=20, metavar="N",
                        help="training steps to compare (default: 20)")  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="compare logits and 3 training steps only: a third of the time"
    )
    options.add_json(parser, "the differences")


def run(arguments: argparse.Namespace) -> int:
    """Print the differences; fail if one exceeds its limit."""
    from keras_transfer.parity import compare_backends

    report = compare_backends(arguments.source, list(arguments.backends), options.overrides(arguments), steps=arguments.steps, quick=arguments.quick,
                              json_file=arguments.json_file)  # fmt: skip
    return 0 if report["agree"] else EXIT_FAILED
