"""The command as a user runs it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import pytest

from keras_transfer.cli import main
from tests.conftest import ROOT
from tests.serve.conftest import CLASSES, METADATA, Site, encoded

pytestmark = [pytest.mark.backend, pytest.mark.slow]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory):
    from keras_transfer.models.bundle import save
    from keras_transfer.models.classifier import build_classifier

    path = tmp_path_factory.mktemp("model") / "m.keras"
    save(build_classifier("tiny", 3, image_size=(32, 40), weights="none"), path, METADATA)
    return path


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_it_is_stopped(model_file, stop):
    command = [sys.executable, "-m", "keras_transfer", "serve", str(model_file), "--port", "0", "--max-upload", "0.1"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        line = process.stdout.readline()
        found = re.search(r"at (http://127\.0\.0\.1:\d+) ", line)
        assert found, process.stderr.read()
        site = Site(found[1], model_file.parent / "corrections", None)
        status, answer = site.post("/api/predict", encoded(size=(20, 20)))
        assert status == 200 and answer["classes"][0]["name"] in CLASSES
        assert site.post("/api/correct", encoded(size=(20, 20)), label="apple")[0] == 200
        assert (site.folder / "list.txt").is_file()
        assert site.post("/api/predict", bytes(300_000))[0] == 413
    finally:
        process.send_signal(stop)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "Traceback" not in errors and "stopped" in errors


def test_bad_arguments_are_reported_at_once(model_file, tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for arguments, says in [
            ([tmp_path / "nothing"], "no run directory or model file"),
            ([model_file, "--port", port], "another program uses this port"),
            ([model_file, "--port", 70000], "0..65535"),
            ([model_file, "--host", "no.such.host.invalid"], "cannot listen"),
            ([model_file, "--max-upload", 0], "--max-upload"),
            ([model_file, "--corrections", model_file], "is a file; name a folder"),
        ]:
            assert main(["serve", *map(str, arguments)]) == 2
            assert says in capsys.readouterr().err


def test_missing_packages_are_named(model_file, monkeypatch, capsys):
    monkeypatch.setattr("keras_transfer.serve.server._PACKAGES", {"no_such_module": "fastapi"})
    assert main(["serve", str(model_file)]) == 2
    assert "keras_transfer[demo]" in capsys.readouterr().err
