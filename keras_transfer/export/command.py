"""What ``keras-transfer export`` does: choose backends, write, compare, keep the figures beside the files."""

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

from keras_transfer import runtime
from keras_transfer.errors import UserError, unknown
from keras_transfer.export import formats
from keras_transfer.export.formats import Format
from keras_transfer.export.metadata import artefact_metadata
from keras_transfer.export.verify import compare
from keras_transfer.files import write_json
from keras_transfer.inference import find_model


def export(
    source: str | Path,
    names: Sequence[str],
    *,
    output: str | Path | None = None,
    precision: str = "float32",
    backend: str | None = None,
) -> list[dict[str, Any]]:
    """Write a model in other formats, compare each file in its own runtime with the model, and print the figures.

    Formats that need different backends, or another than Keras already runs on, are written by a process of their own each.

    Args:
        source: run directory or model file.
        names: formats, of :data:`keras_transfer.export.FORMATS`.
        output: folder for the files; by default ``export`` in the run, or beside the model file.
        precision: ``"float32"``, ``"float16"`` or ``"int8"``.
        backend: write everything from this one; by default each format is written from one that can.

    Returns:
        for each format what is kept beside its file as JSON.

    Raises:
        UserError: an unknown format or precision; the backend cannot write the format, or it is not offered in this
            precision; no such model; the folder cannot be written.
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
        return [row for name, items in groups.items() for row in _in_a_process(source, items, folder, precision, name)]
    return [row for name, items in groups.items() for row in _write_all(path, run, items, folder, precision, name)]


def choose_backend(item: Format, precision: str, asked: str | None, trained_on: str | None) -> str:
    """Choose the backend to write a format from: the one asked for, that of the training, or the first that can.

    Raises:
        UserError: no backend that can write it is installed; an unknown backend.
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
        raise UserError(f"cannot make the output folder {folder}: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK):
        raise UserError(f"cannot write into the output folder {folder}")
    return folder


def _in_a_process(
    source: str | Path, items: Sequence[Format], folder: Path, precision: str, backend: str
) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "keras_transfer", "export", str(source), *(item.name for item in items),
               "--output", str(folder), "--precision", precision, "--backend", backend]  # fmt: skip
    status = subprocess.run(command, env=runtime.child_environment(backend), check=False).returncode
    kept = [_beside(folder / item.file_name(precision)) for item in items]
    rows = [json.loads(file.read_text("utf-8")) for file in kept if file.is_file()]
    # A process that breaks down has the status of files that disagree; the figures may be those of an older export.
    if len(rows) < len(items) or status != int(not all(row["agrees"] for row in rows)):
        raise UserError(f"the export from {backend} failed, see above")
    return rows


def _write_all(
    path: Path, run: Any, items: Sequence[Format], folder: Path, precision: str, backend: str
) -> list[dict[str, Any]]:
    runtime.activate(backend, "cpu")
    runtime.hide_progress_bars()
    from keras_transfer.evaluation.evaluate import logits_of_batch
    from keras_transfer.export.fold import folded
    from keras_transfer.export.images import images_of
    from keras_transfer.export.rounding import round_weights
    from keras_transfer.models.bundle import load

    model, metadata = load(path)
    images, calibration, origin = images_of(path, run, metadata)
    print(f"comparing on {origin['count']} images: {origin['images']}")
    batches = np.split(images, range(32, len(images), 32))
    expected = np.concatenate([logits_of_batch(model, batch, 32) for batch in batches])
    model = folded(model)
    if precision == "int8":
        round_weights(model, calibration)
    rows = []
    for item in items:
        target = folder / item.file_name(precision)
        with _aside(target, path.stat().st_size) as aside:
            made = aside / target.name
            module = item.module()
            module.write(model, made, artefact_metadata(metadata), precision, calibration)
            size = sum(file.stat().st_size for file in aside.rglob("*") if file.is_file())
            figures = compare(module.open_file(made), images, expected, precision)
            row = {"format": item.name, "file": target.name, "precision": precision, "backend": backend, "bytes": size,
                   "input_shape": list(images.shape[1:]), **figures, "compared_on": origin, "versions": _versions(item, precision, backend)}  # fmt: skip
            write_json(_beside(made), row)
            _put_in_place(aside, folder)
        _tell(row, target)
        rows.append(row)
    return rows


@contextmanager
def _aside(target: Path, expected_size: int) -> Iterator[Path]:
    """Give a folder beside the target that is gone at the end, and tell a full disk in one line.

    Every library has its own words for that, so the disk is asked: is there less room than a file of this kind takes?
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
    """Move finished files into the folder, over older ones."""
    for made in sorted(aside.iterdir()):
        target = folder / made.name
        if target.is_dir():
            shutil.rmtree(target)
        made.replace(target)


def _beside(target: Path) -> Path:
    return target.with_name(f"{target.name}.json")


def _versions(item: Format, precision: str, backend: str) -> dict[str, str]:
    found = runtime.versions()
    for package in item.all_packages(backend, precision):
        name = package.replace("_", "-")
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _tell(row: dict[str, Any], target: Path) -> None:
    speed = f", {row['images_per_second']:.0f} images/s" if row["images_per_second"] else ""
    verdict = "" if row["agrees"] else ", which is TOO LOW: do not ship this file"
    print(
        f"{row['format']}: {target} ({row['bytes'] / 1e6:.1f} MB, {row['precision']}): largest logit difference "
        f"{row['max_difference']:.2g}, label agreement {row['label_agreement']:.1%}{verdict}{speed}"
    )
