"""Run the cells that are missing, one process at a time."""

from __future__ import annotations

import importlib.metadata
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import numpy as np

from benchmarks.harness import ROOT
from benchmarks.quality.cells import Cell, Cells, Key
from benchmarks.quality.sets import ImageSet, lay_out, open_set, subset
from keras_transfer import runtime
from keras_transfer.errors import UserError
from keras_transfer.evaluation import classification_metrics
from keras_transfer.typing import Say

TIMEOUT = 7200.0
PACKAGES = (
    "python",
    "keras_transfer",
    "keras",
    "torch",
    "tensorflow",
    "jax",
    "numpy",
    "openvino",
)  # as far as installed


def run(cells: Cells, keys: Iterable[Key], sets: dict[str, Path], retry: bool, timeout: float, say: Say) -> None:
    """Run cells and write each result at once; finished ones are skipped, and so are those that another process runs.

    Args:
        cells: the file of results.
        keys: cells in the order to run them.
        sets: name → folder or archive.
        retry: whether cells that failed before run again.
        timeout: seconds that a cell may take.
        say: gets a line per cell.
    """
    opened: dict[str, ImageSet] = {}
    for key in keys:
        if _is_finished(cells, key, retry):
            continue
        if key.set not in opened:
            opened[key.set] = open_set(key.set, sets[key.set])
        with cells.claim(key) as mine:
            # Another process may have finished it in the meantime.
            if not mine or _is_finished(cells, key, retry):
                continue
            cell = run_cell(key, opened[key.set], timeout)
            cells.put(key, cell)
        said = f"accuracy {cell['accuracy']:.2%}" if cell["status"] == "ok" else cell["error"]
        say(f"{key}: {said}, {cell['seconds']:.0f} s")


def _is_finished(cells: Cells, key: Key, retry: bool) -> bool:
    cell = cells.read().get(key)
    return cell is not None and (cell["status"] == "ok" or not retry)


def run_cell(key: Key, images: ImageSet, timeout: float) -> Cell:
    """Measure one cell in a process of its own."""
    chosen = subset(images.train_labels, key.size, key.seed)
    with tempfile.TemporaryDirectory(prefix="quality-") as scratch:
        folder = Path(scratch) / key.set
        lay_out(images, chosen, folder)
        began = time.perf_counter()
        ended = _call([key.method, key.set, str(folder), str(key.seed), scratch], timeout)
        common: Cell = {"n_train": len(chosen), "date": time.strftime("%Y-%m-%d")}
        try:
            if ended:
                told = Path(scratch) / "error.txt"
                raise UserError(told.read_text("utf-8") if told.exists() else ended)
            with np.load(Path(scratch) / "outcome.npz") as stored:
                return {**measured(stored["logits"], images), "seconds": round(float(stored["seconds"]), 2), **common}
        except UserError as error:
            seconds = round(time.perf_counter() - began, 2)
            return {"status": "failed", "error": str(error), "seconds": seconds, **common}


def measured(logits: np.ndarray, images: ImageSet) -> Cell:
    """Return the part of a cell that follows from the logits (n, classes) of the test images.

    Raises:
        UserError: logits that are not finite.
    """
    metrics = classification_metrics(logits, images.test_labels, images.classes)
    return {
        "status": "ok",
        "accuracy": metrics["accuracy"],
        "log_loss": round(metrics["loss"], 6),
        "ece": round(metrics["ece"], 6),
        "n_test": metrics["n"],
        "correct": "".join("01"[int(right)] for right in logits.argmax(axis=1) == images.test_labels),
        "backend": runtime.choose_backend().value,
        "versions": {
            **{name: version for name, version in runtime.versions().items() if name in PACKAGES},
            "scikit-learn": importlib.metadata.version("scikit-learn"),
        },
    }


def _call(arguments: list[str], timeout: float) -> str:
    """Run the worker; returns why it did not succeed, or an empty string."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.quality.worker", *arguments],
        env={**os.environ, "PYTHONPATH": path},
        cwd=arguments[-1],  # what it writes to the current folder goes with the rest
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # so that Ctrl-C and the limit end its own processes, too
    )
    try:
        status = process.wait(timeout)
    except subprocess.TimeoutExpired:
        return f"took more than {timeout:.0f} s"
    finally:
        _end(process)
    return f"its process ended with status {status}" if status else ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process, and those that it started, if it still runs."""
    if process.poll() is not None:
        return
    if hasattr(os, "killpg"):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
