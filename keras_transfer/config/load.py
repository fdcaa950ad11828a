"""From a YAML file, ``--data`` and ``--set`` to a validated :class:`RunConfig`, reporting all problems at once."""

from __future__ import annotations

import math
import os
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import yaml

from keras_transfer.arguments import checked
from keras_transfer.arguments.problems import section_of
from keras_transfer.arguments.types import AnyPath, Settings
from keras_transfer.config.resolved import ResolvedConfig, ResolvedData
from keras_transfer.config.schema import RunConfig
from keras_transfer.data.paths import source_of
from keras_transfer.errors import UserError, unknown

__all__ = [
    "apply_overrides",
    "as_numbers",
    "complete",
    "complete_data",
    "dump",
    "find_config",
    "load_config",
    "parse_overrides",
    "read_config",
    "read_yaml",
    "recipe_names",
    "section_of",
    "source_of",
    "validate",
]

QUICKSTART = "quickstart"
MAX_BYTES = 1 << 20
MAX_VALUES = 100_000
"""Maximum number of values in a configuration, with aliases expanded."""

_PACKAGE = Path(__file__).resolve().parents[1]


def recipe_folders() -> list[Path]:
    """Return the folders that hold named recipes: ``./configs`` and the package's own.

    The latter is inside an installed package, where the build puts it, and beside the package in a checkout.
    """
    own = _PACKAGE / "configs" if (_PACKAGE / "configs").is_dir() else _PACKAGE.parent / "configs"
    return [folder for folder in dict.fromkeys((Path("configs").resolve(), own)) if folder.is_dir()]


def recipe_names() -> list[str]:
    """Return the names that CONFIG accepts besides paths."""
    return sorted({file.stem for folder in recipe_folders() for file in folder.glob("*.yaml")})


def find_config(name: str) -> Path:
    """Return the file for ``name``: a path, or the name of a recipe in ``configs/``."""
    path = Path(name)
    if path.is_file():
        return path
    for folder in recipe_folders():
        if (folder / f"{name}.yaml").is_file():
            return folder / f"{name}.yaml"
    if path.is_dir():
        raise UserError(f"{name} is a folder, not a configuration; to train on its images use --data {name}")
    raise unknown("configuration", name, recipe_names())


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which refuses what would be read in one of several ways."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, yaml.Node] = {}
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = self.construct_object(key, deep=True)
            if isinstance(name, Hashable) and name in seen:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {str(name)!r} occurs twice, first in line {seen[name].start_mark.line + 1}",
                    key.start_mark,
                )
            if isinstance(name, Hashable):
                seen[name] = key
        return super().construct_mapping(node, deep)


def _no_set(loader: _Loader, node: yaml.Node) -> None:
    raise yaml.constructor.ConstructorError(None, None, "a set, which has no order: expected a list", node.start_mark)


_Loader.add_constructor("tag:yaml.org,2002:set", _no_set)


def _yaml(text: str) -> Any:
    loader = _Loader(text)
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a configuration file as a mapping; an empty file is an empty mapping."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(f"{path}: more than {MAX_BYTES >> 20} MiB, which is no configuration")
        content = _yaml(path.read_text(encoding="utf-8"))
        _check_size(content)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        line = f" line {where.line + 1}" if where is not None else ""
        raise UserError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', None) or error})") from error
    except (ValueError, RecursionError, OverflowError) as error:  # dates and numbers that do not exist, depth
        if isinstance(error, UnicodeDecodeError):
            raise UserError(f"cannot read the configuration {path}: {error}") from error
        raise UserError(f"{path}: not valid YAML ({error})") from error
    except OSError as error:
        raise UserError(f"cannot read the configuration {path}: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected keys and values, got a {type(content).__name__}")
    return content


def _check_size(content: Any) -> None:
    """Reject content that expands without bound: nested aliases, and values that contain themselves."""
    sizes: dict[int, float] = {}

    def size(node: Any) -> float:
        if not isinstance(node, (dict, list)):
            return 1
        if id(node) not in sizes:
            sizes[id(node)] = math.inf  # remains for a value that contains itself
            children = node.values() if isinstance(node, dict) else node
            sizes[id(node)] = 1 + sum(size(child) for child in children)
        return sizes[id(node)]

    if size(content) > MAX_VALUES:
        raise ValueError(f"more than {MAX_VALUES} values")


def parse_overrides(items: list[str]) -> list[tuple[list[str], Any]]:
    """Split ``KEY=VALUE`` strings into (dotted key parts, value read as YAML)."""
    parsed = []
    for item in items:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set expects KEY=VALUE, got {item!r}")
        try:
            value = _yaml(text) if text.strip() else None
            _check_size(value)
        except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
            why = getattr(error, "problem", None) if isinstance(error, yaml.constructor.ConstructorError) else None
            raise UserError(f"--set {key}: {text!r} is not a valid value{f' ({why})' if why else ''}") from error
        parsed.append((key.strip().split("."), as_numbers(value)))
    return parsed


def as_numbers(value: Any) -> Any:
    """Return what YAML gave, with numbers such as 1e-3, which YAML 1.1 reads as text, as numbers."""
    if isinstance(value, str):
        try:
            return float(value) if "e" in value.lower() else value
        except ValueError:
            return value
    if isinstance(value, list):
        return [as_numbers(item) for item in value]
    if isinstance(value, dict):
        return {str(key): as_numbers(item) for key, item in value.items()}
    return value


def apply_override(tree: dict[str, Any], keys: list[str], value: Any) -> None:
    """Set ``value`` at the dotted path ``keys``; list items are addressed by number."""
    node: Any = tree
    dotted = ".".join(keys)
    for depth, key in enumerate(keys):
        last = depth == len(keys) - 1
        if isinstance(node, list):
            if key != "-1" and (not key.isdigit() or int(key) >= len(node)):
                raise UserError(
                    f"--set {dotted}: expected a number from 0 to {len(node) - 1}, or -1 for the last, in place of {key!r}"
                )
            if last:
                node[int(key)] = value
            else:
                node = node[int(key)]
        elif isinstance(node, dict):
            if last:
                node[key] = value
            else:
                if node.get(key) is None:
                    node[key] = {}
                node = node[key]
        else:
            above = ".".join(keys[:depth])
            raise UserError(f"--set {dotted}: {above} is the value {node!r} and has no keys inside")


def apply_overrides(tree: dict[str, Any], items: Iterable[tuple[list[str], Any]]) -> None:
    """Set values at dotted paths of a configuration, in this order; where its phases are automatic, those are changes of what will be chosen."""
    for keys, value in items:
        if keys[0] == "phases" and len(keys) > 1 and tree.get("phases", "auto") == "auto":
            tree["phases"] = {}
        apply_override(tree, keys, value)


@checked
def load_config(
    name: AnyPath | None = None,
    overrides: Settings = (),
    data: AnyPath | None = None,
    output: AnyPath | None = None,
) -> RunConfig:
    """Build the configuration of a run.

    Args:
        name: path or recipe name; with none, ``quickstart``, or plain defaults when ``data`` is given.
        overrides: ``KEY=VALUE`` strings with dotted keys, applied last.
        data: folder (or file) of images that takes the place of the configured data.
        output: run directory.

    Raises:
        UserError: one line for every problem found.

    Examples:
        >>> config = kt.load_config(data="photos", overrides=["model.backbone=resnet50", "seed=3"])
        >>> config.model.backbone, config.seed
        ('resnet50', 3)
    """
    from keras_transfer.data.sources import SOURCES  # lazily: it imports NumPy

    paths = [None if path is None else os.fspath(path) for path in (name, data, output)]
    config = read_config(paths[0], list(overrides), paths[1], paths[2])
    SOURCES.lookup(config.data.source)
    return config


def read_config(
    name: str | None = None, overrides: list[str] | None = None, data: str | None = None, output: str | None = None
) -> RunConfig:
    """Build a configuration like :func:`load_config`, whose data source need not be known here."""
    if name is None and data is None:
        name = _without_config(overrides or [])
    tree = as_numbers(read_yaml(find_config(name))) if name else {}
    if data is not None:
        options = tree.get("data") or {}
        if not isinstance(options, dict):
            raise UserError(f"data: expected keys and values, got {options!r}"[:200])
        keep = {
            k: v
            for k, v in options.items()
            if k not in ("source", "options", "path", "root", "train", "val", "test", "classes")
        }
        tree["data"] = {**keep, **source_of(data)}
        if name is None:
            tree["name"] = "".join(c if c.isalnum() or c in "_.-" else "_" for c in Path(data).resolve().stem) or "run"
    apply_overrides(tree, parse_overrides(overrides or []))
    if output is not None:
        apply_override(tree, ["output", "dir"], output)
    return validate(tree)


def _without_config(overrides: list[str]) -> str | None:
    """Return the recipe for a call without configuration and data: the quickstart if nothing was set, none if the settings name data.

    Raises:
        UserError: there are settings, but none says where the data are.
    """
    if not overrides:
        return QUICKSTART
    if any(
        keys[:2] in (["data", "source"], ["data", "path"], ["data", "train"]) for keys, _ in parse_overrides(overrides)
    ):
        return None
    raise UserError(
        "settings without data: name a folder (train photos/), or a configuration (the quickstart with your settings: "
        f"train {QUICKSTART} --set {overrides[0]})"
    )


def validate(tree: dict[str, Any]) -> RunConfig:
    """Check a configuration mapping against the schema, reporting every problem."""
    return RunConfig.model_validate(tree)


def complete(config: RunConfig) -> ResolvedConfig:
    """Convert a configuration without ``auto``, such as that of a run, to a :class:`ResolvedConfig`.

    Raises:
        UserError: it contains ``auto``.
    """
    return ResolvedConfig.model_validate(config.model_dump())


def complete_data(options: dict[str, Any]) -> ResolvedData:
    """Validate a complete ``data`` section.

    Raises:
        UserError: a line for every problem.
    """
    return ResolvedData.model_validate(options)


def dump(config: RunConfig) -> str:
    """Return the configuration as YAML, complete and in the schema's order."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
