"""Train a classifier on a folder of images or from a configuration."""

import argparse
import json
import sys
from pathlib import Path

from keras_transfer import text
from keras_transfer.cli import options
from keras_transfer.distribute.place import is_follower, place
from keras_transfer.errors import UserError

EXAMPLES = (
    "keras-transfer train photos/ --epochs 5 --backbone resnet50 --image-size 224 --batch-size 32 --lr 1e-4",
    "keras-transfer train flowers.yaml --set model.dropout=0.3 --processes 2 --output runs/flowers",
    "keras-transfer train --resume --output runs/flowers",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    parser.add_argument("--output", metavar="DIR", help="run directory (default: runs/NAME-DATE-TIME)")
    parser.add_argument("--resume", action="store_true",
                        help="continue the unfinished run RUN: train --resume RUN (or --output RUN); other options change its configuration")  # fmt: skip
    options.add_accept_changes(parser)
    parser.add_argument("--folds", type=options.positive, metavar="K",
                        help="k-fold cross-validation: train once without each of K parts of the images, which judge; then a final model "
                        "of all. The same command goes on where it was stopped")  # fmt: skip
    options.add_backend(parser)
    parser.add_argument("--processes", type=options.positive, metavar="N",
                        help="train in N processes of this machine, each on its share of every batch: one for each GPU, or for a part of the "
                        "cores (torch, jax; one process of jax or tensorflow uses all devices)")  # fmt: skip


def run(arguments: argparse.Namespace) -> int | None:
    if arguments.folds and (place() is not None or (arguments.processes or 1) > 1):
        raise UserError("--folds trains in one process: leave out --processes")
    if arguments.processes and arguments.processes > 1 and place() is None:
        from keras_transfer.distribute.launch import launch
        from keras_transfer.runtime import choose_backend

        return launch(arguments.processes, arguments.words, choose_backend(arguments.backend).value, arguments.output)
    from keras_transfer.console import terminal
    from keras_transfer.report.card import show
    from keras_transfer.report.run_view import RunView
    from keras_transfer.runs import where_data_are
    from keras_transfer.training.crossvalidation import cross_validate
    from keras_transfer.training.train import resume_run, train

    resume = None
    if arguments.folds and (arguments.resume or arguments.accept_changes):
        raise UserError("--folds goes on where it was stopped when the same command is given again, without --resume")
    if arguments.resume:
        if arguments.config and not arguments.output and (Path(arguments.config) / "manifest.json").is_file():
            arguments.output, arguments.config = arguments.config, None
        if not arguments.output:
            raise UserError("--resume needs the run directory to continue: train --resume RUN")
        if arguments.config:
            raise UserError(
                "--resume uses the run's own configuration: leave out DATA_OR_CONFIG (--data says where its data moved to)"
            )
        resume = resume_run(arguments.output)
        where = where_data_are(resume, arguments.data).data.model_dump()
        found = resume.read_config().data.model_dump()
        moved = [f"data.{key}={json.dumps(value)}" for key, value in where.items() if value != found[key]]
        config = resume.read_config([*moved, *options.overrides(arguments)])
    elif arguments.accept_changes:
        raise UserError("--accept-changes needs --resume")
    else:
        config = options.load(arguments, arguments.output)
    if arguments.folds:
        done = cross_validate(config, folds=arguments.folds, backend=arguments.backend, device=arguments.device).run
    else:
        done = train(config, backend=arguments.backend, device=arguments.device, resume=resume,
                     accept_changes=arguments.accept_changes)  # fmt: skip
    if not is_follower():
        show(terminal(sys.stdout), RunView(done))
        text.say(f"run: {done.path}")
    return None
