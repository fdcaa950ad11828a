"""The row of metrics of a run, and notes about runs that are not comparable."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from keras_transfer.errors import UserError
from keras_transfer.runs import RunDirectory

FIELDS = (
    "name", "state", "problem", "backbone", "backend", "device", "precision", "image_size",
    "test_accuracy", "test_low", "test_high", "test_n", "val_accuracy", "val_low", "val_high", "val_n", "val_of",
    "seconds", "epochs", "epoch_seconds", "images_per_second", "parameters", "trainable_parameters",
    "file_bytes", "run",
)  # fmt: skip
"""The columns of `compare.csv`."""


def empty_row(name: str, run: RunDirectory) -> dict[str, Any]:
    """Return the row of a run without results."""
    return {"name": name, "state": "not started", "problem": None, "run": str(run.path)}


def read_row(name: str, run: RunDirectory) -> dict[str, Any]:
    """Return the row of a finished run.

    Returns:
        ``FIELDS`` (accuracies 0..1 with their 95 % intervals; `val_of`: what the figures of `val` are, if there are no
        validation images; `seconds` of the whole run, `epoch_seconds` of its
        epochs; `images_per_second` of the last phase; `trainable_parameters`: the maximum over phases), and for JSON
        also `phases`, `data` (fingerprint) and `hardware`.

    Raises:
        UserError: the run's files are incomplete.
    """
    config, metrics, manifest = run.read_config(), run.read_json(run.metrics), run.read_json(run.manifest)
    try:
        phases = metrics["phases"]
        last = phases[-1] if phases else {}
        row = {
            **empty_row(name, run),
            "state": "finished",
            "backbone": config.model.backbone,
            "backend": manifest["backend"]["name"],
            "device": manifest["device"],
            "precision": manifest["precision"]["name"],
            "image_size": config.data.image_size,
            "seconds": metrics["seconds"],
            "epochs": sum(phase["epochs"] for phase in phases),
            "epoch_seconds": round(sum(phase["seconds"] for phase in phases), 3),
            "images_per_second": last.get("images_per_second"),
            "parameters": last["frozen_parameters"] + last["trainable_parameters"] if last else None,
            "trainable_parameters": max((phase["trainable_parameters"] for phase in phases), default=None),
            "file_bytes": run.model.stat().st_size if run.model.is_file() else None,
            "phases": phases,
            "data": manifest["data"]["fingerprint"],
            "hardware": manifest["hardware"],
        }
        return row | dict(_accuracies(metrics))
    except (KeyError, IndexError, TypeError) as error:
        raise UserError(f"{run.path}: {run.metrics.name} or {run.manifest.name} is incomplete") from error


def notes(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each kind of metric of finished runs that is not comparable."""
    finished = [row for row in rows if row["state"] == "finished"]
    found = []
    data = _groups(finished, lambda row: row["data"])
    if len(data) > 1:
        found.append(f"accuracies are not comparable (different images, labels or splits): {_listed(data)}")
    folded = [row["name"] for row in finished if row.get("val_of")]
    if folded:
        found.append(f"val stands for out-of-fold predictions for the training images in: {', '.join(folded)}")
    machines = _groups(finished, lambda row: (row["hardware"].get("processor"), row["hardware"].get("cores")))
    if len(machines) > 1:
        found.append(f"times are not comparable (different machines): {_listed(machines)}")
    return found


def _accuracies(metrics: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for split in ("test", "val"):
        found = metrics.get(split)
        if found is not None:
            low, high = found["accuracy_ci95"]
            yield from {f"{split}_accuracy": found["accuracy"], f"{split}_low": low, f"{split}_high": high,
                        f"{split}_n": found["n"]}.items()  # fmt: skip
            if "of" in found:
                yield f"{split}_of", found["of"]


def _groups(rows: Sequence[dict[str, Any]], key: Any) -> list[list[str]]:
    groups: dict[Any, list[str]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row["name"])
    return list(groups.values())


def _listed(groups: list[list[str]]) -> str:
    return "; ".join(", ".join(group) for group in groups)
