"""Check a data set: bad files, duplicates, leakage, likely label errors."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer doctor photos/",
    "keras-transfer doctor photos/ --json findings.json --output findings.png",
    "keras-transfer doctor photos/ --run runs/flowers",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="DATA", help="folder, .txt list, .csv, .npz, or a configuration")
    options.add_json(parser, "the findings")
    options.add_picture(parser, "sheet_file", "draw the images of the findings", "--sheet")
    parser.add_argument("--run", metavar="RUN", help="find likely label errors with the model of this run")
    options.add_backend(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.doctor import doctor

    doctor(arguments.source, run=arguments.run, json_file=arguments.json_file, sheet_file=arguments.sheet_file,
           backend=arguments.backend, device=arguments.device)  # fmt: skip
