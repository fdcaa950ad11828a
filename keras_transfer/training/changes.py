"""Changes since a run was started: configuration, package versions, data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from keras_transfer.config.load import section_of
from keras_transfer.config.schema import RunConfig
from keras_transfer.errors import UserError
from keras_transfer.runtime import BACKENDS

MISSING = object()


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Compare two manifests of a run.

    Args:
        before: `config`, `versions` and `data` when the run was started.
        now: the same, currently.

    Returns:
        dotted key → message line, for every change that may affect the result; configuration keys have no prefix.
    """
    found = differences(_part(before, "config"), _part(now, "config"))
    lines = {
        key: f"{key}: {shown(old)} → {shown(new)}"
        for key, (old, new) in found.items()
        if old is not MISSING or new != _default(key)
    }
    others = {name for name in BACKENDS if name != _part(now, "config").get("backend")}
    for name, (old, new) in differences(_part(before, "versions"), _part(now, "versions")).items():
        if name not in others:
            lines[f"versions.{name}"] = f"versions: {name} {shown(old)} → {shown(new)}"
    if _part(before, "data").get("fingerprint") != _part(now, "data").get("fingerprint"):
        lines["data"] = "data: images, labels or splits changed"
    old, new = (_part(_part(one, "data"), "unlabelled").get("fingerprint") for one in (before, now))
    if old != new and "data.unlabelled" not in lines:
        lines["data.unlabelled"] = "data.unlabelled: the images without labels changed"
    return lines


def _default(key: str) -> Any:
    """Return the default of a configuration key: what a run trained by, if its version did not have the key yet."""
    section: Any = RunConfig
    *above, name = [part for part in key.split(".") if not part.isdigit()]
    for part in above:
        section = (
            section_of(section.model_fields[part].annotation) if section and part in section.model_fields else None
        )
    field = section.model_fields.get(name) if section else None
    return MISSING if field is None else field.get_default(call_default_factory=True)


def refuse(lines: list[str], run: Any) -> None:
    """Refuse to resume a run after unconfirmed changes.

    Raises:
        UserError: one line per change, and how to proceed.
    """
    if lines:
        advice = (
            f"{run} changed since it was started; undo that, or resume anyway with --accept-changes "
            "(the result will differ from that of an uninterrupted run)"
        )
        raise UserError("\n".join([*lines, advice]))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return dotted key → (old, new value) for the leaves that differ; ``MISSING`` for an absent one."""
    old, new = dict(leaves(before)), dict(leaves(now))
    return {
        key: (old.get(key, MISSING), new.get(key, MISSING))
        for key in {**old, **new}
        if old.get(key, MISSING) != new.get(key, MISSING)
    }


def leaves(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for the leaves of nested mappings and lists of mappings."""
    if isinstance(tree, list) and tree and all(isinstance(item, Mapping) for item in tree):
        tree = dict(enumerate(tree))
    if not isinstance(tree, Mapping) or not tree:
        yield key, tree
        return
    for name, value in tree.items():
        yield from leaves(value, f"{key}.{name}" if key else str(name))


def _part(manifest: Any, name: str) -> dict[str, Any]:
    found = manifest.get(name) if isinstance(manifest, Mapping) else None
    return found if isinstance(found, dict) else {}


def shown(value: Any) -> str:
    """Return a leaf as text for a message."""
    return "nothing" if value is MISSING else json.dumps(value, ensure_ascii=False).strip('"')
