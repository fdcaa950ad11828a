"""Options that several commands share, each defined once, and the types of their values."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_transfer.cli import shortcuts
from keras_transfer.errors import UserError
from keras_transfer.options import BACKENDS, DEVICES, ENGINES

if TYPE_CHECKING:
    from keras_transfer.config.schema import RunConfig

SPLITS = ("train", "val", "test", "all")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the positional ``source``: a trained model."""
    parser.add_argument("source", metavar="RUN_OR_MODEL", help="a run directory or a model.keras file")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``config``, ``--data``, the short options and ``--set``: what to train; :func:`load` reads them."""
    parser.add_argument("config", nargs="?", metavar="DATA_OR_CONFIG",
                        help="a folder of images (or .csv, .txt list, .npz), a YAML file, or the name of one in configs/ "
                        "(default: quickstart)")  # fmt: skip
    parser.add_argument(
        "--data", metavar="DATA", help="train on this folder (or .csv, .txt list, .npz), e.g. with a CONFIG"
    )
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the short options and ``--set KEY=VALUE``, repeatable; :func:`overrides` returns them."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                        help="override any configuration key, e.g. model.dropout=0.3 or phases.0.epochs=3")  # fmt: skip
    shortcuts.add(parser)


def overrides(arguments: argparse.Namespace) -> list[str]:
    """Return what :func:`add_overrides` parsed, as ``KEY=VALUE``."""
    return shortcuts.overrides(arguments)


def load(arguments: argparse.Namespace, output: str | None = None) -> RunConfig:
    """Return the configuration that the options of :func:`add_config` describe.

    Raises:
        UserError: one line for every problem, in the words of the options.
    """
    from keras_transfer.config import load_config

    config, data = config_and_data(arguments)
    try:
        found = load_config(config, overrides(arguments), data, output)
    except UserError as error:
        raise shortcuts.in_words_of_options(error, arguments) from error
    if arguments.shortcut_effort and isinstance(found.phases, tuple):
        raise UserError(
            f"--effort says how phases are chosen, but {config or 'the configuration'} names its phases: leave it out"
        )
    return found


def config_and_data(arguments: argparse.Namespace) -> tuple[str | None, str | None]:
    """Return configuration and data; the positional argument may be either.

    Raises:
        UserError: both are data, or it is neither.
    """
    from keras_transfer.config.load import recipe_names
    from keras_transfer.data.paths import is_elsewhere
    from keras_transfer.errors import nearest

    word, data = arguments.config, arguments.data
    if data is not None and not data.strip():
        raise UserError("--data: expected a folder, .csv, .txt list or .npz, got an empty value")
    if word is None:
        return None, data
    path, names = Path(word), recipe_names()
    if path.suffix.lower() in (".yaml", ".yml") or (word in names and not word.endswith("/")):
        return word, data
    if not (path.exists() or is_elsewhere(word)):
        raise UserError(
            f"no folder, file or configuration {word!r}{nearest(word, names)} (expected data, such as photos/, a .yaml file or one of: "
            f"{', '.join(names)})"
        )
    if data is not None:
        raise UserError(f"two data sets: {word} and --data {data}; name one")
    return None, word


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend`` and ``--device``."""
    parser.add_argument("--backend", metavar="NAME", help=f"{_or(BACKENDS)} (default: KERAS_BACKEND)")
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", metavar="NAME", help=_or(DEVICES))


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add ``--engine``."""
    parser.add_argument("--engine", default="auto", choices=ENGINES,
                        help="what computes predictions: openvino (on the CPU), native (the backend), or auto: "
                        "OpenVINO where it is installed and agrees with the backend (default)")  # fmt: skip


def add_flips(parser: argparse.ArgumentParser) -> None:
    """Add ``--flips``."""
    parser.add_argument("--flips", action="store_true",
                        help="average the predictions with those for the mirror images; takes twice the time")  # fmt: skip


def add_backends(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--backends A,B,…``."""
    parser.add_argument("--backends", type=words, default=(), metavar="A,B,…", help=text)


def add_run(parser: argparse.ArgumentParser) -> None:
    """Add the positional ``run``: a finished run."""
    parser.add_argument("run", metavar="RUN", help="a finished run directory; it is not changed")


def add_new_run(parser: argparse.ArgumentParser) -> None:
    """Add ``--output``, ``--backend`` and ``--device``; :func:`new_run` returns them."""
    parser.add_argument("--output", metavar="DIR", help="the new run directory (default: runs/NAME-DATE-TIME)")
    parser.add_argument("--backend", metavar="NAME", help=f"{_or(BACKENDS)} (default: that of the run)")
    add_device(parser)


def new_run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what :func:`add_new_run` parsed, as keywords."""
    return {"output": arguments.output, "backend": arguments.backend, "device": arguments.device}


def add_fine_tune(parser: argparse.ArgumentParser) -> None:
    """Add ``--fine-tune``."""
    parser.add_argument("--fine-tune", action="store_true",
                        help="train everything again, as the run was trained, instead of the last layer alone")  # fmt: skip


def add_split(parser: argparse.ArgumentParser) -> None:
    """Add ``--split``."""
    parser.add_argument("--split", default="test", choices=SPLITS, help="part of the run's own data (default: test)")


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--json FILE`` as ``json_file``."""
    parser.add_argument("--json", metavar="FILE", dest="json_file", help=f"also write {what} as JSON")


def add_accept_changes(parser: argparse.ArgumentParser) -> None:
    """Add ``--accept-changes``."""
    parser.add_argument("--accept-changes", action="store_true",
                        help="resume even if the configuration, versions or data have changed")  # fmt: skip


def add_parts(parser: argparse.ArgumentParser | argparse._MutuallyExclusiveGroup, what: str) -> None:
    """Add ``--parquet DIR``."""
    parser.add_argument("--parquet", metavar="DIR",
                        help=f"write {what} as Parquet, a row an image, in parts; the same command goes on with what is missing")  # fmt: skip


def add_ray(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--ray ADDRESS``."""
    parser.add_argument("--ray", metavar="ADDRESS",
                        help=f"{what} on a Ray cluster: HOST:PORT, auto (the one this machine is in), or local (one on this machine)")  # fmt: skip


def check_parts(arguments: argparse.Namespace) -> None:
    """Refuse ``--ray`` without a folder for the parts, and parts with mirror images."""
    if arguments.ray is not None and arguments.parquet is None:
        raise UserError("--ray needs --parquet DIR, a folder for the results")
    if arguments.parquet is not None and getattr(arguments, "flips", False):
        raise UserError("--flips averages predictions that are printed or in one file: leave it out, or --parquet")


def add_picture(parser: argparse.ArgumentParser, dest: str, text: str, *earlier: str) -> None:
    """Add ``--output FILE.png``, for the picture that a command draws; ``earlier``: what it was called before."""
    parser.add_argument("--output", metavar="FILE.png", dest=dest, help=text)
    for name in earlier:
        parser.add_argument(name, dest=dest, help=argparse.SUPPRESS)


def write_or_print(text: str, output: str | None, suffix: str = "") -> None:
    """Write a text to a file and say so, or print it.

    Raises:
        UserError: the file cannot be written.
    """
    from keras_transfer.console import wrote
    from keras_transfer.files import check_output, write_text

    if output is None:
        print(text, end="")
        return
    check_output("--output", output, suffix)
    write_text(output, text)
    wrote(output)


def positive(text: str) -> int:
    """Parse an integer of at least 1."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected an integer of at least 1, got {text!r}")
    return number


def words(text: str) -> tuple[str, ...]:
    """Parse a comma-separated list."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _or(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
