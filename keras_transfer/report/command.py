"""What the ``report`` command does: the page of a run that was trained before."""

from __future__ import annotations

import time

import numpy as np

from keras_transfer import text
from keras_transfer.engine.forward import check_engine
from keras_transfer.errors import UserError
from keras_transfer.evaluation.judged import OUT_OF_FOLD
from keras_transfer.inference import data_of, engine_of, start
from keras_transfer.report.write import write_report
from keras_transfer.runs import RunDirectory


def report(
    path: str,
    backend: str | None = None,
    device: str | None = None,
    data: str | None = None,
    engine: str = "auto",
) -> RunDirectory:
    """Write ``report.html`` of a finished run again.

    The figures are those that the run measured. Its images are predicted again to be shown; where they are not at
    hand any more, or are not what they were, the page goes without. Out-of-fold predictions are those of the run.

    Args:
        path: the run directory.
        backend: Keras backend.
        device: where to compute.
        data: where the data of the run are now, if they have moved.
        engine: what predicts: ``"auto"``, ``"native"`` (the backend) or ``"openvino"``.

    Raises:
        UserError: there is no run, it did not finish, or the page cannot be written.
    """
    check_engine(engine, device)
    run = RunDirectory.open(path)
    run.read_json(run.metrics)
    try:
        images = data_of(run, data)
        missing = f"the data of {run.path} changed since the training"
    except UserError as problem:
        images, missing = None, str(problem)
    model, logits = None, None
    if images is None:
        text.say(f"without images: {missing}")
    else:
        model, metadata, _ = start(path, backend, device)
        from keras_transfer.config.open_data import evaluation_transform
        from keras_transfer.evaluation.evaluate import predict_splits

        settings = run.read_resolved().data
        transform = evaluation_transform(settings)
        forward = engine_of(model, metadata, run.model, engine)
        logits = predict_splits(forward, images, transform, settings.micro_batch_size, settings.workers)
        stored = run.read_out_of_fold()
        if stored is not None and np.array_equal(stored[1], images.train.labels):
            logits[OUT_OF_FOLD] = stored[0]
    began = time.perf_counter()
    write_report(run, images, model, logits, missing if images is None else "")
    text.say(f"report: {run.report} ({time.perf_counter() - began:.1f} s)")
    return run
