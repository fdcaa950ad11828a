"""Finding unreadable pictures before training does."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import numpy as np

from keras_transfer.data.manifest import ArrayStore, BadImage, Manifest
from keras_transfer.errors import UserError

Bad = list[tuple[str, str]]


def resolve_workers(workers: int | str) -> int:
    """A number of threads: `"auto"` is that of the processors this process may use, at most 8."""
    if workers == "auto":
        usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(usable, 8)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise UserError(f"workers must be 'auto' or a whole number of at least 0, received {workers!r}")
    return workers


def check(manifest: Manifest, workers: int | str = "auto") -> Bad:
    """Decode every picture in threads.

    Returns:
        (name, reason) of each picture that cannot be read, sorted by name.
    """
    images = manifest.images
    if isinstance(images, ArrayStore):
        return []

    def bad_in(chunk: np.ndarray) -> Bad:
        found = []
        for i in chunk.tolist():
            try:
                images.read(i)
            except BadImage as error:
                found.append((error.name, error.reason))
        return found

    threads = max(resolve_workers(workers), 1)
    chunks = np.array_split(np.arange(len(manifest)), max(1, len(manifest) // 64))
    with ThreadPoolExecutor(threads, thread_name_prefix="kt-verify") as pool:
        return sorted(pair for part in pool.map(bad_in, chunks) for pair in part)


def drop_bad(
    manifest: Manifest, on_bad_image: Literal["error", "skip"], workers: int | str = "auto"
) -> tuple[Manifest, Bad]:
    """Check all pictures; raise one UserError that lists the bad ones, or (`"skip"`) leave them out and return them."""
    bad = check(manifest, workers)
    if not bad:
        return manifest, []
    if on_bad_image == "error":
        head = f"{len(bad)} of {len(manifest)} pictures cannot be read (on_bad_image='skip' leaves them out):"
        raise UserError(f"{head}\n{listed(bad)}")
    names = {name for name, _ in bad}
    keep = [i for i in range(len(manifest)) if manifest.images.name(i) not in names]
    if not keep:
        raise UserError(f"none of the {len(manifest)} pictures can be read:\n{listed(bad)}")
    return manifest.take(np.array(keep, np.int64)), bad


def listed(bad: Sequence[tuple[str, str]], limit: int = 20) -> str:
    """A line for each of the first `limit` bad pictures."""
    lines = [f"  {name}: {reason}" for name, reason in bad[:limit]]
    return "\n".join([*lines, f"  … and {len(bad) - limit} more"] if len(bad) > limit else lines)
