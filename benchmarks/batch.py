"""Batch work: parts of Parquet by one process and by Ray on the same cores; images per second.

Both write the same bytes. Ray is started and has loaded the model before the first round: what is measured is what it costs while it works.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.contenders import CLASSES, keras_classifier
from benchmarks.harness import Case, Options, Rival
from benchmarks.images import jpeg_folder

IMAGES, SIZE, ROWS = 20_000, 224, 512


def cases(options: Options) -> list[Case]:
    images, size = options.images or IMAGES, options.size or SIZE
    (model,) = options.models or ("efficientnet_lite0",)
    common = {"model": model, "size": size, "images": images}
    environment = {"KERAS_BACKEND": "torch"}
    rivals = (
        Rival("one process", f"{__name__}:parts", {**common, "ray": None}, environment),
        Rival(
            "Ray, local",
            f"{__name__}:parts",
            {**common, "ray": "local"},
            environment,
            against=("one process",),
            goal=0.9,
        ),
    )
    return [Case(f"{model}, {size} px, {images} files", "images/s", rivals, rounds=3)]


def parts(model: str, size: int, images: int, ray: str | None) -> Callable[[], float]:
    from keras_transfer.batch import predict_parts
    from keras_transfer.batch.cluster import connected
    from keras_transfer.models import bundle

    folder = Path(tempfile.mkdtemp())
    classifier = keras_classifier(model, size, "float32", "torch", ours=True)
    names = [f"class {number}" for number in range(CLASSES)]
    metadata = {"classes": names, "image_size": [size, size], "color": "rgb", "resize": "squash", "backbone": model}
    bundle.save(classifier, folder / "model.keras", metadata)
    files = [str(jpeg_folder(images))]
    numbers = itertools.count()
    if ray is not None:
        cluster = contextlib.ExitStack()
        cluster.enter_context(connected(ray))
        atexit.register(cluster.close)

    def measure() -> float:
        began = time.perf_counter()
        predict_parts(
            folder / "model.keras", files, folder / str(next(numbers)), ray=ray, rows=ROWS, engine="native", say=_quiet
        )
        return images / (time.perf_counter() - began)

    if ray is not None:
        measure()  # starts the workers, which load the model
    return measure


def _quiet(line: object = "") -> None:
    """Print nothing."""
