"""The harness: rivals in processes of their own, interleaved; medians, ratios, goals; what does not run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import benchmarks
from benchmarks.harness import Case, Options, Rival, run_case, summarise
from keras_transfer.cli import main
from keras_transfer.errors import UserError
from tests.conftest import ROOT

FAKES = "tests.benchmarks.fakes"


def race(*rivals: Rival, rounds: int = 3, timeout: float = 60, **case) -> dict[str, dict]:
    result = run_case(Case("case", "things/s", rivals, **case), rounds, timeout, lambda line: None)
    return {rival["name"]: rival for rival in result["rivals"]}


def ok(*rounds: float, **figures: float) -> dict:
    return {"status": "ok", "reason": "", "rounds": list(rounds), "figures": figures}


def test_rivals_take_turns_in_processes_of_their_own(tmp_path):
    log = tmp_path / "log"
    rivals = [
        Rival(name, f"{FAKES}:constant", {"values": [1, 2, 3], "log": str(log), "name": name}) for name in ("a", "b")
    ]
    found = race(*rivals)
    turns = [line.split() for line in log.read_text().splitlines()]
    assert [name for name, _ in turns] == ["a", "b", "b", "a", "a", "b"]
    assert len({process for _, process in turns}) == 2
    assert found["a"]["rounds"] == [1, 2, 3]


def test_the_process_gets_its_environment_and_may_print():
    found = race(
        Rival("variable", f"{FAKES}:variable", {"name": "KT_FAKE"}, environment={"KT_FAKE": "7"}),
        Rival("figures", f"{FAKES}:with_figures"),
    )
    assert found["variable"]["median"] == 7
    assert found["figures"]["median"] == 2 and found["figures"]["figures"] == {"memory": 3}


@pytest.mark.parametrize(
    ("function", "status", "reason"),
    [
        ("absent", "skipped", "needs the package 'abacus'"),
        ("broken", "failed", "ValueError: no such thing"),
        ("dies", "failed", "its process ended"),
        ("unknown", "failed", "AttributeError"),
    ],
)
def test_a_rival_that_does_not_run_does_not_stop_the_others(function, status, reason):
    found = race(
        Rival("odd", f"{FAKES}:{function}"),
        Rival("ours", f"{FAKES}:constant", {"values": [1, 2, 3]}, against=("odd",), goal=1.0),
    )
    assert found["odd"]["status"] == status and reason in found["odd"]["reason"]
    assert found["ours"]["rounds"] == [1, 2, 3] and "ratio" not in found["ours"]


def test_a_rival_that_hangs_is_given_up():
    found = race(Rival("sleeper", f"{FAKES}:sleeps"), timeout=3)
    assert found["sleeper"]["status"] == "failed" and "more than 3 s" in found["sleeper"]["reason"]


def test_ratios_are_those_of_medians_to_the_best_rival_with_their_spread():
    case = Case("case", "images/s", (Rival("a", ""), Rival("b", ""), Rival("ours", "", against=("a", "b"), goal=2.0)))
    ours = summarise(case, [ok(10, 11, 12), ok(20, 22, 21), ok(42, 66, 30)])["rivals"][2]
    assert ours["against"] == "b" and ours["ratio"] == 2.0 and ours["reached"]
    assert (ours["ratio_low"], ours["ratio_high"]) == (pytest.approx(30 / 21), 3.0)
    assert (ours["low"], ours["median"], ours["high"]) == (30, 42, 66)


def test_a_time_is_better_when_it_is_shorter():
    rivals = (Rival("a", ""), Rival("b", ""), Rival("ours", "", against=("a", "b"), goal=2.0))
    ours = summarise(Case("case", "s", rivals, higher_is_better=False), [ok(9), ok(6), ok(4)])["rivals"][2]
    assert ours["against"] == "b" and ours["ratio"] == 1.5 and not ours["reached"]


@pytest.mark.parametrize(("memory", "reached"), [(1.4, True), (1.6, False)])
def test_limits_hold_for_the_value_and_other_figures(memory, reached):
    case = Case("case", "s", (Rival("ours", "", limits={"value": 15, "memory": 1.5}),), higher_is_better=False)
    assert summarise(case, [ok(3, memory=memory)])["rivals"][0]["reached"] is reached


@pytest.fixture
def fake(monkeypatch):
    """The table with one benchmark."""
    monkeypatch.setattr(benchmarks, "BENCHMARKS", {"counting": FAKES})
    monkeypatch.setattr("benchmarks.harness.BENCHMARKS", {"counting": FAKES})


def test_the_command_writes_a_table_and_json(fake, tmp_path, capsys):
    file = tmp_path / "b.json"
    assert main(["benchmark", "counting", "--rounds", "2", "--models", "b", "--json", str(file)]) == 0
    text = capsys.readouterr().out
    assert "counting with b" in text and "1.50 (1.50–1.50) × fast" in text and "abacus" in text
    found = json.loads(file.read_text())
    assert found["hardware"]["processor"] and found["versions"]["python"]
    (case,) = found["cases"]
    assert case["benchmark"] == "counting" and [len(r["rounds"]) for r in case["rivals"]] == [2, 2, 2, 0]


def test_only_some_rivals(fake, tmp_path):
    file = tmp_path / "b.json"
    assert main(["benchmark", "--models", "a", "--rivals", "fa,ou", "--json", str(file)]) == 0
    (case,) = json.loads(file.read_text())["cases"]
    assert [rival["name"] for rival in case["rivals"]] == ["fast", "ours"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["countin"], "unknown benchmark 'countin'; did you mean 'counting'?"),
        (["counting", "--models", "c"], "unknown value of --models 'c'"),
        (["counting", "--rivals", "slov"], "no rival's name contains 'slov'; did you mean 'slow'?"),
    ],
)
def test_bad_names_are_status_2_before_anything_runs(fake, arguments, message, capsys):
    assert main(["benchmark", *arguments]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("error: ") and message in told.err and not told.out


def test_a_failed_rival_is_status_1(fake, monkeypatch):
    broken = Case("case", "s", (Rival("odd", f"{FAKES}:broken"),))
    monkeypatch.setattr("tests.benchmarks.fakes.cases", lambda options: [broken])
    assert main(["benchmark", "counting", "--rounds", "1"]) == 1


@pytest.mark.parametrize("name", benchmarks.BENCHMARKS)
def test_every_benchmark_of_the_table_has_cases(name):
    from benchmarks.harness import load

    module = load(name)
    assert module.__doc__
    cases = module.cases(Options())
    assert cases
    for case in cases:
        names = [rival.name for rival in case.rivals]
        assert len(set(names)) == len(names)
        for rival in case.rivals:
            assert set(rival.against) <= set(names) - {rival.name}
            module_name, _, function = rival.build.partition(":")
            source = (ROOT / (module_name.replace(".", "/") + ".py")).read_text()
            assert f"def {function}(" in source
            json.dumps(rival.arguments)


def test_without_the_folder_the_command_says_so(monkeypatch, tmp_path):
    monkeypatch.setattr("keras_transfer.benchmark.__file__", str(tmp_path / "keras_transfer" / "benchmark.py"))
    from keras_transfer.benchmark import run_benchmarks

    with pytest.raises(UserError, match="clone the repository"):
        run_benchmarks([], {})


def test_a_rival_ends_when_its_harness_is_gone():
    worker = [sys.executable, "-m", "benchmarks.worker", f"{FAKES}:with_figures", "{}"]
    done = subprocess.run(worker, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0 and json.loads(done.stdout) == {"ready": True}
    assert "this is not an answer" in done.stderr
