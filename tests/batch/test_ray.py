"""Parts on a real cluster of two nodes, one of which is killed while it works; trials of a sweep on a cluster."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("ray.data")
pytest.importorskip("pyarrow")

from keras_transfer.batch import predict_parts
from keras_transfer.batch.cluster import Division, division
from keras_transfer.cli import main
from keras_transfer.errors import UserError
from tests.batch.test_parts import bytes_of, model, quiet, rows_of  # noqa: F401
from tests.conftest import ROOT

pytestmark = pytest.mark.backend


class _Nodes:
    def __init__(self, *cpus):
        self._nodes = [{"Alive": True, "Resources": {"CPU": float(count)} if count else {}} for count in cpus]

    def nodes(self):
        return self._nodes


def test_processors_are_divided_into_workers_of_equal_size():
    assert division(_Nodes(16)) == Division(4, 4)
    assert division(_Nodes(0, 2, 8)) == Division(2, 5), "a head without processors works as well"
    assert division(_Nodes(1, 1)) == Division(1, 2)
    with pytest.raises(UserError, match="no processors"):
        division(_Nodes(0))


@pytest.fixture
def two_nodes(monkeypatch):
    """A cluster of two nodes, to which this process is connected."""
    import ray
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 200 << 20})
    second = cluster.add_node(num_cpus=1, object_store_memory=200 << 20)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.exhaustive
def test_a_node_is_killed_and_every_image_is_there_once_in_the_same_bytes(two_nodes, model, tmp_path):  # noqa: F811
    cluster, second = two_nodes
    path, photos = model
    files = sorted(str(file) for file in photos.rglob("*.png"))
    many = tmp_path / "many"
    many.mkdir()
    for number in range(3000):
        (many / f"{number:05d}.png").symlink_to(files[number % len(files)])
    killed = []

    def kill():
        while len(list((tmp_path / "ray").glob("*.parquet"))) < 8:
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)
        killed.append(len(list((tmp_path / "ray").glob("*.parquet"))))

    watch = threading.Thread(target=kill, daemon=True)
    watch.start()
    predict_parts(path, [str(many)], tmp_path / "ray", rows=64, engine="native", ray="auto", say=quiet)
    watch.join(30)
    assert killed and killed[0] < 47, "it was killed while there was work left"
    assert [row["path"] for row in rows_of(tmp_path / "ray")] == [str(many / f"{k:05d}.png") for k in range(3000)]
    predict_parts(path, [str(many)], tmp_path / "one", rows=64, engine="native", say=quiet)
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "one")


@pytest.mark.exhaustive
def test_a_killed_job_goes_on_with_what_is_missing(model, tmp_path):  # noqa: F811
    path, photos = model
    command = [sys.executable, "-m", "keras_transfer", "predict", str(path), str(photos), "--parquet", str(tmp_path / "out"),
               "--engine", "native", "--ray", "local"]  # fmt: skip
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0
    before = bytes_of(tmp_path / "out")
    next((tmp_path / "out").glob("*.parquet")).unlink()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert bytes_of(tmp_path / "out") == before


@pytest.mark.exhaustive
def test_a_sweep_on_a_cluster_has_the_trials_that_were_asked_for(two_nodes, tmp_path):
    pytest.importorskip("optuna")
    import keras_transfer as kt
    from tests.sweeps.test_sweep import SETTINGS, SPACE

    photos = kt.load_config("quickstart", [*SETTINGS, "data.limit=60"])
    found = kt.sweep(photos, SPACE, trials=4, pruner="none", output=tmp_path, ray="auto", report=False, say=quiet)
    assert [row["state"] for row in found.trials] == ["complete"] * 4


def test_a_cluster_that_is_not_there_is_one_line(model, tmp_path, capsys, monkeypatch):  # noqa: F811
    import ray

    def refuse(**options):
        raise ConnectionError("Could not connect\nto it")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    words = ["predict", str(model[0]), str(model[1]), "--parquet", str(tmp_path / "out"), "--ray", "nowhere:6379"]
    assert main(words) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "cannot reach a Ray cluster at nowhere:6379 (Could not connect)" in line
