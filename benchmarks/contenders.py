"""Common part of `train-step` and `inference`: the rivals, and a model for each of them."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.harness import Case, Options, Rival
from keras_transfer.errors import UserError
from keras_transfer.runtime import BACKENDS

MODELS = ("resnet50", "mobilenet_v2", "vgg16", "efficientnet_lite0")
PRECISIONS = ("float32", "bfloat16")
MORE_MODELS = ("vit_small",)
"""Only on request: needs timm, which is the rival and whose configuration ours reads."""
BATCH, SIZE, CLASSES = 16, 224, 10
HAND_WRITTEN = ("PyTorch eager", "PyTorch compiled")
ROUND_SECONDS = 4.0


def cases(options: Options, module: str, more: Sequence[str] = ()) -> list[Case]:
    """Return a case per model and precision: hand-written PyTorch, stock Keras and keras_transfer on each backend.

    Args:
        options: options of the command line.
        module: module with functions `by_hand(model, precision, batch, size, compiled)` and
            `with_keras(model, precision, batch, size, ours)`.
        more: names of further rivals; the function of a rival has its name in lower case and takes
            (model, precision, batch, size).
    """
    backends = options.choose("backends", BACKENDS)
    found = []
    for model in options.choose("models", (*MODELS, *MORE_MODELS)) if options.models else MODELS:
        for precision in options.choose("precisions", PRECISIONS):
            common: dict[str, Any] = {
                "model": model,
                "precision": precision,
                "batch": options.batch or BATCH,
                "size": options.size or SIZE,
            }
            rivals = [
                Rival(name, f"{module}:by_hand", {**common, "compiled": name.endswith("compiled")})
                for name in HAND_WRITTEN
            ]
            rivals += [Rival(name, f"{module}:{name.lower()}", common) for name in more]
            for ours in (False, True):
                rivals += [_keras_rival(module, common, backend, ours) for backend in backends]
            found.append(Case(f"{model}, {precision}, batch {common['batch']}", "images/s", tuple(rivals)))
    return found


def _keras_rival(module: str, common: dict[str, Any], backend: str, ours: bool) -> Rival:
    against: tuple[str, ...] = ()
    if ours:
        against = HAND_WRITTEN if backend == "torch" else (f"Keras {backend}",)
    return Rival(
        f"{'keras_transfer' if ours else 'Keras'} {backend}",
        f"{module}:with_keras",
        {**common, "backend": backend, "ours": ours},
        {"KERAS_BACKEND": backend},
        against,
        1.0 if ours else None,
    )


def pixels(batch: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a batch like a loader's: uint8 (b, h, w, 3) and one-hot float32 (b, CLASSES)."""
    rng = np.random.default_rng(0)
    labels = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, batch)]
    return rng.integers(0, 256, (batch, size, size, 3), np.uint8), labels


def throughput(step: Callable[[int], None], batch: int) -> Callable[[], float]:
    """Warm up, and return a function that measures images per second.

    It runs as many steps as take about four seconds, so that the start of `fit` is negligible.

    Args:
        step: runs the given number of steps and returns when they are finished.
        batch: images per step.
    """
    step(1)
    step(1)
    began = time.perf_counter()
    step(1)
    count = min(max(round(ROUND_SECONDS / (time.perf_counter() - began)), 1), 200)

    def measure() -> float:
        began = time.perf_counter()
        step(count)
        return count * batch / (time.perf_counter() - began)

    return measure


def keras_classifier(model: str, size: int, precision: str, backend: str, ours: bool) -> Any:
    """Build our classifier with random weights, with native operations if `ours`."""
    from keras_transfer import runtime

    if importlib.util.find_spec(backend) is None:
        raise UserError(f'needs {backend}: pip install "keras_transfer[{backend}]"')
    runtime.activate(backend)
    runtime.hide_progress_bars()
    from benchmarks.torch_models import checkpoint
    from keras_transfer.engine.native import install
    from keras_transfer.models.classifier import build_classifier
    from keras_transfer.models.precision import set_precision

    name, weights = (checkpoint(model), "imagenet") if model in MORE_MODELS else (model, "none")
    classifier = build_classifier(name, CLASSES, size, weights=weights, dropout=0.0)
    set_precision(classifier, precision)
    if ours:
        install(classifier)
    return classifier


def torch_module(name: str, compiled: bool) -> tuple[Any, Any, str]:
    """Return torch, the hand-written model in channels-last memory, and its device."""
    try:
        import torch
    except ImportError:
        raise UserError('needs torch: pip install "keras_transfer[torch]"') from None
    from benchmarks.torch_models import MODELS

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = MODELS[name]().to(device, memory_format=torch.channels_last)
    return torch, torch.compile(module) if compiled else module, device


def finish(torch: Any, device: str) -> None:
    """Wait until the device has finished."""
    if device == "cuda":
        torch.cuda.synchronize()
