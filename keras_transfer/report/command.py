"""The ``report`` command: write the report of a finished run again."""

from __future__ import annotations

import time

from keras_transfer.errors import UserError
from keras_transfer.inference import data_of, start
from keras_transfer.report.write import write_report
from keras_transfer.runs import RunDirectory


def report(path: str, backend: str | None = None, device: str | None = None) -> RunDirectory:
    """Write ``report.html`` of a finished run again.

    The metrics are those of the run. Its images are predicted again; without them, or if they changed, the report
    omits them.

    Args:
        path: the run directory.
        backend: Keras backend.
        device: device to compute on.

    Raises:
        UserError: there is no finished run, or the report cannot be written.
    """
    run = RunDirectory.open(path)
    run.read_json(run.metrics)
    try:
        data = data_of(run)
        missing = f"the data of {run.path} changed since the training"
    except UserError as problem:
        data, missing = None, str(problem)
    model, logits = None, None
    if data is None:
        print(f"without images: {missing}")
    else:
        model, _, _ = start(path, backend, device)
        from keras_transfer.training import build  # imports Keras, after the choice of the backend

        logits = build.predict(model, run.read_config(), data)
    began = time.perf_counter()
    write_report(run, data, model, logits, missing if data is None else "")
    print(f"report: {run.report} ({time.perf_counter() - began:.1f} s)")
    return run
