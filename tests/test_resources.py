"""What a container or the affinity leaves of a machine."""

import os
import subprocess
import sys

import keras
import pytest

from keras_transfer.config.load import load_config
from keras_transfer.runtime import resources
from keras_transfer.training import step_memory
from keras_transfer.training.prepare import prepare

GIB = 1024**3


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Write control groups: `groups(own, {path: text})`."""

    def write(own, files, available=64 * GIB):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "fs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        monkeypatch.setattr(resources, "_OWN", tmp_path / "own")
        monkeypatch.setattr(resources, "_GROUPS", tmp_path / "fs")
        monkeypatch.setattr(resources, "meminfo", lambda field: available)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)

    return write


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {}, 8),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "20000 100000\n"}, 1),
        ("0::/pod/app\n", {"pod/cpu.max": "200000 100000", "pod/app/cpu.max": "max 100000"}, 2),
        ("0::/of/the/host\n", {"cpu.max": "400000 100000"}, 4),
        ("3:cpu,cpuacct:/job\n", {"cpu/job/cpu.cfs_quota_us": "150000", "cpu/job/cpu.cfs_period_us": "100000"}, 2),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "nonsense", "cpu/cpu.cfs_period_us": ""}, 8),
        ("5:cpuset:/\nwithout colons\n", {}, 8),
    ],
)
def test_processors_of_a_control_group(groups, own, files, cores):
    groups(own, files)
    assert resources.usable_cores() == cores


@pytest.mark.parametrize(
    ("own", "files", "left"),
    [
        ("0::/\n", {"memory.max": "max", "memory.current": "5"}, 64 * GIB),
        (
            "0::/\n",
            {"memory.max": str(4 * GIB), "memory.current": str(GIB), "memory.stat": f"inactive_file {GIB}\n"},
            4 * GIB,
        ),
        (
            "0::/a\n",
            {
                "memory.max": str(2 * GIB),
                "memory.current": str(GIB),
                "a/memory.max": str(9 * GIB),
                "a/memory.current": "0",
            },
            GIB,
        ),
        (
            "4:memory:/j\n",
            {"memory/j/memory.limit_in_bytes": str(GIB), "memory/j/memory.usage_in_bytes": str(2 * GIB)},
            0,
        ),
        (
            "4:memory:/\n",
            {"memory/memory.limit_in_bytes": "9223372036854771712", "memory/memory.usage_in_bytes": "1"},
            64 * GIB,
        ),
    ],
)
def test_memory_of_a_control_group(groups, own, files, left):
    groups(own, files)
    assert resources.usable_memory() == left


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="only Linux pins processes")
def test_a_pinned_process_computes_in_one_thread():
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); import torch; torch.set_num_threads(2);"
        "import keras_transfer as kt; kt.use_backend('torch'); print(torch.get_num_threads(), kt.runtime.usable_cores())"
    )
    pytest.importorskip("torch")
    environment = {key: value for key, value in os.environ.items() if key not in ("KERAS_BACKEND", "OMP_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, {"GOMP_SPINCOUNT": resources._SPINS}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": None}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
    ],
)
def test_threads_sleep_unless_told_otherwise(monkeypatch, given, kept):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    resources.set_thread_variables("torch")
    assert {name: os.environ.get(name) for name in kept} == kept


@pytest.mark.parametrize(
    ("backend", "name"), [("torch", "OMP_NUM_THREADS"), ("tensorflow", "TF_NUM_INTRAOP_THREADS"), ("jax", "NPROC")]
)
def test_frameworks_are_told_of_a_quota(groups, monkeypatch, backend, name):
    groups("0::/\n", {"cpu.max": "200000 100000"})
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.delenv(name, raising=False)
    resources.set_thread_variables(backend)
    assert os.environ[name] == "2"
    monkeypatch.setenv(name, "5")
    resources.set_thread_variables(backend)
    assert os.environ[name] == "5"


def network(side=32):
    image = keras.Input((side, side, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(8, 3, padding="same")(image))
    return keras.Model(image, keras.layers.Dense(2)(x))


@pytest.mark.backend
def test_steps_are_computed_in_parts_that_fit(monkeypatch, resolved_config):
    config, model, said = resolved_config, network(), []
    monkeypatch.setattr(step_memory.runtime, "device_in_use", lambda: "cpu")
    needed = step_memory.step_bytes(model, config.data.batch_size)
    monkeypatch.setattr(step_memory.runtime, "usable_memory", lambda: needed)
    fitting = step_memory.fit_to_memory(config, model, said.append)
    assert fitting.data.accumulate == 2 and fitting.data.batch_size == config.data.batch_size and len(said) == 1
    given = config.model_copy(update={"decisions": ()})
    assert step_memory.fit_to_memory(given, model, said.append) is given and "data.accumulate = 2 gives" in said.pop()
    monkeypatch.setattr(step_memory.runtime, "usable_memory", lambda: 2 * needed)
    assert step_memory.fit_to_memory(config, model, said.append) is config and len(said) == 1


@pytest.fixture
def resolved_config(photos, tmp_path):
    settings = ["model.backbone=tiny", "model.weights=none", "data.image_size=32", "phases=[{name: all, epochs: 1}]"]
    config = load_config(data=photos, output=tmp_path / "run", overrides=settings)
    return prepare(config, say=lambda line: None).config
