"""What the machine lacks is not blamed on the file that was given."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest

from keras_transfer.errors import Trouble, UserError
from keras_transfer.files import is_trouble, temporary_folder
from tests.conftest import ROOT

pytestmark = pytest.mark.backend


@pytest.fixture
def clf():
    import keras_transfer as kt

    return kt.Classifier("tiny", ["a", "b"], image_size=32, weights="none")


def test_kinds_of_errors():
    assert is_trouble(OSError(errno.ENOSPC, "full")) and is_trouble(OSError(errno.EROFS, "read-only"))
    assert is_trouble(OSError("Unable to write (file write failed: errno = 28, error message = 'No space left')"))
    assert not is_trouble(OSError(errno.EINVAL, "negative seek")) and not is_trouble(ValueError("28"))


def test_only_trouble_is_explained():
    with (
        pytest.raises(Trouble, match=r"cannot unpack it: No space left on device in .*TMPDIR"),
        temporary_folder("unpack it"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(OSError, match="negative"), temporary_folder("unpack it"):
        raise OSError(errno.EINVAL, "negative seek")


def test_a_temporary_folder_that_is_gone(clf, tmp_path, monkeypatch):
    import keras_transfer as kt

    clf.save(tmp_path / "m.keras")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    for use in (lambda: kt.load(tmp_path / "m.keras"), lambda: clf.save(tmp_path / "n.keras")):
        with pytest.raises(Trouble, match="TMPDIR") as trouble:
            use()
        assert "damaged" not in str(trouble.value) and "\n" not in str(trouble.value)
    assert not (tmp_path / "n.keras").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT, errno.EROFS])
def test_a_good_file_is_not_called_damaged(clf, tmp_path, monkeypatch, number):
    import shutil

    import keras_transfer as kt

    clf.save(tmp_path / "m.keras")

    def full(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        for use in (lambda: kt.load(tmp_path / "m.keras"), lambda: clf.save(tmp_path / "m.keras")):
            with pytest.raises(Trouble) as trouble:
                use()
            assert "damaged" not in str(trouble.value)
    assert kt.load(tmp_path / "m.keras").classes == ("a", "b")


def test_a_damaged_file_is_still_called_damaged(tmp_path):
    import keras_transfer as kt

    (tmp_path / "m.keras").write_bytes(b"PK\5\6" + bytes(18))
    with pytest.raises(UserError) as error:
        kt.load(tmp_path / "m.keras")
    assert not isinstance(error.value, Trouble)


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX's")
def test_training_that_runs_out_of_room_says_how_to_go_on(photos, tmp_path):
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "from keras_transfer.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["train", "--data", photos, "--output", "run", "--set", "model.backbone=tiny", "--set", "model.weights=none",
                 "--set", "data.image_size=32", "--set", "phases=[{name: all, epochs: 1}]"]  # fmt: skip
    child = subprocess.run([sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)], capture_output=True, text=True,
                           cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)  # fmt: skip
    assert child.returncode == 2 and "Traceback" not in child.stderr, child.stderr[-2000:]
    assert "train --resume --output run" in child.stderr and "damaged" not in child.stderr


def test_a_correction_that_cannot_be_written(tmp_path, monkeypatch):
    from keras_transfer.serve.corrections import Corrections
    from tests.serve.conftest import encoded

    saved = Corrections(tmp_path / "c", ["a", "b"])

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Trouble, match="No space left"):
        saved.save(encoded(), "a")
    assert np.all([not path.is_file() for path in tmp_path.rglob("*.png")])


def test_a_run_that_never_began_is_not_to_be_resumed(tmp_path):
    from types import SimpleNamespace

    from keras_transfer.distribute import ALONE
    from keras_transfer.errors import Interrupted
    from keras_transfer.runs.directory import RunDirectory
    from keras_transfer.training.stops import stops_explained

    events = SimpleNamespace(run=RunDirectory(tmp_path), config=SimpleNamespace(deterministic=False))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    for begun, words in ((False, "give the same command again"), (True, "train --resume --output")):
        with pytest.raises(Trouble, match=words), stops_explained(events, ALONE):
            raise full
        with pytest.raises(Interrupted if begun else KeyboardInterrupt) as stop, stops_explained(events, ALONE):
            raise KeyboardInterrupt
        assert isinstance(stop.value, Interrupted) is begun
        (tmp_path / "config.yaml").write_text("")


@pytest.mark.parametrize("year", [1970, 2108])
def test_a_clock_that_archives_cannot_express(clf, tmp_path, monkeypatch, year):
    import keras_transfer as kt

    clf.save(tmp_path / "m.keras")
    there = time.struct_time((year, 1, 1, 0, 0, 0, 0, 1, 0))
    monkeypatch.setattr(time, "localtime", lambda *_: there)
    kt.load(tmp_path / "m.keras")
    with pytest.raises(Trouble, match=f"clock of this computer says {year}"):
        clf.save(tmp_path / "n.keras")
    with pytest.raises(Trouble, match="clock"):
        kt.train(kt.load_config(data=str(tmp_path), output=str(tmp_path / "r")))
    assert not (tmp_path / "n.keras").exists() and not (tmp_path / "r").exists()
