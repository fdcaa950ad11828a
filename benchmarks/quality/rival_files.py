"""Results of a rival that ran elsewhere, from lines like `flowers5_100_0 all 25 acc 0.8433 114 s`."""

from __future__ import annotations

import re
import time
from pathlib import Path

from benchmarks.quality.cells import Cell, Key
from keras_transfer.errors import UserError

# set_size_seed, phase, epoch, accuracy, seconds
_LINE = re.compile(
    r"(?P<set>\S+)_(?P<size>\d+)_(?P<seed>\d+) \S+ \d+ acc (?P<accuracy>[01]\.\d+) (?P<seconds>[\d.]+) s"
)


def read_cell(file: Path) -> tuple[Key, Cell]:
    """Return the cell that a file's last such line gives, as one of the method `native`.

    Raises:
        UserError: the file cannot be read, or has no such line.
    """
    try:
        lines = file.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {str(file)!r}: {error}") from None
    found = [match for match in map(_LINE.fullmatch, map(str.strip, lines)) if match]
    if not found:
        raise UserError(f"{str(file)!r}: no line like 'flowers5_100_0 all 25 acc 0.8433 114 s'")
    last = found[-1]
    key = Key(last["set"], int(last["size"]), int(last["seed"]), "native")
    date = time.strftime("%Y-%m-%d", time.localtime(file.stat().st_mtime))
    accuracy, seconds = float(last["accuracy"]), float(last["seconds"])
    return key, {"status": "ok", "accuracy": accuracy, "seconds": seconds, "date": date, "imported": file.name}
