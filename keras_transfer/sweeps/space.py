"""What a sweep searches: a file or mapping of configuration keys with the values that each may take, checked before the first trial."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keras_transfer.config.load import apply_overrides, as_numbers, read_yaml, validate
from keras_transfer.config.schema import RunConfig
from keras_transfer.errors import UserError, nearest
from keras_transfer.models.backbones import at_hand, get
from keras_transfer.sweeps.dimension import Choice, Dimension, Label, Range, read

_FOLDER = Path(__file__).with_name("spaces")

_FIXED = {
    "backend": "a process has one backend; choose it with --backend",
    "device": "a process has one device; choose it with --device",
    "deterministic": "it does not change how good a model is; set it with --set",
    "distribute": "it does not change how good a model is; set it with --set",
    "name": "it is only a name",
    "output": "trials write no run directory",
}
"""Keys that no trial can differ in, and why."""


def ready_made() -> list[str]:
    """Return the names of the spaces that come with the package."""
    return sorted(file.stem for file in _FOLDER.glob("*.yaml"))


@dataclass(frozen=True)
class Space:
    """The searched keys.

    Attributes:
        dimensions: one for each key, those of sections before those of what is inside of them.
    """

    dimensions: tuple[Dimension, ...]

    @property
    def keys(self) -> list[str]:
        """The searched keys of the configuration."""
        return [each.key for each in self.dimensions]

    def config(self, base: Mapping[str, Any], labels: Mapping[str, Label]) -> RunConfig:
        """Return the configuration of a trial.

        Args:
            base: what is not searched, as a mapping of configuration keys.
            labels: key → label of its value.

        Raises:
            UserError: values that do not fit together.
        """
        return validate(self.tree(base, labels))

    def tree(self, base: Mapping[str, Any], labels: Mapping[str, Label]) -> dict[str, Any]:
        """Return the configuration of a trial as it would be written in a file."""
        tree = copy.deepcopy(dict(base))
        items = [(each.key.split("."), copy.deepcopy(each.value(labels[each.key]))) for each in self.dimensions]
        try:
            apply_overrides(tree, items)
        except UserError as error:
            raise UserError(str(error).removeprefix("--set ")) from error
        return tree

    def combinations(self, most: int = 10_000) -> list[dict[str, Label]] | None:
        """Return all combinations of labels, or None: there are more than ``most``."""
        every = [each.every() for each in self.dimensions]
        if any(one is None for one in every) or math.prod(len(one or ()) for one in every) > most:
            return None
        return [dict(zip(self.keys, labels)) for labels in itertools.product(*(one or () for one in every))]

    def as_json(self) -> dict[str, Any]:
        """Return the space as a file would say it."""
        return dict(map(_as_json, self.dimensions))


def open_space(given: str | Path | Mapping[str, Any] | Sequence[Any], base: Mapping[str, Any]) -> Space:
    """Read a space and check every value in it against the configuration that it changes.

    Args:
        given: the name of a ready-made space, a YAML file, a mapping; or several of these.
        base: the configuration, as a mapping of its keys.

    Raises:
        UserError: a line for every problem: a file that cannot be read, an unknown key, a value that the key does not take.
    """
    several = [given] if isinstance(given, (str, Path, Mapping)) else list(given)
    found: dict[str, Dimension] = {}
    problems: list[str] = []
    for one in several:
        source, content = _content(one)
        for key, value in content.items():
            try:
                found[str(key)] = _dimension(str(key), as_numbers(value))
            except UserError as error:
                problems.append(f"{source}: {error}")
    if problems:
        raise UserError("\n".join(problems))
    if not found:
        raise UserError(
            "the space is empty: expected keys of the configuration, such as model.dropout: {low: 0, high: 0.5}"
        )
    # A key inside of another one is set after it.
    space = Space(tuple(sorted(found.values(), key=lambda each: each.key.count("."))))
    return _checked(space, base)


def _content(given: str | Path | Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if isinstance(given, Mapping):
        return "space", given
    path = Path(given)
    if path.is_file():
        return str(given), read_yaml(path)
    if (_FOLDER / f"{given}.yaml").is_file():
        return str(given), read_yaml(_FOLDER / f"{given}.yaml")
    names = ready_made()
    raise UserError(
        f"no space {str(given)!r}{nearest(str(given), names)} (expected a YAML file, or one of: {', '.join(names)})"
    )


def _dimension(key: str, given: Any) -> Dimension:
    reason = _FIXED.get(key.split(".")[0])
    if reason is not None:
        raise UserError(f"{key} cannot be searched: {reason}")
    return read(key, given, at_hand())


def _checked(space: Space, base: Mapping[str, Any]) -> Space:
    """Return the space with ranges of whole numbers where keys take no others.

    Raises:
        UserError: a line for every key with a value that does not fit.
    """
    first = {each.key: each.samples()[0] for each in space.dimensions}
    problems = []
    dimensions = []
    for each in space.dimensions:

        def problem(label: Label, key: str = each.key) -> str | None:
            return _problem(lambda: space.config(base, first | {key: label}), key)

        found = next(filter(None, map(problem, each.samples())), None)
        if found is None and isinstance(each, Range) and each.whole and each.step is None:
            between = each.low + 0.37 * (each.high - each.low)
            each = replace(each, whole=problem(between) is not None)
        if found is not None:
            problems.append(found)
        dimensions.append(each)
    if problems:
        raise UserError("\n".join(dict.fromkeys(problems)))
    return Space(tuple(dimensions))


def _problem(make: Callable[[], RunConfig], key: str) -> str | None:
    """Return what is wrong with a configuration, in one line that names the searched key."""
    try:
        for _ in _named_things(make()):
            pass
    except UserError as error:
        line = str(error).splitlines()[0]
        return line if key in line or key.startswith(line.partition(":")[0]) else f"{key}: {line}"
    return None


def _named_things(config: RunConfig) -> Iterator[object]:
    """Look up the names in a configuration that its schema does not know."""
    from keras_transfer.data.augment import make_op

    if config.model.backbone != "auto":
        yield get(config.model.backbone)
    if config.data.augment != "auto":
        yield from map(make_op, config.data.augment)


def _as_json(each: Dimension) -> tuple[str, dict[str, Any]]:
    if isinstance(each, Choice):
        named = any(label != value for label, value in each.options.items())
        return each.key, {"choice": dict(each.options) if named else list(each.options)}
    shown = {"low": each.low, "high": each.high, "log": each.log or None, "step": each.step}
    return each.key, {word: value for word, value in shown.items() if value is not None}
