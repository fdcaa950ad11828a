"""A default that is given explicitly, as a command or a method passes it on, is accepted."""

from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
from pydantic import ValidationError

import keras_transfer
from keras_transfer.arguments.checked import _model, checked

pytestmark = pytest.mark.backend


def doors():
    """Yield every function and method of the package whose arguments are checked."""
    code = checked(lambda: None).__code__  # all of them are the same closure
    for info in pkgutil.walk_packages(keras_transfer.__path__, "keras_transfer."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for owner in (module, *(one for _, one in inspect.getmembers(module, inspect.isclass))):
            for found in vars(owner).values():
                if getattr(found, "__code__", None) is code:
                    yield found


def test_every_default_is_accepted():
    found, refused = {}, []
    for door in doors():
        found[f"{door.__module__}.{door.__qualname__}"] = door
    assert {"keras_transfer.revise.retrain.retrain", "keras_transfer.classifier.Classifier.fit"} <= set(found)
    for name, door in found.items():
        signature = inspect.signature(door)
        model = _model(door.__wrapped__, signature, next(iter(signature.parameters), "") in ("self", "cls"))
        for parameter in signature.parameters.values():
            if parameter.default is parameter.empty:
                continue
            try:
                model.model_validate({parameter.name: parameter.default})
            except ValidationError as error:
                wrong = [one["msg"] for one in error.errors() if one["loc"][:1] == (parameter.name,)]
                refused += [f"{name}({parameter.name}={parameter.default!r}): {message}" for message in wrong]
    assert not refused, "\n".join(refused)
