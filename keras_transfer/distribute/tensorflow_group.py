"""Devices of one process on tensorflow: ``MirroredStrategy``."""

from __future__ import annotations

import contextlib
from typing import Any

import tensorflow as tf

from keras_transfer.distribute.group import Group


class TensorFlowGroup(Group):
    """The devices that tensorflow sees, each with a copy of the variables.

    Args:
        devices: their names.
    """

    def __init__(self, devices: list[str]):
        super().__init__("data_parallel", f"{len(devices)} devices of tensorflow", parts=len(devices))
        self.strategy = tf.distribute.MirroredStrategy(devices)

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Return a context in which variables are made for all devices, and models train on them."""
        scope: contextlib.AbstractContextManager[Any] = self.strategy.scope()
        return scope


def devices() -> list[str]:
    """Return the names of the GPUs, or of the CPUs where there is no GPU."""
    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in found]
