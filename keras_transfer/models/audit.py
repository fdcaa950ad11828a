"""Check that a phase trained the variables that it should train, and no others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from keras_transfer.errors import UserError
from keras_transfer.models.graph import flat_layers

if TYPE_CHECKING:
    import keras

_SHOWN = 5


class AuditError(UserError):
    """A frozen variable changed or a trainable one did not: an error of the program or its use, not of the data."""


@dataclass(frozen=True)
class _Entry:
    digest: bytes
    kind: str  # "trainable", "frozen", or "statistic" (of a BatchNorm that trains)
    layer: str


class FreezeAudit:
    """Hashes of every variable before a phase, compared with those after it.

    The ``trainable`` flags at the time of the snapshot determine which variables should change. States of random generators
    are not compared. Usage::

        audit = FreezeAudit()
        audit.snapshot(model)
        model.fit(...)
        audit.check(model)
    """

    def __init__(self) -> None:
        """Start without a snapshot."""
        self._before: dict[str, _Entry] | None = None

    def snapshot(self, model: keras.Model) -> None:
        """Record every variable of ``model`` and whether it trains."""
        self._before = _entries(model)

    def memory(self) -> list[str]:
        """Return the digests of the snapshot, for a process that resumes the phase."""
        return [entry.digest.hex() for entry in (self._before or {}).values()]

    def recall(self, memory: list[str]) -> None:
        """Replace the digests of the snapshot by those of the phase's beginning, from :meth:`memory`.

        Raises:
            UserError: they belong to another model.
        """
        before = self._before or {}
        if len(memory) != len(before):
            raise UserError("the saved state belongs to another model than the configuration builds")
        taken = zip(before.items(), memory)
        self._before = {path: replace(entry, digest=bytes.fromhex(digest)) for (path, entry), digest in taken}

    def check(self, model: keras.Model, may_rest: bool = False) -> None:
        """Compare ``model`` with the snapshot.

        Args:
            model: the same as before.
            may_rest: whether trainable variables may have kept their values.

        Raises:
            AuditError: names the frozen variables and BatchNorm statistics that changed, the trainable variables that
                did not, and the BatchNorm layers that train but kept all their statistics.
            RuntimeError: there is no snapshot.
        """
        if self._before is None:
            raise RuntimeError("FreezeAudit.check without snapshot")
        after = _entries(model)
        if after.keys() != self._before.keys():
            raise AuditError(
                f"the model's variables are not those of the snapshot: {_list(after.keys() ^ self._before.keys())}"
            )
        moved = {path: after[path].digest != entry.digest for path, entry in self._before.items()}
        problems = self._wrongly_moved(moved)
        if not may_rest:
            problems += self._wrongly_still(moved)
        if problems:
            raise AuditError("; ".join(problems))

    def _wrongly_moved(self, moved: dict[str, bool]) -> list[str]:
        assert self._before is not None
        found = [path for path, entry in self._before.items() if entry.kind == "frozen" and moved[path]]
        return [f"{len(found)} frozen variables moved: {_list(found)}"] if found else []

    def _wrongly_still(self, moved: dict[str, bool]) -> list[str]:
        assert self._before is not None
        alive = {entry.layer for path, entry in self._before.items() if entry.kind == "trainable" and moved[path]}
        # The bias of a layer before a BatchNorm that trains has no gradient, and may stay while its kernel changes. The first matrix of an
        # adapter has none in the first step, in which the second is zero.
        still = [
            path
            for path, entry in self._before.items()
            if entry.kind == "trainable"
            and not moved[path]
            and not (path.endswith(("/bias", "/lora_kernel_a")) and entry.layer in alive)
        ]
        hint = "their gradients are 0, or too small for the learning rate"
        problems = [f"{len(still)} trainable variables did not move: {_list(still)} ({hint})"] if still else []
        # One statistic may stay (the mean of an input that is always 0), but not all of a layer.
        statistics: dict[str, bool] = {}
        for path, entry in self._before.items():
            if entry.kind == "statistic":
                statistics[entry.layer] = statistics.get(entry.layer, False) or moved[path]
        kept = [layer for layer, any_moved in statistics.items() if not any_moved]
        if kept:
            problems.append(f"{len(kept)} BatchNorm layers train but kept their statistics: {_list(kept)}")
        return problems


def _entries(model: keras.Model) -> dict[str, _Entry]:
    import keras

    entries: dict[str, _Entry] = {}
    for layer in flat_layers(model):
        trainable = {id(v) for v in layer.trainable_weights}
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        for variable in layer.weights:
            kind = "trainable" if id(variable) in trainable else "frozen"
            if is_norm and layer.trainable and not variable.trainable:
                kind = "statistic"
            entries[f"{layer.name}/{_local(variable)}"] = _Entry(_digest(variable), kind, layer.name)
    return entries


def _local(variable: keras.Variable) -> str:
    """Return the variable's path below its layer (its name, for all layers without sublayers)."""
    return variable.path.split("/", 1)[-1]


def _digest(variable: keras.Variable) -> bytes:
    import keras

    value = np.ascontiguousarray(keras.ops.convert_to_numpy(variable.value))
    return hashlib.blake2b(value.view(np.uint8).data if value.ndim else value.tobytes(), digest_size=16).digest()


def _list(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_SHOWN]) + (f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else "")
