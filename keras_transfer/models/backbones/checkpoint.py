"""Checkpoints of timm and transformers as backbones: ``hf:ORG/NAME``, ``timm:NAME`` or the path of a folder."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from keras_transfer.models.backbones.record import Backbone
from keras_transfer.models.checkpoints.known import family_of
from keras_transfer.models.checkpoints.record import Facts, read_facts
from keras_transfer.models.checkpoints.reference import find
from keras_transfer.models.preprocessing import Preprocessing, standardised

if TYPE_CHECKING:
    import keras


def checkpoint_backbone(name: str) -> Backbone:
    """Return the record of a checkpoint, read from its folder; downloads it if it is not there yet.

    Raises:
        UserError: there is no such checkpoint, it cannot be downloaded, or its architecture is not supported.
        MissingExtra: a download without huggingface_hub.
    """
    folder = find(name)
    facts = read_facts(folder)
    family = family_of(facts)

    def build(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
        from keras_transfer.models.checkpoints.convert import convert
        from keras_transfer.models.checkpoints.tensors import read_checkpoint
        from keras_transfer.models.weights import load_weights

        model = convert(read_checkpoint(folder), input_shape[:2])
        if weights != "imagenet":
            load_weights(model, weights)
        return model

    return Backbone(
        name=name,
        family=f"{family.name} {facts.architecture}",
        build=build,
        preprocessing=preprocessing(facts),
        image_size=min(facts.image_size),
        min_size=family.min_size,
        groups=None,
        licence=facts.licence,
        source=f"{name}, a checkpoint of {facts.library}",
        weights=("imagenet",),
        fixed_size=family.fixed_size,
    )


def preprocessing(facts: Facts) -> Preprocessing:
    """Return how a checkpoint wants its pixels."""
    return replace(standardised(facts.library, facts.mean, facts.std), channel_order="bgr" if facts.bgr else "rgb")
