"""Check what a public function is given against its annotations, as the configuration is checked against its schema."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from keras_transfer.arguments.problems import described
from keras_transfer.errors import UserError, denied

P = ParamSpec("P")
R = TypeVar("R")

_CONFIG = ConfigDict(extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())
_FREE = ConfigDict(extra="allow", arbitrary_types_allowed=True, protected_namespaces=())


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Make a public function refuse wrong arguments with a UserError that names them, before it begins.

    The annotations are the rule; the types in :mod:`keras_transfer.arguments.types` are also those of the configuration. Values arrive
    in the annotated form: a NumPy number as Python's, a path as text. Annotations are read at the first call, so that they may name
    what is only imported for type checking if it has been loaded by then.
    """
    signature = inspect.signature(function)
    own = next(iter(signature.parameters), "") in ("self", "cls")
    name = function.__qualname__.removesuffix(".__init__").replace("Classifier.", "").replace("Usage.", "")

    @functools.cache
    def model() -> type[BaseModel]:
        return _model(function, signature, own)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        first, rest = args[:own], args[own:]
        given = _given(name, signature, own, rest, kwargs)
        try:
            found = model().model_validate(given)
        except ValidationError as error:
            raise UserError(described(error, model(), name)) from None
        try:
            return function(*first, **{key: getattr(found, key) for key in given})  # type: ignore[arg-type]
        except PermissionError as error:
            raise denied(error) from error

    return call


def _given(
    name: str, signature: inspect.Signature, own: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments by name."""
    positional = [one.name for one in signature.parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD][own:]
    if len(args) > len(positional):
        most = (
            f"at most {len(positional)} arguments without a name ({', '.join(positional)})"
            if positional
            else "only named arguments"
        )
        raise UserError(f"{name} takes {most}, got {len(args)}")
    given = dict(zip(positional, args))
    twice = given.keys() & kwargs.keys()
    if twice:
        raise UserError(f"{name}: the argument {min(twice)!r} is given twice")
    return {**given, **kwargs}


def _model(function: Callable[..., Any], signature: inspect.Signature, own: bool) -> type[BaseModel]:
    """Return a model whose fields are the parameters of a function."""
    fields: dict[str, Any] = {}
    free = False
    for parameter in list(signature.parameters.values())[own:]:
        kind = _kind(function, parameter)
        if parameter.kind is not parameter.VAR_KEYWORD:
            fields[parameter.name] = (kind, ... if parameter.default is parameter.empty else parameter.default)
        elif kind is Any:
            free = True
        else:  # Unpack[…] of a TypedDict
            (options,) = get_args(kind)
            fields |= {key: (one, None) for key, one in get_type_hints(options, include_extras=True).items()}
    return create_model(function.__qualname__, __config__=_FREE if free else _CONFIG, **fields)


def _kind(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return the type of a parameter, `Any` without one."""
    if parameter.annotation is parameter.empty:
        return Any
    if not isinstance(parameter.annotation, str):
        return parameter.annotation
    names = {**vars(sys.modules[function.__module__])}
    return eval(parameter.annotation, names)  # the package's own source, as `typing.get_type_hints` does
