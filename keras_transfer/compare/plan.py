"""Plan a comparison of finished runs and configurations to train; report every problem before training starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_transfer import runtime
from keras_transfer.config.load import apply_override, find_config, load_config, recipe_names, validate
from keras_transfer.config.schema import RunConfig
from keras_transfer.errors import UserError
from keras_transfer.runs import RunDirectory
from keras_transfer.training.changes import differences, shown


@dataclass(frozen=True)
class RunRequest:
    """The settings to train a run with, as JSON values.

    Attributes:
        config: the keys set by the configuration.
        backend: Keras backend.
        device: compute device.
    """

    config: dict[str, Any]
    backend: str
    device: str

    @classmethod
    def from_config(cls, config: RunConfig, backend: str | None, device: str | None) -> RunRequest:
        """Record the settings of a configuration; the backend is chosen now, so that a later call cannot differ."""
        tree = config.model_dump(mode="json", exclude_unset=True)
        return cls(tree, runtime.choose_backend(backend, config.backend).value, device or config.device)

    def to_config(self, output: str | None = None) -> RunConfig:
        """Return the configuration, with ``output`` as its run directory."""
        section = {**self.config.get("output", {}), "dir": output}
        return validate({**self.config, "output": section})

    def complete(self) -> dict[str, Any]:
        """Return all settings that affect the result, with defaults filled in."""
        tree = self.to_config().model_dump(mode="json", exclude={"name", "output"})
        return {**tree, "backend": self.backend, "device": self.device}


@dataclass(frozen=True)
class Entry:
    """One row of the comparison.

    Attributes:
        name: name of the row and of the run directory.
        run: the run directory, which may not exist yet.
        request: settings to train it with; None for a finished run.
    """

    name: str
    run: RunDirectory
    request: RunRequest | None = None


def plan(
    sources: Sequence[str],
    overrides: Sequence[str],
    folder: Path,
    backends: Sequence[str] = (),
    device: str | None = None,
) -> list[Entry]:
    """Return the entries to compare, in the given order.

    Args:
        sources: configurations (paths, or names in `configs/`) and finished run directories.
        overrides: ``KEY=VALUE`` for all configurations.
        folder: parent folder of the runs to train.
        backends: train every configuration on each of these.
        device: compute device.

    Raises:
        UserError: one line per problem.
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


def reject_changed(entries: Sequence[Entry], known: Mapping[str, Any], folder: Path) -> None:
    """Reject existing runs that were started with other settings.

    Args:
        entries: the entries to compare.
        known: name → settings that each run in ``folder`` was started with, as a dictionary of :class:`RunRequest`.
        folder: parent folder of the runs.

    Raises:
        UserError: one line per changed key; a run with unknown settings.
    """
    lines: list[str] = []
    for entry in entries:
        if entry.request is None or not entry.run.config.is_file():
            continue
        if entry.name not in known:
            lines.append(f"{entry.run.path} was not started by compare: name it instead of the configuration, "
                         "or choose another folder with --output")  # fmt: skip
            continue
        changed = differences(_request(known[entry.name], folder).complete(), entry.request.complete())
        lines += [f"{entry.name}: {key}: {shown(old)} → {shown(new)}" for key, (old, new) in changed.items()]
        if changed:
            lines.append(f"{entry.run.path} was started with another configuration; undo the change, remove the "
                         "folder, or choose another one with --output")  # fmt: skip
    if lines:
        raise UserError("\n".join(lines))


def _request(stored: Any, folder: Path) -> RunRequest:
    try:
        later = stored.pop("later", [])  # version 0.1 kept changes of automatic phases apart
        for (_, number, *keys), value in later:
            apply_override(stored["config"], ["phases", number, *keys], value)
        return RunRequest(**stored)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{folder / 'compare.json'} is damaged; choose another folder with --output") from error


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
        yield Entry(full, RunDirectory(folder / full), RunRequest.from_config(config, backend, device))


def _finished(path: Path) -> Entry:
    run = RunDirectory.open(path)
    if not run.is_finished():
        raise UserError(
            f"the run {path} is not finished; resume it with: keras-transfer train --resume --output {path}"
        )
    return Entry(path.resolve().name, run)


def _check(entries: Sequence[Entry], overrides: Sequence[str]) -> None:
    """Reject duplicates, and arguments without effect."""
    places = [entry.run.path.resolve() for entry in entries]
    names = [entry.name for entry in entries]
    for number, (entry, place) in enumerate(zip(entries, places)):
        if place in places[:number]:
            raise UserError(f"{entry.name} is given twice: configurations need different file names")
        if entry.name in names[:number]:
            other = entries[names.index(entry.name)].run.path
            raise UserError(f"two runs have the name {entry.name!r}: {other} and {entry.run.path}; rename a folder")
    if len(entries) < 2:
        raise UserError(
            f"compare needs at least two configurations, runs or backends, got {', '.join(names) or 'none'}"
        )
    if overrides and not any(entry.request for entry in entries):
        raise UserError("--set changes configurations, but only finished runs were given")
