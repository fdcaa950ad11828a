"""What a worker does: load the model once, and compute parts as Parquet. It is the same in a process of a cluster and in the command's own.

Ray runs the parts as tasks, which it gives to processes that it keeps: a model stays loaded between tasks of the same process, and a task
whose node is lost is done again on another. (Actors would wait for a node that may never come back.)
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_transfer.batch.job import Part, pyarrow_parquet
from keras_transfer.errors import UserError
from keras_transfer.evaluation.mirrored import Mirrored
from keras_transfer.evaluation.novelty import scored
from keras_transfer.evaluation.predict import Opened, Prediction, outputs, predicted
from keras_transfer.evaluation.tasks import is_multi

if TYPE_CHECKING:
    import pyarrow

BATCH = 32
"""Images per forward pass. Parts are multiples of it, so that batches are the same however the parts are distributed."""


@dataclass(frozen=True)
class Work:
    """What is done with each image.

    Attributes:
        kind: ``"predict"``, ``"evaluate"`` or ``"embed"``.
        top: classes to an image.
        engine: see :func:`keras_transfer.inference.start_engine`.
        backend: Keras backend.
        device: where to compute.
        flips: average the outputs for each image with those for its mirror image.
    """

    kind: str
    top: int = 3
    engine: str = "auto"
    backend: str | None = None
    device: str | None = None
    flips: bool = False


@dataclass(frozen=True)
class Images:
    """Images that can be sent to another process.

    Attributes:
        names: of the images.
        open: returns image i, or raises BadImage.
        labels: their classes, (n,) or (n, C), or None.
    """

    names: Sequence[str]
    open: Callable[[int], Any]
    labels: np.ndarray | None = None

    def part(self, part: Part) -> Opened:
        """Return the images of a part."""
        return Opened(self.names[part.start : part.stop], lambda i: self.open(part.start + i))


class Worker:
    """A loaded model that turns parts into Parquet files.

    Args:
        work: what is done.
        model: content of a model file.
        images: all images of the job.
        threads: that decode images.
    """

    def __init__(self, work: Work, model: bytes, images: Images, threads: int):
        self.work, self.images, self.threads = work, images, threads
        with tempfile.TemporaryDirectory(prefix="keras_transfer_") as folder:
            path = Path(folder) / "model.keras"
            path.write_bytes(model)
            self.model, self.metadata = _load(work, path)

    def __call__(self, part: Part) -> bytes:
        """Return the rows of a part, as the content of a Parquet file.

        Raises:
            UserError: the model's outputs are not finite.
        """
        table = _KINDS[self.work.kind](self, part)
        stream = io.BytesIO()
        pyarrow_parquet().write_table(table, stream)
        return stream.getvalue()


def _load(work: Work, path: Path) -> tuple[Any, dict[str, Any]]:
    from keras_transfer.inference import start, start_engine

    if work.kind != "embed":
        engine, metadata = start_engine(path, work.engine, work.backend, work.device)
        return Mirrored(engine) if work.flips else engine, metadata
    model, metadata, _ = start(path, work.backend, work.device)
    import keras

    from keras_transfer.models.layer_names import LOGITS

    return keras.Model(model.input, model.get_layer(LOGITS).input), metadata


def _embed(worker: Worker, part: Part) -> pyarrow.Table:
    import pyarrow

    rows: list[tuple[str, np.ndarray | None, str | None]] = []
    _all(outputs(worker.model, worker.metadata, worker.images.part(part), BATCH, worker.threads), _row(rows), part)
    names, features, errors = zip(*rows)
    return pyarrow.table(
        {
            "path": pyarrow.array(names, pyarrow.string()),
            "features": pyarrow.array(features, pyarrow.list_(pyarrow.float32())),
            "error": pyarrow.array(errors, pyarrow.string()),
        }
    )


def _predict(worker: Worker, part: Part) -> pyarrow.Table:
    import pyarrow

    found: list[Prediction] = []
    images, top = worker.images.part(part), worker.work.top
    _all(predicted(worker.model, worker.metadata, images, top, BATCH, worker.threads), found.append, part)
    texts = pyarrow.list_(pyarrow.string())
    columns = {
        "path": pyarrow.array([one.path for one in found], pyarrow.string()),
        "class": pyarrow.array([one.classes[0] if one.classes else None for one in found], pyarrow.string()),
        "probability": pyarrow.array(
            [one.probabilities[0] if one.classes else None for one in found], pyarrow.float64()
        ),
        "classes": pyarrow.array([list(one.classes) for one in found], texts),
        "probabilities": pyarrow.array([list(one.probabilities) for one in found], pyarrow.list_(pyarrow.float64())),
    }
    if is_multi(worker.metadata):
        columns["labels"] = pyarrow.array([None if one.labels is None else list(one.labels) for one in found], texts)
    if worker.metadata.get("novelty"):
        columns["novelty"] = pyarrow.array([one.novelty for one in found], pyarrow.float64())
    if worker.metadata.get("costs"):
        columns["decision"] = pyarrow.array([one.decision for one in found], pyarrow.string())
    columns["error"] = pyarrow.array([one.error for one in found], pyarrow.string())
    return pyarrow.table(columns)


def _evaluate(worker: Worker, part: Part) -> pyarrow.Table:
    """Return the rows that the metrics are computed from: ``outputs`` are logits, and after them novelty, if the model computes it."""
    import pyarrow

    classes, labels = [str(name) for name in worker.metadata["classes"]], worker.images.labels
    assert labels is not None
    rows: list[tuple[str, np.ndarray | None, str | None]] = []
    model = scored(worker.model, worker.metadata)
    _all(outputs(model, worker.metadata, worker.images.part(part), BATCH, worker.threads), _row(rows), part)
    names, found, errors = zip(*rows)
    truth = labels[part.start : part.stop]
    several = truth.ndim == 2
    true = [[classes[k] for k in np.flatnonzero(one)] if several else classes[int(one)] for one in truth]
    best = [None if one is None else classes[int(np.argmax(one[: len(classes)]))] for one in found]
    return pyarrow.table(
        {
            "path": pyarrow.array(names, pyarrow.string()),
            "label": pyarrow.array(true, pyarrow.list_(pyarrow.string()) if several else pyarrow.string()),
            "class": pyarrow.array(best, pyarrow.string()),
            "outputs": pyarrow.array(found, pyarrow.list_(pyarrow.float32())),
            "error": pyarrow.array(errors, pyarrow.string()),
        }
    )


def _row(rows: list[tuple[str, np.ndarray | None, str | None]]) -> Callable[[tuple[str, np.ndarray | str]], None]:
    """Return a function that adds what was computed of an image, or why not, to rows."""

    def take(found: tuple[str, np.ndarray | str]) -> None:
        name, one = found
        rows.append((name, None, one) if isinstance(one, str) else (name, one, None))

    return take


def _all(found: Any, take: Callable[[Any], None], part: Part) -> None:
    """Take every row; that no image of a part can be read is no error of the job."""
    taken = 0
    try:
        for one in found:
            take(one)
            taken += 1
    except UserError:
        if taken < part.stop - part.start:
            raise


_KINDS: dict[str, Callable[[Worker, Part], pyarrow.Table]] = {
    "predict": _predict,
    "evaluate": _evaluate,
    "embed": _embed,
}
"""What is computed of a part, by the kind of work."""
