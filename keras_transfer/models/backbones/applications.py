"""Building the models of ``keras.applications`` as feature extractors."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from keras_transfer.models.backbones.record import Backbone, Checkpoint
from keras_transfer.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras

SOURCE = "keras.applications (storage.googleapis.com/tensorflow/keras-applications)"


def application(
    name: str,
    constructor: str,
    *,
    family: str,
    preprocessing: Preprocessing,
    image_size: int,
    groups: tuple[tuple[str, str], ...],
    licence: str,
    paper: str,
    min_size: int = 32,
    anchors: str = "previous",
    not_on: tuple[str, ...] = (),
    finish: Callable[[keras.Model], keras.Model] | None = None,
    checkpoints: tuple[Checkpoint, ...] = (),
    **options: Any,
) -> Backbone:
    """Return the record of ``keras.applications.<constructor>``.

    Args:
        name: name of the backbone.
        constructor: name of the class in ``keras.applications``.
        family: see :class:`Backbone`, as the following.
        preprocessing: arithmetic before the first layer.
        image_size: default side.
        groups: layer groups.
        licence: of the weights.
        paper: where the architecture was published.
        min_size: smallest side.
        anchors: where unmatched layers belong.
        not_on: backends that Keras itself refuses.
        finish: applied to the model once it has its weights.
        checkpoints: PyTorch state dicts of exactly this function.
        options: passed to the constructor, e.g. ``include_preprocessing=False``.
    """

    def build(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
        import keras

        from keras_transfer.models.torch_weights import is_torch_file, load_torch_weights
        from keras_transfer.models.weights import downloading, load_weights

        make = getattr(keras.applications, constructor)
        if weights == "imagenet":
            with downloading(name):
                model = make(weights="imagenet", include_top=False, input_shape=input_shape, **options)
        else:
            model = make(weights=None, include_top=False, input_shape=input_shape, **options)
            if weights != "none" and not is_torch_file(weights):
                load_weights(model, weights)
        model = finish(model) if finish else model
        if is_torch_file(weights):
            load_torch_weights(model, weights, checkpoints, name)
        return model

    return Backbone(
        name=name,
        family=family,
        build=build,
        preprocessing=preprocessing,
        image_size=image_size,
        min_size=min_size,
        groups=groups,
        licence=licence,
        source=f"{paper}; weights: {SOURCE}",
        anchors=anchors,
        not_on=not_on,
        checkpoints=checkpoints,
    )
