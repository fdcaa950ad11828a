"""What ``Classifier.fit`` is given, as phases: Keras's own arguments of ``fit`` and ``compile`` among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from keras_transfer.arguments import checked
from keras_transfer.config.schema import Phase, Phases
from keras_transfer.errors import UserError

HEAD_SHARE = 1 / 3
"""Share of the epochs that the head trains alone, where only their number is given."""


def are_phases(value: Any) -> bool:
    """Return whether this is meant as one phase, or several, rather than as labels."""
    if isinstance(value, (Phase, str, Mapping)):
        return True
    return isinstance(value, (list, tuple)) and (not value or any(isinstance(item, (Phase, Mapping)) for item in value))


@checked
def as_phases(phases: Phases) -> Sequence[Phase] | None:
    """Return what is meant as phases, in a list, or raise UserError."""
    return [phases] if isinstance(phases, Phase) else phases


def phases_for(
    phases: Sequence[Phase] | None, default: Sequence[Phase], epochs: int | None, optimizer: Any, judged: bool
) -> tuple[Phase, ...] | None:
    """Return the phases to train, or None if the classifier may choose them.

    Args:
        phases: as given.
        default: the head, then everything.
        epochs: of the default phases together.
        optimizer: for each phase that has none of its own.
        judged: whether loss or metrics are given, which only phases with gradients have.

    Raises:
        UserError: epochs are given beside phases.
    """
    if epochs is not None and phases is not None:
        raise UserError("epochs is given beside phases, which have their own: Phase(…, epochs=…)")
    if phases is None:
        if epochs is None and optimizer is None and not judged:
            return None
        phases = default if epochs is None else _shared(default, epochs)
    return tuple(phases if optimizer is None else (_with_optimizer(phase, optimizer) for phase in phases))


def check_judges(phases: Sequence[Phase], loss: Any) -> None:
    """Refuse a loss for phases that are solved or judged by cross-entropy.

    Raises:
        UserError: there is one.
    """
    for phase in phases:
        if loss is not None and (phase.solver == "exact" or phase.folds):
            what = "solver exact" if phase.solver == "exact" else "folds"
            raise UserError(
                f"phase {phase.name}: {what} is made for cross-entropy; leave out loss, or train it by gradients"
            )


def _shared(default: Sequence[Phase], epochs: int) -> tuple[Phase, ...]:
    head, rest = default[0], default[-1]
    alone = max(1, round(epochs * HEAD_SHARE))
    phases = [head.model_copy(update={"epochs": alone})]
    if epochs > alone:
        phases.append(rest.model_copy(update={"epochs": epochs - alone}))
    return tuple(phases)


def _with_optimizer(phase: Phase, optimizer: Any) -> Phase:
    given = {key: getattr(phase, key) for key in phase.model_fields_set}
    if "optimizer" in given:
        return phase
    if not isinstance(optimizer, str):
        given.pop("learning_rate", None)  # the optimizer has its own
    return Phase(**given, optimizer=optimizer)
