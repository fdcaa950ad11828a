"""Evaluation: logits of JPEG files by the engine that `evaluate` uses, against OpenVINO on batches in memory; images per second.

OpenVINO computes the same graph, several batches of 16 at a time, from images that are decoded already. The difference is what reading,
decoding and resizing take beside it. The backend itself (`--engine native`) is a third rival.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import repeat

import numpy as np

from benchmarks.contenders import CLASSES, keras_classifier
from benchmarks.harness import Case, Options, Rival
from benchmarks.images import jpeg_folder
from keras_transfer.runtime import BACKENDS

MODELS = ("efficientnet_lite0", "resnet50")
IMAGES, SIZE, BATCH = 2000, 224, 16


def cases(options: Options) -> list[Case]:
    models = options.choose("models", MODELS) if options.models else MODELS[:1]
    return [_case(model, options) for model in models]


def _case(model: str, options: Options) -> Case:
    images, size = options.images or IMAGES, options.size or SIZE
    common = {"model": model, "size": size, "images": images}
    rivals = [Rival("OpenVINO, in memory", f"{__name__}:memory", common, {"KERAS_BACKEND": "torch"})]
    for backend in options.choose("backends", BACKENDS):
        for engine in ("auto", "native"):
            rivals.append(
                Rival(
                    f"evaluate on {backend}, {engine}",
                    f"{__name__}:files",
                    {**common, "backend": backend, "engine": engine},
                    {"KERAS_BACKEND": backend},
                    against=("OpenVINO, in memory",),
                    goal=0.85 if engine == "auto" else None,
                )
            )
    return Case(f"{model}, {size} px, {images} files", "images/s", tuple(rivals))


def memory(model: str, size: int, images: int) -> Callable[[], float]:
    from keras_transfer.engine.forward import fastest
    from keras_transfer.engine.openvino_model import OpenVINOModel
    from keras_transfer.training.build import golden_images

    classifier = keras_classifier(model, size, "float32", "torch", ours=False)
    engine = fastest(classifier, {}, golden_images((size, size, 3)), "openvino", print)
    assert isinstance(engine, OpenVINOModel)
    batch = np.random.default_rng(0).integers(0, 256, (BATCH, size, size, 3), np.uint8)
    return lambda: _rate(images, lambda: sum(map(len, engine.predict_stream(repeat(batch, -(-images // BATCH))))))


def files(model: str, size: int, images: int, backend: str, engine: str) -> Callable[[], float]:
    from keras_transfer.data import folder
    from keras_transfer.data.augment import Transform
    from keras_transfer.engine.forward import fastest
    from keras_transfer.evaluation.evaluate import predict_logits
    from keras_transfer.training.build import golden_images

    classifier = keras_classifier(model, size, "float32", backend, ours=True)
    forward = fastest(classifier, {}, golden_images((size, size, 3)), engine, print)
    data = folder(jpeg_folder(images), size, val_fraction=0, test_fraction=0)
    more = [f"class {number}" for number in range(CLASSES - len(data.classes))]  # as many as the model has
    split = data.with_classes([*data.classes, *more]).all
    return lambda: _rate(images, lambda: predict_logits(forward, split, Transform((size, size))))


def _rate(images: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return images / (time.perf_counter() - began)
