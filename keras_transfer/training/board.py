"""The leaderboard of a run: the heads that were compared before training, and what images without labels and training in folds have shown
since."""

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
    board = _with_unlabelled(None if stored is None else Leaderboard.read(stored), outcomes)
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


def _with_unlabelled(board: Leaderboard | None, outcomes: Sequence[dict[str, Any]]) -> Leaderboard | None:
    """Add the head that learned from images without labels."""
    found = [outcome["unlabelled"] for outcome in outcomes if outcome.get("unlabelled")]
    if not found:
        return board
    more = found[-1]
    n, accepted = more["evidence"]["n"], more["accepted"]
    why = f"with {more['images']} images without labels, better by more than a standard error"
    name = "solved head" if board is None else board.chosen.candidate
    entry = _entry(
        f"+ {more['images']} without labels, {name}",
        more["evidence"],
        more["seconds"],
        accepted,
        why if accepted else "no clear gain from images without labels",
    )
    if board is None:
        before = _entry("solved head", more["evidence_start"], 0.0, not accepted, "")
        board = Leaderboard((before,), f"out-of-fold predictions for {n} training images")
    heads = [
        replace(e, chosen=False, reason="images without labels help") if e.chosen and accepted else e
        for e in board.entries
    ]
    return Leaderboard(tuple(sorted([*heads, entry], key=lambda one: one.log_loss)), board.evidence)


def _before(outcome: dict[str, Any]) -> Entry:
    reason = "" if outcome["accepted"] else "fine-tuning is not better"
    return _entry("solved head", outcome["evidence_start"], 0.0, not outcome["accepted"], reason)


def _tuned(outcome: dict[str, Any]) -> Entry:
    name = f"fine-tuned ({outcome['phase']}), alpha {outcome['alpha']:g}"
    reason = "better than the head on held-out images" if outcome["accepted"] else "no gain over the head"
    return _entry(name, outcome["evidence"], outcome["seconds"], outcome["accepted"], reason)


def _entry(name: str, evidence: dict[str, Any], seconds: float, chosen: bool, reason: str) -> Entry:
    accuracy, loss = (
        (evidence["accuracy"], evidence["accuracy_error"]),
        (evidence["log_loss"], evidence["log_loss_error"]),
    )
    return Entry(name, *accuracy, *loss, seconds, chosen, reason)
