"""Pooled features of the frozen backbone, computed once per image."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keras_transfer.files import atomic_write
from keras_transfer.runtime import cache_dir

BACKBONE, SIZE, RESIZE = "efficientnet_lite0", 224, "squash"
_BATCH = 16


def pooled(paths: Sequence[Path], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of images, from the cache or computed in float32.

    Args:
        paths: n files.
        name: of the file in the cache; only what images of that name lack is computed.

    Returns:
        Features, float32 (n, 1280), and the seconds that each image took when it was computed, float64 (n,).
    """
    file = cache_dir() / "benchmarks" / f"features-{BACKBONE}-{SIZE}-{RESIZE}-{name}.npz"
    known = _stored(file)
    keys = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    missing = {key: path for key, path in zip(keys, paths) if key not in known}
    if missing:
        features, seconds = compute(list(missing.values()))
        known |= {key: (row, second) for key, row, second in zip(missing, features, seconds)}
        rows, times = zip(*known.values())
        with atomic_write(file) as stream:
            np.savez(stream, keys=list(known), features=np.stack(rows), seconds=np.array(times))
    return np.stack([known[key][0] for key in keys]), np.array([known[key][1] for key in keys])


def _stored(file: Path) -> dict[str, tuple[np.ndarray, float]]:
    if not file.exists():
        return {}
    with np.load(file) as stored:
        return dict(zip(stored["keys"].tolist(), zip(stored["features"], stored["seconds"].tolist())))


def compute(paths: Sequence[Path], mirrored: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return the same without the cache, of the images or of their mirror images."""
    import keras

    from keras_transfer import runtime
    from keras_transfer.data.augment import Transform
    from keras_transfer.data.samples import FileStore
    from keras_transfer.engine.native import install
    from keras_transfer.models.classifier import build_classifier

    runtime.hide_progress_bars()
    classifier = build_classifier(BACKBONE, 2, image_size=(SIZE, SIZE))
    install(classifier)
    model = keras.Model(classifier.inputs[0], classifier.get_layer("pool").output)
    store, transform = FileStore(list(paths), None), Transform((SIZE, SIZE), [], RESIZE, "rgb")
    parts, seconds = [], []
    for start in range(0, len(paths), _BATCH):
        began = time.perf_counter()
        numbers = range(start, min(start + _BATCH, len(paths)))
        images = np.stack([transform(store.open(i), None) for i in numbers])
        images = np.ascontiguousarray(images[:, :, ::-1]) if mirrored else images
        parts.append(np.asarray(keras.ops.convert_to_numpy(model.predict_on_batch(images)), np.float32))
        seconds += [(time.perf_counter() - began) / len(numbers)] * len(numbers)
    return np.concatenate(parts), np.array(seconds)
