"""What is to be compared: finished runs, and configurations to train. Everything that can be wrong is said before anything begins."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_transfer import runtime
from keras_transfer.config.load import find_config, load_config, recipe_names, validate
from keras_transfer.config.schema import RunConfig
from keras_transfer.errors import UserError
from keras_transfer.runs import RunDirectory
from keras_transfer.training.changes import MISSING, differences


@dataclass(frozen=True)
class Asked:
    """What a run is to be trained by, as JSON holds it.

    Attributes:
        config: the keys that the configuration sets.
        backend: the Keras backend.
        device: where to compute.
    """

    config: dict[str, Any]
    backend: str
    device: str

    @classmethod
    def of(cls, config: RunConfig, backend: str | None, device: str | None) -> Asked:
        """Note what a configuration asks for; the backend is chosen now, so that a later call cannot choose another."""
        tree = config.model_dump(mode="json", exclude_unset=True)
        return cls(tree, runtime.choose_backend(backend, config.backend).value, device or config.device)

    def read(self, output: str | None = None) -> RunConfig:
        """Return the configuration, with ``output`` as its run directory."""
        section = {**self.config.get("output", {}), "dir": output}
        return validate({**self.config, "output": section})

    def complete(self) -> dict[str, Any]:
        """Return all that decides the run, with the defaults of what is not set."""
        tree = self.read().model_dump(mode="json", exclude={"name", "output"})
        return {**tree, "backend": self.backend, "device": self.device}


@dataclass(frozen=True)
class Entry:
    """One row of the comparison.

    Attributes:
        name: of the row, and of the run's folder.
        run: its run directory, which may not be there yet.
        asked: what it is to be trained by; None: it was given as a finished run.
    """

    name: str
    run: RunDirectory
    asked: Asked | None = None


def plan(
    sources: Sequence[str],
    overrides: Sequence[str],
    folder: Path,
    backends: Sequence[str] = (),
    device: str | None = None,
) -> list[Entry]:
    """Return what to compare, in the order given.

    Args:
        sources: configurations (paths, or names in `configs/`) and finished run directories.
        overrides: ``KEY=VALUE`` for all configurations.
        folder: where the configurations are trained, each in the folder of its name.
        backends: train every configuration on each of these.
        device: where to train.

    Raises:
        UserError: a line for every problem.
    """
    entries: list[Entry] = []
    problems: list[str] = []
    for source in sources:
        try:
            entries += _entries(source, list(overrides), folder, backends, device)
        except UserError as error:
            problems += [line if source in line else f"{source}: {line}" for line in str(error).splitlines()]
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    _check(entries, overrides)
    return entries


def refuse_changed(entries: Sequence[Entry], known: Mapping[str, Any], folder: Path) -> None:
    """Refuse to take a run for one that was trained by something else.

    Args:
        entries: what is to be compared.
        known: name → what each run in ``folder`` was begun with, as :func:`dataclasses.asdict` gave it.
        folder: where the runs are.

    Raises:
        UserError: a line for each key that changed; a run that nothing is known of.
    """
    lines: list[str] = []
    for entry in entries:
        if entry.asked is None or not entry.run.config.is_file():
            continue
        if entry.name not in known:
            lines.append(f"{entry.run.path} is a run that compare did not begin: name it in place of the configuration, "
                         "or give --output another folder")  # fmt: skip
            continue
        changed = differences(_asked(known[entry.name], folder).complete(), entry.asked.complete())
        lines += [f"{entry.name}: {key}: {_shown(old)} → {_shown(new)}" for key, (old, new) in changed.items()]
        if changed:
            lines.append(f"{entry.run.path} was begun with another configuration; undo that, remove the folder, or give "
                         "--output another one")  # fmt: skip
    if lines:
        raise UserError("\n".join(lines))


def as_json(asked: Asked) -> dict[str, Any]:
    """Return what :func:`refuse_changed` knows a run by."""
    return dataclasses.asdict(asked)


def _asked(stored: Any, folder: Path) -> Asked:
    try:
        return Asked(**stored)
    except TypeError as error:
        raise UserError(f"{folder / 'compare.json'} is damaged; give --output another folder") from error


def _entries(
    source: str, overrides: list[str], folder: Path, backends: Sequence[str], device: str | None
) -> Iterator[Entry]:
    path = Path(source)
    if path.is_dir() and ((path / "config.yaml").is_file() or source not in recipe_names()):
        yield _finished(path)
        return
    config = load_config(source, overrides)
    name = find_config(source).stem
    for backend in dict.fromkeys(backends) or (None,):
        full = name if backend is None else f"{name}-{backend}"
        yield Entry(full, RunDirectory(folder / full), Asked.of(config, backend, device))


def _finished(path: Path) -> Entry:
    run = RunDirectory.open(path)
    if not run.is_finished():
        raise UserError(f"the run {path} is not finished; go on with: keras-transfer train --resume --output {path}")
    return Entry(path.resolve().name, run)


def _check(entries: Sequence[Entry], overrides: Sequence[str]) -> None:
    """Refuse what is there twice, and what would do nothing."""
    places = [entry.run.path.resolve() for entry in entries]
    names = [entry.name for entry in entries]
    for number, (entry, place) in enumerate(zip(entries, places)):
        if place in places[:number]:
            raise UserError(f"{entry.name} is there twice: two configurations need file names that differ")
        if entry.name in names[:number]:
            other = entries[names.index(entry.name)].run.path
            raise UserError(f"two runs have the name {entry.name!r}: {other} and {entry.run.path}; rename a folder")
    if len(entries) < 2:
        raise UserError(
            f"compare needs at least two configurations, runs or backends, got {', '.join(names) or 'none'}"
        )
    if overrides and not any(entry.asked for entry in entries):
        raise UserError("--set changes configurations, and only finished runs were given")


def _shown(value: Any) -> str:
    return "nothing" if value is MISSING else json.dumps(value, ensure_ascii=False)
