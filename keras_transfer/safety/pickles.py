"""Pickles: their opcodes are looked through before they are loaded by an unpickler that knows what it may build.

An unpickler that refuses unknown names keeps code out, but CPython's makes room for a memo of any announced size
(up to 64 GiB for a pickle of ten bytes).
"""

from __future__ import annotations

import os
import pickletools
from typing import IO

from keras_transfer.safety import Refused

_BY_NUMBER = frozenset(["EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"])
_MEMO = frozenset(["PUT", "BINPUT", "LONG_BINPUT"])


def check_pickle(source: bytes | IO[bytes], path: str | os.PathLike[str]) -> None:
    """Look through one pickle up to its end.

    Args:
        source: the pickle, or a stream that stands at its beginning and is left at its end.
        path: the file that it came from, for errors.

    Raises:
        Refused: a memo entry beyond the number of opcodes, or an object by number from a registry.
        ValueError: it is cut short or no pickle.
    """
    for number, (opcode, argument, _) in enumerate(pickletools.genops(source)):
        if opcode.name in _MEMO and isinstance(argument, int) and argument > number:
            raise Refused(path, f"its pickle claims a memo of {argument} entries after {number} steps (a memory bomb)")
        if opcode.name in _BY_NUMBER:
            raise Refused(path, f"its pickle uses {opcode.name}, which data has no need of")
