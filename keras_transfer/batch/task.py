"""A task of the cluster: one part, with the model that its process has loaded before."""

from __future__ import annotations

from typing import Any

from keras_transfer.batch.job import Part
from keras_transfer.batch.worker import Worker
from keras_transfer.errors import UserError

_loaded: dict[str, Worker] = {}
"""The worker of this process, by job: Ray gives one task after the other to the same processes."""


def compute_part(key: str, sent: Any, cores: int, part: Part) -> dict[str, Any]:
    """Return a part as a row: ``start``, ``stop``, ``data`` (content of its file) and ``problem`` (what the user can fix, else empty).

    Args:
        key: of the job.
        sent: reference to what its workers are made of: work, model, images.
        cores: of this process.
        part: to compute.
    """
    import ray

    row = {"start": part.start, "stop": part.stop, "data": b"", "problem": ""}
    try:
        if key not in _loaded:
            _loaded.clear()
            work, model, images = ray.get(sent)
            _loaded[key] = Worker(work, model, images, cores)
        return {**row, "data": _loaded[key](part)}
    except UserError as error:
        return {**row, "problem": str(error)}
