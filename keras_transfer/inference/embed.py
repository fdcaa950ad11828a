"""Features of images: what the last layer of a classifier reads. The work of ``Classifier.embed`` and of the command ``embed``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer import text
from keras_transfer.errors import MissingExtra, UserError
from keras_transfer.evaluation.predict import Opened, find_images, open_images, outputs
from keras_transfer.files import atomic_write, check_output
from keras_transfer.inference.model import start
from keras_transfer.models.layer_names import LOGITS

SUFFIXES = (".npz", ".parquet")


@dataclass(frozen=True)
class Embedding:
    """Features of images.

    Attributes:
        names: paths, or names, of the images that could be read.
        features: float32 (n, d).
        skipped: (name, reason) of the others.
    """

    names: list[str]
    features: np.ndarray
    skipped: list[tuple[str, str]]


def embed(model: Any, metadata: Mapping[str, Any], images: Opened, batch_size: int = 32) -> Embedding:
    """Compute the features of images.

    Args:
        model: a classifier from raw images to logits.
        metadata: its metadata.
        images: from :func:`keras_transfer.evaluation.predict.open_images`.
        batch_size: images per forward pass.

    Raises:
        UserError: none of the images can be read.
    """
    import keras

    reader = keras.Model(model.input, model.get_layer(LOGITS).input)
    names: list[str] = []
    rows: list[np.ndarray] = []
    skipped: list[tuple[str, str]] = []
    for name, found in outputs(reader, metadata, images, batch_size):
        if isinstance(found, str):
            skipped.append((name, found))
        else:
            names.append(name)
            rows.append(found)
    width = int(reader.output_shape[-1])
    return Embedding(names, np.stack(rows) if rows else np.zeros((0, width), np.float32), skipped)


def embed_files(
    source: str | Path,
    paths: Sequence[str],
    output: str | Path,
    *,
    batch_size: int = 32,
    backend: str | None = None,
    device: str | None = None,
) -> Embedding:
    """Write the features of images to a file, and print its name.

    Args:
        source: run directory or model file.
        paths: images, folders of images, or web addresses.
        output: ``.npz`` with ``paths`` (n,) and ``features`` float32 (n, d), or ``.parquet`` with the columns path and features.
        batch_size: images per forward pass.
        backend: Keras backend.
        device: where to compute.

    Raises:
        UserError: no such model or image, another kind of file, or one that cannot be written.
        MissingExtra: ``.parquet`` without pyarrow.
    """
    suffix = Path(output).suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"--output: expected a file that ends in {' or '.join(SUFFIXES)}, got {str(output)!r}")
    check_output("--output", str(output), suffix)
    if suffix == ".parquet":
        _pyarrow()
    find_images(paths)  # report a mistyped path before importing a framework
    model, metadata, _ = start(source, backend, device)
    found = embed(model, metadata, open_images(list(paths), metadata.get("depth")), batch_size)
    for name, reason in found.skipped:
        text.complain(f"skipped: {text.one_line(name)}: {text.one_line(reason)}")
    write(found, output)
    text.say(f"{text.one_line(output)}: {len(found.names)} images, {found.features.shape[1]} features each")
    return found


def write(found: Embedding, output: str | Path) -> None:
    """Write features to an ``.npz`` or ``.parquet`` file, atomically."""
    with atomic_write(Path(output)) as file:
        if Path(output).suffix.lower() == ".npz":
            np.savez(file, paths=np.array(found.names), features=found.features)
            return
        arrow = _pyarrow()
        rows = arrow.array(list(found.features), arrow.list_(arrow.float32()))
        arrow.parquet.write_table(arrow.table({"path": found.names, "features": rows}), file)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow", "parquet", "a .parquet file") from error
    return pyarrow
