"""Errors that the user can fix, and exit statuses."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from keras_transfer.text import visible

EXIT_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


class UserError(Exception):
    """An error that the user can fix.

    The message has one line per problem. It names what was expected, what was received and, where there is one, the
    nearest valid name. The command line prints it as ``error: …`` and exits with status 2. Names in it that could control a terminal
    are escaped.
    """

    def __init__(self, message: object = ""):
        super().__init__(visible(message))


class Trouble(UserError):
    """The machine, not what it was given, is at fault: a full or read-only disk, a quota, a missing permission.

    Nothing that was given is damaged or wrong, and the same request works once there is room.
    """


def denied(error: PermissionError) -> Trouble:
    """Return what to say of a file or folder that may not be looked at, or one above it: pathlib's questions raise this."""
    return Trouble(f"cannot open {str(error.filename or '')!r}: {error.strerror or error}")


class MissingExtra(UserError):
    """A package of an optional extra is not installed."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(f'{purpose} needs the package {package!r}: pip install "keras_transfer[{extra}]"')


class Interrupted(KeyboardInterrupt):
    """Training was interrupted and can be resumed from the directory ``run``."""

    def __init__(self, run: str):
        super().__init__(run)
        self.run = run


_OTHER_WORDS = {
    "lr": "learning_rate",
    "lr0": "learning_rate",
    "wd": "weight_decay",
    "bs": "batch_size",
    "batch": "batch_size",
    "img_size": "image_size",
    "imgsz": "image_size",
    "input_shape": "image_size",
    "arch": "backbone",
    "model": "backbone",
    "gray": "grey",
    "grayscale": "grey",
    "stretch": "squash",
    "smoothing": "label_smoothing",
}
"""What other libraries call the same thing."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the valid name closest to ``name``, or an empty string."""
    options = [str(v) for v in valid]
    other = _OTHER_WORDS.get(str(name).lower())
    close = [other] if other in options else difflib.get_close_matches(str(name), options, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown(kind: str, name: object, valid: Iterable[str]) -> UserError:
    """Build the error for a name that is not in a table of valid names.

    Args:
        kind: of thing, e.g. ``"backbone"``.
        name: what was received.
        valid: the valid names, in the order to list them.
    """
    options = [str(v) for v in valid]
    shown = ", ".join(options[:40]) + (", …" if len(options) > 40 else "")
    return UserError(f"unknown {kind} {str(name)!r}{nearest(str(name), options)} (expected one of: {shown})")
