"""Find a learning rate for every phase by a range test; the trained weights are discarded."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer lr-find photos/ --backbone resnet50 --output rates.png",
    "keras-transfer lr-find flowers.yaml --set phases.0.optimizer=sgd",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    options.add_picture(parser, "output", "plot loss against learning rate")
    options.add_json(parser, "the sweeps")
    options.add_backend(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.lr_find import lr_find

    lr_find(options.load(arguments), output=arguments.output,
            json_file=arguments.json_file, backend=arguments.backend, device=arguments.device)  # fmt: skip
