"""The `benchmark` command: runs the benchmarks in the folder `benchmarks/` of a checkout."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_transfer.errors import UserError


def run_benchmarks(names: Sequence[str], options: Mapping[str, Any], *, json_file: str | None = None) -> bool:
    """Run benchmarks and print one table per case; progress goes to standard error.

    Args:
        names: benchmarks to run; empty: all.
        options: fields of `benchmarks.harness.Options`; None keeps the benchmark's default.
        json_file: also write the results to this file.

    Returns:
        Whether every rival that was not skipped could be measured.

    Raises:
        UserError: an unknown benchmark or value, or an installation without the benchmarks.
    """
    harness, table = _modules()
    progress = Console(stderr=True, highlight=False)
    tables = Console(highlight=False, width=None if sys.stdout.isatty() else 150)  # lines in a file do not wrap
    results = harness.run(
        names,
        harness.Options(**options),
        lambda line: progress.print(line, markup=False),
        lambda result: tables.print(table.case_table(result)),
    )
    if json_file is not None:
        from keras_transfer.files import write_json

        write_json(json_file, results)
    return all(rival["status"] != "failed" for case in results["cases"] for rival in case["rivals"])


def _modules() -> tuple[Any, Any]:
    """Import `benchmarks.harness` and `benchmarks.table` from the checkout that this package runs from."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "benchmarks" / "harness.py").is_file():
        raise UserError(
            "the benchmarks are in the source repository, not in the installed package: clone the repository,"
            ' run pip install -e ".[all]" in the clone, and start the benchmark again'
        )
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks.harness"), importlib.import_module("benchmarks.table")
