"""Start-up: seconds for `--help`, and for `predict` to classify one image.

Every figure is the time of a whole process. For `predict`, "beyond the import" is the time beyond that of a process that only
imports the framework, measured just before it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.contenders import keras_classifier
from benchmarks.harness import Case, Options, Rival
from benchmarks.images import jpeg_folder
from keras_transfer.runtime import BACKENDS

MODELS = ("mobilenet_v2", "resnet50", "vgg16", "efficientnet_lite0")


def cases(options: Options) -> list[Case]:
    here = "benchmarks.startup"
    models = options.choose("models", MODELS) if options.models else MODELS[:1]
    found = [
        Case(
            "--help",
            "s",
            (
                Rival("python alone", f"{here}:command", {"arguments": ["-c", "pass"]}),
                Rival(
                    "keras_transfer --help",
                    f"{here}:command",
                    {"arguments": ["-m", "keras_transfer", "--help"]},
                    limits={"value": 0.5},
                ),
            ),
            higher_is_better=False,
        )
    ]
    for backend in options.choose("backends", BACKENDS):
        rivals = [
            Rival(f"import {backend}", f"{here}:command", {"arguments": ["-c", f"import {backend}"]}),
            Rival(
                f"import keras on {backend}",
                f"{here}:command",
                {"arguments": ["-c", "import keras"]},
                {"KERAS_BACKEND": backend},
            ),
        ]
        rivals += [
            Rival(
                f"predict with {model}",
                f"{here}:predict",
                {"backend": backend, "model": model},
                limits={"beyond the import": 1.0},
            )
            for model in models
        ]
        found.append(Case(f"predict one image, {backend}", "s", tuple(rivals), higher_is_better=False))
    return found


def command(arguments: list[str]) -> Callable[[], float]:
    run(arguments)  # loads the files into the system's cache, for all rivals alike
    return lambda: run(arguments)


def predict(backend: str, model: str) -> Callable[[], dict[str, float]]:
    holder = tempfile.TemporaryDirectory()
    folder = Path(holder.name)
    image = next(jpeg_folder(8).glob("*/*.jpg"))
    # The model is built in another process: this one only waits, and should not hold its memory.
    run(["-c", f"from benchmarks.startup import save; save({backend!r}, {model!r}, {str(folder)!r})"])
    predicting = ["-m", "keras_transfer", "predict", str(folder / "model.keras"), str(image), "--backend", backend]
    importing = ["-c", f"import {backend}"]
    run(predicting)

    def measure() -> dict[str, float]:
        assert folder.is_dir(), holder  # whose finalizer removes the folder when this function is deleted
        alone = run(importing)
        seconds = run(predicting)
        return {"value": seconds, "beyond the import": seconds - alone}

    return measure


def save(backend: str, model: str, folder: str) -> None:
    """Write a classifier of ten classes."""
    classifier = keras_classifier(model, 224, "float32", backend, ours=False)
    from keras_transfer.models import bundle
    from keras_transfer.training.build import golden_images

    metadata = {
        "name": model,
        "classes": [f"class {i}" for i in range(10)],
        "image_size": [224, 224],
        "color": "rgb",
        "resize": "squash",
        "backbone": model,
    }
    bundle.save(classifier, Path(folder) / "model.keras", metadata, golden_images((224, 224, 3)))


def run(arguments: list[str]) -> float:
    """Run Python with these arguments; return the seconds until it exits."""
    began = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=os.environ, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)[:200]}: exit status {done.returncode}")
    return seconds
