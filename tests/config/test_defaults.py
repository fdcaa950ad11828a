"""A default that also stands in a function's signature, where readers look for it, is that of the schema."""

from __future__ import annotations

import inspect

import pytest

from keras_transfer.classifier import Classifier
from keras_transfer.config.schema import DataConfig, DatasetConfig, ModelConfig
from keras_transfer.data import builder

OTHERWISE = {
    ("fit", "label_smoothing"): "the Python interface trains on the labels as they are unless told otherwise",
    ("build", "image_size"): "None is Python's way of saying: the backbone's own",
}


def build_classifier():
    from keras_transfer.models.classifier import build_classifier

    return build_classifier


@pytest.mark.parametrize(
    ("function", "sections"),
    [
        (Classifier.__init__, [ModelConfig, DatasetConfig]),
        (Classifier.fit, [ModelConfig, DataConfig]),
        (builder.build, [DatasetConfig]),
        pytest.param(build_classifier, [ModelConfig], marks=pytest.mark.backend),
    ],
    ids=["Classifier", "fit", "build", "build_classifier"],
)
def test_defaults_agree(function, sections):
    function = function() if function is build_classifier else function
    compared = 0
    for name, parameter in inspect.signature(function).parameters.items():
        for field in (section.model_fields[name] for section in sections if name in section.model_fields):
            if parameter.default is parameter.empty or field.default in ("auto", None):
                continue
            compared += 1
            same = parameter.default == field.get_default(call_default_factory=True)
            assert same != ((function.__name__, name) in OTHERWISE), (
                f"{name}: {parameter.default} here, {field.default} there"
            )
    assert compared
