"""The complete configuration of a run, as stored in its ``config.yaml``.

:class:`~keras_transfer.config.schema.RunConfig` is what the user asked for and may hold ``auto``. :class:`ResolvedConfig` has a value for
every key, and a :class:`Decision` with the reason for each value chosen automatically. Both are immutable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from keras_transfer.arguments.types import (
    Bits,
    ClassWeights,
    Fraction,
    ImageSize,
    Natural,
    NonNegative,
    Positive,
    Value,
)
from keras_transfer.config.keras_objects import title
from keras_transfer.config.schema import DataConfig, ModelConfig, Phase, RunConfig
from keras_transfer.options import BatchNorm, Color


@dataclass(frozen=True)
class Decision:
    """A value chosen in place of ``auto``.

    Attributes:
        key: dotted key of the configuration, e.g. ``data.batch_size``.
        value: the value, JSON-able.
        reason: why it was chosen.
    """

    key: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.key} = {_shown(self.value)} ({self.reason})"

    @classmethod
    def read(cls, stored: Iterable[Any]) -> list[Decision]:
        """Return the decisions in a ``manifest.json``; version 0.1 stored them as ``KEY = VALUE (REASON)``."""
        return [cls(item["key"], item["value"], item["reason"]) if isinstance(item, dict) else cls._parse(str(item))
                for item in stored]  # fmt: skip

    @classmethod
    def _parse(cls, text: str) -> Decision:
        key, _, rest = text.partition(" = ")
        value, _, reason = rest.rpartition(" (")
        return cls(key, value, reason.removesuffix(")")) if value else cls("phases", text, "by version 0.1")


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "epochs" in value:
        if value.get("solver") == "exact":
            return f"{value['name']}: solved"
        rate, names = value["learning_rate"], (title(value["optimizer"]), title(value["schedule"]))
        return f"{value['name']}: up to {value['epochs']} epochs, {names[0]}, {names[1]} from {rate}"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item["name"]) if isinstance(item, dict) else str(item) for item in value) or "none"
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _none_if_unknown(value: Any) -> Any:
    """Take ``auto`` for 0: runs of versions without the key have kept no images."""
    return 0.0 if value == "auto" else value


class ResolvedData(DataConfig):
    """The data section without ``auto``."""

    image_size: ImageSize
    color: Color
    batch_size: Positive
    class_weights: ClassWeights
    depth: Bits | tuple[Value, Value] | None = None
    augment: list[str | dict[str, Any]]
    workers: Natural
    val_fraction: Fraction
    views: Natural
    image_memory: Annotated[NonNegative, BeforeValidator(_none_if_unknown)] = 0.0
    cache: Literal["off", "memory", "disk"]
    cache_precision: Literal["float32", "bfloat16"]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the model's input."""
        return (self.image_size, self.image_size) if isinstance(self.image_size, int) else self.image_size

    @property
    def micro_batch_size(self) -> int:
        """Images computed at once: the batch size divided by ``accumulate``, rounded up."""
        return -(-self.batch_size // self.accumulate)


class ResolvedModel(ModelConfig):
    """The model section without ``auto``."""

    taps: Natural
    label_smoothing: Fraction


class ResolvedPhase(Phase):
    """A phase with a definite treatment of BatchNormalization.

    ``learning_rate`` may still be ``auto``: it is then found by a range test when the phase begins.
    """

    batch_norm: BatchNorm


def _alone_if_unknown(value: Any) -> Any:
    """Take ``auto`` for ``none``: runs of versions without the key have trained in one process."""
    return "none" if value == "auto" else value


class ResolvedConfig(RunConfig):
    """A complete run, without ``auto``.

    Attributes:
        decisions: the automatic choices; stored in ``manifest.json``, not in ``config.yaml``.
    """

    backend: Literal["torch", "tensorflow", "jax"]
    device: Literal["cpu", "gpu", "mps"]
    precision: Literal["float32", "bfloat16", "float16"]
    distribute: Annotated[Literal["none", "data_parallel"], BeforeValidator(_alone_if_unknown)] = "none"
    data: ResolvedData
    model: ResolvedModel
    phases: tuple[ResolvedPhase, ...]
    decisions: tuple[Decision, ...] = Field((), exclude=True, repr=False)

    def with_learning_rate(self, phase: int, rate: float, reason: str) -> ResolvedConfig:
        """Return the configuration with the learning rate that was found for a phase (numbered from 0)."""
        phases = list(self.phases)
        phases[phase] = phases[phase].model_copy(update={"learning_rate": rate})
        decision = Decision(f"phases.{phase}.learning_rate", rate, reason)
        return self.model_copy(update={"phases": tuple(phases), "decisions": (*self.decisions, decision)})

    def in_smaller_parts(self) -> ResolvedConfig:
        """Return the configuration with half the micro-batch size and the same training steps."""
        data = self.data.model_copy(update={"accumulate": 2 * self.data.accumulate})
        return self.model_copy(update={"data": data})

    def decided(self, key: str) -> bool:
        """Return whether the value of a key was chosen automatically."""
        return any(decision.key == key for decision in self.decisions)


def settle_batch_norm(phases: Sequence[Phase], weights: str) -> tuple[ResolvedPhase, ...]:
    """Replace ``batch_norm: auto``: BatchNorm stays frozen for pretrained weights and trains for random ones.

    Args:
        phases: as configured.
        weights: ``model.weights``.
    """
    automatic = "train" if weights == "none" else "frozen"
    return tuple(
        ResolvedPhase(**{**dict(phase), "batch_norm": automatic if phase.batch_norm == "auto" else phase.batch_norm})
        for phase in phases
    )
