"""Print the configuration that train would use, without training."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer config photos/ --epochs 5 --backbone resnet50",
    "keras-transfer config flowers.yaml --set model.dropout=0.3 --output settings.yaml",
    "keras-transfer config runs/flowers/config.yaml",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    parser.add_argument("--output", metavar="FILE.yaml", help="write it here instead of printing it")
    options.add_backend(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.training.settled import settled

    text = settled(options.load(arguments), backend=arguments.backend, device=arguments.device)
    options.write_or_print(text, arguments.output, ".yaml")
