"""The images that exported files are verified on, and the calibration images of int8."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_transfer.errors import UserError

if TYPE_CHECKING:
    from keras_transfer.data.dataset import Dataset, Split
    from keras_transfer.runs import RunDirectory

VERIFIED = 200
CALIBRATION = 100


def read_images(
    path: Path, run: RunDirectory | None, metadata: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Read images of the run's data, or else the golden batch of the model file.

    Args:
        path: the model file.
        run: the run of the model file, if there is one.
        metadata: metadata of the model file.

    Returns:
        images to verify on, at most 200 of the test split (of ``val`` if it is empty); calibration images, at most
        100 of the training split; both float32 (n, height, width, channels); and a record of their origin.

    Raises:
        UserError: neither data nor a golden batch.
    """
    why = "the model file is not in its run directory"
    if run is not None:
        try:
            from keras_transfer.config.open_data import open_data
            from keras_transfer.runs import where_data_are

            return _of_data(open_data(where_data_are(run)), metadata)
        except UserError as error:
            why = f"the run's data cannot be read: {error}"
    from keras_transfer.models.bundle import read_golden

    golden = read_golden(path)
    if golden is None:
        raise UserError(f"there are no images to verify the exported files on: {why}; and {path} has no golden batch")
    golden = golden.astype(np.float32)
    return golden, golden, {"images": f"golden batch ({why})", "count": len(golden)}


def _of_data(data: Dataset, metadata: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    split = next((part for part in (data.test, data.val, data.train) if len(part)), data.all)
    verified = _read(split, VERIFIED, metadata)
    calibration = _read(data.train if len(data.train) else split, CALIBRATION, metadata)
    return verified, calibration, {"images": f"{split.name} split", "count": len(verified)}


def _read(split: Split, most: int, metadata: dict[str, Any]) -> np.ndarray:
    """Read images evenly spaced over the split, as model input."""
    from keras_transfer.data.loading.loader import Loader
    from keras_transfer.inference import transform_of

    positions = np.unique(np.linspace(0, len(split) - 1, min(most, len(split))).round().astype(int))
    loader = Loader(split.take(positions), transform_of(metadata), 32, with_labels=False)
    try:
        return np.concatenate([np.asarray(loader.batch(0, i), np.float32) for i in range(len(loader))])
    finally:
        loader.close()
