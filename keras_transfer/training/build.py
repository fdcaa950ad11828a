"""The steps of a run as functions of the resolved configuration (the only place where both meet)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transfer import plots, runtime
from keras_transfer.config.schema import DataConfig, RunConfig
from keras_transfer.data.augment import Transform, transforms
from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.data.loading.loader import Loader
from keras_transfer.engine.features import FeatureSettings
from keras_transfer.errors import MissingExtra
from keras_transfer.evaluation import classification_metrics, predict_logits
from keras_transfer.models import bundle
from keras_transfer.models.backbones import get
from keras_transfer.models.backbones.torch_variant import suited
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.freeze import apply_train
from keras_transfer.models.groups import layer_groups
from keras_transfer.models.precision import set_precision
from keras_transfer.runs import RunDirectory
from keras_transfer.training.accumulate import part_size
from keras_transfer.training.faults import out_of_memory
from keras_transfer.training.fit import FitResult


def size_of(config: RunConfig) -> tuple[int, int]:
    """Return the input's (height, width)."""
    size: Any = config.data.image_size
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def make_model(config: RunConfig, data: Dataset, precision: str) -> keras.Model:
    """Build the classifier for the data's classes, computing in ``precision``."""
    model = build_classifier(
        config.model.backbone,
        len(data.classes),
        image_size=size_of(config),
        channels=1 if config.data.color == "grey" else 3,
        weights=config.model.weights,
        pooling=config.model.pooling,
        dropout=config.model.dropout,
        stem=config.model.stem,
        seed=config.seed,
    )
    set_precision(model, precision)
    return model


def network_notes(config: RunConfig) -> list[str]:
    """Say which network the weights brought with them, where it is not that of the backbone's name in Keras."""
    own = get(config.model.backbone)
    record = suited(own, config.model.weights)
    if (record.variant, record.preprocessing) == (own.variant, own.preprocessing):
        return []
    graph = "PyTorch's" if record.variant else "Keras's"
    return [
        f"network: {record.name} is {graph}, with preprocessing {record.preprocessing.name}, as its weights need it"
    ]


def evaluation_transform(config: RunConfig) -> Transform:
    """Return the transform of validation, test and prediction: fit to size, nothing random."""
    return Transform(size_of(config), [], resize=config.data.resize, color=config.data.color)


@dataclass
class RunBatches:
    """Training and validation batches."""

    train: Batches
    val: Batches

    def close(self) -> None:
        """Stop the worker threads."""
        self.train.loader.close()
        self.val.loader.close()


def make_batches(config: RunConfig, data: Dataset) -> RunBatches:
    """Build the batches that ``model.fit`` trains on and validates with."""
    transform, mix = transforms(config.data.augment, size_of(config), config.data.resize, config.data.color)
    common: dict[str, Any] = {"seed": config.seed, "workers": config.data.workers}
    train = Loader(
        data.train,
        transform,
        int(config.data.batch_size),
        shuffle=True,
        batch_transform=mix,
        class_weights=class_weights(data.train, config.data.class_weights),
        **common,
    )
    return RunBatches(
        Batches(train), Batches(Loader(data.val, evaluation_transform(config), micro_batch_size(config), **common))
    )


def micro_batch_size(config: RunConfig) -> int:
    """Return the images that are computed at once."""
    return part_size(int(config.data.batch_size), config.data.accumulate)


def in_smaller_parts(config: RunConfig, allowed: bool, error: BaseException) -> RunConfig:
    """Return the configuration that computes half as many images at once, in the same steps.

    Args:
        config: what ran out of memory.
        allowed: whether the batch size was left to the program.
        error: what the framework raised.

    Raises:
        UserError: it is not allowed, or an image is computed at a time already.
    """
    if not allowed or micro_batch_size(config) == 1:
        raise out_of_memory(int(config.data.batch_size), micro_batch_size(config), size_of(config)) from error
    data = config.data.model_copy(update={"accumulate": 2 * config.data.accumulate})
    return config.model_copy(update={"data": data})


def class_weights(split: Split, kind: str) -> np.ndarray | None:
    """Return a float32 weight a class, mean 1 over the split's images: inverse frequency, or its square root."""
    if kind == "none":
        return None
    counts = np.bincount(split.labels, minlength=len(split.classes)).astype(np.float64)
    weights = 1.0 / np.maximum(counts, 1.0)
    if kind == "sqrt":
        weights = np.sqrt(weights)
    return (weights * counts.sum() / (weights * counts).sum()).astype(np.float32)


def feature_settings(data: DataConfig, native: bool) -> FeatureSettings:
    """Return how features of frozen layers are computed and kept."""
    return FeatureSettings(
        cache=data.cache,
        limit=int(data.cache_limit * 1024**3),
        precision="float32" if data.cache_precision == "auto" else data.cache_precision,
        views=data.views,
        native=native,
    )


def tensorboard(config: RunConfig, run: RunDirectory) -> list[keras.callbacks.Callback]:
    """Return the TensorBoard callback where it was asked for."""
    if not config.callbacks.tensorboard:
        return []
    try:
        import tensorflow.summary  # noqa: F401  Keras's callback writes with TensorFlow on every backend
    except ImportError as error:
        raise MissingExtra("tensorflow", "tensorflow", "callbacks.tensorboard") from error
    return [keras.callbacks.TensorBoard(str(run.tensorboard))]


def check_phases(config: RunConfig, model: keras.Model) -> None:
    """Try every phase's ``train`` on the model, so that a mistake in the last one shows before the first begins."""
    for phase in config.phases:
        apply_train(model, config.model.backbone, phase.train, batch_norm=phase.batch_norm)  # type: ignore[union-attr]


def save_model(model: keras.Model, config: RunConfig, data: Dataset, path: Path, golden: bool = False) -> None:
    """Write a model file with everything that prediction needs; ``golden``: and images to check it by on load."""
    images = golden_images(model.input_shape[1:]) if golden else None
    bundle.save(model, path, metadata_of(config, data), images)


def save_epoch(config: RunConfig, data: Dataset, run: RunDirectory) -> Callable[[keras.Model, int, int], None] | None:
    """Return what keeps the model of every epoch, where that was asked for."""
    if not config.output.every_epoch:
        return None
    return lambda model, phase, epoch: save_model(model, config, data, run.checkpoint(phase, epoch))


def group_shapes(model: keras.Model, backbone: str) -> str:
    """Say what each layer group puts out, in one line: its name and height × width × channels."""
    shown = []
    for name, layers in layer_groups(model, backbone):
        shape = layers[-1].output.shape[1:]
        shown.append(f"{name} {'×'.join(str(side) for side in shape)}")
    return ", ".join(shown)


def golden_images(shape: tuple[int, int, int], count: int = 4) -> np.ndarray:
    """Return images to check a model by, uint8 (count, height, width, channels): soft noise, nothing of the user's."""
    height, width, channels = shape
    coarse = np.random.default_rng(0).integers(0, 256, (count, 6, 6, channels), dtype=np.uint8)
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 6 // width
    return np.ascontiguousarray(coarse[:, rows][:, :, columns])


def metadata_of(config: RunConfig, data: Dataset) -> dict[str, Any]:
    """Return what travels inside the model file: class names, input size and how images are fitted to it."""
    return {
        "name": config.name,
        "classes": list(data.classes),
        "image_size": list(size_of(config)),
        "color": config.data.color,
        "resize": config.data.resize,
        "backbone": config.model.backbone,
        "weights": config.model.weights,
        "backend": keras.backend.backend(),
        "versions": runtime.versions(),
    }


def predict(model: keras.Model, config: RunConfig, data: Dataset) -> dict[str, np.ndarray]:
    """Return the chosen model's logits on validation and, once, on the test set (where there is one)."""
    transform = evaluation_transform(config)
    return {
        split.name: predict_logits(model, split, transform, micro_batch_size(config), workers=config.data.workers)
        for split in (data.val, data.test)
        if len(split)
    }


def measure(logits: dict[str, np.ndarray], data: Dataset) -> dict[str, Any]:
    """Return the figures of each split that has logits."""
    splits: dict[str, Split] = {name: getattr(data, name) for name in logits}
    return {
        name: classification_metrics(logits[name], split.labels, split.classes, split.weights)
        for name, split in splits.items()
    }


def draw_history(run: RunDirectory, result: FitResult) -> None:
    """Draw the curves of the epochs and the loss of every iteration."""
    plots.curves(result.history, run.plots / "curves.png")
    plots.iterations(result.iterations, run.plots / "iterations.png")


def draw_confusion(run: RunDirectory, metrics: dict[str, Any], data: Dataset) -> None:
    """Draw the confusion matrix of the test set, or of validation where there is none."""
    shown = metrics.get("test") or metrics["val"]
    plots.confusion(shown["confusion"], list(data.classes), run.plots / "confusion.png")


def verdict(metrics: dict[str, Any]) -> str:
    """Say the result in one line."""
    name = "test" if "test" in metrics else "val"
    shown = metrics[name]
    low, high = shown["accuracy_ci95"]
    best = metrics["best"]
    return (
        f"{name} accuracy {shown['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f}, {shown['n']} images); "
        f"best epoch: {best.get('epoch')} of phase {best.get('phase')}; {metrics['seconds']:.0f} s"
    )
