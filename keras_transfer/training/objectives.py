"""Losses and metrics of Keras's on a classifier, whose labels are one-hot (or several of 0 and 1) and whose outputs are logits.

Most of Keras's losses and metrics expect probabilities unless told otherwise (``from_logits=True``): what does not ask for logits gets
the softmax of them (the sigmoid, where an image may have several labels), and what is made for sparse labels gets class numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_transfer.errors import UserError, nearest
from keras_transfer.training.label_losses import ASYMMETRIC, label_loss

ACCURACIES = ("accuracy", "acc", "categorical_accuracy")
"""Names of the metric that every training has."""


@keras.saving.register_keras_serializable("keras_transfer")
class OnLogits(keras.losses.Loss):
    """A loss that gets what it expects.

    Args:
        loss: a Keras loss, or a function of labels and predictions.
        name: name of the loss.
        several: whether an image may have several labels.
    """

    def __init__(self, loss: Any, name: str, several: bool = False):
        super().__init__(name=name)
        self.loss, self.several = loss, several

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each sample, float32 (b,), of one-hot labels and logits (b, C)."""
        labels, outputs = _expected(self.loss, y_true, y_pred, self.several)
        return (
            self.loss.call(labels, outputs) if isinstance(self.loss, keras.losses.Loss) else self.loss(labels, outputs)
        )


class MetricOnLogits(keras.metrics.Metric):
    """A metric that gets what it expects.

    Args:
        metric: a Keras metric.
        several: whether an image may have several labels.
    """

    def __init__(self, metric: keras.metrics.Metric, several: bool = False):
        super().__init__(name=metric.name)
        self.metric, self.several = metric, several

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Add a batch of one-hot labels and logits (b, C)."""
        labels, outputs = _expected(self.metric, y_true, y_pred, self.several)
        return self.metric.update_state(labels, outputs, sample_weight=sample_weight)

    def result(self) -> Any:
        """Return the value so far."""
        return self.metric.result()

    def reset_state(self) -> None:
        """Begin anew."""
        self.metric.reset_state()


def accuracy(several: bool) -> keras.metrics.Metric:
    """Return the metric that every training has, on logits: the share of right predictions; of several labels, all have to be right."""
    if several:
        return keras.metrics.MeanMetricWrapper(all_right, name="accuracy")
    return keras.metrics.CategoricalAccuracy(name="accuracy")


def all_right(y_true: Any, y_pred: Any) -> Any:
    """Return whether all labels of a sample are right, float32 (b,), of labels of 0 and 1 and logits (b, C)."""
    right = keras.ops.equal(y_pred > 0, y_true > 0.5)
    return keras.ops.cast(keras.ops.all(right, axis=-1), "float32")


def training_loss(
    loss: Any, label_smoothing: float, several: bool = False, class_weights: np.ndarray | None = None
) -> keras.losses.Loss:
    """Return the loss of a training.

    Args:
        loss: of :class:`~keras_transfer.training.setup.TrainingSettings`.
        label_smoothing: of the default loss.
        several: whether an image may have several labels: the default is then binary cross-entropy.
        class_weights: of :class:`~keras_transfer.training.setup.TrainingSettings`.

    Raises:
        UserError: an unknown name, no loss, or label smoothing for another loss than the default.
    """
    if several and (loss is None or loss == ASYMMETRIC):
        return label_loss(loss, label_smoothing, class_weights)
    if loss == ASYMMETRIC:
        raise UserError(f"loss {ASYMMETRIC} is for several labels per image; these images have one each")
    if loss is None:
        return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)
    if label_smoothing:
        raise UserError(
            "label_smoothing belongs to the default loss; give it to your own: loss=keras.losses…(label_smoothing=…)"
        )
    if isinstance(loss, str):
        loss = _named(loss, keras.losses, "loss")
    if isinstance(loss, type) or not callable(loss):
        hint = "; give an object, not the class" if isinstance(loss, type) else ""
        raise UserError(f"loss: expected a name, a keras.losses object or a function, received {loss!r}"[:200] + hint)
    return OnLogits(loss, str(getattr(loss, "name", None) or getattr(loss, "__name__", "loss")), several)


def own_metrics(metrics: Sequence[Any], several: bool = False) -> list[keras.metrics.Metric]:
    """Return new metrics, in their initial state.

    Raises:
        UserError: an unknown name, or no metric.
    """
    found = []
    for given in metrics:
        if isinstance(given, str) and given in ACCURACIES:
            continue
        metric = _named(given, keras.metrics, "metric") if isinstance(given, str) else given
        if isinstance(metric, type):
            raise UserError(
                f"metrics: expected an object, received the class {metric.__name__}: write {metric.__name__}()"
            )
        if isinstance(metric, keras.metrics.Metric):
            name = {"name": given} if isinstance(given, str) else {}  # Keras's own counts up: auc, auc_1 …
            metric = type(metric).from_config({**metric.get_config(), **name})
        elif callable(metric):
            metric = keras.metrics.MeanMetricWrapper(metric, name=getattr(metric, "__name__", "metric"))
        else:
            raise UserError(
                f"metrics: expected a name, a keras.metrics object or a function, received {metric!r}"[:200]
            )
        found.append(MetricOnLogits(metric, several))
    names = [metric.name for metric in found]
    twice = next((name for name in names if names.count(name) > 1 or name == "accuracy"), None)
    if twice is not None:
        raise UserError(f"metrics: the name {twice!r} is taken; give another: name=…")
    return found


def _named(name: str, module: Any, what: str) -> Any:
    try:
        return module.get(name)
    except (ValueError, TypeError):
        known = [
            each for each in dir(module) if not each.startswith("_") and each not in ("get", "serialize", "deserialize")
        ]
        raise UserError(
            f"unknown {what} {name!r}{nearest(name, known)} (a name of keras.{what if what != 'loss' else 'losse'}s)"
        ) from None


def _expected(judge: Any, y_true: Any, y_pred: Any, several: bool) -> tuple[Any, Any]:
    """Return labels and outputs in the form that a loss or a metric expects."""
    squashed = keras.ops.sigmoid if several else keras.ops.softmax
    outputs = y_pred if _settings(judge).get("from_logits") else squashed(y_pred)
    if several and (_is_sparse(judge) or _settings(judge).get("name") == "categorical_crossentropy"):
        raise UserError(
            f"{getattr(judge, 'name', getattr(judge, '__name__', judge))} is for one label per image; for several: binary_crossentropy, AUC(multi_label=True) …"
        )
    labels = keras.ops.argmax(y_true, axis=-1) if _is_sparse(judge) else y_true
    return labels, outputs


def _settings(judge: Any) -> dict[str, Any]:
    """Return the arguments that a loss or a metric was made with; a function has none."""
    try:
        return dict(judge.get_config()) if hasattr(judge, "get_config") else {}
    except NotImplementedError:
        return {}


def _is_sparse(judge: Any) -> bool:
    """Return whether it is made for class numbers, as Keras's names say."""
    named = judge.name if type(judge) is keras.metrics.MeanMetricWrapper else getattr(judge, "__name__", "")
    return any("sparse" in name.lower() for name in (type(judge).__name__, named))
