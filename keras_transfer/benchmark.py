"""The `benchmark` command: finds the folder `benchmarks/` of the checkout and runs what it holds."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from keras_transfer.errors import UserError


def run_benchmarks(names: Sequence[str], options: Mapping[str, Any], *, json_file: str | None = None) -> bool:
    """Run benchmarks and print a table of each case; what is going on goes to standard error.

    Args:
        names: benchmarks; empty: all.
        options: of `benchmarks.harness.Options`; None leaves a benchmark's own default.
        json_file: where to write the results, too.

    Returns:
        Whether every rival that is not skipped could be measured.

    Raises:
        UserError: an unknown benchmark or value, or an installation without the benchmarks.
    """
    harness, table = _modules()
    told = Console(stderr=True, highlight=False)
    shown = Console(highlight=False, width=None if sys.stdout.isatty() else 150)  # a file does not wrap
    results = harness.run(
        names,
        harness.Options(**options),
        lambda line: told.print(line, markup=False),
        lambda result: shown.print(table.case_table(result)),
    )
    if json_file is not None:
        from keras_transfer.files import write_json

        write_json(json_file, results)
    return all(rival["status"] != "failed" for case in results["cases"] for rival in case["rivals"])


def _modules() -> tuple[Any, Any]:
    """`benchmarks.harness` and `benchmarks.table`, which lie beside the package in a checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "benchmarks" / "harness.py").is_file():
        raise UserError(f"the benchmarks come with the source code and are not in {root}: run this in a checkout")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    return importlib.import_module("benchmarks.harness"), importlib.import_module("benchmarks.table")
