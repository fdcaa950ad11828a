"""The work of the commands ``evaluate`` and ``predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_transfer import text
from keras_transfer.console import wrote
from keras_transfer.files import check_output, write_json
from keras_transfer.inference.model import find_model, start_engine, transform_of

if TYPE_CHECKING:
    from keras_transfer.evaluation.predict import Prediction


def evaluate(
    source: str | Path,
    *,
    data: str | None = None,
    split: str = "test",
    json_file: str | None = None,
    backend: str | None = None,
    device: str | None = None,
    engine: str = "auto",
    flips: bool = False,
) -> dict[str, Any]:
    """Measure a model on its run's own data or on ``data``; print the metrics and return them.

    Args:
        source: run directory or model file.
        data: another data source (folder, list, CSV or ``.npz``). If it has no splits, all of it is used. Images that the run was
            trained on are left out, wherever they are now.
        split: ``train``, ``val``, ``test`` or ``all``.
        json_file: also write the metrics here.
        backend: Keras backend.
        device: where to compute.
        engine: what computes: ``"auto"``, ``"native"`` (the backend) or ``"openvino"``.
        flips: average the outputs for each image with those for its mirror image.

    Returns:
        See :func:`keras_transfer.evaluation.metrics.classification_metrics`, or, of several labels per image,
        :func:`keras_transfer.evaluation.multilabel.multilabel_metrics`.

    Raises:
        UserError: no such model or data, or a file that cannot be written.
    """
    check_output("--json", json_file)
    _, run = find_model(source)
    model, metadata = start_engine(source, engine, backend, device)
    from rich.console import Console

    from keras_transfer.evaluation.evaluate import evaluate_split
    from keras_transfer.evaluation.table import metrics_table
    from keras_transfer.inference.data import images_of

    images = images_of(run, source, metadata, data, split, say=text.complain)
    metrics = evaluate_split(_averaged(model, flips), images, transform_of(metadata), metadata=metadata)
    Console().print(metrics_table(metrics))
    if json_file is not None:
        write_json(json_file, metrics)
        wrote(json_file)
    return metrics


def predict(  # most of it documentation and the forms of output
    source: str | Path,
    paths: list[str],
    *,
    top: int = 3,
    json_file: str | None = None,
    csv_file: str | None = None,
    grid_file: str | None = None,
    backend: str | None = None,
    device: str | None = None,
    engine: str = "auto",
    flips: bool = False,
) -> list[Prediction]:
    """Classify images; print one line per image (or write JSON or CSV) and return the predictions.

    Args:
        source: run directory or model file.
        paths: images, or folders of images.
        top: classes per image.
        json_file: write JSON here instead of printing.
        csv_file: write CSV here instead of printing.
        grid_file: also draw the images with their predictions here.
        backend: Keras backend.
        device: where to compute.
        engine: what computes: ``"auto"``, ``"native"`` (the backend) or ``"openvino"``.
        flips: average the outputs for each image with those for its mirror image.

    Returns:
        One per image, in order.

    Raises:
        UserError: no such model or image, or a file that cannot be written.
    """
    from keras_transfer.evaluation import predict as prediction

    check_output("--json", json_file)
    check_output("--csv", csv_file)
    check_output("--output", grid_file, ".png")
    prediction.find_images(paths)  # report a mistyped path before importing a framework
    model, metadata = start_engine(source, engine, backend, device)
    found = prediction.predict_files(_averaged(model, flips), metadata, paths, top=top)
    for item in found:
        if item.error:
            text.complain(f"skipped: {text.one_line(item.path)}: {text.one_line(item.error)}")
    if json_file is not None:
        prediction.write_json(found, json_file)
        wrote(json_file)
    elif csv_file is not None:
        prediction.write_csv(found, csv_file)
        wrote(csv_file)
    else:
        for item in found:
            if not item.error:
                text.say(_line(item))
    if grid_file is not None:
        from keras_transfer.plots import predicted_files

        predicted_files(found, grid_file)
        wrote(grid_file)
    return found


def _averaged(model: Any, flips: bool) -> Any:
    from keras_transfer.evaluation.mirrored import Mirrored

    return Mirrored(model) if flips else model


def _line(item: Prediction) -> str:
    """Return what is printed for an image."""
    from keras_transfer.evaluation.predict import NONE_OF_THESE

    parts = [f"{NONE_OF_THESE} (novelty {item.novelty:.2f})"] if item.rejected else []
    parts += [f"decision: {text.one_line(item.decision)}"] if item.decision is not None else []
    if item.labels is not None:
        parts.append(item.labelled())
    else:
        parts += [f"{text.one_line(name)} {share:.3f}" for name, share in zip(item.classes, item.probabilities)]
    return f"{text.one_line(item.path)}: {'  '.join(parts)}"
