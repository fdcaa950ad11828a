"""Options that several commands share, each defined once, and the types of their values."""

from __future__ import annotations

import argparse

from keras_transfer.options import BACKENDS, DEVICES

SPLITS = ("train", "val", "test", "all")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the positional ``source``: a trained model."""
    parser.add_argument("source", metavar="RUN_OR_MODEL", help="a run directory or a model.keras file")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add ``config``, ``--data`` and ``--set``: what to train."""
    parser.add_argument("config", nargs="?", metavar="CONFIG",
                        help="a YAML file, or the name of one in configs/ (default without --data: quickstart)")  # fmt: skip
    parser.add_argument("--data", metavar="DATA", help="train on this folder (or .csv, .txt list, .npz)")
    add_overrides(parser)


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add ``--set KEY=VALUE``, repeatable, as ``overrides``."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
                        help="override a configuration key, e.g. data.batch_size=32 or phases.0.epochs=3")  # fmt: skip


def add_backend(parser: argparse.ArgumentParser) -> None:
    """Add ``--backend`` and ``--device``."""
    parser.add_argument("--backend", metavar="NAME", help=f"{_or(BACKENDS)} (default: KERAS_BACKEND)")
    add_device(parser)


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add ``--device``."""
    parser.add_argument("--device", metavar="NAME", help=_or(DEVICES))


def add_backends(parser: argparse.ArgumentParser, text: str) -> None:
    """Add ``--backends A,B,…``."""
    parser.add_argument("--backends", type=words, default=(), metavar="A,B,…", help=text)


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
