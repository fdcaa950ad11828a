"""Imports between rooms, and between files, have one direction: what `[tool.importlinter]` in pyproject.toml says."""

from __future__ import annotations

import graphlib
import os
import runpy
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT

pytest.importorskip("importlinter")

LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(folder) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache", "--no-logo"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )


def circle(folder) -> list[str]:
    """A circle of files that import each other, wherever in a file the imports are; empty if there is none."""
    code = (
        "import graphlib, grimp\n"
        "graph = grimp.build_graph('keras_transfer', cache_dir=None)\n"
        "for name in sorted(graph.modules): print(name, *sorted(graph.find_modules_directly_imported_by(name)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )  # fmt: skip
    imports = {name: imported for name, *imported in map(str.split, done.stdout.splitlines())}
    assert len(imports) > 200
    try:
        graphlib.TopologicalSorter(imports).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return []


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(ROOT / "keras_transfer", tmp_path / "keras_transfer", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def add(folder, file, line) -> None:
    with (folder / "keras_transfer" / file).open("a", encoding="utf-8") as out:
        out.write(f"\n\n{line}\n")


def test_every_room_imports_only_from_below():
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


def test_no_file_is_in_a_circle():
    assert circle(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("data/samples.py", "from keras_transfer.report import write", "keras_transfer.data is not allowed to import"),
        ("data/samples.py", "def f():\n    import keras_transfer.notebook", "keras_transfer.data is not allowed to import"),
        ("formatting.py", "from keras_transfer import errors", "keras_transfer.formatting is not allowed to import"),
        ("data/rng.py", "from keras_transfer.data import split", "No cycles are allowed in keras_transfer.data"),
    ],
    ids=["upward", "upward within a function", "sideways", "siblings"],
)  # fmt: skip
def test_an_import_against_the_layers_is_found(copy, file, line, words):
    add(copy, file, line)
    done = lint(copy)
    assert done.returncode == 1 and words in done.stdout, done.stdout + done.stderr


def test_a_room_without_a_layer_is_found(copy):
    (copy / "keras_transfer" / "attic.py").write_text('"""Nobody said where this belongs."""\n')
    done = lint(copy)
    assert done.returncode == 1 and "keras_transfer.attic" in done.stdout, done.stdout + done.stderr


def test_a_circle_through_a_package_and_its_own_file_is_found(copy):
    add(copy, "plots/style.py", "def f():\n    from keras_transfer import plots")
    found = circle(copy)
    assert {"keras_transfer.plots", "keras_transfer.plots.style"} <= set(found)


def test_the_diagram_of_the_architecture_is_current():
    made = runpy.run_path(str(ROOT / "scripts" / "draw_architecture.py"))
    assert made["TARGET"].read_text(encoding="utf-8") == made["draw"](), "run: python scripts/draw_architecture.py"
