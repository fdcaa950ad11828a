"""Features on disk: whole or not there, whatever happens to the writer, the disk or the file."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from keras_transfer.engine.feature_cache import CannotStore, FeatureStore
from keras_transfer.engine.numbers import pack, unpack
from tests.conftest import ROOT

ROWS = np.arange(40, dtype="<f4").reshape(10, 4)
SHAPE, DTYPE = ROWS.shape, ROWS.dtype


def put(store: FeatureStore, key: str, rows: np.ndarray = ROWS) -> None:
    with store.writer(key, rows.shape, rows.dtype) as writer:
        writer.write(6, rows[6:])
        writer.write(0, rows[:6])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore(tmp_path / "features", 10_000)


def test_what_was_written_in_any_order_is_found_by_another_run(store):
    assert store.find("key", SHAPE, DTYPE) is None
    put(store, "key")
    found = FeatureStore(store.folder, 0).find("key", SHAPE, DTYPE)
    np.testing.assert_array_equal(found, ROWS)
    assert isinstance(found, np.memmap) and not found.flags.writeable
    assert names(store.folder) == ["key.npy"]


def test_an_array_that_was_not_finished_is_not_there(store):
    with pytest.raises(ValueError, match="6 of 10 rows"), store.writer("key", SHAPE, DTYPE) as writer:
        writer.write(0, ROWS[:6])
    with pytest.raises(KeyboardInterrupt), store.writer("key", SHAPE, DTYPE) as writer:
        writer.write(0, ROWS)
        raise KeyboardInterrupt
    assert store.find("key", SHAPE, DTYPE) is None and names(store.folder) == []


def test_a_killed_writer_leaves_nothing_that_is_found_and_is_swept_up_later(store):
    program = f"""
        import time, numpy as np
        from keras_transfer.engine.feature_cache import FeatureStore
        with FeatureStore(__import__("pathlib").Path({str(store.folder)!r}), 10_000).writer("key", (10, 4), np.dtype("<f4")) as w:
            w.write(0, np.ones((5, 4), "<f4"))
            w.stream.flush()
            print("writing", flush=True)
            time.sleep(600)
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    writer = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, env=environment)
    assert writer.stdout is not None and writer.stdout.readline() == b"writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    (left,) = store.folder.iterdir()
    assert left.suffix == ".part" and store.find("key", SHAPE, DTYPE) is None
    put(store, "other")  # a writer that may still be at work is left alone
    assert left.exists()
    os.utime(left, (time.time() - 7200,) * 2)
    put(store, "key")
    assert names(store.folder) == ["key.npy", "other.npy"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "pickle", "shape", "dtype"])
def test_a_file_that_cannot_be_right_is_removed(store, damage):
    put(store, "key")
    path = store.folder / "key.npy"
    data = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(data[:-1])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "garbage":
        path.write_bytes(b"\0" * len(data))
    elif damage == "pickle":
        path.write_bytes(pickle.dumps(ROWS))
    elif damage == "shape":
        np.save(path, ROWS.T)
    else:
        np.save(path, ROWS.astype("<f8"))
    assert store.find("key", SHAPE, DTYPE) is None
    assert not path.exists()
    put(store, "key")
    np.testing.assert_array_equal(store.find("key", SHAPE, DTYPE), ROWS)


def test_nothing_is_ever_unpickled(store):
    bomb = np.array([Bomb()], dtype=object)
    store.folder.mkdir(parents=True)
    np.save(store.folder / "key.npy", bomb, allow_pickle=True)
    assert store.find("key", (1,), np.dtype(object)) is None
    assert not Bomb.exploded


class Bomb:
    exploded = False

    def __reduce__(self):
        return (_explode, ())


def _explode() -> None:
    Bomb.exploded = True


def test_a_full_disk_is_one_error_and_leaves_nothing(store, monkeypatch):
    from keras_transfer.engine.feature_cache import ArrayWriter

    def full(self, start, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ArrayWriter, "write", full)
    with pytest.raises(CannotStore, match="No space left"):
        put(store, "key")
    assert names(store.folder) == []


def test_a_disk_without_room_is_seen_before_anything_is_computed(store, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(CannotStore, match="No space left"), store.writer("key", SHAPE, DTYPE):
        pytest.fail("began to write")


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStore, match=r"Not a directory|exists"):
        put(FeatureStore(tmp_path / "file" / "features", 10_000), "key")


def test_two_writers_at_once_end_with_one_whole_file(store):
    other = FeatureStore(store.folder, 10_000)
    with store.writer("key", SHAPE, DTYPE) as first, other.writer("key", SHAPE, DTYPE) as second:
        first.write(0, ROWS[:5])
        second.write(0, ROWS)
        first.write(5, ROWS[5:])
    np.testing.assert_array_equal(store.find("key", SHAPE, DTYPE), ROWS)
    assert names(store.folder) == ["key.npy"]


def test_the_least_recently_used_go_first(store):
    size = 128 + ROWS.nbytes
    for key, age in (("old", 300), ("older", 400), ("new", 100)):
        put(store, key)
        os.utime(store.folder / f"{key}.npy", (time.time() - age,) * 2)
    other = FeatureStore(store.folder, 3 * size)
    assert other.find("older", SHAPE, DTYPE) is not None  # used again
    put(other, "newest")
    assert names(store.folder) == ["new.npy", "newest.npy", "older.npy"]


def test_what_is_in_use_stays_and_more_than_the_limit_is_refused(store):
    put(store, "key")
    small = FeatureStore(store.folder, 300)
    assert small.find("key", SHAPE, DTYPE) is not None
    with pytest.raises(CannotStore, match="more than the limit"):
        put(small, "second")
    with pytest.raises(CannotStore, match="more than the limit"):
        put(FeatureStore(store.folder, 10), "third")
    assert names(store.folder) == ["key.npy"]


def test_bfloat16_is_rounded_to_the_nearest_and_comes_back():
    torch = pytest.importorskip("torch")
    values = np.random.default_rng(0).normal(0, 100, 10_000).astype(np.float32)
    # Ties in both directions, what rounds up to the next power of two, the ends of the range.
    values = np.append(values, np.float32([0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, 1.99999, 3.4e38, np.inf, -np.inf, 1e-40]))
    expected = torch.tensor(values).to(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(unpack(pack(values, "bfloat16")), expected)
    assert np.isnan(unpack(pack(np.array([np.nan, -np.nan], np.float32), "bfloat16"))).all()
    np.testing.assert_array_equal(unpack(pack(values, "float32")), values)
