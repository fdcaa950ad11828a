from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.files import atomic_write, write_csv, write_json, write_text


def test_bytes_and_text_are_written_and_nothing_else_is_left(tmp_path):
    with atomic_write(tmp_path / "a.bin") as stream:
        stream.write(b"\x00\r\n")
    write_text(tmp_path / "b.txt", "grün\r\n猫\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\r\n"
    assert (tmp_path / "b.txt").read_bytes() == "grün\r\n猫\n".encode()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "b.txt"]


def test_a_failure_keeps_the_old_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"old")

    def fail():
        with atomic_write(path) as stream:
            stream.write(b"new, but only ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_readers_see_the_old_file_until_the_end(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with atomic_write(path) as stream:
        stream.write(b"new")
        stream.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_missing_folders_are_created(tmp_path):
    write_text(tmp_path / "a" / "b" / "c.txt", "x")
    assert (tmp_path / "a" / "b" / "c.txt").read_text() == "x"


def test_permissions_are_those_of_an_ordinary_file_or_of_the_old_one(tmp_path):
    ordinary, ours = tmp_path / "ordinary", tmp_path / "ours"
    ordinary.write_text("")
    write_text(ours, "")
    assert ours.stat().st_mode == ordinary.stat().st_mode
    ours.chmod(0o640)
    write_text(ours, "again")
    assert ours.stat().st_mode & 0o777 == 0o640


def test_a_link_is_followed(tmp_path):
    target, link = tmp_path / "run" / "real.txt", tmp_path / "link.txt"
    write_text(target, "old")
    link.symlink_to(target)
    write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_a_long_name_in_a_wide_script_works(tmp_path):
    path = tmp_path / ("猫" * 80 + ".txt")  # 244 bytes, and 255 is the most
    write_text(path, "x")
    assert path.read_text() == "x"


def test_a_folder_at_the_path_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"cannot write .*it is a folder"):
        write_text(tmp_path, "x")


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write .*file/x\.txt"):
        write_text(tmp_path / "file" / "x.txt", "x")


@pytest.mark.parametrize("step", ["write", "sync", "rename"])
def test_a_full_disk_names_the_file_and_cleans_up(tmp_path, monkeypatch, step):
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    if step == "sync":
        monkeypatch.setattr(os, "fsync", full)
    if step == "rename":
        monkeypatch.setattr(Path, "replace", full)
    with (
        pytest.raises(UserError, match=r"cannot write .*weights\.bin'?: No space left on device"),
        atomic_write(path) as stream,
    ):
        stream.write(b"new")
        if step == "write":
            full()
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_device_is_reported_when_the_buffer_is_flushed(tmp_path, monkeypatch):
    import keras_transfer.files as module

    monkeypatch.setattr(module, "_open", lambda path, mode: Path("/dev/full").open(mode))  # noqa: SIM115
    with pytest.raises(UserError, match="No space left"), atomic_write(tmp_path / "x") as stream:
        stream.write(b"1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"cannot write .*Permission denied"):
        write_text(tmp_path / "x", "x")


def test_errors_about_other_files_are_not_blamed_on_this_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="other"), atomic_write(tmp_path / "x"):
        (tmp_path / "other").open()
    with pytest.raises(OSError, match="encoder error"), atomic_write(tmp_path / "x"):
        raise OSError("encoder error -2")  # as image libraries do
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_mode_is_a_value_error(tmp_path):
    with pytest.raises(ValueError, match="'a'"), atomic_write(tmp_path / "x", "a"):
        pass


def test_json_of_numpy_paths_and_numbers_that_json_lacks(tmp_path):
    obj = {
        "array": np.array([[1, 2]], np.int64),
        "nan": np.array([np.nan, 1.5], np.float32),
        "scalar": np.float32(0.5),
        "flag": np.bool_(True),
        "inf": float("inf"),
        "path": Path("a") / "b",
        "set": {"b", "a"},
        "tuple": (1, None, "猫"),
        3: "number as key",
    }
    write_json(tmp_path / "x.json", obj)
    text = (tmp_path / "x.json").read_text("utf-8")
    assert "猫" in text
    assert text.endswith("}\n")
    assert json.loads(text) == {
        "array": [[1, 2]],
        "nan": [None, 1.5],
        "scalar": 0.5,
        "flag": True,
        "inf": None,
        "path": os.path.join("a", "b"),  # noqa: PTH118
        "set": ["a", "b"],
        "tuple": [1, None, "猫"],
        "3": "number as key",
    }


def test_json_of_an_object_without_a_form_is_refused_and_writes_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_csv_quotes_and_leaves_gaps(tmp_path):
    write_csv(tmp_path / "x.csv", [{"a": 'x,"y"', "b": 1.5}, {"b": None}], ["a", "b"])
    assert (tmp_path / "x.csv").read_bytes() == b'a,b\n"x,""y""",1.5\n,\n'


def test_csv_with_a_key_too_many_is_refused_and_writes_nothing(tmp_path):
    with pytest.raises(ValueError, match="extra"):
        write_csv(tmp_path / "x.csv", [{"a": 1, "extra": 2}], ["a"])
    assert list(tmp_path.iterdir()) == []


def test_a_file_name_that_is_no_utf8_can_still_be_written_down(tmp_path):
    name = os.fsdecode(b"caf\xe9.jpg")
    write_csv(tmp_path / "x.csv", [{"path": name}], ["path"])
    assert b"caf" in (tmp_path / "x.csv").read_bytes()


def test_a_link_in_a_circle_is_one_line(tmp_path):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(UserError, match="cannot write") as caught:
        write_text(tmp_path / "a", "x")
    assert "\n" not in str(caught.value)
