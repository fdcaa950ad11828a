"""OpenVINO, started once for the life of the process."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import openvino


@functools.cache
def core() -> openvino.Core:
    """Return the only core of this process.

    The CPU plugin of each core installs a stack for signal handlers and, when it ends, puts back the one that was there before. Of two
    cores that do not end in the reverse order of their beginning, that may be one that has gone: the next signal, such as Ctrl-C or the end
    of a child process, then ends this process.
    """
    import openvino

    return openvino.Core()
