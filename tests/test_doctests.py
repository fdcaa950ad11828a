"""The examples in the docstrings of the public names run as written.

They have ``kt`` and ``np``, and run in a folder with ``photos/`` (12 images in each of apple, berry and cherry),
``images.csv`` and ``images.txt``.
"""

from __future__ import annotations

import doctest

import numpy as np
import pytest

import keras_transfer as kt
from tests.conftest import make_photos

pytestmark = pytest.mark.backend
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _examples() -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(exclude_empty=True)
    public = {"keras_transfer": kt, **{f"keras_transfer.{name}": getattr(kt, name) for name in kt.__all__}}
    found = (test for name, item in public.items() if not isinstance(item, str) for test in finder.find(item, name))
    return list({test.name: test for test in found if test.examples}.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    make_photos(folder / "photos", {"apple": 12, "berry": 12, "cherry": 12})
    rows = [(f"photos/{file.parent.name}/{file.name}", file.parent.name) for file in sorted(folder.rglob("*.png"))]
    (folder / "images.csv").write_text("path,label\n" + "".join(f"{path},{label}\n" for path, label in rows))
    (folder / "images.txt").write_text("".join(f"{path} {label}\n" for path, label in rows))
    return folder


@pytest.mark.parametrize("example", _examples(), ids=lambda test: test.name.removeprefix("keras_transfer."))
def test_example(example, folder, monkeypatch):
    monkeypatch.chdir(folder)
    said: list[str] = []
    example.globs |= {"kt": kt, "np": np}
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    assert not runner.run(example, out=said.append).failed, "".join(said)


def test_data_functions_have_examples():
    names = {test.name for test in _examples()}
    assert {f"keras_transfer.data.{name}" for name in ("folder", "list_file", "csv", "arrays", "digits")} <= names
