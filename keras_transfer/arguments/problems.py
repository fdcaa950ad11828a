"""What pydantic found wrong, as one line per problem."""

from __future__ import annotations

import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from keras_transfer.errors import nearest

_LONGEST = 200


def described(error: ValidationError, model: type[BaseModel] | None = None, owner: str = "") -> str:
    """Return a line for every problem: where it is, what was expected, what was received, the nearest valid name.

    Args:
        error: what pydantic raised.
        model: what was validated, for the names of its keys.
        owner: what the keys belong to, if that is no configuration: the name of a function or class.
    """
    items = error.errors(include_url=False)
    lines = [_problem(item, model, owner, _may_be_auto(item, items)) for item in items if not _is_spare(item, items)]
    return "\n".join(dict.fromkeys(lines))


def section_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section class inside a field's type, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in typing.get_args(annotation):
        found = section_of(argument)
        if found is not None:
            return found
    return None


def short(value: object) -> str:
    """Return the repr of what was received, on one line and no longer than an error message can bear."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # an object of the caller's, which may do anything
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _place(item: Any) -> list[Any]:
    return [part for part in item["loc"] if not _is_union_label(part)]


def _is_spare(item: Any, items: list[Any]) -> bool:
    """Return whether ``item`` is about another form of the key (``auto``, a pair, a mapping) than the one given."""
    place, others = _place(item), [other for other in items if other is not item]
    deeper = any(_place(other)[: len(place)] == place and len(_place(other)) > len(place) for other in others)
    if deeper and (_rank(item) or item["type"] in ("int_type", "too_short", "literal_error")):
        return True
    return any(_place(other) == place and _rank(other) < _rank(item) for other in others)


def _rank(item: Any) -> int:
    """Rank the messages about the forms of one key; the lowest is the most specific."""
    if item["type"] == "int_type":
        return int(isinstance(item.get("input"), (list, tuple)))
    if item["type"] == "none_required":
        return 4
    return 3 if _is_auto(item) else {"tuple_type": 1, "dict_type": 2}.get(item["type"], 0)


def _is_auto(item: Any) -> bool:
    return bool(item["type"] == "literal_error" and item["ctx"]["expected"] == "'auto'")


def _may_be_auto(item: Any, items: list[Any]) -> bool:
    """Say whether a word was given where another branch of the key is "auto"."""
    given = isinstance(item.get("input"), str) and not _is_auto(item)
    return given and any(_is_auto(other) and _place(other) == _place(item) for other in items)


def _problem(item: Any, model: type[BaseModel] | None, owner: str, may_be_auto: bool = False) -> str:
    where = _place(item)
    dotted = ".".join(str(part) for part in where) or owner or "configuration"
    received = item.get("input")
    if item["type"] == "extra_forbidden":
        key = str(item["loc"][-1])  # a key may look like one of pydantic's own marks, which the place is without
        above = where[:-1] if where and str(where[-1]) == key else where
        valid = _keys_at(model, above)
        dotted = ".".join([*map(str, above), key])
        kind = f"{owner} has no argument {dotted!r}" if owner and not above else f"unknown key {dotted!r}"
        return f"{kind}{nearest(key, valid)} (expected one of: {', '.join(valid)})"
    message = item["msg"].removeprefix("Value error, ")
    message = (message[:1].lower() + message[1:]).replace("tuple", "list")  # Python's word for a list of fixed length
    if may_be_auto:
        message += ", or auto" + nearest(received, ["auto"])
    if item["type"] == "missing":
        if isinstance(where[-1], int):
            return f"{'.'.join(map(str, where[:-1]))}: expected at least {where[-1] + 1} values, got {short(received)}"
        return (
            f"{owner} needs the argument {dotted!r}" if owner and len(where) == 1 else f"{dotted}: this key is required"
        )
    if item["type"] == "literal_error" and isinstance(received, str):
        message += nearest(
            received, [part.strip("' ") for part in item["ctx"]["expected"].replace(" or ", ", ").split(",")]
        )
    complete = not where or "got" in message or message.startswith("unknown ")
    return f"{dotted}: {' '.join(message.split())}" + ("" if complete else f", got {short(received)}")


def _is_union_label(part: Any) -> bool:
    # pydantic names the branch of a union in the location ("list[Phase]", "function-before[…]", "literal['auto']")
    return isinstance(part, str) and (any(c in part for c in "[(") or part in ("str", "int", "float", "dict"))


def _keys_at(model: type[BaseModel] | None, where: list[Any]) -> list[str]:
    """Return the valid keys at a place of the schema."""
    inner: Any = model
    for part in where:
        if isinstance(part, int):
            continue
        inner = section_of(inner.model_fields[part].annotation) if inner is not None else None
    return [] if inner is None else list(inner.model_fields)
