"""One searched key: the values that it may take."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from keras_transfer.errors import UserError, nearest

if TYPE_CHECKING:
    import optuna

Label = str | int | float | bool | None
"""What the study stores of a value: the value itself, or the name of one that is a list or a mapping."""

_WORDS = ("choice", "low", "high", "log", "step")
_OTHERS = {"min": "low", "max": "high", "from": "low", "to": "high", "values": "choice", "choices": "choice",
           "options": "choice", "categorical": "choice"}  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """One of several values.

    Attributes:
        key: of the configuration, dotted.
        options: label → value.
    """

    key: str
    options: dict[Label, Any]

    def suggest(self, trial: optuna.Trial) -> Label:
        """Return the label that the trial is given."""
        found: Label = trial.suggest_categorical(self.key, list(self.options))
        return found

    def value(self, label: Label) -> Any:
        """Return the value of a label."""
        return self.options[label]

    def samples(self) -> list[Label]:
        """Return labels that have to be valid for the whole to be valid."""
        return list(self.options)

    def every(self) -> list[Label] | None:
        """Return all labels."""
        return list(self.options)


@dataclass(frozen=True)
class Range:
    """A number between two others, both of which are possible.

    Attributes:
        key: of the configuration, dotted.
        low: the smallest.
        high: the largest.
        log: whether ratios count, not differences.
        step: distance between possible numbers; None: any.
        whole: whether only whole numbers are possible.
    """

    key: str
    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def suggest(self, trial: optuna.Trial) -> Label:
        """Return the number that the trial is given."""
        if self.whole:
            step = 1 if self.step is None else int(self.step)
            return trial.suggest_int(self.key, int(self.low), int(self.high), step=step, log=self.log)
        return trial.suggest_float(self.key, float(self.low), float(self.high), step=self.step, log=self.log)

    def value(self, label: Label) -> Any:
        """Return the number."""
        return label

    def samples(self) -> list[Label]:
        """Return both ends."""
        return [int(self.low), int(self.high)] if self.whole else [float(self.low), float(self.high)]

    def every(self) -> list[Label] | None:
        """Return all numbers, or None: there are too many."""
        step = self.step or (1 if self.whole else None)
        if step is None:
            return None
        count = math.floor((self.high - self.low) / step + 1e-9) + 1
        # Rounded as Optuna rounds: 0.1 + 2 * 0.1 is not 0.3.
        return [int(self.low + k * step) if self.whole else round(self.low + k * step, 12) for k in range(count)]


Dimension = Choice | Range


def read(key: str, given: Any, installed: Sequence[str]) -> Dimension:
    """Return the dimension that a space file describes.

    Args:
        key: of the configuration.
        given: what the file says: a list, ``{choice: …}`` or ``{low:, high:}`` with ``log`` and ``step``.
        installed: the values of ``choice: installed``.

    Raises:
        UserError: one line.
    """
    if isinstance(given, (list, tuple)):
        given = {"choice": given}
    if not isinstance(given, dict):
        raise UserError(f"{key}: expected {{choice: [...]}} or {{low: …, high: …}}, got {given!r}"[:200])
    for word in given:
        if word not in _WORDS:
            near = f"; did you mean {_OTHERS[word]!r}?" if word in _OTHERS else nearest(str(word), _WORDS)
            raise UserError(f"{key}: unknown word {word!r}{near} (expected choice, or low, high, log and step)")
    if "choice" in given:
        if len(given) > 1:
            raise UserError(f"{key}: choice needs no {', '.join(word for word in given if word != 'choice')}")
        return Choice(key, _options(key, given["choice"], installed))
    return _range(key, given)


def _options(key: str, given: Any, installed: Sequence[str]) -> dict[Label, Any]:
    if given == "installed" and key == "model.backbone":
        given = list(installed)
    if isinstance(given, dict):
        pairs: list[tuple[Label, Any]] = [(str(label), value) for label, value in given.items()]
    elif isinstance(given, (list, tuple)):
        pairs = [(_label(value), value) for value in given]
    else:
        raise UserError(f"{key}: choice: expected a list of values, or names with their values, got {given!r}"[:200])
    if not pairs:
        raise UserError(f"{key}: choice: expected at least one value, got none")
    texts = [json.dumps(label) for label, _ in pairs]
    twice = next((text for number, text in enumerate(texts) if text in texts[:number]), None)
    options = dict(pairs)
    if twice is not None or len(options) < len(pairs):
        raise UserError(f"{key}: choice: the value {twice or given!r} is there twice"[:200])
    return options


def _label(value: Any) -> Label:
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _range(key: str, given: dict[str, Any]) -> Range:
    missing = [word for word in ("low", "high") if word not in given]
    if missing:
        raise UserError(f"{key}: {missing[0]} is missing: expected {{choice: [...]}} or {{low: …, high: …}}")
    numbers = {word: given[word] for word in ("low", "high", "step") if given.get(word) is not None}
    for word, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise UserError(f"{key}: {word}: expected a number, got {value!r}"[:200])
    low, high, step, log = given["low"], given["high"], given.get("step"), given.get("log", False)
    if not isinstance(log, bool):
        raise UserError(f"{key}: log: expected true or false, got {log!r}"[:200])
    if low >= high:
        raise UserError(f"{key}: low must be below high, got {low} and {high}")
    if log and low <= 0:
        raise UserError(f"{key}: low must be above 0 where log is true, got {low}")
    if log and step is not None:
        raise UserError(f"{key}: step needs log: false")
    if step is not None and not 0 < step <= high - low:
        raise UserError(f"{key}: step: expected more than 0 and at most high - low, got {step}")
    return Range(key, low, high, log, step, all(isinstance(value, int) for value in numbers.values()))
