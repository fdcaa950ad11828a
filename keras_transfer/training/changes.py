"""What is not as it was when a run was started: its configuration, the versions of what it stands on, its data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from keras_transfer.errors import UserError
from keras_transfer.runtime import BACKENDS

MISSING = object()


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """Compare two manifests of a run.

    Args:
        before: `config`, `versions` and `data` as the run was started.
        now: the same today.

    Returns:
        dotted key → line, for everything that may change the result; keys of the configuration stand for themselves.
    """
    found = differences(_part(before, "config"), _part(now, "config"))
    lines = {key: f"{key}: {_shown(old)} → {_shown(new)}" for key, (old, new) in found.items()}
    others = {name for name in BACKENDS if name != _part(now, "config").get("backend")}
    for name, (old, new) in differences(_part(before, "versions"), _part(now, "versions")).items():
        if name not in others:
            lines[f"versions.{name}"] = f"versions: {name} {_shown(old)} → {_shown(new)}"
    if _part(before, "data").get("fingerprint") != _part(now, "data").get("fingerprint"):
        lines["data"] = "data: other images, labels or splits"
    return lines


def refuse(lines: list[str], run: Any) -> None:
    """Refuse to resume a run of which something changed that nobody spoke of.

    Raises:
        UserError: a line for each change, and how to go on.
    """
    if lines:
        advice = (
            f"{run} changed since it was started; undo that, or go on all the same with --accept-changes "
            "(the result is then another one than that of an uninterrupted run)"
        )
        raise UserError("\n".join([*lines, advice]))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return dotted key → (old, new value) for the leaves that differ; ``MISSING`` where there is none."""
    old, new = dict(leaves(before)), dict(leaves(now))
    return {
        key: (old.get(key, MISSING), new.get(key, MISSING))
        for key in {**old, **new}
        if old.get(key, MISSING) != new.get(key, MISSING)
    }


def leaves(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted key, value) for what is in nested mappings, and in lists of mappings."""
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


def _shown(value: Any) -> str:
    return "nothing" if value is MISSING else json.dumps(value, ensure_ascii=False).strip('"')
