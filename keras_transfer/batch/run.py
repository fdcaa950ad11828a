"""Compute the missing parts of a job: here, or on a Ray cluster by Ray Data."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_transfer.batch.cluster import connected, division
from keras_transfer.batch.job import Job, Part, begin
from keras_transfer.batch.task import compute_part
from keras_transfer.batch.worker import Images, Work, Worker
from keras_transfer.console import progress
from keras_transfer.errors import UserError
from keras_transfer.files import atomic_write
from keras_transfer.runtime import usable_cores
from keras_transfer.typing import Say

MOST_TASKS = 20_000
"""Ray keeps an entry for each task: of more parts than that, a task has several."""


def run(job: Job, work: Work, model: Path, images: Images, folder: Path, ray_address: str | None, say: Say) -> int:
    """Write the missing parts of a job to its folder, and return their number.

    Args:
        job: the job.
        work: what is done with each image.
        model: the model file.
        images: the images.
        folder: of the parts.
        ray_address: see :func:`keras_transfer.batch.cluster.connected`; None: this process does it all.
        say: prints a line.

    Raises:
        UserError: a folder of another job, a cluster that is not there, a model that cannot be loaded.
    """
    missing = begin(folder, job)
    if len(missing) < len(job.parts):
        say(f"{folder}: {len(job.parts) - len(missing)} of {len(job.parts)} parts are there already")
    if not missing:
        return 0
    content = model.read_bytes()
    parts = _here(work, content, images, missing) if ray_address is None else _on_ray(job, work, content, images, missing, ray_address, say)  # fmt: skip
    with progress(f"{work.kind}: {job.count} images", job.count) as advance:
        for part, data in parts:
            with atomic_write(folder / part.name) as stream:
                stream.write(data)
            advance(part.stop - part.start)
    return len(missing)


def _here(work: Work, model: bytes, images: Images, missing: Sequence[Part]) -> Iterator[tuple[Part, bytes]]:
    worker = Worker(work, model, images, min(8, usable_cores()))
    for part in missing:
        yield part, worker(part)


def _on_ray(
    job: Job, work: Work, model: bytes, images: Images, missing: Sequence[Part], address: str, say: Say
) -> Iterator[tuple[Part, bytes]]:
    """Yield the parts in the order in which they are done."""
    with connected(address) as ray:
        divided = division(ray)
        say(f"ray: {len(missing)} parts, up to {divided.workers} workers with {divided.cores} cores each")
        sent = ray.put((work, model, images))
        key = repr((job, work))

        def compute(row: dict[str, Any]) -> dict[str, Any]:
            return compute_part(key, sent, divided.cores, Part(int(row["start"]), int(row["stop"])))

        rows = [{"start": part.start, "stop": part.stop} for part in missing]
        _quiet(ray)
        found = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_TASKS)).map(
            compute, num_cpus=divided.cores
        )
        for row in found.iter_rows():
            if row["problem"]:
                raise UserError(row["problem"])
            yield Part(int(row["start"]), int(row["stop"])), row["data"]


def _quiet(ray: Any) -> None:
    """Let Ray Data print neither bars nor its plan."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = False
    context.execution_options.verbose_progress = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
