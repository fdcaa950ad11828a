"""What came of a sweep: its trials as rows, the best of them as a configuration, and the files of both."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from keras_transfer.config.schema import RunConfig
from keras_transfer.files import write_csv, write_json, write_text
from keras_transfer.sweeps.objective import Objective
from keras_transfer.sweeps.space import Space

COMPLETE, PRUNED, FAILED, RUNNING, LOST, SAME = "complete", "pruned", "failed", "running", "lost", "same"
"""States of trials. ``lost``: its process ended, and its values were tried again; ``same``: as an earlier trial, so it was not trained."""

FOUND = "found"
"""The attribute of a trial of the study that holds what it found."""

FIELDS = ("trial", "state", "value", "accuracy", "log_loss", "epochs", "seconds")


@dataclass(frozen=True)
class SweepResult:
    """A study and its best configuration.

    Attributes:
        name: of the study.
        folder: of its files.
        objective: what was optimized.
        measured_on: what the figures were measured on.
        space: what was searched.
        base: what was not, as a mapping of configuration keys.
        trials: a dictionary each: ``trial`` (number), ``state``, ``value`` (of the objective), ``accuracy``, ``log_loss``, ``epochs``,
            ``seconds``, ``params`` (key → value, by its label), ``reason`` (why it failed), ``epoch_values`` (epoch → figure).
        importance: key → share of the differences between trials that it explains, 0..1; empty before it can be said.
    """

    name: str
    folder: Path
    objective: Objective
    measured_on: str
    space: Space
    base: Mapping[str, Any] = field(repr=False)
    trials: list[dict[str, Any]] = field(repr=False)
    importance: dict[str, float] = field(default_factory=dict)

    @property
    def ranked(self) -> list[dict[str, Any]]:
        """Complete trials, the best first; of equal ones the earlier first."""
        sign = -1 if self.objective.higher else 1
        done = [row for row in self.trials if row["state"] == COMPLETE]
        return sorted(done, key=lambda row: (sign * row["value"], row["trial"]))

    @property
    def best(self) -> dict[str, Any] | None:
        """The best trial, or None if none is complete."""
        return next(iter(self.ranked), None)

    @property
    def best_file(self) -> Path:
        """The configuration of the best trial."""
        return self.folder / "best.yaml"

    @property
    def report(self) -> Path:
        """The page about the sweep."""
        return self.folder / "report.html"

    def config(self, trial: int | None = None) -> RunConfig:
        """Return the configuration of a trial, by default the best, as :func:`keras_transfer.train` takes it.

        Raises:
            UserError: no trial is complete.
        """
        return self.space.config(self.base, self._params(trial))

    def tree(self, trial: int | None = None) -> dict[str, Any]:
        """Return the configuration of a trial as it is written in a file."""
        return self.space.tree(self.base, self._params(trial))

    def _params(self, trial: int | None) -> dict[str, Any]:
        from keras_transfer.errors import UserError

        row = self.best if trial is None else next((one for one in self.trials if one["trial"] == trial), None)
        if row is None:
            raise UserError("no trial of the sweep is complete" if trial is None else f"the sweep has no trial {trial}")
        found: dict[str, Any] = row["params"]
        return found

    def count(self, *states: str) -> int:
        """Return the number of trials in these states."""
        return sum(row["state"] in states for row in self.trials)

    def __str__(self) -> str:
        best = self.best
        text = f"{self.count(COMPLETE)} trials complete, {self.count(PRUNED)} pruned, {self.count(FAILED)} failed"
        return text if best is None else f"{text}; best: trial {best['trial']}, {figure(self.objective, best['value'])}"


def figure(objective: Objective, value: float) -> str:
    """Return ``accuracy 0.9852``."""
    return f"{objective.name.replace('_', ' ')} {value:.4f}"


def shown(value: Any) -> str:
    """Return the value of a key for people."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_results(found: SweepResult) -> None:
    """Write ``trials.json``, ``trials.csv`` and, if a trial is complete, ``best.yaml``."""
    content = {
        "study": found.name,
        "objective": found.objective.name,
        "direction": found.objective.direction,
        "measured_on": found.measured_on,
        "best": found.best,
        "importance": found.importance,
        "space": found.space.as_json(),
        "config": dict(found.base),
        "trials": found.trials,
    }
    write_json(found.folder / "trials.json", content)
    columns = (*FIELDS, *found.space.keys, "reason")
    write_csv(found.folder / "trials.csv", [_flat(row, columns) for row in found.trials], columns)
    if found.best is not None:
        write_text(found.best_file, _best(found, found.best))


def _flat(row: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    cells = {**row, **row["params"]}
    return {key: cells.get(key) for key in columns}


def _best(found: SweepResult, best: Mapping[str, Any]) -> str:
    tree = found.tree()
    config = RunConfig.model_validate(tree).model_dump(mode="json", exclude_unset=True)
    head = (
        f"# Trial {best['trial']} of the study {found.name}: {figure(found.objective, best['value'])} on {found.measured_on}.\n"
        f"#   keras-transfer train {found.best_file}\n"
    )
    return head + yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
