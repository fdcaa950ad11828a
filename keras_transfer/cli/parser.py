"""A parser whose errors are one line with the nearest valid name, as the errors of the configuration are."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from keras_transfer.cli.shortcuts import nearest_flag
from keras_transfer.errors import EXIT_USER_ERROR, nearest
from keras_transfer.text import complain, one_line

_CHOICE = re.compile(
    r"argument (?P<what>\S+): invalid choice: '?(?P<got>.*?)'? \(choose from (?P<valid>.*)\)", re.DOTALL
)


class Parser(argparse.ArgumentParser):
    """Options must be spelled out: an abbreviation would be guessed at, and might be another option tomorrow."""

    def __init__(self, **options: Any):
        super().__init__(**{"allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        """Print one line and where the help is, and exit with status 2."""
        complain(f"error: {one_line(self._plain(message))}")
        complain(f"help: {self.prog} --help")
        sys.exit(EXIT_USER_ERROR)

    def refuse(self, left: Sequence[str]) -> NoReturn:
        """Exit because of words that no option or place takes."""
        word = left[0]
        if word.startswith("-"):
            flags = [
                flag for action in self._actions for flag in action.option_strings if action.help != argparse.SUPPRESS
            ]
            self.error(f"unknown option {word!r}{nearest_flag(word, flags)}")
        self.error(f"unexpected {word!r}: {self.prog} takes no further words")

    def _plain(self, message: str) -> str:
        choice = _CHOICE.fullmatch(message)
        if choice:
            valid = [name.strip("' ") for name in choice["valid"].split(",")]
            if choice["what"] != "COMMAND":
                return f"{choice['what']}: unknown value {choice['got']!r}{nearest(choice['got'], valid)} (expected one of: {', '.join(valid)})"
            if Path(choice["got"]).exists():
                return f"{choice['got']!r} is data, not a command; to train on it: {self.prog} train {choice['got']}"
            return f"unknown command {choice['got']!r}{nearest(choice['got'], valid)} (expected one of: {', '.join(valid)})"
        message = message.removeprefix("argument ")
        missing = message.removeprefix("the following arguments are required: ")
        if missing != message:
            return f"missing {missing}"
        return message
