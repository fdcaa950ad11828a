"""Find and load the model of a run directory or a model file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_transfer import runtime, text
from keras_transfer.errors import UserError
from keras_transfer.runs import RunDirectory
from keras_transfer.typing import Say

if TYPE_CHECKING:
    from keras_transfer.data.augment import Transform
    from keras_transfer.engine.forward import Forward


def find_model(source: str | Path) -> tuple[Path, RunDirectory | None]:
    """Return the model file of a run directory or at a path, and the run it belongs to, if any.

    Raises:
        UserError: there is neither, or the file is not a Keras model file.
    """
    path = Path(source)
    if path.is_dir():
        run = RunDirectory.open(path)
        if not run.model.is_file():
            raise UserError(f"the run {path} has no model.keras yet: no epoch has finished")
        return run.model, run
    if not path.is_file():
        raise UserError(f"no run directory or model file at {path}")
    with path.open("rb") as file:  # which says why it cannot be read, where zipfile would say that it is no archive
        is_archive = zipfile.is_zipfile(file)
    if not is_archive:  # checked here, before a framework is imported
        raise UserError(f"{str(path)!r} is not a Keras model file (.keras), or is damaged")
    beside = RunDirectory(path.parent)
    return path, beside if beside.config.is_file() and beside.model == path else None


def start(
    source: str | Path, backend: str | None, device: str | None
) -> tuple[Any, dict[str, Any], RunDirectory | None]:
    """Choose and import the backend, then load the model.

    Returns:
        The model (raw images (b, h, w, c) → logits (b, C)), its metadata, and its run, if any.

    Raises:
        UserError: see :func:`find_model`, :func:`keras_transfer.runtime.activate` and
            :func:`keras_transfer.models.bundle.load`.
    """
    path, run = find_model(source)
    start_backend(run, backend, device)
    from keras_transfer.engine.native import install
    from keras_transfer.models.bundle import load

    model, metadata = load(path)
    install(model)
    return model, metadata, run


def start_backend(run: RunDirectory | None, backend: str | None, device: str | None) -> None:
    """Choose and import the backend for a run's model: any predicts the same, so that of the training is preferred if it is installed."""
    trained_on = run.read_config().backend if run is not None else None
    choice = runtime.choose_backend(backend, trained_on if trained_on in runtime.installed_backends() else None)
    runtime.activate(choice.value, device or "auto")
    runtime.hide_progress_bars()


def start_engine(
    source: str | Path, engine: str, backend: str | None, device: str | None, say: Say = text.complain
) -> tuple[Forward, dict[str, Any]]:
    """Return what computes a model's predictions fastest, and the model's metadata.

    Where OpenVINO is used and has loaded this model file before, neither Keras nor a framework is imported.

    Args:
        source: run directory or model file.
        engine: ``"auto"``, ``"native"`` or ``"openvino"``; see :mod:`keras_transfer.engine.forward`.
        backend: Keras backend.
        device: where to compute.
        say: gets the reason why OpenVINO is not used.

    Raises:
        UserError: as :func:`start`; or OpenVINO was asked for and cannot be used.
    """
    from keras_transfer.engine.engine_files import digest_of
    from keras_transfer.engine.forward import check_engine, without_framework

    path, _ = find_model(source)
    check_engine(engine, device)
    if runtime.installed_backends():
        runtime.check_device(device or "auto", runtime.choose_backend(backend).value)
    found = without_framework(path, engine, device)
    if found is not None:
        return found
    before = digest_of(path)
    model, metadata, _ = start(source, backend, device)
    return engine_of(model, metadata, path, engine, before, say), metadata


def engine_of(
    model: Any, metadata: dict[str, Any], path: Path, engine: str, before: str | None = None, say: Say = text.complain
) -> Forward:
    """Return what computes the predictions of a loaded model fastest; see :func:`start_engine`.

    Args:
        model: a `keras.Model`.
        metadata: of its file.
        path: its file.
        engine: ``"auto"``, ``"native"`` or ``"openvino"``.
        before: the file's digest from before it was loaded. The engine is kept if the file still has it: a training in progress may
            have replaced the file meanwhile, and its new model must not be given the engine of the old one.
        say: gets the reason why OpenVINO is not used.
    """
    from keras_transfer.engine.engine_files import digest_of
    from keras_transfer.engine.forward import fastest
    from keras_transfer.evaluation.novelty import scored
    from keras_transfer.models.bundle import read_golden

    golden = read_golden(path)
    if golden is None:  # an interrupted run has none yet
        golden = np.random.default_rng(0).integers(0, 256, (2, *model.input_shape[1:]), np.uint8)
    unchanged = before is not None and digest_of(path) == before
    return fastest(scored(model, metadata), metadata, golden, engine, say, before if unchanged else None)


def transform_of(metadata: dict[str, Any]) -> Transform:
    """Return the evaluation transform that a model needs."""
    from keras_transfer.data.augment import Transform

    height, width = metadata["image_size"]
    return Transform((height, width), [], resize=metadata["resize"], color=metadata["color"])
