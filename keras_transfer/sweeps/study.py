"""The study: where trials are kept, and how several processes share it without doing one twice or losing one.

Trials are asked for one at a time, by whoever holds the study's lock. In a journal, every running trial holds a lock of its own, which
the system releases when its process ends, however it ends; a running trial without a lock is failed, and its values are tried again.
A database has no such locks: there Optuna's heartbeat says which trials are alive.
"""

from __future__ import annotations

import contextlib
import json
import random
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from keras_transfer.errors import UserError
from keras_transfer.sweeps.dimension import Label
from keras_transfer.sweeps.space import Space

HEARTBEAT, GRACE = 20, 75
"""Seconds between signs of life of a trial in a database, and after which it is taken for dead."""
MOST_RETRIES = 2
"""How often values are tried again whose process was killed: they may be what kills it."""

# Optuna's journal needs a lock while it writes; flock is released when a process is killed, Optuna's own lock file stays for 30 s.
optuna.logging.set_verbosity(optuna.logging.ERROR)


Direction = Literal["maximize", "minimize"]


class SameAgain(Exception):  # noqa: N818 - no error: the trial ends because another one is the same
    """The values of a trial are those of an earlier one."""


class _WriteLock:
    """What ``JournalFileBackend`` takes as ``lock_obj``."""

    def __init__(self, path: Path):
        self._lock = FileLock(path)

    def acquire(self) -> bool:
        self._lock.acquire()
        return True

    def release(self) -> None:
        self._lock.release()


class _SeededByTrial(BaseSampler):
    """Makes a new sampler for every trial, seeded by its number, so that processes do not try the same values, and a resumed sweep goes on
    as it would have.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int):
        self._make, self._seed = make, seed
        self._inner = make(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._inner = self._make((self._seed * 1_000_003 + trial.number) % 2**32)
        self._inner.before_trial(study, trial)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:
        self._inner.after_trial(study, trial, state, values)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> dict[str, Any]:
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: Any) -> Any:
        return self._inner.sample_independent(study, trial, name, distribution)


def sampler_named(name: str, space: Space, seed: int) -> BaseSampler:
    """Return Optuna's sampler of that name (`keras_transfer.options.SAMPLERS`).

    Raises:
        UserError: a grid of a space that has no end.
    """
    if name == "grid":
        if space.combinations() is None:
            raise UserError(
                "--sampler grid needs a space of at most 10,000 combinations: choices, and ranges with a step"
            )
        return optuna.samplers.GridSampler({each.key: each.every() or [] for each in space.dimensions}, seed=seed)
    if name == "random":
        return _SeededByTrial(lambda number: optuna.samplers.RandomSampler(seed=number), seed)
    return _SeededByTrial(lambda number: optuna.samplers.TPESampler(seed=number), seed)


def pruner_named(name: str) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner of that name (`keras_transfer.options.PRUNERS`)."""
    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3)
    return optuna.pruners.HyperbandPruner() if name == "hyperband" else optuna.pruners.NopPruner()


class Study:
    """A study with the rules of a sweep.

    Args:
        storage: URL of a database, path of a journal, or None: a journal in ``folder``.
        name: of the study.
        folder: of the results.
        direction: ``"maximize"`` or ``"minimize"``.
        space: what is searched.
        about: what makes trials comparable; a study that was started with something else is refused.

    Attributes:
        optuna: the study itself.

    Raises:
        UserError: a storage that cannot be opened, a study of something else.
    """

    def __init__(
        self, storage: str | None, name: str, folder: Path, direction: Direction, space: Space, about: Mapping[str, Any]
    ):
        self.space, self.locks = space, folder / "locks"
        self._journal = storage is None or "://" not in storage
        if storage is not None and self._journal:
            self.locks = Path(f"{storage}.locks")
        with _explained(storage, name):
            self.locks.mkdir(parents=True, exist_ok=True)
            with self._turn():
                kept = self._storage(storage, folder)
                self.optuna = optuna.create_study(
                    storage=kept, study_name=name, direction=direction, load_if_exists=True
                )
                _compare(self.optuna, direction, about)

    def _storage(self, storage: str | None, folder: Path) -> BaseStorage:
        if storage is None or self._journal:
            file = folder / "study.journal" if storage is None else Path(storage)
            file.parent.mkdir(parents=True, exist_ok=True)
            return JournalStorage(JournalFileBackend(str(file), _WriteLock(self.locks / "write.lock")))  # type: ignore[arg-type]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return RDBStorage(
                storage, heartbeat_interval=HEARTBEAT, grace_period=GRACE, heartbeat_stale_trial_callback=try_again
            )

    def _turn(self) -> FileLock:
        return FileLock(self.locks / "turn.lock")

    def _lock(self, number: int) -> FileLock:
        return FileLock(self.locks / f"trial-{number}.lock")

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials, in order."""
        return self.optuna.get_trials(deepcopy=False)

    @property
    def done(self) -> int:
        """Number of trials that count: finished, pruned, failed by themselves, or running."""
        return sum(counts(one) for one in self.trials)

    def run_one(self, most: int | None, work: Callable[[Trial], float], catch: tuple[type[Exception], ...]) -> bool:
        """Run one trial.

        Args:
            most: number of trials that the study shall have; None: there is no end.
            work: computes the value of a trial.
            catch: errors that fail a trial and not the sweep.

        Returns:
            False if there is nothing left to try.
        """
        with contextlib.ExitStack() as until_told:  # until the study knows what came of the trial
            turn = self._turn()
            turn.acquire()
            until_told.callback(turn.release, force=True)
            self._fail_dead()
            if most is not None and self.done >= most:
                return False
            if not self._is_something_left():
                return False

            def begin(trial: Trial) -> float:
                if self._journal:
                    until_told.enter_context(self._lock(trial.number))
                labels = {each.key: each.suggest(trial) for each in self.space.dimensions}
                twin = self._twin(trial.number, labels)
                turn.release()
                if twin is not None:
                    trial.set_user_attr("same_as", twin)
                    raise SameAgain
                try:
                    return work(trial)
                except KeyboardInterrupt:
                    self._again_after(trial)
                    raise

            self.optuna.optimize(begin, n_trials=1, catch=(SameAgain, *catch))
            return True

    def _again_after(self, trial: Trial) -> None:
        """Put the values of an interrupted trial back into the queue; it was not their fault."""
        attempt = trial.user_attrs.get("attempt", 0)
        self.optuna.enqueue_trial(trial.params, user_attrs={"replaces": trial.number, "attempt": attempt})

    def _fail_dead(self) -> None:
        """Fail the trials of processes that have ended, and put their values back into the queue."""
        if not self._journal:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                optuna.storages.fail_stale_trials(self.optuna)
            return
        for one in self.trials:
            if one.state != TrialState.RUNNING:
                continue
            try:
                with self._lock(one.number).acquire(timeout=0):
                    if self.trials[one.number].state != TrialState.RUNNING:  # it ended meanwhile
                        continue
                    self.optuna.tell(one.number, state=TrialState.FAIL)
            except Timeout:  # alive
                continue
            try_again(self.optuna, one)

    def _twin(self, number: int, labels: Mapping[str, Label]) -> int | None:
        """Return an earlier trial with the same values."""
        key = _key(labels)
        return next((one.number for one in self.trials if one.number < number and counts(one) and _key(one.params) == key), None)  # fmt: skip

    def _is_something_left(self) -> bool:
        """Return whether there are values that were not tried; the sampler's own idea may be one that was, so one of them is put next."""
        every = self.space.combinations()
        if every is None:
            return True
        trials = self.trials
        if any(one.state == TrialState.WAITING for one in trials):
            return True
        tried = {_key(one.params) for one in trials if counts(one)}
        left = [one for one in every if _key(one) not in tried]
        if left and trials and "same_as" in trials[-1].user_attrs:
            self.optuna.enqueue_trial(random.Random(len(trials)).choice(left))
        return bool(left)


def counts(one: FrozenTrial) -> bool:
    """Return whether a trial is one of those that were asked for, not one whose process ended or that was there before."""
    if one.state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING):
        return True
    if one.state != TrialState.FAIL or "same_as" in one.user_attrs:
        return False
    return "reason" in one.user_attrs or one.user_attrs.get("attempt", 0) >= MOST_RETRIES


def try_again(study: optuna.Study, one: FrozenTrial) -> None:
    """Put the values of a trial whose process has ended back into the queue, a few times."""
    attempt = one.user_attrs.get("attempt", 0)
    if one.params and attempt < MOST_RETRIES:
        study.enqueue_trial(one.params, user_attrs={"replaces": one.number, "attempt": attempt + 1})


def _key(labels: Mapping[str, Any]) -> str:
    return json.dumps(labels, sort_keys=True, default=str)


def _compare(study: optuna.Study, direction: str, about: Mapping[str, Any]) -> None:
    """Write down what the study is about; refuse one that is about something else."""
    wanted = json.loads(json.dumps({"direction": direction, **about}, default=str))
    known = study.user_attrs.get("about")
    if known is None:
        if study.get_trials(deepcopy=False):
            raise UserError(f"the study {study.study_name!r} was not made by a sweep; choose another --name")
        study.set_user_attr("about", wanted)
    elif known != wanted:
        changed = ", ".join(key for key in dict.fromkeys((*known, *wanted)) if known.get(key) != wanted.get(key))
        raise UserError(
            f"the study {study.study_name!r} was started with another {changed}, so its trials cannot be compared: undo the "
            "change, or choose another --name or --output"
        )


@contextlib.contextmanager
def _explained(storage: str | None, name: str) -> Iterator[None]:
    """Turn what can be wrong with a storage into one line, without the password in its URL."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        where = without_password(storage) if storage else f"the journal of the study {name!r}"
        first = without_password(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
        hint = ": expected a URL such as sqlite:///FILE or postgresql://HOST/NAME, or the path of a journal"
        raise UserError(f"cannot open --storage {where} ({first}){hint if storage else ''}") from error


def without_password(text: str) -> str:
    """Return a text with the passwords of URLs in it replaced."""
    return re.sub(r"(://[^:/@\s]*):[^@\s]*@", r"\1:***@", text)
