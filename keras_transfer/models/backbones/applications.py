"""Records of the models of ``keras.applications``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from keras_transfer.models.backbones.record import Backbone, Checkpoint
from keras_transfer.models.backbones.torch_weights import is_torch_file, load_torch_weights
from keras_transfer.models.weights import downloading, load_weights

if TYPE_CHECKING:
    import keras

_SOURCE = "keras.applications (storage.googleapis.com/tensorflow/keras-applications)"


def application(
    name: str,
    constructor: str,
    *,
    paper: str,
    min_size: int = 32,
    checkpoints: tuple[Checkpoint, ...] = (),
    options: Mapping[str, Any] = MappingProxyType({}),
    finish: Callable[[keras.Model], keras.Model] | None = None,
    **fields: Any,
) -> Backbone:
    """Return the record of ``keras.applications.<constructor>``.

    Args:
        name: name of the backbone.
        constructor: name of the function in ``keras.applications``.
        paper: where the architecture was published.
        min_size: see :class:`Backbone`.
        checkpoints: PyTorch state dicts of Keras's variant of the network.
        options: further arguments of the constructor.
        finish: applied to the model after its weights are loaded.
        fields: the other fields of :class:`Backbone`.
    """

    def build(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
        import keras

        source = "imagenet" if weights == "imagenet" else None
        with downloading(name):
            make = getattr(keras.applications, constructor)
            model = make(weights=source, include_top=False, input_shape=input_shape, **options)
        if weights not in ("imagenet", "none") and not is_torch_file(weights):
            load_weights(model, weights)
        model = finish(model) if finish else model
        if is_torch_file(weights):
            load_torch_weights(model, weights, checkpoints, name)
        return model

    return Backbone(
        name=name,
        build=build,
        min_size=min_size,
        source=f"{paper}; weights: {_SOURCE}",
        checkpoints=checkpoints,
        **fields,
    )
