"""Keeping freed memory: asked once, refused politely where there is no glibc."""

import subprocess
import sys

import pytest

from keras_transfer.engine import memory

PAGES = """
import resource, sys
from keras_transfer.engine.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
import numpy as np
def touch():
    np.ones(48 * 2**20 // 8)
for _ in range(3): touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5): touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(mode):
    return int(subprocess.run([sys.executable, "-c", PAGES, mode], capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_large_blocks_are_reused():
    if not memory.keep_freed_memory():
        pytest.skip("the C library is not glibc")
    assert faults("keep") < 200
    assert faults("stock") > 5 * faults("keep")


def test_other_systems_are_left_alone(monkeypatch):
    memory.keep_freed_memory.cache_clear()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert memory.keep_freed_memory() is False
    memory.keep_freed_memory.cache_clear()


def test_a_library_without_the_call_is_no_error(monkeypatch):
    memory.keep_freed_memory.cache_clear()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed_memory() is False
    memory.keep_freed_memory.cache_clear()
