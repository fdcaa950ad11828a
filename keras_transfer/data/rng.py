"""Counter-based random numbers: every draw has an address, so it does not depend on the number of workers.

The generator is Philox-4x64 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). Its key is
(seed, stream and view), its counter starts at (0, 0, index, epoch), so no two addresses share a number.
"""

from __future__ import annotations

import numpy as np

# Streams: part of the key, so that e.g. the order of an epoch and its pixels are independent.
SPLIT_TEST, SPLIT_VAL, LIMIT, LIMIT_TEST, ORDER, PIXELS, BATCH, VIEW, BLOCKS, WRITTEN = range(10)

_WORD = (1 << 64) - 1


def _philox(seed: int, stream: int, epoch: int = 0, index: int = 0, view: int = 0) -> np.random.Philox:
    key = np.array([seed & _WORD, (stream << 32) | (view & 0xFFFFFFFF)], np.uint64)
    return np.random.Philox(key=key, counter=np.array([0, 0, index & _WORD, epoch & _WORD], np.uint64))


def generator(seed: int, stream: int, epoch: int = 0, index: int = 0, view: int = 0) -> np.random.Generator:
    """Return the random generator at an address."""
    return np.random.Generator(_philox(seed, stream, epoch, index, view))


def permutation(n: int, seed: int, stream: int, epoch: int = 0) -> np.ndarray:
    """Return a random order of 0..n-1, int64 (n,).

    It sorts raw Philox output, which NumPy guarantees never to change, unlike `Generator.permutation`.
    """
    return np.argsort(_philox(seed, stream, epoch).random_raw(n), kind="stable") if n else np.zeros(0, np.int64)
