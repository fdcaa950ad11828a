"""The pages say what the code says: links, tables, configuration, commands and Python names."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import functools
import inspect
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

import keras_transfer as kt
from keras_transfer.cli import COMMANDS, build_parser
from keras_transfer.config.load import as_numbers, parse_overrides, section_of, validate
from keras_transfer.config.schema import DataConfig, RunConfig
from keras_transfer.data.augment import AUGMENTATIONS, make_op
from keras_transfer.data.sources import SOURCES
from keras_transfer.errors import UserError
from keras_transfer.models.backbones import BACKBONES
from keras_transfer.models.backbones.sizes import PARAMETERS
from tests.conftest import ROOT

PAGES = sorted(
    [
        *(page for page in (ROOT / "docs").rglob("*.md") if page.name != "wrong_lines.md"),  # wrong on purpose
        *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")),
    ]
)
# What else is written `model.…`: attributes and files.
NOT_KEYS = {"model.fit", "model.layers"} | {
    f"model.{suffix}" for suffix in ("keras", "onnx", "onnx.json", "xml", "bin", "pt2", "tflite")
}
# Code that needs Keras or a run; the rest is about data, and runs here in a moment.
HEAVY = r"kt\.(?!data)|runs/|keras_transfer\.(?!data)|flowers"


def _blocks(language: str) -> list[Any]:
    found = []
    for page in PAGES:
        for number, text in enumerate(re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)):
            found.append(pytest.param(text, id=f"{page.name}-{number}"))
    return found


def _rows(page: str, heading: str) -> list[list[str]]:
    """Cells of the table whose first heading is this, without back quotes."""
    lines = (ROOT / "docs" / page).read_text("utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if re.match(rf"\|\s*{re.escape(heading)}\s*\|", line))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().strip("`") for cell in line.strip()[1:-1].split("|")])
    return rows


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path):
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.M | re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name} links to {target}"
        assert not anchor or anchor in _anchors(file), f"{page.name} links to {target}"


def _anchors(file: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)", file.read_text("utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _augmentations() -> Iterator[tuple[str, str, str, str]]:
    name = ""
    for first, parameter, default, values, _ in _rows("data.md", "augmentation"):
        name = first or name
        yield name, parameter, default, values


def test_all_augmentations_with_their_parameters_and_defaults_are_listed():
    listed = [(name, parameter) for name, parameter, _, _ in _augmentations() if parameter]
    known = [(name, field.name) for name, kind in AUGMENTATIONS.items() for field in dataclasses.fields(kind)]
    assert listed == known
    assert list(dict.fromkeys(name for name, *_ in _augmentations())) == list(AUGMENTATIONS)
    for name, parameter, default, _ in _augmentations():
        if parameter:
            expected = getattr(AUGMENTATIONS[name](), parameter)
            written = yaml.safe_load(default)
            same = written == (pytest.approx(expected, abs=1e-4) if isinstance(written, list) else expected)
            assert same, f"{name}: {parameter} is {expected}, not {default}"


@pytest.mark.parametrize(
    ("name", "parameter", "values"),
    [
        pytest.param(name, parameter, values, id=f"{name}-{parameter}")
        for name, parameter, _, values in _augmentations()
        if re.search(r"\d", values)
    ],
)
def test_ranges_of_augmentations_are_those_that_are_checked(name: str, parameter: str, values: str):
    numbers = re.findall(r"(?<![\w.])\d+(?:\.\d+)?", values.partition(", or")[0].replace("..", " "))
    low, high = float(numbers[0]), float(numbers[1]) if len(numbers) > 1 else None
    default = getattr(AUGMENTATIONS[name](), parameter)

    def make(value: float) -> Any:
        value = int(value) if value == int(value) else value
        return make_op({"name": name, parameter: [value, value] if isinstance(default, tuple) else value})

    make(low)
    step = 1.0 if default is None or type(default) is int else 1e-7
    for outside in (low - step, *([] if high is None else [high + step])):
        with pytest.raises(UserError):
            make(outside)
    if high is not None:
        make(high)


def test_all_backbones_are_listed_as_they_are():
    rows = [row for row in _rows("backbones.md", "backbone") if not row[0].startswith("hub:")]
    assert [row[0] for row in rows] == [name for name in BACKBONES if not name.startswith("own:")]
    for name, size, least, preprocessing, groups, licence, weights, megabytes, top1, _ in rows:
        record = BACKBONES[name]
        kind = "download" if "imagenet" in record.weights else "none"
        if record.package:
            kind = "embedded" if record.embedded else "extra: weights"
        assert record.groups is not None
        facts = [
            record.image_size,
            record.min_size,
            record.preprocessing.name,
            len(record.groups),
            record.licence,
            kind,
        ]
        assert [size, least, preprocessing, groups, licence, weights] == [str(fact) for fact in facts]
        assert megabytes == f"{4e-6 * PARAMETERS[name]:.1f}" and (top1 == "–") == (kind == "none")


def test_all_preprocessings_are_explained():
    used = {record.preprocessing.name for record in BACKBONES.values() if record.family != "own"}
    assert {row[0] for row in _rows("backbones.md", "preprocessing")} == used


def test_all_sources_are_listed():
    assert {row[0] for row in _rows("data.md", "`data.source`")} == set(SOURCES)


def test_all_keys_of_a_phase_are_explained():
    phase = section_of(RunConfig.model_fields["phases"].annotation)
    assert phase is not None
    assert [row[0] for row in _rows("training.md", "key")] == list(phase.model_fields)


@pytest.mark.parametrize("text", _blocks("yaml"))
def test_configurations_are_valid(text: str):
    config = validate(as_numbers(yaml.safe_load(text)))
    if config.data.augment != "auto":
        for spec in config.data.augment:
            make_op(spec)


def _exists(keys: list[str]) -> bool:
    section: Any = RunConfig
    for key in keys:
        if key.isdigit() or key == "N":
            continue
        if section is None or key not in section.model_fields:
            return False
        if section is DataConfig and key == "options":
            return True  # whatever another package's source takes
        section = section_of(section.model_fields[key].annotation)
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_keys_in_the_text_exist(page: Path):
    text = page.read_text("utf-8")
    sections = "|".join(name for name, field in RunConfig.model_fields.items() if section_of(field.annotation))
    keys = set(re.findall(rf"`((?:{sections})\.[\w.]+)[`:]", text)) - NOT_KEYS
    keys |= {".".join(keys) for keys, _ in parse_overrides(re.findall(r"--set ([a-z][\w.]*=\S+?)[`\s]", text))}
    assert [key for key in sorted(keys) if not _exists(key.split("."))] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_are_understood(page: Path):
    # A command ends at the end of its line or code span, or where two spaces begin a remark.
    pattern = r"(?:python scripts/(\w+)\.py|keras-transfer (?=[a-z]))(.*?)(?:`|\s{2,}|$)"
    for script, rest in re.findall(pattern, page.read_text("utf-8"), re.M):
        script = script.replace("_", "-") if script.replace("_", "-") in COMMANDS else script
        words = [*([script] if script else []), *shlex.split(rest.partition(" && ")[0])]
        if script and script not in COMMANDS:
            assert (ROOT / "scripts" / f"{script}.py").is_file(), script
        elif not {"RUN", "…"} & set(words) and len(words) > (script in ("evaluate", "predict")):
            assert not script or (ROOT / "scripts" / f"{script.replace('-', '_')}.py").is_file(), script
            with contextlib.redirect_stderr(io.StringIO()) as said:
                try:
                    build_parser().parse_args(words)
                except SystemExit:
                    pytest.fail(f"{page.name}: {words}: {said.getvalue()}")


@pytest.mark.parametrize("text", _blocks("python"))
def test_python_uses_names_that_exist(text: str):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "keras_transfer":
            assert {alias.name for alias in node.names} <= _names_in(node.module or ""), ast.unparse(node)
        if isinstance(node, ast.Attribute) and re.fullmatch(r"kt\.\w+(\.\w+)?", path := ast.unparse(node)):
            _check_name(path.split(".")[1:])
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "clf":
            assert node.attr in _members_of_classifier(), ast.unparse(node)
        if isinstance(node, ast.Call) and re.fullmatch(r"kt(\.\w+)+", ast.unparse(node.func)):
            _check_call(ast.unparse(node.func).split(".")[1:], [k.arg for k in node.keywords if k.arg])


def _check_name(path: list[str]) -> None:
    assert path[0] in kt.__all__, path
    if path[0] == "data":
        assert all(name in kt.data.__all__ for name in path[1:]), path


def _names_in(module: str) -> set[str]:
    """Names that can be imported from a module, read from its source: importing it might import a framework."""
    place = ROOT / module.replace(".", "/")
    source = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    names = {file.stem for file in place.glob("*.py")}
    for node in ast.parse(source.read_text("utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
            if isinstance(node.value, ast.Dict):  # what a lazy module resolves on first use
                names |= {key.value for key in node.value.keys if isinstance(key, ast.Constant)}
    return names


@functools.cache
def _members_of_classifier() -> set[str]:
    members = set()
    for file, name in (("classifier.py", "Classifier"), ("usage.py", "Usage")):
        source = ast.parse((ROOT / "keras_transfer" / file).read_text("utf-8"))
        kind = next(node for node in source.body if isinstance(node, ast.ClassDef) and node.name == name)
        members |= {node.name for node in kind.body if isinstance(node, ast.FunctionDef)}
        members |= {
            node.attr
            for node in ast.walk(kind)
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
        }
    return members


@pytest.mark.parametrize(
    "text", [p for p in _blocks("python") if "kt.data." in p.values[0] and not re.search(HEAVY, p.values[0])]
)
def test_python_about_data_runs(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            cv2.imwrite(str(tmp_path / "photos" / name / f"{i}.png"), np.full((8, 8, 3), 20 * i, np.uint8))
    monkeypatch.chdir(tmp_path)
    exec(compile(text, "docs", "exec"), {})


def _check_call(path: list[str], keywords: list[str]) -> None:
    if path == ["Classifier"] or path == ["load"]:  # these import Keras
        source = ast.parse((ROOT / "keras_transfer" / "classifier.py").read_text("utf-8"))
        name = "__init__" if path == ["Classifier"] else "load"
        node = next(n for n in ast.walk(source) if isinstance(n, ast.FunctionDef) and n.name == name)
        known = {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
    elif path == ["Phase"]:
        known = set(kt.Phase.model_fields)
    else:
        function: Any = kt
        for name in path:
            function = getattr(function, name)
        parameters = inspect.signature(function).parameters
        known = {*parameters, *(kt.data.Common.__annotations__ if path[0] == "data" else ())}
        if path == ["data", "arrays"]:
            known |= set(inspect.signature(SOURCES["arrays"].load).parameters)
    assert set(keywords) <= known, path
