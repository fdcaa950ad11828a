"""Memory over 200 epochs in one process, and over 10,000 predictions: growth of the process after its warm-up in MB.

Training is `Classifier.fit` of a few thousand parameters, so that leaks of an epoch are visible; predictions are made one by
one, half of them of arrays and half of files. The warm-up is the first quarter.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Case, Options, Rival
from benchmarks.scale import resident
from keras_transfer.runtime import BACKENDS

EPOCHS, PREDICTIONS, SIDE = 200, 10_000, 32
LIMIT = 4.0  # MB


def cases(options: Options) -> list[Case]:
    epochs, images = options.epochs or EPOCHS, options.images or PREDICTIONS
    work = {
        f"{epochs} epochs": ("training", {"epochs": epochs}),
        f"{images:,} predictions": ("prediction", {"images": images}),
    }
    backends = options.choose("backends", BACKENDS)
    return [
        Case(
            name,
            "MB",
            tuple(
                Rival(
                    f"keras_transfer {backend}",
                    f"{__name__}:{function}",
                    {"backend": backend, **arguments},
                    limits={"value": LIMIT},
                )
                for backend in backends
            ),
            higher_is_better=False,
            rounds=1,
        )
        for name, (function, arguments) in work.items()
    ]


def training(backend: str, epochs: int) -> Callable[[], dict[str, float]]:
    kt, classifier, data = _classifier(backend)
    import keras

    sizes: list[int] = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
            sizes.append(resident())

    phase = kt.Phase("all", epochs=epochs, learning_rate=1e-4, schedule="cosine")

    def measure() -> dict[str, float]:
        start = resident()
        classifier.fit(data, phases=[phase], batch_size=16, callbacks=[Watch()], workers=1, verbose=False)
        return _figures(start, sizes)

    return measure


def prediction(backend: str, images: int) -> Callable[[], dict[str, float]]:
    _, classifier, _ = _classifier(backend)
    folder = tempfile.TemporaryDirectory(prefix="keras_transfer_")
    arrays = _images(16)
    files = _write(arrays, Path(folder.name))

    def measure() -> dict[str, float]:
        start, sizes = resident(), []
        with folder:
            for i in range(images):
                classifier.predict(arrays[i % 16] if i % 2 else files[i % 16])
                sizes.append(resident())
        return _figures(start, sizes)

    return measure


def _classifier(backend: str) -> tuple[Any, Any, Any]:
    import keras_transfer as kt

    kt.use_backend(backend)
    data = kt.data.arrays(_images(64), np.arange(64) % 2, image_size=SIDE)
    return kt, kt.Classifier("tiny", classes=data.classes, weights="none", image_size=SIDE), data


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)


def _write(arrays: Iterable[np.ndarray], folder: Path) -> list[Path]:
    from PIL import Image

    files = []
    for i, pixels in enumerate(arrays):
        files.append(folder / f"{i}.png")
        Image.fromarray(pixels).save(files[-1])
    return files


def _figures(start: int, sizes: list[int]) -> dict[str, float]:
    mb = 1 << 20
    warm = sizes[len(sizes) // 4]
    return {"value": (sizes[-1] - warm) / mb, "start MB": start / mb, "warm MB": warm / mb, "end MB": sizes[-1] / mb}
