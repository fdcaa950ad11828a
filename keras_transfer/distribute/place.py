"""Which of several processes this one is, as the program that started them says in environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass

from keras_transfer.errors import UserError


@dataclass(frozen=True)
class Place:
    """The place of this process among those of a training.

    Attributes:
        rank: number of the process, from 0; number 0 writes files and prints.
        size: number of processes.
        local_rank: its number on this machine, from 0.
        local_size: processes on this machine.
        launcher: what said so, for messages.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int
    launcher: str

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0


# Launcher → variables of rank, size, rank on the machine, processes on the machine: torchrun's; Keras's own, for jax.
_VARIABLES = {
    "torchrun": ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"),
    "KERAS_DISTRIBUTION_PROCESS_ID": (
        "KERAS_DISTRIBUTION_PROCESS_ID",
        "KERAS_DISTRIBUTION_NUM_PROCESSES",
        "LOCAL_RANK",
        "LOCAL_WORLD_SIZE",
    ),
}


def place() -> Place | None:
    """Return the place of this process, or None if no launcher started it.

    Raises:
        UserError: variables that are not numbers, or contradict each other.
    """
    for launcher, names in _VARIABLES.items():
        rank, size = (_number(name) for name in names[:2])
        if rank is None or size is None:
            continue
        local_rank, local_size = (_number(name) for name in names[2:])
        found = Place(rank, size, local_rank or 0, local_size or 1, launcher)
        if not 0 <= rank < size:
            raise UserError(f"{names[0]}={rank} and {names[1]}={size}: expected a number from 0 to {size - 1}")
        return found
    return None


def is_follower() -> bool:
    """Return whether another process writes and prints for this one."""
    found = place()
    return found is not None and not found.is_main


def resume_command(run: object) -> str:
    """Return the command that goes on with a run, started as this process was."""
    rest = f"train --resume --output {run}"
    found = place()
    if found is None or found.size == 1:
        return f"keras-transfer {rest}"
    if found.local_size == found.size:
        return f"keras-transfer {rest} --processes {found.size}"
    if found.launcher == "torchrun":
        return f"torchrun (with the same options) -m keras_transfer {rest}"
    return f"keras-transfer {rest} (in {found.size} processes, as before)"


def _number(name: str) -> int | None:
    text = os.environ.get(name)
    if text is None:
        return None
    if not text.strip().isdecimal():
        raise UserError(f"the environment variable {name} must be a number, received {text!r}")
    return int(text)
