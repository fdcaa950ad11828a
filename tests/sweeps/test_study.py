"""Several processes on one study, and processes that end without a word. Trials are sums here: no framework is needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

pytest.importorskip("optuna")

from optuna.trial import TrialState

from keras_transfer.errors import UserError
from keras_transfer.sweeps.space import open_space
from keras_transfer.sweeps.study import MOST_RETRIES, Study, counts, pruner_named, sampler_named, without_password

SPACE = {"model.dropout": {"low": 0.0, "high": 0.9}, "data.batch_size": [8, 16, 32]}
BASE = {"data": {"source": "digits"}}

WORKER = """
import sys, time
from pathlib import Path
from keras_transfer.sweeps.space import open_space
from keras_transfer.sweeps.study import Study, sampler_named
from tests.sweeps.test_study import BASE, SPACE

folder, storage, trials, seconds = Path(sys.argv[1]), sys.argv[2] or None, int(sys.argv[3]), float(sys.argv[4])
space = open_space(SPACE, BASE)
study = Study(storage, "shared", folder, "maximize", space, {"config": BASE})
study.optuna.sampler = sampler_named("tpe", space, 0)

def work(trial):
    with (folder / "log").open("a") as log:
        log.write(f"{trial.number} {trial.params}\\n")
    time.sleep(seconds)
    return trial.params["model.dropout"]

while study.run_one(trials, work, ()):
    pass
"""


def opened(folder, storage=None, about=None, space=SPACE, name="shared"):
    study = Study(storage, name, folder, "maximize", open_space(space, BASE), about or {"config": BASE})
    study.optuna.sampler = sampler_named("tpe", study.space, 0)
    return study


def worker(folder, storage="", trials=12, seconds=0.0):
    return subprocess.Popen([sys.executable, "-c", WORKER, str(folder), storage, str(trials), str(seconds)])


def value(trial):
    return trial.params["model.dropout"]


@pytest.mark.parametrize("database", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_two_processes_share_the_trials_and_none_is_run_twice(tmp_path, database):
    storage = f"sqlite:///{tmp_path}/study.db" if database else ""
    both = [worker(tmp_path, storage), worker(tmp_path, storage)]
    assert [one.wait() for one in both] == [0, 0]
    lines = (tmp_path / "log").read_text().splitlines()
    numbers, values = zip(*(line.split(" ", 1) for line in lines))
    assert len(set(numbers)) == len(numbers) == 12
    assert len(set(values)) == 12, "nor the same values in two trials"
    study = opened(tmp_path, storage or None)
    assert Counter(one.state for one in study.trials if counts(one)) == {TrialState.COMPLETE: 12}


def test_a_killed_process_loses_its_running_trial_and_nothing_else(tmp_path):
    first = worker(tmp_path, trials=100, seconds=0.2)
    while len((tmp_path / "log").read_text().splitlines() if (tmp_path / "log").exists() else ()) < 3:
        time.sleep(0.05)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    study = opened(tmp_path)
    (lost,) = [one for one in study.trials if one.state == TrialState.RUNNING]
    before = [one for one in study.trials if one.state == TrialState.COMPLETE]
    assert study.run_one(len(before) + 1, value, ())
    *_, last = study.trials
    assert study.trials[lost.number].state == TrialState.FAIL
    assert last.params == lost.params and last.user_attrs["replaces"] == lost.number, "its values are tried again"
    assert not study.run_one(len(before) + 1, value, ()), "a lost trial does not count"


def test_values_that_kill_their_process_are_not_tried_for_ever(tmp_path):
    study = opened(tmp_path)
    for _ in range(MOST_RETRIES + 1):
        trial = study.optuna.ask()  # by a process that ended: nobody holds its lock
        for each in study.space.dimensions:
            each.suggest(trial)
        study._fail_dead()
    assert len({str(one.params) for one in study.trials}) == 1
    assert not [one for one in study.trials if one.state == TrialState.WAITING]
    assert sum(map(counts, study.trials)) == 1


def test_a_trial_of_a_living_process_is_left_alone(tmp_path):
    study = opened(tmp_path)
    trial = study.optuna.ask()
    with study._lock(trial.number):
        opened(tmp_path).run_one(9, value, ())
        assert study.trials[trial.number].state == TrialState.RUNNING


def test_ctrl_c_puts_the_values_back(tmp_path):
    study = opened(tmp_path)

    def stopped(trial):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study.run_one(5, stopped, ())
    assert study.run_one(5, value, ())
    assert study.trials[0].params == study.trials[1].params
    assert sum(map(counts, study.trials)) == 1


def test_all_combinations_are_tried_once_and_then_it_ends(tmp_path):
    study = opened(tmp_path, space={"model.dropout": [0.1, 0.2], "data.batch_size": [8, 16, 32]})
    while study.run_one(50, value, ()):
        assert len(study.trials) < 60
    done = [one for one in study.trials if one.state == TrialState.COMPLETE]
    assert len({str(one.params) for one in done}) == len(done) == 6


def test_a_resumed_study_goes_on_as_it_would_have(tmp_path):
    def values(folder, parts):
        for most in parts:
            study = opened(folder)
            while study.run_one(most, value, ()):
                pass
        return [one.params for one in study.trials]

    assert values(tmp_path / "a", [14]) == values(tmp_path / "b", [5, 11, 14])


def test_a_grid_is_searched_and_needs_an_end(tmp_path):
    space = open_space({"model.dropout": {"low": 0.1, "high": 0.3, "step": 0.1}}, BASE)
    study = Study(None, "grid", tmp_path, "maximize", space, {})
    study.optuna.sampler = sampler_named("grid", space, 0)
    while study.run_one(9, value, ()):
        pass
    done = [one for one in study.trials if one.state == TrialState.COMPLETE]
    assert sorted(round(one.value, 6) for one in done) == [0.1, 0.2, 0.3]
    with pytest.raises(UserError, match="grid needs a space of at most"):
        sampler_named("grid", open_space(SPACE, BASE), 0)


@pytest.mark.parametrize(("name", "pruned"), [("median", True), ("hyperband", True), ("none", False)])
def test_pruners_end_bad_trials(tmp_path, name, pruned):
    import optuna

    study = opened(tmp_path, name="hyperband-0")
    study.optuna.pruner = pruner_named(name)

    def work(trial):
        for epoch in range(1, 13):
            trial.report(trial.params["model.dropout"], epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return trial.params["model.dropout"]

    while study.run_one(20, work, ()):
        pass
    assert (sum(one.state == TrialState.PRUNED for one in study.trials) > 0) == pruned


def test_another_study_of_that_name_is_refused(tmp_path):
    opened(tmp_path)
    with pytest.raises(UserError, match=r"was started with another config, so .* choose another --name or --output"):
        opened(tmp_path, about={"config": {"seed": 1}})


def test_a_password_is_not_shown(tmp_path):
    with pytest.raises(UserError) as found:
        opened(tmp_path, "nosuchdb://me:secret@host/name")
    assert "secret" not in str(found.value) and len(str(found.value).splitlines()) == 1
    assert without_password("postgresql://me:secret@host/x") == "postgresql://me:***@host/x"


def test_a_journal_may_have_a_place_of_its_own(tmp_path):
    place = tmp_path / "shared" / "all.journal"
    study = opened(tmp_path / "mine", str(place))
    study.run_one(1, value, ())
    assert place.is_file()
    assert len(opened(tmp_path / "other", str(place)).trials) == 1
