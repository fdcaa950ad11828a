"""The shares of all processes are the batch: every sample once, and none of them empty-handed."""

from __future__ import annotations

import socket

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.data.augment import transforms
from keras_transfer.data.loading.loader import Loader
from keras_transfer.distribute import Place, place, resume_command
from keras_transfer.distribute import connect as connecting
from keras_transfer.distribute.connect import ADDRESS, coordinator
from keras_transfer.distribute.launch import launch
from keras_transfer.distribute.shard import Shard
from keras_transfer.distribute.start import start
from keras_transfer.errors import UserError
from keras_transfer.training.divided_batch import parts_of_share


@pytest.mark.parametrize("size", [1, 2, 3, 8])
@pytest.mark.parametrize("count", [1, 2, 7, 16, 33])
def test_shares_are_the_batch(size, count):
    positions = np.arange(100, 100 + count)
    found = []
    for rank in range(size):
        shard = Shard(rank, size)
        start_, end = shard.bounds(count)
        found += positions[start_:end].tolist()
        assert len(shard.of(positions)) == max(1, end - start_)
    assert found == positions.tolist()


def loaders(size: int, **options):
    rng = np.random.default_rng(0)
    data = kt.data.arrays(
        rng.integers(0, 256, (23, 8, 8, 3), dtype=np.uint8), np.arange(23) % 3, image_size=8, val_fraction=0.0,
        test_fraction=0.0, weights=rng.uniform(0.5, 2, 23).astype(np.float32),
    )  # fmt: skip
    transform, mix = transforms(options.pop("augment", ["horizontal_flip"]), (8, 8))
    common = {"shuffle": True, "seed": 3, "workers": 0, "batch_transform": mix}
    found = [Loader(data.train, transform, 6, **common) for _ in range(size)]
    for rank, loader in enumerate(found):
        loader.shard = Shard(rank, size)
    return found


@pytest.mark.parametrize("augment", [["horizontal_flip"], ["mixup"], ["cutmix"]])
def test_a_loader_serves_its_share_of_the_same_batches(augment):
    whole = loaders(1, augment=augment)[0]
    for number in range(len(whole)):
        expected = whole.batch(1, number)
        count = len(expected[0])
        parts = [loader.batch(1, number) for loader in loaders(2, augment=augment)]
        counted = [np.subtract(*Shard(rank, 2).bounds(count)[::-1]) for rank in range(2)]
        for column, wanted in enumerate(expected):
            found = np.concatenate([part[column][:n] for part, n in zip(parts, counted)])
            np.testing.assert_array_equal(found, wanted)


def test_the_place_is_what_the_launcher_says(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert place() is None
    assert resume_command("runs/x") == "keras-transfer train --resume --output runs/x"
    for name, value in {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "3", "LOCAL_WORLD_SIZE": "4"}.items():
        monkeypatch.setenv(name, value)
    assert place() == Place(3, 4, 3, 4, "torchrun")
    assert resume_command("runs/x") == "keras-transfer train --resume --output runs/x --processes 4"
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert resume_command("runs/x").startswith("torchrun")
    monkeypatch.setenv("RANK", "4")
    with pytest.raises(UserError, match="RANK=4 and WORLD_SIZE=4"):
        place()
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(UserError, match="RANK must be a number"):
        place()


def test_what_does_not_fit_how_the_process_was_started_is_refused(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="--processes N"):
        start("data_parallel", "torch", "cpu")
    assert start("auto", "torch", "cpu").kind == "none"
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="distribute: none, but this is process 1 of 2"):
        start("none", "torch", "cpu")
    with pytest.raises(
        UserError, match=r"process 1 of 2 .* but tensorflow trains in one process: use backend: torch or jax"
    ):
        start("auto", "tensorflow", "cpu")
    with pytest.raises(UserError, match="--processes is for torch and jax; tensorflow uses all devices"):
        launch(2, ["train"], "tensorflow")


def test_jax_is_told_where_process_0_is(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", ADDRESS):
        monkeypatch.delenv(name, raising=False)
    keras = Place(1, 2, 0, 1, "KERAS_DISTRIBUTION_PROCESS_ID")
    with pytest.raises(UserError, match=f"nothing says where process 0 is: set {ADDRESS}"):
        coordinator(keras)
    monkeypatch.setenv("MASTER_ADDR", "host0")
    monkeypatch.setenv("MASTER_PORT", "29500")
    assert coordinator(Place(1, 2, 1, 2, "torchrun")) == "host0:29501"
    monkeypatch.setenv(ADDRESS, "10.0.0.1:1234,10.0.0.2:2345")
    assert coordinator(keras) == "10.0.0.1:1234"
    monkeypatch.setenv(ADDRESS, "10.0.0.1")
    with pytest.raises(UserError, match="must be HOST:PORT"):
        coordinator(keras)


def test_process_0_that_does_not_answer_is_said(monkeypatch):
    monkeypatch.setattr(connecting, "WAIT", 0.1)
    with socket.socket() as taken:
        taken.bind(("localhost", 0))  # and does not listen
        port = taken.getsockname()[1]
        monkeypatch.setenv(ADDRESS, f"localhost:{port}")
        for rank, says in (
            (0, f"process 0 cannot wait at port {port}"),
            (1, rf"process 1 of 2 waited .* localhost:{port}"),
        ):
            with pytest.raises(UserError, match=says):
                connecting._check(f"localhost:{port}", Place(rank, 2, rank, 2, "KERAS_DISTRIBUTION_PROCESS_ID"))


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("images", "size"), [(15, 15), (15, 4), (2, 15), (1, 8), (13, 6)])
def test_parts_of_a_batch_are_the_same_in_all_processes_and_hold_each_image_once(processes, devices, images, size):
    shards = [Shard(rank, processes) for rank in range(processes)]
    shares = [np.arange(images)[shard.rows(images)] for shard in shards]
    parts = [list(parts_of_share(images, shard, devices, size)) for shard in shards]
    seen = []
    for together in zip(*parts, strict=True):
        assert len({len(part.rows) for part in together}) == 1 and len(together[0].rows) % devices == 0
        rows = np.concatenate([share[part.rows] for share, part in zip(shares, together)])
        for part in together:
            np.testing.assert_array_equal(part.images, together[0].images)
            np.testing.assert_array_equal(part.source[part.images], np.arange(len(part.images)))
        seen += rows[together[0].images].tolist()
    assert sorted(seen) == list(range(images))
    assert len(parts[0]) == 1 or images > size
