"""The leaderboard of a run: the heads that were compared before training, and what training in folds has shown since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from keras_transfer.evaluation.leaderboard import Entry, Leaderboard


def leaderboard(stored: Any, outcomes: Sequence[dict[str, Any]]) -> Leaderboard | None:
    """Add the outcomes of phases to the candidates that were compared before.

    Args:
        stored: a leaderboard as JSON, or None.
        outcomes: of the phases (:attr:`~keras_transfer.training.fit_result.FitResult.outcomes`).

    Returns:
        All candidates by log-loss, the final choice marked; None if nothing was compared.
    """
    board = None if stored is None else Leaderboard.read(stored)
    tuned = [outcome for outcome in outcomes if outcome["solver"] == "gradient"]
    if not tuned:
        return board
    outcome = tuned[-1]
    n, accepted = outcome["evidence"]["n"], outcome["accepted"]
    evidence = board.evidence if board is not None else f"out-of-fold predictions for {n} training images"
    heads = list(board.entries) if board is not None else [_before(outcome)]
    if accepted:
        heads = [replace(e, chosen=False, reason="fine-tuning is clearly better") if e.chosen else e for e in heads]
    entries = sorted([*heads, _tuned(outcome)], key=lambda entry: entry.log_loss)
    return Leaderboard(tuple(entries), evidence)


def _before(outcome: dict[str, Any]) -> Entry:
    reason = "" if outcome["accepted"] else "fine-tuning is not clearly better"
    return _entry("solved head", outcome["evidence_start"], 0.0, not outcome["accepted"], reason)


def _tuned(outcome: dict[str, Any]) -> Entry:
    name = f"fine-tuned ({outcome['phase']}), alpha {outcome['alpha']:g}"
    reason = (
        "better than the head by more than a standard error" if outcome["accepted"] else "no clear gain over the head"
    )
    return _entry(name, outcome["evidence"], outcome["seconds"], outcome["accepted"], reason)


def _entry(name: str, evidence: dict[str, Any], seconds: float, chosen: bool, reason: str) -> Entry:
    accuracy, loss = (
        (evidence["accuracy"], evidence["accuracy_error"]),
        (evidence["log_loss"], evidence["log_loss_error"]),
    )
    return Entry(name, *accuracy, *loss, seconds, chosen, reason)
