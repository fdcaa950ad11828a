"""The same command twice, in two processes: the same bytes of weights."""

from __future__ import annotations

import os
import zipfile

import pytest

from keras_transfer.errors import UserError

pytestmark = pytest.mark.backend

SETTINGS = {
    "data.image_size": 32,
    "data.batch_size": 16,
    "data.augment": "[horizontal_flip, mixup]",
    "data.workers": 2,
    "data.accumulate": 2,
    "model.backbone": "tiny",
    "model.weights": "none",
    "phases": "[{name: head, epochs: 2, augment: false}, {name: all, epochs: 2}]",
    "output.plots": "false",
    "output.report": "false",
}


def weights_of(command, photos, output, backend, **more) -> bytes:
    """Bytes of the model's weights after a run with two threads."""
    options = [word for key, value in {**SETTINGS, **more}.items() for word in ("--set", f"{key}={value}")]
    threads = {"OMP_NUM_THREADS": "2", "TF_NUM_INTRAOP_THREADS": "2"}
    done = command(
        "train", "--data", photos, "--backend", backend, "--device", "cpu", "--output", output, *options, **threads
    )
    assert done.returncode == 0, done.stderr
    import h5py

    with zipfile.ZipFile(output / "model.keras") as archive, archive.open("model.weights.h5") as file:
        found: list[tuple[str, bytes]] = []
        h5py.File(file, "r").visititems(
            lambda name, item: found.append((name, item[()].tobytes())) if isinstance(item, h5py.Dataset) else None
        )
    assert found
    return b"".join(name.encode() + values for name, values in sorted(found))


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("deterministic", ["true", pytest.param("false", marks=pytest.mark.exhaustive)])
def test_two_processes_give_the_same_bytes_of_weights(command, photos, tmp_path, backend, deterministic):
    one, other = (
        weights_of(command, photos, tmp_path / name, backend, deterministic=deterministic) for name in ("one", "other")
    )
    assert one == other
    if deterministic == "true":
        assert one != weights_of(command, photos, tmp_path / "seed", backend, deterministic="true", seed=1)


def test_the_backend_is_set_to_deterministic_operations(command, backend):
    asked = {
        "torch": "import torch; print(torch.are_deterministic_algorithms_enabled(), os.environ['CUBLAS_WORKSPACE_CONFIG'])",
        "tensorflow": "from tensorflow.python.framework.config import is_op_determinism_enabled as on; print(on())",
        "jax": "print('xla_gpu_deterministic_ops=true' in os.environ['XLA_FLAGS'])",
    }[backend]
    import subprocess
    import sys

    program = f"import os, keras_transfer as kt; kt.use_backend({backend!r}, device='cpu', deterministic=True); {asked}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.split()[0] == "True"


def test_jax_that_already_runs_on_a_gpu_cannot_become_deterministic(monkeypatch):
    from keras_transfer.runtime import determinism

    monkeypatch.delenv("XLA_FLAGS", raising=False)
    monkeypatch.setattr(determinism, "device_in_use", lambda: "gpu")
    with pytest.raises(UserError, match="already uses the GPU"):
        determinism.set_variables("jax", keras_is_running=True)
    assert "XLA_FLAGS" not in os.environ
