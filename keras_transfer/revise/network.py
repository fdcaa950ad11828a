"""The network of an old run, and what it makes of the pictures of a revised one."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import keras
import numpy as np

from keras_transfer import text
from keras_transfer.config.open_data import evaluation_transform
from keras_transfer.config.resolved import ResolvedConfig
from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.data.loading.loader import Loader
from keras_transfer.engine.feature_cache import CannotStore
from keras_transfer.engine.features import FrozenFeatures
from keras_transfer.engine.numbers import unpack
from keras_transfer.errors import UserError
from keras_transfer.models.initial import draw_initial_weights
from keras_transfer.models.layer_names import LOGITS
from keras_transfer.revise.candidates import Known
from keras_transfer.training import build
from keras_transfer.training.exact import frozen_below, loss_weights
from keras_transfer.typing import Say


class Network:
    """A model whose layers but the last stay as they are, and its features of the revised pictures, each computed once.

    Args:
        model: the old classifier, whose last layer is a linear one.
        config: of the new run.
        data: of the new run.
        say: prints a line.

    Raises:
        UserError: the model does not end with one linear layer on a feature vector.
    """

    def __init__(self, model: keras.Model, config: ResolvedConfig, data: Dataset, say: Say):
        self.model, self.config, self.data, self.say = model, config, data, say
        self._last = last_of(model)
        self._features: dict[str, np.ndarray] = {}

    @property
    def head(self) -> tuple[np.ndarray, np.ndarray]:
        """Kernel and bias of the old last layer, float32 (d, C) and (C,)."""
        kernel, bias = self._last.get_weights()
        return kernel, bias

    def features(self, split: Split) -> np.ndarray:
        """Return what the last layer reads of the pictures of a split of the data, float32 (n, d)."""
        if split.name not in self._features:
            with self._loader(split) as loader:
                try:
                    self._features[split.name] = unpack(self._frozen.of(loader))
                except CannotStore as problem:
                    raise UserError(f"revising needs the features of all images: {problem}") from problem
        return self._features[split.name]

    def known(self) -> Known:
        """Return what a new last layer is solved on and judged by."""
        train, val, kind = self.data.train, self.data.val, self.config.data.class_weights
        with self._loader(train, None if train.is_multi else build.class_weights(train, kind)) as loader:
            weights = loss_weights(loader, build.label_weights(train, kind))
        given = self.features(train), train.labels, len(self.data.classes), weights, train.weights, train.groups
        return Known(*given, self.features(val), val.labels, val.weights)

    def with_outputs(self, kernel: np.ndarray, bias: np.ndarray) -> keras.Model:
        """Return a model of the same layers with another last one; the old model stays as it is."""
        layer = keras.layers.Dense(len(bias), dtype="float32", name=LOGITS)
        new = keras.Model(self.model.inputs[0], layer(self._last.input), name=self.model.name)
        draw_initial_weights([layer], self.config.seed)
        layer.set_weights([np.asarray(kernel, np.float32), np.asarray(bias, np.float32)])
        return new

    def _loader(self, split: Split, class_weights: np.ndarray | None = None) -> Loader:
        settings = self.config.data
        transform = evaluation_transform(settings)
        return Loader(
            split, transform, settings.micro_batch_size, workers=settings.workers, class_weights=class_weights
        )

    @cached_property
    def _frozen(self) -> FrozenFeatures:
        settings = build.feature_settings(self.config.data, self.config.model.native)
        return frozen_below(self.model, len(self.data.train), settings, self.say)


def last_of(model: keras.Model) -> Any:
    """Return the last layer of a classifier.

    Raises:
        UserError: it is no linear layer with a bias.
    """
    layer = model.layers[-1]
    if layer.name != LOGITS or not isinstance(layer, keras.layers.Dense) or not layer.use_bias:
        raise UserError(
            f"the model does not end with a linear layer {LOGITS!r}, but with {text.one_line(layer.name)!r}"
        )
    return layer
