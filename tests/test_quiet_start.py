"""What TensorFlow logs while it starts is left out; everything else on standard error stays."""

import os

import pytest

from keras_transfer.runtime.quiet import LEVEL, quiet_start

NOTES = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    "I0000 00:00:1795903342.228955   14444 port.cc:153] oneDNN custom operations are on.\n"
    "W0000 00:00:1795903342.228955   14444 gpu.cc:1] no GPU\n"
    "To enable the following instructions: AVX2, in other operations, rebuild TensorFlow.\n"
    "E0000 00:00:1795903349.949114   14444 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)\n"
)
KEPT = (
    "E0000 00:00:1795903349.949114   14444 cuda.cc:52] failed call to cuInit: out of memory (2)\nSegmentation fault\n"
)


@pytest.fixture(autouse=True)
def level(monkeypatch):
    monkeypatch.setenv(LEVEL, "2")


def test_notes_are_left_out_and_the_rest_stays(capfd):
    with quiet_start("tensorflow"):
        os.write(2, (NOTES + KEPT).encode())
        assert capfd.readouterr().err == ""
    os.write(2, b"after\n")
    assert capfd.readouterr().err == KEPT + "after\n"


def test_an_import_that_fails_loses_nothing(capfd):
    with pytest.raises(ImportError), quiet_start("tensorflow"):
        os.write(2, (KEPT + NOTES).encode())
        raise ImportError
    assert capfd.readouterr().err == KEPT


@pytest.mark.parametrize(("backend", "asked"), [("torch", "2"), ("tensorflow", "0"), ("tensorflow", "1")])
def test_other_frameworks_and_whoever_asks_for_notes_get_them(capfd, monkeypatch, backend, asked):
    monkeypatch.setenv(LEVEL, asked)
    with quiet_start(backend):
        os.write(2, NOTES.encode())
        assert capfd.readouterr().err == NOTES


def test_without_room_for_what_is_held_back_the_notes_stay(capfd, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_transfer.runtime.quiet.tempfile.TemporaryFile", full)
    with quiet_start("tensorflow"):
        os.write(2, NOTES.encode())
    assert capfd.readouterr().err == NOTES
