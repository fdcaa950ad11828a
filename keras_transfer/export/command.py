"""The ``export`` command: choose backends, write files, verify them, and save the results beside them."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from keras_transfer import runtime, text
from keras_transfer.console import working
from keras_transfer.errors import UserError, unknown
from keras_transfer.export import formats
from keras_transfer.export.formats import Format
from keras_transfer.export.metadata import export_metadata
from keras_transfer.export.verify import compare_novelty, verify
from keras_transfer.files import write_json
from keras_transfer.inference import find_model
from keras_transfer.keras_compat.locks import EXCLUSIVE


def export(
    source: str | Path,
    names: Sequence[str],
    *,
    output: str | Path | None = None,
    precision: str = "float32",
    backend: str | None = None,
) -> list[dict[str, Any]]:
    """Write a model in other formats, verify each file in its own runtime, and print the results.

    If the formats need several backends, or another one than Keras already runs on, each backend gets its own process.

    Args:
        source: run directory or model file.
        names: formats, keys of :data:`keras_transfer.export.FORMATS`.
        output: folder for the files; by default ``export`` in the run directory, or beside the model file.
        precision: ``"float32"``, ``"float16"`` or ``"int8"``.
        backend: write all formats from this backend; by default each is written from one that supports it.

    Returns:
        for each format the content of the JSON file beside the exported file.

    Raises:
        UserError: unknown format or precision; a format that the backend or precision does not support; no such model;
            the folder cannot be written.
        MissingExtra: a package is not installed.
    """
    path, run = find_model(source)
    if precision not in formats.PRECISIONS:
        raise unknown("precision", precision, formats.PRECISIONS)
    wanted = [formats.get(name) for name in dict.fromkeys(names)]
    trained_on = run.read_config().backend if run is not None else None
    groups: dict[str, list[Format]] = {}
    for item in wanted:
        chosen = choose_backend(item, precision, backend, trained_on)
        item.require(chosen, precision)
        groups.setdefault(chosen, []).append(item)
    folder = _output_folder(Path(output) if output is not None else path.parent / "export")
    running = sys.modules.get("keras")
    if len(groups) > 1 or (running is not None and running.backend.backend() not in groups):
        return [row for name, items in groups.items() for row in _in_process(source, items, folder, precision, name)]
    with EXCLUSIVE:  # converters switch what the framework keeps once per process
        return [row for name, items in groups.items() for row in _write_all(path, run, items, folder, precision, name)]


def choose_backend(item: Format, precision: str, asked: str | None, trained_on: str | None) -> str:
    """Choose the backend to write a format from: the one asked for, that of the training, or the first supported one.

    Raises:
        UserError: no backend that supports the format is installed; an unknown backend.
    """
    if asked or os.environ.get("KERAS_BACKEND"):
        return runtime.choose_backend(asked).value
    able = item.backends(precision)
    installed = [name for name in able if name in runtime.installed_backends()]
    if not installed:
        raise UserError(f"{item.name} is written from {' or '.join(able)}, which is not installed: "
                        f'pip install "keras_transfer[{able[0]}]"')  # fmt: skip
    return trained_on if trained_on in installed else installed[0]


def _output_folder(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot create the output folder {folder}: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write into the output folder {folder}")
    return folder


def _in_process(
    source: str | Path, items: Sequence[Format], folder: Path, precision: str, backend: str
) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "keras_transfer", "export", str(source), *(item.name for item in items),
               "--output", str(folder), "--precision", precision, "--backend", backend]  # fmt: skip
    status = subprocess.run(command, env=runtime.child_environment(backend), check=False).returncode
    kept = [_json_beside(folder / item.file_name(precision)) for item in items]
    rows = [json.loads(file.read_text("utf-8")) for file in kept if file.is_file()]
    # A crash has the same exit status as files that disagree, and the JSON files may be from an older export.
    if len(rows) < len(items) or status != int(not all(row["agrees"] for row in rows)):
        raise UserError(f"the export from {backend} failed, see above")
    return rows


def _write_all(
    path: Path, run: Any, items: Sequence[Format], folder: Path, precision: str, backend: str
) -> list[dict[str, Any]]:
    runtime.activate(backend, "cpu")
    runtime.hide_progress_bars()
    from keras_transfer.evaluation.evaluate import logits_of_batch
    from keras_transfer.evaluation.metrics import require_finite
    from keras_transfer.evaluation.novelty import apart
    from keras_transfer.evaluation.tasks import is_multi, thresholds_of
    from keras_transfer.export.fold import folded
    from keras_transfer.export.images import read_images
    from keras_transfer.export.rounding import round_weights
    from keras_transfer.models.bundle import load
    from keras_transfer.models.novelty import NOVELTY, joined, with_novelty

    model, metadata = load(path)
    images, calibration, origin = read_images(path, run, metadata)
    text.say(f"verifying on {origin['count']} images: {origin['images']}")
    batches = np.split(images, range(32, len(images), 32))
    both = joined(model, metadata)
    computed = np.concatenate([logits_of_batch(both, batch, 32) for batch in batches])
    require_finite(computed)
    expected, novelty = apart(computed, len(metadata["classes"]))
    model = folded(with_novelty(model, metadata))
    if precision == "int8":
        round_weights(model, calibration)
    limits = thresholds_of(metadata) if is_multi(metadata) else None
    rows = []
    for item in items:
        target = folder / item.file_name(precision)
        with _aside(target, path.stat().st_size) as aside, working(f"writing and verifying {item.name}"):
            made = aside / target.name
            module = item.module()
            module.write(model, made, export_metadata(metadata), precision, calibration)
            size = sum(file.stat().st_size for file in aside.rglob("*") if file.is_file())
            result = verify(module.open_file(made), images, expected, precision, limits)
            if novelty is not None:
                result |= compare_novelty(module.open_file(made, NOVELTY), images, novelty)
            row = {"format": item.name, "file": target.name, "precision": precision, "backend": backend, "bytes": size,
                   "input_shape": list(images.shape[1:]), **result, "compared_on": origin,
                   "versions": _versions(item, precision, backend)}  # fmt: skip
            write_json(_json_beside(made), row)
            _put_in_place(aside, folder)
        _print_row(row, target)
        rows.append(row)
    return rows


@contextmanager
def _aside(target: Path, expected_size: int) -> Iterator[Path]:
    """Create a temporary folder beside the target, and turn a full disk into a UserError.

    Each library reports a full disk differently, so check whether less space is left than such a file needs.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as folder:
        try:
            yield Path(folder)
        except Exception as error:
            full = isinstance(error, OSError) and error.errno == errno.ENOSPC
            if full or shutil.disk_usage(folder).free < expected_size:
                raise UserError(f"cannot write '{target}': no space left on the disk") from error
            raise


def _put_in_place(aside: Path, folder: Path) -> None:
    """Move finished files into the folder, replacing older ones."""
    for made in sorted(aside.iterdir()):
        target = folder / made.name
        if target.is_dir():
            shutil.rmtree(target)
        made.replace(target)


def _json_beside(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _versions(item: Format, precision: str, backend: str) -> dict[str, str]:
    found = runtime.versions()
    for package in item.all_packages(backend, precision):
        name = package.replace("_", "-")
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _print_row(row: dict[str, Any], target: Path) -> None:
    speed = f", {row['images_per_second']:.0f} images/s" if row["images_per_second"] else ""
    verdict = "" if row["agrees"] else ", TOO LOW: do not use this file"
    if "novelty_max_difference" in row:
        verdict += f", largest novelty difference {row['novelty_max_difference']:.2g}"
    text.say(
        f"{row['format']}: {target} ({row['bytes'] / 1e6:.2f} MB, {row['precision']}): largest logit difference "
        f"{row['max_difference']:.2g}, label agreement {row['label_agreement']:.1%}{verdict}{speed}"
    )
