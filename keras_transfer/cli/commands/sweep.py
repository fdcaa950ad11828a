"""Search for better settings: many short trainings, chosen by Optuna, compared by validation."""

import argparse
import sys

from keras_transfer import text
from keras_transfer.cli import options
from keras_transfer.errors import EXIT_INTERRUPTED, UserError
from keras_transfer.options import OBJECTIVES, PRUNERS, SAMPLERS

EXAMPLES = (
    "keras-transfer sweep photos/ --space backbones --effort quick",
    "keras-transfer sweep flowers.yaml --space space.yaml --trials 50 --output runs/sweep/flowers",
    "keras-transfer sweep flowers.yaml --space phases --space augmentation --minutes 60 --objective loss",
)


def add_options(parser: argparse.ArgumentParser) -> None:
    options.add_config(parser)
    parser.add_argument("--space", action="append", required=True, metavar="FILE",
                        help="what is searched: a YAML file, or phases, backbones or augmentation; may be given several times")  # fmt: skip
    parser.add_argument("--trials", type=options.positive, metavar="N",
                        help="trials in the study, earlier ones included (default: 30; with --minutes: no limit)")  # fmt: skip
    parser.add_argument("--minutes", type=_minutes, metavar="M", help="start no trial after M minutes")
    parser.add_argument("--objective", default="accuracy", choices=OBJECTIVES,
                        help="what is optimized, on validation images or out of fold: accuracy (default), loss, balanced_accuracy, "
                        "macro_f1 or mean_average_precision")  # fmt: skip
    parser.add_argument(
        "--sampler", default="tpe", choices=SAMPLERS, help="how values are chosen: tpe (default), random or grid"
    )
    parser.add_argument(
        "--pruner",
        default="median",
        choices=PRUNERS,
        help="how bad trials end early: median (default), hyperband or none",
    )
    parser.add_argument("--storage", metavar="URL",
                        help="where the study is kept: a database, e.g. postgresql://host/name, or the path of a journal "
                        "(default: study.journal in --output)")  # fmt: skip
    parser.add_argument("--name", metavar="NAME", help="name of the study (default: that of the configuration)")
    parser.add_argument("--output", metavar="DIR", help="folder for the results (default: runs/sweep/NAME)")
    options.add_backend(parser)
    options.add_ray(parser, "run trials")


def run(arguments: argparse.Namespace) -> int:
    from keras_transfer.console import terminal
    from keras_transfer.sweeps import sweep
    from keras_transfer.sweeps.table import trials_table

    keywords = {key: getattr(arguments, key) for key in ("trials", "minutes", "objective", "sampler", "pruner", "storage", "name",
                                                         "output", "backend", "device", "ray")}  # fmt: skip
    try:
        found = sweep(options.load(arguments), arguments.space, **keywords)
    except KeyboardInterrupt:
        text.complain("interrupted; the same command goes on")
        return EXIT_INTERRUPTED
    if found.best is None:
        raise UserError("no trial is complete: all were pruned, or there was no time for one")
    terminal(sys.stdout).print(trials_table(found))
    text.say(f"{found}")
    text.say(f"report: {found.report}")
    text.say(f"train it: keras-transfer train {found.best_file}")
    return 0


def _minutes(word: str) -> float:
    try:
        number = float(word)
    except ValueError:
        number = 0
    if not 0 < number <= 10_080:
        raise argparse.ArgumentTypeError(f"expected minutes above 0, at most a week, got {word!r}")
    return number
