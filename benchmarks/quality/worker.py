"""The process of one cell: `python -m benchmarks.quality.worker METHOD NAME FOLDER SEED SCRATCH`.

It writes `SCRATCH/outcome.npz`, or one line to `SCRATCH/error.txt` and ends with status 1.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

import numpy as np

from benchmarks.quality.methods import METHODS, Task


def main(method: str, name: str, folder: str, seed: str, scratch: str) -> int:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        from keras_transfer import use_backend

        use_backend()
        work = Path(scratch) / "work"
        work.mkdir()
        outcome = METHODS[method](Task(name, Path(folder), int(seed), work))
    except Exception as error:
        traceback.print_exc()
        line = " ".join(f"{type(error).__name__}: {error}".split())
        (Path(scratch) / "error.txt").write_text(line, "utf-8")
        return 1
    np.savez(Path(scratch) / "outcome.npz", logits=outcome.logits, seconds=outcome.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
