"""Leave out what TensorFlow's libraries log while they start: notes to its developers, which no setting of TensorFlow 2.21 turns off."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_NOTES = re.compile(
    rb"WARNING: All log messages before absl::InitializeLog|[IW]\d{4} \d\d:\d\d:\d\d|To enable the following instructions: "
    rb"|E\d{4} .*failed call to cuInit: .*\(303\)"  # there is no driver, as on any computer without a GPU
)


@contextlib.contextmanager
def quiet_start(backend: str) -> Iterator[None]:
    """Hold back standard error while TensorFlow is imported, and pass on what is more than a note.

    Nothing is held back where ``TF_CPP_MIN_LOG_LEVEL`` asks for notes or warnings.
    """
    if backend != "tensorflow" or os.environ.get(LEVEL) in ("0", "1"):
        yield
        return
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # no standard error, or no room: then the notes stay
            stack.enter_context(_held_back())
        yield


@contextlib.contextmanager
def _held_back() -> Iterator[None]:
    with tempfile.TemporaryFile() as held:
        real = os.dup(2)
        _flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            _flush()
            os.dup2(real, 2)
            os.close(real)
            held.seek(0)
            os.write(2, b"".join(line for line in held if not _NOTES.match(line)))


def _flush() -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # closed
            sys.stderr.flush()
