"""Check the opcodes of a pickle before a restricted unpickler loads it.

An unpickler that refuses unknown names prevents code execution, but CPython's allocates a memo of any declared size: up
to 64 GiB for a pickle of ten bytes.
"""

from __future__ import annotations

import os
import pickletools
from typing import IO

from keras_transfer.safety import Refused

_BY_NUMBER = frozenset(["EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"])
_MEMO = frozenset(["PUT", "BINPUT", "LONG_BINPUT"])


def check_pickle(source: bytes | IO[bytes], path: str | os.PathLike[str]) -> None:
    """Check one pickle.

    Args:
        source: the pickle, or a stream at its beginning, which is left at its end.
        path: the file it came from, for errors.

    Raises:
        Refused: a memo index beyond the number of opcodes, or an object from the extension registry.
        ValueError: truncated, or not a pickle.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(source)):
        if opcode.name in _MEMO and isinstance(argument, int) and argument > number:
            raise Refused(
                path, f"its pickle declares a memo of {argument} entries after {number} opcodes (a memory bomb)"
            )
        if opcode.name in _BY_NUMBER:
            raise Refused(path, f"its pickle uses the opcode {opcode.name}, which data does not need")
