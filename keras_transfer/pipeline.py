"""Train a run and write its report: what the command `train` and ``keras_transfer.train`` do."""

from __future__ import annotations

import functools
import time
import warnings
from typing import Any

from keras_transfer.runs import RunDirectory
from keras_transfer.training import train as training
from keras_transfer.typing import Say

__all__ = ["train"]


@functools.wraps(training.train)
def train(*args: Any, **options: Any) -> RunDirectory:
    """Call `keras_transfer.training.train.train` with a report."""
    return training.train(*args, report=_report, **options)


def _report(run: RunDirectory, data: Any, model: Any, logits: dict[str, Any], say: Say) -> None:
    """Write the report of a run; a failure is a warning, since the model is complete without it."""
    began = time.perf_counter()
    try:
        from keras_transfer.report.write import write_report

        write_report(run, data, model, logits)
    except Exception as error:
        reason = f"there is no report ({type(error).__name__}: {error})"
        warnings.warn(f"{reason}; make it with: keras-transfer report {run.path}", stacklevel=3)
    else:
        say(f"report: {run.report} ({time.perf_counter() - began:.1f} s)")
