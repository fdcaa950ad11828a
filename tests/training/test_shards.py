"""Training on shards: the bits of the folder, also where a run is stopped within a shard and resumed."""

from __future__ import annotations

import pytest

from keras_transfer.errors import Interrupted
from keras_transfer.runs import RunDirectory
from keras_transfer.shard import shard
from keras_transfer.training.state import newest_state
from keras_transfer.training.train import train
from tests.data.http_files import serving
from tests.training.small import StopAt, assert_same, resume, settings

pytestmark = pytest.mark.backend


def on(path: str, output, base, **data):
    config = settings(base, output)
    more = {"source": "shards", "path": path, **data}
    return config.model_copy(update={"data": config.data.model_copy(update=more)})


@pytest.fixture(scope="module")
def shards(whole, tmp_path_factory):
    output = tmp_path_factory.mktemp("sharded") / "shards"
    shard(str(whole[0]), str(output), size=25_000, say=lambda _: None)
    return output


def stopped(config, epochs: int, batch: int):
    with pytest.raises(Interrupted):
        train(config, callbacks=[StopAt(epochs, batch)], say=lambda _: None)


def test_a_run_on_shards_that_was_stopped_has_the_bits_of_the_folder(whole, shards, tmp_path):
    photos, expected = whole
    stopped(on(str(shards), tmp_path / "run", photos), 3, 1)
    assert newest_state(RunDirectory(tmp_path / "run").state_file).batch == 1
    assert_same(expected, resume(tmp_path / "run"))


@pytest.mark.slow
def test_a_run_with_less_room_than_its_shards_resumes_to_the_same_bits(whole, shards, tmp_path):
    with serving(shards) as state:
        data = {"shard_cache": 110_000 / (1 << 30)}
        expected = train(on(state.address, tmp_path / "whole", whole[0], **data), say=lambda _: None)
        stopped(on(state.address, tmp_path / "run", whole[0], **data), 2, 1)
        assert_same(expected, resume(tmp_path / "run"))
