"""Check Keras's config.json: every object that it names must be in ``allowed``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Container, Iterator
from typing import Any

from keras_transfer.safety import Refused
from keras_transfer.safety.allowed import ALLOWED, FUNCTION_MODULES, FUNCTIONS, REGISTERED, VALUES

MAX_BYTES = 8 << 20
"""The largest configuration of a supported backbone, NASNet-Large, has 1 MiB."""
MAX_DEPTH = 64
_NOT_NEEDED = ("compile_config", "build_config", "build_input_shape", "shared_object_id")
_EINSUM = re.compile(r"[a-zA-Z.]+(,[a-zA-Z.]+)*->[a-zA-Z.]*")  # an equation of EinsumDense, not a registered name


def check_config(text: bytes, path: str | os.PathLike[str], custom: Container[str] = ()) -> dict[str, Any]:
    """Parse and check a model's configuration.

    Args:
        text: the JSON.
        path: the file it came from, for errors.
        custom: further classes and functions that the caller allows, by name.

    Returns:
        The configuration without what Keras does not need, and by which it would build something else than the layers say:
        ``compile_config`` (losses and optimizers), ``build_config`` and ``build_input_shape`` (shapes that a layer is built
        for before it is called) and ``shared_object_id`` (an object that is taken for another).

    Raises:
        Refused: invalid JSON, an object that is not allowed, or a structure that is too large or too deep.
    """
    if len(text) > MAX_BYTES:
        raise Refused(path, f"its configuration has {len(text)} bytes, more than the limit of {MAX_BYTES}")
    try:
        config = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise Refused(path, "its configuration is nested too deeply") from None
    except ValueError as error:
        raise Refused(path, f"its configuration is not valid JSON: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise Refused(path, "its configuration does not describe a model")
    for node in _nodes(config, path):
        reason = _problem(node, custom)
        if reason:
            raise Refused(path, reason)
    return config


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def _nodes(config: Any, path: str | os.PathLike[str]) -> Iterator[Any]:
    stack = [(config, 0)]
    while stack:
        node, depth = stack.pop()
        if depth > MAX_DEPTH:
            raise Refused(path, f"its configuration is nested more than {MAX_DEPTH} deep")
        if isinstance(node, dict):
            for key in _NOT_NEEDED:
                node.pop(key, None)
        yield node
        children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
        stack.extend((child, depth + 1) for child in children)


def _problem(node: Any, custom: Container[str]) -> str | None:
    # Wherever Keras finds "package>name", it looks the name up among the objects registered in this process.
    if isinstance(node, str) and ">" in node and not (node in custom or node in REGISTERED or _EINSUM.fullmatch(node)):
        return f"it names the registered object {node[:100]!r}, which the caller has not allowed"
    return _object_problem(node, custom) if isinstance(node, dict) and "class_name" in node else None


def _object_problem(node: dict[str, Any], custom: Container[str]) -> str | None:
    name, module, registered = node["class_name"], node.get("module"), node.get("registered_name")
    if not all(isinstance(part, (str, type(None))) for part in (module, registered)) or not isinstance(name, str):
        return "an object whose class, module or registered name is not a string"
    if name in VALUES:
        return None
    if name == "function":
        return _function_problem(node, custom)
    if (registered or name) in custom:
        return None
    if registered not in (None, name) and not (registered in REGISTERED and registered.endswith(f">{name}")):
        return f"it names the registered object {registered[:100]!r}, which the caller has not allowed"
    if name not in ALLOWED.get(module or "", ()):
        place = f"{module}.{name}" if module else f"{name} (without its module)"
        return f"it names {place[:200]}, which is not in the list of allowed layers (custom_objects allows your own)"
    return None


def _function_problem(node: dict[str, Any], custom: Container[str]) -> str | None:
    name, registered = node.get("config"), node.get("registered_name")
    known = isinstance(name, str) and name in FUNCTIONS and registered in (None, "function", name)
    if known and node.get("module") in FUNCTION_MODULES:
        return None
    if isinstance(name, str) and name in custom:
        return None
    return f"it names the function {str(node.get('module'))[:100]}.{str(name)[:100]}, which is not an activation"
