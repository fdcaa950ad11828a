"""The ``compare`` command: train the missing runs one after the other and compare all of them."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_transfer import runtime, text
from keras_transfer.compare.plan import Entry, plan, reject_changed
from keras_transfer.compare.rows import FIELDS, empty_row, notes, read_row
from keras_transfer.compare.table import comparison_table
from keras_transfer.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError
from keras_transfer.files import write_csv, write_json
from keras_transfer.runs import RunDirectory

FOLDER = "runs/compare"


def compare(
    sources: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    output: str | Path = FOLDER,
    backends: Sequence[str] = (),
    device: str | None = None,
    accept_changes: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train configurations one after the other, each in its own process, and compare them with finished runs.

    A second call with the same arguments keeps finished runs, resumes an unfinished one and starts the rest. A failed
    run does not prevent the others from being trained.

    Args:
        sources: configurations (paths, or names in `configs/`) and finished run directories.
        overrides: ``KEY=VALUE`` for all configurations.
        output: folder for the runs, each named like its configuration file, and for `compare.json`,
            `compare.csv`, `compare.png` and `curves.png`.
        backends: train every configuration on each of these; by default on the one that `train` would choose.
        device: compute device.
        accept_changes: resume a run even if versions or data changed.
        quiet: print no table.

    Returns:
        the content of `compare.json`: ``runs`` (see :func:`~keras_transfer.compare.rows.read_row`), ``notes``, ``asked``.

    Raises:
        UserError: invalid arguments; nothing has been trained.
        KeyboardInterrupt: Ctrl-C or SIGTERM; the state of the current run is saved.
    """
    folder = Path(output)
    entries = plan(sources, overrides, folder, backends, device)
    report = _read(folder)
    reject_changed(entries, report["asked"], folder)
    report["asked"] |= {entry.name: asdict(entry.request) for entry in entries if entry.request is not None}
    problems: dict[str, tuple[str, str]] = {}
    _write(folder, report, entries, problems)
    for number, entry in enumerate(entries, start=1):
        if entry.run.is_finished():
            continue
        text.complain(f"compare: {entry.name} ({number} of {len(entries)})")
        problem = _train(entry, folder, accept_changes)
        if problem is not None:
            problems[entry.name] = problem
            text.complain(f"compare: {entry.name} {problem[0]}: {problem[1]}")
        _write(folder, report, entries, problems)
    if not quiet:
        _print(report)
    return report


def _read(folder: Path) -> dict[str, Any]:
    """Return ``asked`` of all runs in the folder, from an earlier comparison."""
    if folder.is_file():
        raise UserError(f"the output {folder} is a file; choose a folder with --output")
    if (folder / "config.yaml").is_file():
        raise UserError(f"the output {folder} is a run directory; choose another folder with --output")
    file = folder / "compare.json"
    if not file.is_file():
        return {"asked": {}}
    try:
        asked = json.loads(file.read_text(encoding="utf-8"))["asked"]
        return {"asked": dict(asked)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file} is not the file of a comparison; choose another folder with --output") from error


def _train(entry: Entry, folder: Path, accept_changes: bool) -> tuple[str, str] | None:
    """Train or resume a run in its own process; return (state, reason) if it does not finish."""
    assert entry.request is not None
    with tempfile.TemporaryDirectory(prefix="keras_transfer_compare_") as work:
        problem, job = Path(work) / "problem", Path(work) / "job.json"
        write_json(job, {"asked": asdict(entry.request), "run": str(entry.run.path), "accept_changes": accept_changes,
                         "lock": str(folder / ".lock"), "problem": str(problem)})  # fmt: skip
        status = _call(job, entry.request.backend, entry.name)
        if status == 0:
            return None
        if status == EXIT_USER_ERROR and problem.is_file():
            return "failed", problem.read_text(encoding="utf-8")
    if status == EXIT_INTERRUPTED:
        return "interrupted", "the same command resumes it"
    how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
    return "crashed", f"its process {how}; the same command resumes it from its last saved state"


def _call(job: Path, backend: str, name: str) -> int:
    """Run a worker to completion; on Ctrl-C let it save its state first.

    The worker has its own process session, so Ctrl-C in a terminal reaches only this process, which forwards it once.
    """
    worker = subprocess.Popen(
        [sys.executable, "-m", "keras_transfer.compare.worker", str(job)],
        env=runtime.child_environment(backend),
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    assert worker.stdin is not None
    try:
        return worker.wait()
    except KeyboardInterrupt:
        worker.stdin.close()
        print(f"compare: stopping {name}; the same command resumes it", file=sys.stderr)
        try:
            worker.wait()
        except KeyboardInterrupt:  # keep the last saved state
            worker.kill()
        raise
    finally:
        worker.stdin.close()
        worker.wait()


def _write(
    folder: Path, report: dict[str, Any], entries: Sequence[Entry], problems: dict[str, tuple[str, str]]
) -> None:
    """Update the report and write its files."""
    from keras_transfer import plots

    rows = [_row(entry, problems) for entry in entries]
    report["asked"] = {**_read(folder)["asked"], **report["asked"]}  # another comparison may use the same folder
    report |= {"runs": rows, "notes": notes(rows), "versions": runtime.versions(), "hardware": runtime.hardware()}
    write_json(folder / "compare.json", report)
    write_csv(folder / "compare.csv", [{key: row.get(key) for key in FIELDS} for row in rows], FIELDS)
    finished = [row for row in rows if row["state"] == "finished"]
    if finished:
        plots.comparison(finished, folder / "compare.png")
        histories = {entry.name: entry.run.read_history() for entry in entries if entry.run.is_finished()}
        plots.compared_curves(histories, folder / "curves.png")


def _row(entry: Entry, problems: dict[str, tuple[str, str]]) -> dict[str, Any]:
    if entry.run.is_finished():
        return read_row(entry.name, entry.run)
    state, reason = problems.get(entry.name, ("unfinished" if entry.run.config.is_file() else "not started", None))
    return {**empty_row(entry.name, RunDirectory(entry.run.path)), "state": state, "problem": reason}


def _print(report: dict[str, Any]) -> None:
    console = Console()
    console.print(comparison_table(report["runs"]))
    for line in report["notes"]:
        console.print(f"note: {line}", markup=False, highlight=False, soft_wrap=True)
