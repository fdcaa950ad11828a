"""Train a classifier on a folder of images or from a configuration."""

import argparse

from keras_transfer import text
from keras_transfer.cli import options
from keras_transfer.errors import UserError

EXAMPLES = (
    "keras-transfer train --data photos/ --effort quick",
    "keras-transfer train flowers.yaml --set phases.0.epochs=3 --output runs/flowers",
    "keras-transfer train --resume --output runs/flowers",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    parser.add_argument("--effort", metavar="EFFORT",
                        help="quick, standard, best, or minutes for fine-tuning: how much is tried where the configuration "
                        "names no phases (default: standard)")  # fmt: skip
    parser.add_argument("--output", metavar="DIR", help="run directory (default: runs/NAME-DATE-TIME)")
    parser.add_argument("--resume", action="store_true",
                        help="continue the unfinished run in --output; --set changes its configuration")  # fmt: skip
    options.add_accept_changes(parser)
    options.add_backend(parser)


def run(arguments: argparse.Namespace) -> None:
    from keras_transfer.config import load_config
    from keras_transfer.training.train import resume_run, train

    resume = None
    if arguments.resume:
        if not arguments.output:
            raise UserError("--resume needs --output RUN, the run directory to continue")
        if arguments.config or arguments.data:
            raise UserError("--resume uses the run's own configuration: leave out CONFIG and --data")
        resume = resume_run(arguments.output)
        config = resume.read_config(arguments.overrides)
    elif arguments.accept_changes:
        raise UserError("--accept-changes needs --resume")
    else:
        if arguments.effort:
            _check_effort(arguments)
        effort = [f"effort={arguments.effort}"] if arguments.effort else []
        config = load_config(arguments.config, [*effort, *arguments.overrides], arguments.data, arguments.output)
    done = train(config, backend=arguments.backend, device=arguments.device, resume=resume,
                 accept_changes=arguments.accept_changes)  # fmt: skip
    text.say(f"run: {done.path}")


def _check_effort(arguments: argparse.Namespace) -> None:
    if not (arguments.config or arguments.data or arguments.overrides):
        raise UserError(
            "--effort is for your own data: add --data DIR (without it, train runs the quickstart, whose phases are given)"
        )
