"""The ``parity`` command: run the same computation on every backend and compare the results."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_transfer import runtime
from keras_transfer.config import load_config
from keras_transfer.console import wrote
from keras_transfer.errors import UserError, unknown
from keras_transfer.files import write_json
from keras_transfer.formatting import seconds
from keras_transfer.inference import find_model

# Largest allowed differences. Logits: absolute, and relative to the largest logit. Gradients and BatchNorm statistics:
# relative to the largest entry of each array, leaving out arrays of rounding noise. Losses: absolute, at every step.
# All in float32 except the gradients (see float64.py).
LIMITS = {
    "logits_absolute": 1e-4,
    "logits_relative": 1e-5,
    "gradients_relative": 1e-5,
    "statistics_relative": 1e-4,
    "losses_absolute": 1e-3,
    "exchange_absolute": 1e-4,
}
BATCH_SIZE = 8
QUICK_STEPS, QUICK_RATE = 3, 1e-4
DECREASE = 0.01  # of the loss in one step, to first order: neither negligible nor unstable, whatever the model


def compare_backends(
    source: str | None = None,
    backends: list[str] | None = None,
    overrides: list[str] | None = None,
    *,
    steps: int = 20,
    quick: bool = False,
    learning_rate: float | None = None,
    json_file: str | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Compare backends on the same weights and batches.

    Args:
        source: a configuration (its data and an untrained model) or a run (its trained model); default quickstart.
        backends: names, at least two; default all installed ones.
        overrides: ``KEY=VALUE`` for a configuration.
        steps: SGD steps whose losses are compared.
        quick: compare logits and the losses of at most 3 steps only, without gradients in float64 and model files exchanged: a third of
            the time.
        learning_rate: of those steps; by default 0.01 over the squared norm of the gradient, so that each step lowers
            the loss by about 0.01.
        json_file: also write the report to this JSON file.
        quiet: print no table.

    Returns:
        The report: the largest differences for each pair of backends, whether all are within ``LIMITS`` (``agree``),
        and the losses of each backend.

    Raises:
        UserError: fewer than two backends, an unknown or missing one, a worker that failed.
    """
    chosen = _choose(backends)
    with tempfile.TemporaryDirectory(prefix="keras_transfer_parity_") as folder:
        work = _Work(Path(folder), _Told(1 + len(chosen) * (1 if quick else 3), quiet))
        work.run("prepare", chosen[0], **_start(source, overrides or []))
        gradients = {name: {} if quick else work.run("gradients", name) for name in chosen}
        if learning_rate is None:
            learning_rate = QUICK_RATE if quick else DECREASE / max(1e-12, _squared_norm(gradients[chosen[0]]))
        steps = min(steps, QUICK_STEPS) if quick else steps
        files = {name: str(work.folder / f"{name}.keras") for name in chosen}
        measured = {
            name: work.run("measure", name, steps=steps, learning_rate=learning_rate, save=files[name])
            | gradients[name]
            for name in chosen
        }
        exchanged = {} if quick else {name: work.run("load", name, files=files) for name in chosen}
    report = _report(chosen, measured, exchanged, source or "quickstart", learning_rate)
    if json_file is not None:
        write_json(json_file, report)
        wrote(json_file)
    if not quiet:
        _print(report)
    return report


def _choose(backends: list[str] | None) -> list[str]:
    chosen = list(dict.fromkeys(backends or runtime.installed_backends()))
    for name in chosen:
        if name not in runtime.BACKENDS:
            raise unknown("backend", name, runtime.BACKENDS)
        runtime.choose_backend(name)
    if len(chosen) < 2:
        raise UserError(f"parity needs at least two backends, got {', '.join(chosen) or 'none'}")
    return chosen


def _start(source: str | None, overrides: list[str]) -> dict[str, Any]:
    """Return what the task ``prepare`` starts from: a configuration, or a model file and its run."""
    if source is not None and Path(source).exists() and not source.endswith((".yaml", ".yml")):
        if overrides:
            raise UserError("--set changes a configuration, not a trained run")
        model, run = find_model(source)
        return {"source": str(model.resolve()), "run": str(run.path.resolve()) if run else None}
    return {"config": load_config(source, overrides).model_dump(mode="json")}


_TASKS = {"prepare": "making the model and its batches", "gradients": "gradients in float64",
          "measure": "logits, statistics and training steps", "load": "loading the files of all"}  # fmt: skip


@dataclass
class _Told:
    """A line on standard error for each of the ``total`` computations: alone, the command would be silent for minutes."""

    total: int
    quiet: bool
    done: int = 0
    began: float = field(default_factory=time.perf_counter)

    def begin(self, task: str, backend: str) -> None:
        """Say what is computed next, and how long the rest takes if it takes as long as what was before."""
        left = ""
        if self.done:
            each = (time.perf_counter() - self.began) / self.done
            left = f"; about {seconds(each * (self.total - self.done))} left"
        self.done += 1
        if not self.quiet:
            print(
                f"parity {self.done} of {self.total}: {_TASKS[task]}, on {backend}{left}", file=sys.stderr, flush=True
            )


@dataclass(frozen=True)
class _Work:
    """The folder of the files that the workers exchange. Each worker is a process, so this one imports no framework."""

    folder: Path
    told: _Told

    def run(self, task: str, backend: str, **options: Any) -> dict[str, np.ndarray]:
        """Run a task of :mod:`keras_transfer.parity.worker` on a backend; return its arrays, if it writes any."""
        job, result = (self.folder / f"{task}_{backend}.{suffix}" for suffix in ("json", "npz"))
        common = {"model": str(self.folder / "start.keras"), "batches": str(self.folder / "batches.npz"),
                  "batch_size": BATCH_SIZE, "device": "cpu", "result": str(result)}  # fmt: skip
        job.write_text(json.dumps({**common, "task": task, "backend": backend, **options}), encoding="utf-8")
        self.told.begin(task, backend)
        done = subprocess.run(
            [sys.executable, "-m", "keras_transfer.parity.worker", str(job)],
            env=runtime.child_environment(backend),
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode:
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()]
            problem = next((line.removeprefix("error: ") for line in lines if line.startswith("error: ")), None)
            raise UserError(problem or f"the {backend} worker failed: {lines[-1] if lines else 'no message'}")
        return dict(np.load(result)) if result.is_file() else {}


def _report(
    chosen: list[str], measured: dict[str, dict], exchanged: dict[str, dict], source: str, rate: float
) -> dict[str, Any]:
    pairs = [_pair(a, b, measured[a], measured[b]) for a, b in itertools.combinations(chosen, 2)]
    exchange = {
        writer: {reader: _largest(exchanged[reader][writer], measured[writer]["trained_logits"]) for reader in chosen}
        for writer in chosen
        if exchanged
    }
    worst = {name: max(pair[name] for pair in pairs) for name in LIMITS if name in pairs[0]}
    if exchange:
        worst["exchange_absolute"] = max(value for row in exchange.values() for value in row.values())
    return {
        "source": source,
        "backends": chosen,
        "versions": runtime.versions(),
        "hardware": runtime.hardware(),
        "steps": len(measured[chosen[0]]["losses"]),
        "learning_rate": rate,
        "limits": LIMITS,
        "pairs": pairs,
        "exchange": exchange,
        "worst": worst,
        "losses": {name: measured[name]["losses"].tolist() for name in chosen},
        "agree": all(value <= LIMITS[name] for name, value in worst.items()),
    }


def _pair(a: str, b: str, first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> dict[str, Any]:
    difference = _largest(first["logits"], second["logits"])
    return {
        "backends": [a, b],
        "logits_absolute": difference,
        "logits_relative": difference / max(1e-12, float(np.abs(first["logits"]).max())),
        "gradients_relative": _relative(first, second, "gradient_"),
        "statistics_relative": _relative(first, second, "statistic_"),
        "losses_absolute": _largest(first["losses"], second["losses"]),
    }


def _squared_norm(arrays: dict[str, np.ndarray]) -> float:
    return sum(float((value**2).sum()) for name, value in arrays.items() if name.startswith("gradient_"))


def _largest(first: np.ndarray, second: np.ndarray) -> float:
    if first.shape != second.shape:
        return float("inf")
    difference = np.abs(first.astype(np.float64) - second).max()
    return float(difference) if np.isfinite(difference) else float("inf")


def _relative(first: dict[str, np.ndarray], second: dict[str, np.ndarray], prefix: str) -> float:
    """Return the largest difference relative to the largest entry of its array, ignoring arrays of rounding noise.

    The gradient of a bias in front of a BatchNorm is zero in exact arithmetic and about 1e-9 in float32.
    """
    names = [name for name in first if name.startswith(prefix)]
    if not names:
        return 0.0
    if any(name not in second for name in names):
        return float("inf")
    scale = {name: float(np.abs(first[name]).max()) for name in names}
    noise = 1e-4 * max(scale.values())
    return max((_largest(first[n], second[n]) / scale[n] for n in names if scale[n] > noise), default=0.0)


def _print(report: dict[str, Any]) -> None:
    console = Console()
    console.print(f"parity of {report['source']}: largest differences (rel.: divided by the largest value)")
    table = Table()
    losses = f"{report['steps']} losses"
    for heading in ("backends", "logits", "logits, rel.", "gradients, rel.", "BatchNorm, rel.", losses):
        table.add_column(heading, justify="left" if heading == "backends" else "right")
    for pair in report["pairs"]:
        table.add_row("\n".join(pair["backends"]), *(f"{pair[name]:.1e}" for name in LIMITS if name in pair))
    table.add_section()
    table.add_row("limit", *(f"{value:.0e}" for name, value in LIMITS.items() if name != "exchange_absolute"))
    console.print(table)
    if not report["exchange"]:
        console.print(_verdict(report))
        return
    console.print("logits after saving on one backend and loading on another: largest differences")
    exchange = Table()
    exchange.add_column("saved on")
    for reader in report["backends"]:
        exchange.add_column(f"loaded on {reader}", justify="right")
    for writer, row in report["exchange"].items():
        exchange.add_row(writer, *(f"{row[reader]:.1e}" for reader in report["backends"]))
    console.print(exchange)
    console.print(_verdict(report))


def _verdict(report: dict[str, Any]) -> str:
    checked = "" if report["exchange"] else " (quick: neither gradients in float64 nor files were compared)"
    return f"the backends agree{checked}" if report["agree"] else "[bold]the backends do not agree[/bold]"
