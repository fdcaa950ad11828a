"""The first steps of every command that trains: open the data, start the backend, resolve the configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from keras_transfer import runtime, text
from keras_transfer.config.open_data import open_data, with_absolute_paths
from keras_transfer.config.resolved import ResolvedConfig
from keras_transfer.config.schema import VAL_FRACTION, RunConfig
from keras_transfer.console import hide_progress
from keras_transfer.data.dataset import Dataset
from keras_transfer.distribute import ALONE, Group, is_follower
from keras_transfer.distribute.connect import connect
from keras_transfer.distribute.start import idle_gpus, start
from keras_transfer.errors import UserError
from keras_transfer.evaluation.leaderboard import Leaderboard
from keras_transfer.policy.procedure import LARGE
from keras_transfer.policy.resolve import Machine, resolve_by_evidence
from keras_transfer.training.requirements import check_decisions, check_phases, check_unlabelled, one_class_only
from keras_transfer.training.unlabelled import with_unlabelled
from keras_transfer.typing import Say

_PRINTED = ("backend", "device", "precision", "data.cache_precision", "distribute")


@dataclass(frozen=True)
class Prepared:
    """The result of :func:`prepare`.

    Attributes:
        config: the resolved configuration.
        data: checked and split.
        machine: backend, device and precisions, with reasons.
        leaderboard: the candidates that were compared; None where nothing was.
        group: the processes that train together.
    """

    config: ResolvedConfig
    data: Dataset
    machine: Machine
    leaderboard: Leaderboard | None = None
    group: Group = field(default=ALONE)

    def say_choices(self, say: Say) -> None:
        """Print a line for each automatic choice, except those that :func:`prepare` has printed."""
        for decision in self.config.decisions:
            if decision.key not in _PRINTED:
                say(f"chosen: {decision}")


def prepare(
    config: RunConfig,
    *,
    backend: str | None = None,
    device: str | None = None,
    needs_validation: bool = True,
    say: Say = text.say,
    opened: Callable[[RunConfig], Dataset] = open_data,
) -> Prepared:
    """Open the data, start the backend and replace every ``auto``; this imports Keras.

    Args:
        config: as the user gave it.
        backend: overrides ``KERAS_BACKEND`` and the configuration.
        device: overrides the configuration.
        needs_validation: refuse phases that need validation images, if there are none.
        say: prints a line about backend, device and precision.
        opened: opens the data of a configuration; a sweep, whose trials share them, does so once.

    Raises:
        UserError: a backend that cannot be had, data that cannot be used.
    """
    text.never_fail()
    choice = runtime.choose_backend(backend, config.backend)  # before anything imports Keras
    config = with_absolute_paths(config)
    # What the caller asks for is no choice of the program's.
    config = config.model_copy(update={"backend": backend or config.backend, "device": device or config.device})
    say(f"backend: {choice}")
    data = opened(config)
    if config.data.val_fraction == "auto" and config.is_automatic and len(data.train) > LARGE:
        # As the configuration of the run will say, so that a resumed run divides the images in the same way.
        images = config.data.model_copy(update={"val_fraction": VAL_FRACTION})
        config = config.model_copy(update={"data": images})
        data = opened(config)
    _check_wishes(config, data)
    if config.data.unlabelled is not None:
        data = with_unlabelled(data, config.data.unlabelled, config.data.on_bad_image, config.data.workers)
    runtime.activate(
        choice.value, config.device, config.deterministic, lambda: connect(choice.value, config.distribute)
    )
    runtime.hide_progress_bars()
    if is_follower():
        hide_progress()
    machine = Machine.of(config, choice)
    group = start(config.distribute, choice.value, machine.device)
    if config.distribute == "auto" and (idle := idle_gpus(choice.value, machine.device, group)):
        say(idle)
    machine = replace(machine, distribute=runtime.Choice(group.kind, group.why))
    _check_data(data, group)
    resolved, board = group.from_main(lambda: resolve_by_evidence(config, data, machine, say))
    if needs_validation:
        check_phases(resolved.phases, len(data.val))
    check_unlabelled(config.data.unlabelled, resolved.phases)
    say(str(machine))
    if group.divides:
        say(
            f"distribute: data_parallel ({group.why}), each on its share of every batch of {resolved.data.batch_size} images"
        )
    return Prepared(resolved, data, machine, board, group)


def _check_wishes(config: RunConfig, data: Dataset) -> None:
    """Raise UserError where the configuration wants what these labels do not allow, before anything is computed."""
    wanted = {"reject_rate": config.reject_rate, "costs": config.costs, "data.ordinal": config.data.ordinal}
    one_class_only(data, {**wanted, "data.unlabelled": config.data.unlabelled})
    check_decisions(config.costs, config.data.ordinal, data.classes)


def _check_data(data: Dataset, group: Group) -> None:
    """Refuse to train if the processes see different data.

    Raises:
        UserError: a process has found other images, labels or splits than process 0.
    """
    expected = group.from_main(lambda: data.fingerprint)
    if not group.all(expected == data.fingerprint):
        raise UserError("the processes see different data: give all of them the same images, under the same path")
