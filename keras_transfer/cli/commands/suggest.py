"""Choose pictures that are worth a label, and write a page to label them on."""

import argparse

from keras_transfer.cli import options

EXAMPLES = (
    "keras-transfer suggest runs/flowers unlabelled/ --count 50",
    "keras-transfer suggest runs/flowers unlabelled/ more/ --output label_these.html",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_model(parser)
    parser.add_argument("paths", nargs="+", metavar="PATH", help="pictures without labels, and folders of pictures")
    parser.add_argument(
        "--count", type=options.positive, default=50, metavar="N", help="how many to choose (default: 50)"
    )
    parser.add_argument("--output", default="suggest.html", metavar="FILE", help="the page (default: suggest.html)")
    options.add_backend(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.revise.suggest import suggest

    suggest(arguments.source, arguments.paths, count=arguments.count, output=arguments.output, backend=arguments.backend,
            device=arguments.device)  # fmt: skip
