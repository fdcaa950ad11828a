"""Shell completion by shtab, which reads the parser: here it is told what files and names an option takes."""

from __future__ import annotations

import argparse
from typing import Any

import shtab

from keras_transfer.models.backbones import BACKBONES
from keras_transfer.options import BACKENDS, DEVICES

_FILES = ("PATH", "DATA", "DATA_OR_CONFIG", "CONFIG_OR_RUN", "RUN_OR_MODEL", "FILE", "FILE.png", "FILE.yaml", "WEIGHTS")
_FOLDERS = ("DIR", "RUN")
_NAMES: dict[str, tuple[str, ...]] = {
    "--backend": BACKENDS,
    "--device": DEVICES,
    "--backbone": tuple(BACKBONES),
    "--effort": ("quick", "standard", "best"),
    "--space": ("phases", "backbones", "augmentation"),
    "--precision": ("float32", "bfloat16", "float16"),
}


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the completion script of a parser with commands, for ``bash``, ``zsh``, ``fish`` or ``tcsh``."""
    for command in _commands(parser).values():
        for action in command._actions:
            _describe(action)
    return str(shtab.complete(parser, shell))


def _commands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    (subparsers,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    found: dict[str, argparse.ArgumentParser] = subparsers.choices
    return found


def _describe(action: Any) -> None:
    names = next((_NAMES[flag] for flag in action.option_strings if flag in _NAMES), None)
    if names is not None:
        action.choices = names
    elif action.metavar in _FILES:
        action.complete = shtab.FILE
    elif action.metavar in _FOLDERS:
        action.complete = shtab.DIRECTORY
