"""Exported files: images per second of each in its own runtime, opened as `export` opens it for verification.

The rivals are the files of `export` in the folders given by `--models` and their subfolders. The table also shows the
differences that `export` measured on images of the run's data.

    python scripts/export.py RUN onnx openvino --output files/torch --backend torch
    python scripts/export.py RUN onnx litert --output files/tensorflow --backend tensorflow --precision int8
    python scripts/benchmark.py export --models files
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.contenders import throughput
from benchmarks.harness import Case, Options, Rival
from keras_transfer.errors import UserError
from keras_transfer.export import FORMATS
from keras_transfer.export.formats import PRECISIONS
from keras_transfer.export.verify import BATCH

QUICKSTART = "runs/quickstart/export"


def cases(options: Options) -> list[Case]:
    batch, precisions = options.batch or BATCH, options.choose("precisions", PRECISIONS)
    found = []
    for folder in options.models or ():
        if not Path(folder).is_dir():
            raise UserError(f"--models: expected folders of exported files, there is none at {folder!r}")
    for folder in options.models or (QUICKSTART,):
        records = [file for file in sorted(Path(folder).rglob("*.json")) if _precision(file) in precisions]
        records = records or [
            Path(folder, f"{item.file}.json") for item in FORMATS.values()
        ]  # their error names the missing file
        rivals = [
            Rival(
                str(file.relative_to(folder).with_suffix("")),
                f"{__name__}:opened",
                {"record": str(file), "batch": batch},
            )
            for file in records
        ]
        found.append(Case(f"{folder}, batch {batch}", "images/s", tuple(rivals)))
    return found


def _precision(file: Path) -> str | None:
    """Return the precision of the export that a JSON file records; None for other JSON files, e.g. of a SavedModel."""
    content = json.loads(file.read_text("utf-8"))
    return content.get("precision") if "label_agreement" in content else None


def opened(record: str, batch: int) -> Callable[[], dict[str, float]]:
    if not Path(record).is_file():
        raise UserError(f"{record} does not exist; scripts/export.py writes it next to the exported file")
    row = json.loads(Path(record).read_text("utf-8"))
    run = FORMATS[row["format"]].module().open_file(Path(record).with_suffix(""))
    images = np.random.default_rng(0).integers(0, 256, (batch, *row["input_shape"])).astype(np.float32)

    def steps(count: int) -> None:
        for _ in range(count):
            run(images)

    measure = throughput(steps, batch)
    return lambda: {
        "value": measure(),
        "MB": row["bytes"] / 1e6,
        "largest difference": row["max_difference"],
        "same labels, %": 100 * row["label_agreement"],
    }
