"""Places that may not be looked at, as for anybody but root: pathlib's questions then raise."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
from PIL import Image

import keras_transfer as kt
from keras_transfer.cli.app import main
from keras_transfer.errors import Trouble, UserError
from keras_transfer.runs import RunDirectory

pytestmark = pytest.mark.backend


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """A folder below which nothing may be looked at, for root too."""
    folder = tmp_path / "closed"
    folder.mkdir()
    for name in ("stat", "open"):
        usual = getattr(Path, name)

        def asked(path, *more, usual=usual, **named):
            if folder in path.parents:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return usual(path, *more, **named)

        monkeypatch.setattr(Path, name, asked)
    return folder


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(path)
    return str(path)


@pytest.mark.parametrize("kind", ["data", "output", "model"])
def test_one_line_at_the_command_line(closed, capsys, kind, picture):
    line = {
        "data": ["train", f"{closed}/x"],
        "output": ["train", str(closed.parent), "--output", f"{closed}/x"],
        "model": ["predict", f"{closed}/m.keras", picture],
    }[kind]
    assert main(line) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Permission denied" in said


def test_trouble_in_python(closed):
    with pytest.raises(Trouble, match="Permission denied"):
        kt.load(closed / "m.keras")


def test_a_model_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch, capsys, picture):
    kt.Classifier("tiny", ["a", "b"], image_size=32, weights="none").save(tmp_path / "m.keras")
    usual = Path.open

    def refuse(path, *more, **named):
        if path.name == "m.keras":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return usual(path, *more, **named)

    monkeypatch.setattr(Path, "open", refuse)
    assert main(["predict", str(tmp_path / "m.keras"), picture]) == 2
    said = capsys.readouterr().err
    assert "Permission denied" in said and "damaged" not in said


def test_a_run_whose_files_hold_something_else(tmp_path):
    run = RunDirectory(tmp_path)
    run.manifest.write_text(json.dumps([1]))
    with pytest.raises(UserError, match="not as a run writes it"):
        run.read_json(run.manifest)
