"""Run the rivals of a case side by side: prepare one after the other, then measure them in turn, round by round.

A temporary slowdown of the machine so affects all rivals alike, and each round gives a ratio.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import BENCHMARKS
from keras_transfer.errors import UserError, nearest, unknown
from keras_transfer.typing import Say

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Options:
    """Options of the command line; None stands for the benchmark's default.

    Attributes:
        rounds: number of measurements of each rival.
        models: backbones.
        backends: Keras backends.
        precisions: float32 or bfloat16.
        rivals: run only rivals whose name contains one of these words.
        batch: images per batch.
        size: side of the images in pixels.
        images: number of images.
        epochs: number of epochs.
        workers: threads or processes that load images.
        timeout: seconds that a rival may take to prepare, and for each round; None: those of the case.
    """

    rounds: int | None = None
    models: tuple[str, ...] | None = None
    backends: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    rivals: tuple[str, ...] | None = None
    batch: int | None = None
    size: int | None = None
    images: int | None = None
    epochs: int | None = None
    workers: int | None = None
    timeout: float | None = None

    def choose(self, name: str, available: Sequence[str]) -> tuple[str, ...]:
        """Return the values of the option `name`, or all of `available` if it was not given.

        Raises:
            UserError: a value that is not in `available`.
        """
        wanted: tuple[str, ...] | None = getattr(self, name)
        for word in wanted or ():
            if word not in available:
                raise unknown(f"value of --{name}", word, available)
        return tuple(available) if wanted is None else wanted


@dataclass(frozen=True)
class Rival:
    """One way of doing the work of a case.

    Attributes:
        name: name in the table.
        build: "module:function". The function is called in the rival's process with `arguments`; it prepares, warms up, and
            returns a function without arguments that measures one round. That returns a number, or a mapping with the
            number under "value" and further figures. If something is not installed, it raises `UserError`, and the rival
            is skipped with that reason.
        arguments: keyword arguments of `build`; must be JSON-serializable.
        environment: additional environment variables of its process.
        against: names of the rivals that it is compared with (the best of them); empty: none.
        goal: required ratio.
        limits: maximum of "value" or of another figure.
    """

    name: str
    build: str
    arguments: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    against: tuple[str, ...] = ()
    goal: float | None = None
    limits: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """Rivals that do the same work.

    Attributes:
        name: e.g. "resnet50, float32".
        unit: unit of the measured number, e.g. "images/s".
        rivals: rivals in the order of the table.
        higher_is_better: False if the number is a time.
        rounds: default number of rounds.
        timeout: default number of seconds that a rival may take to prepare, and for each round.
    """

    name: str
    unit: str
    rivals: tuple[Rival, ...]
    higher_is_better: bool = True
    rounds: int = 5
    timeout: float = 1800.0


def load(name: str) -> Any:
    """Return the module of a benchmark; raises UserError for an unknown name."""
    if name not in BENCHMARKS:
        raise unknown("benchmark", name, BENCHMARKS)
    try:
        return importlib.import_module(BENCHMARKS[name])
    except ModuleNotFoundError as error:
        if error.name != BENCHMARKS[name]:
            raise
        raise UserError(f"the benchmark {name!r} is not part of this version") from None


def run(names: Sequence[str], options: Options, say: Say, show: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Run benchmarks.

    Args:
        names: names in `BENCHMARKS`; empty: all.
        options: options of the command line.
        say: gets progress lines.
        show: gets the result of each case when it is finished.

    Returns:
        The content of `--json`: hardware, versions, options, and the results of all cases.

    Raises:
        UserError: an unknown name or value; nothing has run then.
    """
    from keras_transfer import runtime

    todo = [(name, case) for name in names or BENCHMARKS for case in _wanted(load(name).cases(options), options)]
    results = []
    for name, case in todo:
        say(f"{name}: {case.name}")
        result = {
            "benchmark": name,
            **run_case(case, options.rounds or case.rounds, options.timeout or case.timeout, say),
        }
        results.append(result)
        show(result)
    return {
        "hardware": {**runtime.hardware(), **_accelerator()},
        "versions": {**runtime.versions(), **_version("torchvision")},
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
        "date": time.strftime("%Y-%m-%d"),
        "options": {key: value for key, value in vars(options).items() if value is not None},
        "cases": results,
    }


def _wanted(cases: Sequence[Case], options: Options) -> list[Case]:
    """Return the cases with the selected rivals only, without cases that have none."""
    if options.rivals is None:
        return list(cases)
    names = list(dict.fromkeys(rival.name for case in cases for rival in case.rivals))
    for word in options.rivals:
        if not any(word in name for name in names):
            raise UserError(f"--rivals: no rival's name contains {word!r}{nearest(word, names)} ({', '.join(names)})")
    kept = [
        Case(
            case.name,
            case.unit,
            tuple(rival for rival in case.rivals if any(word in rival.name for word in options.rivals)),
            case.higher_is_better,
            case.rounds,
        )
        for case in cases
    ]
    return [case for case in kept if case.rivals]


def run_case(case: Case, rounds: int, timeout: float, say: Say) -> dict[str, Any]:
    """Measure all rivals of a case; returns the result of `summarise`."""
    processes = [_Process(rival, timeout) for rival in case.rivals]
    try:
        for process in processes:
            process.prepare()
            say(f"  {process.rival.name}: {process.reason or f'ready in {process.seconds:.1f} s'}")
        for number in range(rounds):
            first = number % len(processes)  # rotate, so that no rival always follows the same one
            for process in processes[first:] + processes[:first]:
                process.measure()
    finally:
        for process in processes:
            process.close()
    return summarise(case, [process.outcome() for process in processes])


def summarise(case: Case, outcomes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Compute medians, ranges, ratios and whether goals were reached.

    Args:
        case: the case that was measured.
        outcomes: status ("ok", "skipped" or "failed"), reason, rounds and figures of each rival, in order.

    Returns:
        The case in JSON-serializable form. A rival's `ratio` is that of the medians, above 1 if it is better than the best
        rival that it is compared with; `ratio_low` and `ratio_high` are the lowest and highest ratio within one round.
    """
    rivals = []
    for rival, outcome in zip(case.rivals, outcomes):
        entry = {"name": rival.name, **outcome}
        if outcome["status"] == "ok":
            values = outcome["rounds"]
            entry |= {"median": statistics.median(values), "low": min(values), "high": max(values)}
        rivals.append(entry)
    measured = {entry["name"]: entry for entry in rivals if entry["status"] == "ok"}
    for rival, entry in zip(case.rivals, rivals):
        if entry["status"] == "ok":
            _compare(rival, entry, measured, case.higher_is_better)
            _check(rival, entry)
    return {"case": case.name, "unit": case.unit, "higher_is_better": case.higher_is_better, "rivals": rivals}


def _compare(rival: Rival, entry: dict[str, Any], measured: dict[str, dict[str, Any]], higher: bool) -> None:
    others = [measured[name] for name in rival.against if name in measured]
    if not others:
        return
    sign = 1 if higher else -1
    best = max(others, key=lambda other: sign * other["median"])
    pairs = [(mine / theirs) ** sign for mine, theirs in zip(entry["rounds"], best["rounds"])]
    entry |= {
        "against": best["name"],
        "ratio": (entry["median"] / best["median"]) ** sign,
        "ratio_low": min(pairs),
        "ratio_high": max(pairs),
    }
    if rival.goal is not None:
        entry |= {"goal": rival.goal, "reached": entry["ratio"] >= rival.goal}


def _check(rival: Rival, entry: dict[str, Any]) -> None:
    if not rival.limits:
        return
    values = {"value": entry["median"], **entry["figures"]}
    kept = all(values[name] <= limit for name, limit in rival.limits.items())
    entry |= {"limits": rival.limits, "reached": kept and entry.get("reached", True)}


class _Process:
    """A rival's process, which answers each line "round" on its standard input with a line of JSON."""

    def __init__(self, rival: Rival, timeout: float):
        self.rival, self.timeout = rival, timeout
        self.reason, self.failed, self.seconds = "", False, 0.0
        self.rounds: list[float] = []
        self.figures: list[dict[str, float]] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._rest = b""

    def prepare(self) -> None:
        """Start the process and wait until it is ready."""
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", self.rival.build, json.dumps(self.rival.arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=_environment(self.rival.environment),
        )
        self._answer()
        self.seconds = time.perf_counter() - began

    def measure(self) -> None:
        """Measure one round, unless the rival has dropped out."""
        if self.reason or self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(b"round\n")
            self._process.stdin.flush()
        except OSError:
            self._drop("its process ended")
            return
        answer = self._answer()
        if answer is not None:
            self.rounds.append(answer.pop("value"))
            self.figures.append(answer)

    def outcome(self) -> dict[str, Any]:
        """Return the outcome as `summarise` expects it."""
        status = "failed" if self.failed else "skipped" if self.reason else "ok"
        names = list(self.figures[0]) if self.figures else []
        figures = {name: statistics.median(figures[name] for figures in self.figures) for name in names}
        return {"status": status, "reason": self.reason, "rounds": self.rounds, "figures": figures}

    def close(self) -> None:
        """End the process."""
        process = self._process
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # the process has ended already
                    stream.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _answer(self) -> dict[str, Any] | None:
        line = self._line()
        answer: dict[str, Any] = json.loads(line) if line else {}
        if not answer:
            self._drop(self.reason or "its process ended (see its error above)")
        elif "skipped" in answer or "failed" in answer:
            self.failed = "failed" in answer
            self.reason = answer.get("skipped") or answer["failed"]
        return None if self.reason else answer

    def _line(self) -> bytes:
        """Return the next line of the process; empty if it ended or took too long."""
        assert self._process is not None and self._process.stdout is not None
        until = time.monotonic() + self.timeout
        stream = self._process.stdout.fileno()
        while b"\n" not in self._rest:
            ready, _, _ = select.select([stream], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self._drop(f"took more than {self.timeout:.0f} s")
                self._process.kill()
                return b""
            part = os.read(stream, 1 << 16)
            if not part:
                return b""
            self._rest += part
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _drop(self, reason: str) -> None:
        self.reason, self.failed = reason, True


def _environment(more: dict[str, str]) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "2", **more}


def _accelerator() -> dict[str, str]:
    """Return the name of the GPU, if there is an NVIDIA driver."""
    try:
        told = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return {"accelerator": told.stdout.strip().splitlines()[0]} if told.stdout.strip() else {}


def _version(package: str) -> dict[str, str]:
    import importlib.metadata

    try:
        return {package: importlib.metadata.version(package)}
    except importlib.metadata.PackageNotFoundError:
        return {}
