"""The work of ``predict --parquet``, ``evaluate --parquet`` and ``embed --output FOLDER``, here or on a Ray cluster (``--ray``)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_transfer import text
from keras_transfer.batch.job import ROWS, Job, digest_of_names, pyarrow_parquet, tables
from keras_transfer.batch.run import run
from keras_transfer.batch.worker import BATCH, Images, Work
from keras_transfer.data.samples import FileStore
from keras_transfer.errors import UserError
from keras_transfer.inference.model import find_model, start_backend
from keras_transfer.runs import RunDirectory
from keras_transfer.typing import Say

if TYPE_CHECKING:
    from keras_transfer.data.dataset import Split


def predict_parts(  # the options of the command, each by name
    source: str | Path,
    paths: Sequence[str],
    folder: str | Path,
    *,
    top: int = 3,
    ray: str | None = None,
    rows: int = ROWS,
    backend: str | None = None,
    device: str | None = None,
    engine: str = "auto",
    flips: bool = False,
    say: Say = text.say,
) -> int:
    """Classify images, and write a row for each to Parquet files ``part-….parquet``, ``rows`` to a file, in the order of the images.

    Called again with the same arguments, it computes what is missing. Content and order do not depend on where the parts are computed.

    Args:
        source: run directory or model file.
        paths: images, folders of images, or web addresses; all workers must be able to read them.
        folder: of the Parquet files. Columns: ``path``, ``class``, ``probability``, ``classes`` and ``probabilities`` (of the ``top``),
            ``error`` (why an image cannot be read), and as far as the model has them ``labels``, ``novelty``, ``decision``.
        top: classes per image.
        ray: ``"local"``, ``"auto"`` or ``HOST:PORT`` of a Ray cluster; None: this process.
        rows: images to a file, a multiple of 32.
        backend: Keras backend.
        device: where to compute.
        engine: what computes.
        flips: average the outputs for each image with those for its mirror image.
        say: prints a line.

    Returns:
        The number of images.

    Raises:
        UserError: no such model or image, a folder of something else, a cluster that is not there.
        MissingExtra: pyarrow or Ray is not installed.
    """
    model, images = _Model.open(source, backend, device), _found(paths)
    work = Work("predict", top, engine, model.backend, device, flips)
    return _job(model, images, Path(folder), work, rows, ray, say)


def embed_parts(
    source: str | Path,
    paths: Sequence[str],
    folder: str | Path,
    *,
    ray: str | None = None,
    rows: int = ROWS,
    backend: str | None = None,
    device: str | None = None,
    say: Say = text.say,
) -> int:
    """Write the features of images to Parquet files with the columns ``path``, ``features`` (float32) and ``error``; see :func:`predict_parts`."""
    model, images = _Model.open(source, backend, device), _found(paths)
    return _job(model, images, Path(folder), Work("embed", backend=model.backend, device=device), rows, ray, say)


def evaluate_parts(  # the options of the command, each by name
    source: str | Path,
    folder: str | Path,
    *,
    data: str | None = None,
    split: str = "test",
    ray: str | None = None,
    rows: int = ROWS,
    backend: str | None = None,
    device: str | None = None,
    engine: str = "auto",
    flips: bool = False,
    say: Say = text.say,
) -> dict[str, Any]:
    """Compute the logits of labelled images as :func:`predict_parts` does, and return the metrics of all of them.

    Args:
        source: run directory or model file.
        folder: of the Parquet files, with the columns ``path``, ``label``, ``class``, ``outputs`` (logits, float32; then the novelty, if the
            model computes it) and ``error``.
        data: see :func:`keras_transfer.inference.evaluate`.
        split: see there.
        ray: see :func:`predict_parts`, as the rest.
        rows: see there.
        backend: see there.
        device: see there.
        engine: see there.
        flips: see there.
        say: prints a line.

    Returns:
        See :func:`keras_transfer.inference.evaluate`.

    Raises:
        UserError: as :func:`predict_parts`; or an image that cannot be read.
    """
    from keras_transfer.evaluation.evaluate import metrics_of_outputs
    from keras_transfer.inference.data import images_of

    model = _Model.open(source, backend, device)
    chosen = images_of(model.run, source, model.metadata, data, split, say=text.complain)
    names = [chosen.image_name(i) for i in range(len(chosen))]
    images = Images(names, _OfSplit(chosen).open, np.asarray(chosen.labels))
    work = Work("evaluate", engine=engine, backend=model.backend, device=device, flips=flips)
    job = _described(model, names, work, rows)
    run(job, work, model.path, images, Path(folder), ray, say)
    found = []
    for table in tables(Path(folder), job):
        bad = table.filter(table["error"].is_valid())
        if len(bad):
            raise UserError(f"{bad['path'][0].as_py()}: {bad['error'][0].as_py()}")
        found.append(np.stack(table["outputs"].to_numpy()))
    return metrics_of_outputs(np.concatenate(found), chosen, model.metadata)


@dataclass(frozen=True)
class _OfSplit:
    """The images of a split, by their place in it."""

    split: Split

    def open(self, i: int) -> Any:
        return self.split.samples.images.open(int(self.split.indices[i]))


@dataclass(frozen=True)
class _Model:
    """A model file that is not loaded yet, and the backend that will compute."""

    path: Path
    run: RunDirectory | None
    metadata: dict[str, Any]
    backend: str

    @classmethod
    def open(cls, source: str | Path, backend: str | None, device: str | None) -> _Model:
        pyarrow_parquet()  # what is missing is said before a framework is imported
        path, run = find_model(source)
        start_backend(run, backend, device)
        import keras

        from keras_transfer.models.bundle import read_metadata

        return cls(path, run, read_metadata(path), keras.backend.backend())


def _found(paths: Sequence[str]) -> list[str]:
    from keras_transfer.evaluation.predict import find_images

    return [str(path) for path in find_images(list(paths))]


def _store(names: Sequence[str], metadata: dict[str, Any]) -> FileStore:
    """Return the files of these names; a worker may have another working directory."""
    from keras_transfer.data.images.depth import parse
    from keras_transfer.data.images.fetch import is_address

    places = [name if is_address(name) or "://" in name else os.path.abspath(name) for name in names]  # noqa: PTH100
    return FileStore(places, None, parse(metadata.get("depth")))


def _described(model: _Model, names: Sequence[str], work: Work, rows: int) -> Job:
    from keras_transfer.engine.engine_files import digest_of

    if rows < BATCH or rows % BATCH:
        raise UserError(f"rows: expected a multiple of {BATCH}, got {rows}")
    settings = {"top": work.top, "flips": work.flips} if work.kind == "predict" else {"flips": work.flips}
    return Job(work.kind, digest_of(model.path), digest_of_names(names), len(names), rows, settings)


def _job(model: _Model, names: list[str], folder: Path, work: Work, rows: int, ray: str | None, say: Say) -> int:
    images = Images(names, _store(names, model.metadata).open)
    job = _described(model, names, work, rows)
    run(job, work, model.path, images, folder, ray, say)
    unread = sum(int(np.asarray(table["error"].is_valid()).sum()) for table in tables(folder, job))
    skipped = f", {unread} of them cannot be read (column error)" if unread else ""
    say(f"{folder}: {len(names)} images in {len(job.parts)} parts{skipped}")
    if unread == len(names):
        raise UserError(
            f"none of the {len(names)} images could be read; the reasons are in the column error of {folder}"
        )
    return len(names)
