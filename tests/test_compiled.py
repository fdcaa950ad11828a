"""Where JAX keeps what it has compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from keras_transfer.runtime import compiled, installed_backends

NAMES = ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch, tmp_path):
    for name in (*NAMES, "JAX_COMPILATION_CACHE_MAX_SIZE", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"):
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))


def test_each_kind_of_processor_has_a_folder_of_its_own(monkeypatch, tmp_path):
    found = set()
    for flags in ({"avx2"}, {"avx2", "avx512f"}):
        monkeypatch.delenv(NAMES[0], raising=False)
        monkeypatch.setattr(compiled, "processor_flags", lambda flags=flags: flags)
        compiled.keep_compiled()
        found.add(os.environ[NAMES[0]])
    assert len(found) == 2 and all(Path(folder).parent == tmp_path / "cache" / "jax" for folder in found)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_has_set_stays(monkeypatch, name):
    monkeypatch.setenv(name, "0")
    compiled.keep_compiled()
    assert os.environ[name] == "0" and not (set(NAMES) - {name}) & set(os.environ)


def test_nothing_is_kept_where_nothing_can_be_written(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("a file")
    compiled.keep_compiled()
    assert NAMES[0] not in os.environ


@pytest.mark.skipif("jax" not in installed_backends(), reason="needs jax")
def test_jax_reads_it_and_another_process_compiles_nothing(tmp_path):
    code = (
        "import keras_transfer as kt; kt.use_backend('jax'); import jax, jax.numpy as np\n"
        "jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
        "hits = []; from jax import monitoring\n"
        "monitoring.register_event_listener(lambda event, **_: hits.append(event))\n"
        "jax.jit(lambda x: np.sin(x) @ x.T)(np.ones((3, 3)))\n"
        "print(sum(event == '/jax/compilation_cache/cache_hits' for event in hits))"
    )
    counts = [
        int(subprocess.run([sys.executable, "-c", code], env={**os.environ, "KERAS_BACKEND": "jax"}, capture_output=True,
                           text=True, check=True).stdout)
        for _ in range(2)
    ]  # fmt: skip
    assert counts[0] == 0 < counts[1]
    assert any((tmp_path / "cache" / "jax").rglob("*"))
