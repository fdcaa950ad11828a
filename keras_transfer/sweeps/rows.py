"""From Optuna's trials to rows, and how much each key matters."""

from __future__ import annotations

import warnings
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from keras_transfer.sweeps.result import COMPLETE, FAILED, FOUND, LOST, PRUNED, RUNNING, SAME
from keras_transfer.sweeps.space import Space
from keras_transfer.sweeps.study import counts

LEAST = 4
"""Complete trials before anything is said about what matters."""


def row_of(one: FrozenTrial) -> dict[str, Any]:
    """Return a trial as a row of :class:`~keras_transfer.sweeps.result.SweepResult`."""
    known: dict[str, Any] = one.user_attrs.get(FOUND, {})
    return {
        "trial": one.number,
        "state": _state(one),
        "value": one.value if one.state == TrialState.COMPLETE else None,
        **{key: known.get(key) for key in ("accuracy", "log_loss", "epochs", "seconds", "best")},
        "params": dict(one.params),
        "reason": one.user_attrs.get("reason"),
        "epoch_values": {
            str(step): value for step, value in (known.get("epoch_values") or one.intermediate_values).items()
        },
    }


def importance_of(study: optuna.Study, space: Space) -> dict[str, float]:
    """Return key → share of what the trials differ by, the largest first (PED-ANOVA: Watanabe et al., 2023); empty: too few trials."""
    done = [one for one in study.get_trials(deepcopy=False) if one.state == TrialState.COMPLETE]
    if len(done) < LEAST or len({one.value for one in done}) < 2:
        return {}
    keys = [key for key in space.keys if len({str(one.params.get(key)) for one in done}) > 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = optuna.importance.get_param_importances(study, params=keys)
        except (ValueError, RuntimeError):  # too few different values
            return {}
    return {key: round(float(share), 6) for key, share in found.items()}


def _state(one: FrozenTrial) -> str:
    if one.state == TrialState.FAIL:
        return SAME if "same_as" in one.user_attrs else FAILED if counts(one) else LOST
    return {TrialState.COMPLETE: COMPLETE, TrialState.PRUNED: PRUNED}.get(one.state, RUNNING)
