"""The command line: `python -m benchmarks.quality FOLDER …`."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.quality import __doc__ as description
from benchmarks.quality.cells import Cell, Cells, Key
from benchmarks.quality.methods import METHODS
from benchmarks.quality.rival_files import read_cell
from benchmarks.quality.run import TIMEOUT, run
from benchmarks.quality.sets import SPLITS, find_sets
from benchmarks.quality.table import report
from keras_transfer.errors import EXIT_INTERRUPTED, EXIT_USER_ERROR, UserError, unknown
from keras_transfer.files import check_output

JSON = Path(__file__).resolve().parents[1] / "quality.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    try:
        _run(_parser().parse_args(arguments))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted: the same command continues here", file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, nargs="?", help="folder of image sets; without it, nothing is run")
    parser.add_argument("--sizes", type=_numbers, default=(100, 400), metavar="N,…",
                        help="numbers of training images (default: 100,400)")  # fmt: skip
    parser.add_argument("--seeds", type=_numbers, default=(0, 1), metavar="N,…", help="default: 0,1")
    parser.add_argument("--methods", type=_words, metavar="NAME,…",
                        help=f"of {', '.join(METHODS)} (default: all; for --table, those with results)")  # fmt: skip
    parser.add_argument("--sets", type=_words, metavar="NAME,…", help="names of sets (default: all)")
    parser.add_argument("--split", choices=sorted(SPLITS),
                        help="only the sets that rules are chosen on (tune), or those kept for the end (held)")  # fmt: skip
    parser.add_argument(
        "--json", type=Path, default=JSON, metavar="FILE", help="results (default: benchmarks/quality.json)"
    )
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT, metavar="SECONDS", help="limit of a cell (default: %(default)g)"
    )
    parser.add_argument("--retry", action="store_true", help="run cells that failed again")
    parser.add_argument("--import", dest="imported", type=Path, nargs="+", default=(), metavar="FILE",
                        help="add the results of a rival's runs, as the method native")  # fmt: skip
    parser.add_argument("--table", action="store_true", help="print the comparison as Markdown")
    return parser


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in _words(text))


def _run(options: argparse.Namespace) -> None:
    for method in options.methods or ():
        if method not in METHODS:
            raise unknown("method", method, METHODS)
    if min(options.sizes, default=0) < 1 or min(options.seeds, default=-1) < 0:
        raise UserError("--sizes takes numbers from 1 up, and --seeds from 0 up")
    if options.folder is None and not (options.imported or options.table):
        raise UserError("expected a folder of image sets, or --import, or --table")
    check_output("--json", options.json, ".json")
    cells = Cells(options.json)
    for file in options.imported:
        _add(cells, file)
    if options.folder is not None:
        found = find_sets(options.folder, options.sets)
        sets = {name: path for name, path in found.items() if options.split is None or name in SPLITS[options.split]}
        places = itertools.product(sets, options.sizes, options.seeds, options.methods or METHODS)
        run(cells, itertools.starmap(Key, places), sets, options.retry, options.timeout, _say)
    if options.table:
        print(_table(cells.read(), options), end="")


def _add(cells: Cells, file: Path) -> None:
    """Add a rival's result, unless the cell was measured here, which says more."""
    key, cell = read_cell(file)
    known = cells.read().get(key)
    if known is not None and known["status"] == "ok" and "imported" not in known:
        _say(f"{key}: already measured, {file.name} is left out")
        return
    cells.put(key, cell)
    _say(f"{key}: accuracy {cell['accuracy']:.2%}, from {file.name}")


def _table(cells: Mapping[Key, Cell], options: argparse.Namespace) -> str:
    wanted: list[Callable[[Key], bool]] = [lambda key: key.size in options.sizes, lambda key: key.seed in options.seeds]
    if options.sets is not None:
        wanted.append(lambda key: key.set in options.sets)
    if options.split is not None:
        wanted.append(lambda key: key.set in SPLITS[options.split])
    chosen = {key: cell for key, cell in cells.items() if all(test(key) for test in wanted)}
    measured = {key.method for key, cell in chosen.items() if cell["status"] == "ok"}
    methods = [method for method in METHODS if method in (options.methods or measured)]
    if not methods:
        raise UserError(f"no results of these cells in {str(options.json)!r}")
    return report(chosen, methods)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
