"""Build model, batches and settings of a run from its resolved configuration; measure and draw the trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from keras_transfer import plots, runtime
from keras_transfer.arguments.costs import cost_matrix, ranks_of
from keras_transfer.config.open_data import evaluation_transform
from keras_transfer.config.resolved import ResolvedConfig, ResolvedData
from keras_transfer.config.schema import ModelConfig
from keras_transfer.data.augment import transforms
from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.data.loading.loader import Loader
from keras_transfer.data.sources.list_file import by_class
from keras_transfer.distribute import ALONE, Group
from keras_transfer.distribute.shard import WHOLE, Shard
from keras_transfer.engine.features import FeatureSettings
from keras_transfer.errors import UserError
from keras_transfer.evaluation.evaluate import metrics_of
from keras_transfer.evaluation.judged import OUT_OF_FOLD, judged
from keras_transfer.evaluation.multilabel import best_thresholds
from keras_transfer.evaluation.tasks import MULTI
from keras_transfer.models.backbones import get
from keras_transfer.models.backbones.torch_variant import suited
from keras_transfer.models.checkpoints.reference import is_reference
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.freeze import apply_train
from keras_transfer.models.groups import layer_groups
from keras_transfer.models.precision import set_precision
from keras_transfer.models.residual import zero_branches
from keras_transfer.runs import RunDirectory
from keras_transfer.training.fit_result import FitResult
from keras_transfer.training.label_losses import ASYMMETRIC
from keras_transfer.training.setup import TrainingSettings, TrainingSetup, check_exact


def make_setup(
    config: ResolvedConfig, data: Dataset, precision: str | None = None, group: Group = ALONE
) -> TrainingSetup:
    """Build the model, its batches and the settings of the training; worker threads run until the setup is closed.

    Args:
        config: of the run.
        data: the opened data set.
        precision: what the model computes in, if not in the configured precision.
        group: the processes that train together.

    Raises:
        UserError: weights that do not fit or are not available, a ``train`` pattern without match, a bad augmentation.
    """
    if config.model.loss == ASYMMETRIC and not data.is_multi:
        raise UserError("model.loss: asymmetric is for several labels per image; these images have one each")
    runtime.set_seed(config.seed)
    with group.scope():
        model = group.main_first(lambda: make_model(config, data, precision or config.precision))
    for phase in config.phases:  # report a mistake in the last phase before the first begins
        check_exact(phase, apply_train(model, config.model.backbone, phase.train, batch_norm=phase.batch_norm))
    train, val = make_batches(config.data, data, config.seed, group.shard)
    settings = TrainingSettings(
        config.model.backbone,
        config.phases,
        callbacks=config.callbacks,
        label_smoothing=config.model.label_smoothing,
        loss=config.model.loss,
        several=data.is_multi,
        class_weights=label_weights(data.train, config.data.class_weights),
        weighted=data.train.weights is not None,
        accumulate=config.data.accumulate,
        native=config.model.native,
        features=replace(feature_settings(config.data, config.model.native), group=group),
        rejects=config.reject_rate is not None,
        group=group,
    )
    return TrainingSetup(model, train, val, settings, _unlabelled(config, data))


def _unlabelled(config: ResolvedConfig, data: Dataset) -> Loader | None:
    """Return the images without labels, as the model will see them."""
    if data.unlabelled is None:
        return None
    settings = config.data
    return Loader(data.unlabelled, evaluation_transform(settings), settings.micro_batch_size, workers=settings.workers)


def make_model(config: ResolvedConfig, data: Dataset, precision: str) -> keras.Model:
    """Build the classifier for the data's classes, computing in ``precision``."""
    model = build_classifier(
        config.model.backbone,
        len(data.classes),
        image_size=config.data.size,
        channels=1 if config.data.color == "grey" else 3,
        weights=config.model.weights,
        pooling=config.model.pooling,
        dropout=config.model.dropout,
        stem=config.model.stem,
        seed=config.seed,
        taps=config.model.taps,
    )
    if config.model.zero_init_residual and config.model.weights == "none":
        zero_branches(model)
    set_precision(model, precision)
    return model


def make_batches(settings: ResolvedData, data: Dataset, seed: int, shard: Shard = WHOLE) -> tuple[Batches, Batches]:
    """Build the batches that ``model.fit`` trains on and validates with, or the share of a process in them."""
    transform, mix = transforms(settings.augment, settings.size, settings.resize, settings.color)
    common: dict[str, Any] = {"seed": seed, "workers": settings.workers}
    weights = None if data.is_multi else class_weights(data.train, settings.class_weights)
    train = Loader(
        data.train, transform, settings.batch_size, shuffle=True, batch_transform=mix, class_weights=weights, **common
    )
    val = Loader(data.val, evaluation_transform(settings), settings.micro_batch_size, **common)
    train.shard = val.shard = shard
    train.keep(int(settings.image_memory * 1024**3) // shard.size)
    return Batches(train), Batches(val)


def class_weights(split: Split, kind: str | dict[str, float]) -> np.ndarray | None:
    """Return a weight for each class, float32 (C,).

    Args:
        split: the training images.
        kind: `"none"`; `"balanced"` (inverse frequency) or `"sqrt"` (its square root), with mean 1 over the images; or class name → weight,
            used as given, 1 for classes that are not named.

    Raises:
        UserError: a name that is not a class.
    """
    if kind == "none":
        return None
    if isinstance(kind, dict):
        given = np.ones(len(split.classes), np.float32)
        for place, weight in by_class(kind, split.classes, "class_weights").items():
            given[place] = weight
        return given
    counts = np.bincount(split.labels, minlength=len(split.classes)).astype(np.float64)
    weights = 1.0 / np.maximum(counts, 1.0)
    if kind == "sqrt":
        weights = np.sqrt(weights)
    return np.asarray(weights * counts.sum() / (weights * counts).sum(), np.float32)


def label_weights(split: Split, kind: str | dict[str, float]) -> np.ndarray | None:
    """Return the weight of each of several labels where an image has it, float32 (C,); None: 1, or the images have one label each.

    Args:
        split: the training images.
        kind: as for :func:`class_weights`; `"balanced"`: as many times as the images without the label outnumber those with it.
    """
    if not split.is_multi or kind == "none":
        return None
    if isinstance(kind, dict):
        return class_weights(split, kind)
    counts = split.counts().astype(np.float64)
    weights = np.maximum(len(split) - counts, 1) / np.maximum(counts, 1)
    return np.asarray(np.sqrt(weights) if kind == "sqrt" else weights, np.float32)


def feature_settings(data: ResolvedData, native: bool) -> FeatureSettings:
    """Return how features of frozen layers are computed and cached."""
    limit = int(data.cache_limit * 1024**3)
    return FeatureSettings(data.cache, limit, data.cache_precision, data.views, native)


def tensorboard(config: ResolvedConfig, run: RunDirectory) -> list[keras.callbacks.Callback]:
    """Return the TensorBoard callback where it was asked for."""
    return [keras.callbacks.TensorBoard(str(run.tensorboard))] if config.callbacks.tensorboard else []


def network_notes(settings: ModelConfig) -> list[str]:
    """Return lines about the network: the licence of a checkpoint's weights, and a variant other than Keras's that weights need."""
    own = get(settings.backbone)
    licence = [f"licence of the weights: {own.licence}"] if is_reference(settings.backbone) else []
    record = suited(own, settings.weights)
    if (record.variant, record.preprocessing) == (own.variant, own.preprocessing):
        return licence
    graph = "PyTorch's" if record.variant else "Keras's"
    return [
        f"network: {record.name} is {graph}, with preprocessing {record.preprocessing.name}, as its weights need it"
    ]


def group_shapes(model: keras.Model, backbone: str) -> str:
    """Return name and output shape (height × width × channels) of each layer group, in one line."""
    groups = layer_groups(model, backbone)
    return ", ".join(f"{name} {'×'.join(map(str, layers[-1].output.shape[1:]))}" for name, layers in groups)


def metadata_of(config: ResolvedConfig, data: Dataset, thresholds: Sequence[float] | None = None) -> dict[str, Any]:
    """Return the metadata stored in the model file: class names, input size and how images are resized to it.

    With several labels per image, also that, and the ``thresholds`` as far as they are known (:mod:`keras_transfer.evaluation.tasks`).
    """
    return {
        "name": config.name,
        "classes": list(data.classes),
        "image_size": list(config.data.size),
        "color": config.data.color,
        "resize": config.data.resize,
        **({"depth": list(data.depth)} if data.depth is not None else {}),
        **({"task": MULTI} if data.is_multi else {}),
        **({"thresholds": list(thresholds)} if thresholds is not None else {}),
        **decision_metadata(config, data.classes),
        "backbone": config.model.backbone,
        "weights": config.model.weights,
        "licence": get(config.model.backbone).licence,
        "backend": keras.backend.backend(),
        "versions": runtime.versions(),
    }


def decision_metadata(config: ResolvedConfig, classes: Sequence[str]) -> dict[str, Any]:
    """Return what the model file says about costs and the order of the classes: ``costs`` (C, C) and ``ranks`` (C,).

    Raises:
        UserError: classes that there are not, or an order that leaves some out.
    """
    costs = {} if config.costs is None else {"costs": cost_matrix(config.costs, classes).tolist()}
    return costs if config.data.ordinal is None else {**costs, "ranks": ranks_of(config.data.ordinal, classes)}


def golden_images(shape: tuple[int, int, int], count: int = 4) -> np.ndarray:
    """Return images to verify a model with, uint8 (count, height, width, channels): smooth noise, none of the user's."""
    height, width, channels = shape
    coarse = np.random.default_rng(0).integers(0, 256, (count, 6, 6, channels), dtype=np.uint8)
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 6 // width
    return np.ascontiguousarray(coarse[:, rows][:, :, columns])


def measure(logits: dict[str, np.ndarray], data: Dataset, thresholds: Sequence[float] | None = None) -> dict[str, Any]:
    """Return the metrics of each split that has logits; without validation images, those out of fold are also called ``val``.

    ``thresholds`` are those of several labels per image.
    """
    found = {name: metrics_of(one.logits, one.split, thresholds) for name, one in judged(data, logits).items()}
    if OUT_OF_FOLD in found and not len(data.val):
        found["val"] = {**found[OUT_OF_FOLD], "of": "out-of-fold predictions for the training images"}
    return found


def thresholds_of(logits: np.ndarray | None, split: Split) -> list[float] | None:
    """Return the thresholds for several labels that are best on these predictions, or None: no predictions, or one label per image."""
    if logits is None or not len(logits) or not split.is_multi:
        return None
    return list(map(float, best_thresholds(logits, split.labels, split.weights)))


def draw_history(run: RunDirectory, result: FitResult) -> None:
    """Draw the curves of the epochs and the loss of every iteration."""
    plots.curves(result.history, run.plots / "curves.png")
    plots.iterations(result.iterations, run.plots / "iterations.png")


def draw_confusion(run: RunDirectory, metrics: dict[str, Any], data: Dataset) -> None:
    """Draw the confusion matrix of the test set, or of validation where there is none (out of fold, without validation images)."""
    shown = metrics.get("test") or metrics["val"]
    if "confusion" not in shown:  # several labels per image
        return
    plots.confusion(shown["confusion"], list(data.classes), run.plots / "confusion.png")


def verdict(metrics: dict[str, Any]) -> str:
    """Return the result in one line."""
    name = "test" if "test" in metrics else "out-of-fold" if "of" in metrics["val"] else "val"
    shown = metrics["test" if name == "test" else "val"]
    if shown.get("task") == MULTI:
        return _verdict_on_labels(name, shown, metrics)
    low, high = shown["accuracy_ci95"]
    best = metrics["best"]
    return (
        f"{name} accuracy {shown['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f}, {shown['n']} images); "
        f"best epoch: {best.get('epoch')} of phase {best.get('phase')}; {metrics['seconds']:.0f} s"
    )


def _verdict_on_labels(name: str, shown: dict[str, Any], metrics: dict[str, Any]) -> str:
    average = shown["mean_average_precision"]
    precision = "" if average is None else f"mean average precision {average:.4f}, "
    best = metrics["best"]
    return (
        f"{name} {precision}F1 {shown['micro_f1']:.4f} micro and {shown['macro_f1']:.4f} macro, all labels right "
        f"{shown['accuracy']:.4f} ({shown['n']} images); best epoch: {best.get('epoch')} of phase {best.get('phase')}; "
        f"{metrics['seconds']:.0f} s"
    )
