"""The commands as they are typed: in a process of their own, with whatever backends are installed and none chosen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.revise.test_revise import SETTINGS, make_photos

pytestmark = [pytest.mark.backend, pytest.mark.slow]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    from keras_transfer import load_config, train

    folder = tmp_path_factory.mktemp("commands")
    make_photos(folder / "photos", {"apple": 20, "berry": 20, "cherry": 20})
    make_photos(folder / "more", {"date": 8}, seed=5)
    train(load_config(data=folder / "photos", output=folder / "run", overrides=SETTINGS), say=lambda line: None)
    (folder / "list.txt").write_text("more/date/000.png apple\n")
    return folder


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("retrain run --add list.txt --head-only --output new", "verdict: "),
        ("add-class run date more/date --output added", "new class date"),
        ("regression run run", "verdict: "),
        ("suggest run more --count 3 --output page.html", "3 of 8 pictures: page.html"),
    ],
)
def test_it_runs_without_a_chosen_backend(place, words, says):
    environment = {key: value for key, value in os.environ.items() if key not in ("KERAS_BACKEND", "PYTHONPATH")}
    environment["PYTHONPATH"] = os.getcwd()  # noqa: PTH109 - of the checkout, from where tests are run
    done = subprocess.run(
        [sys.executable, "-m", "keras_transfer", *words.split()],
        cwd=place, env=environment, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert says in done.stdout + done.stderr
    assert "tensorflow" not in done.stderr.lower(), "the run is of another backend, and nothing needs TensorFlow"
