"""A small run, and ways to compare two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transfer.config.load import validate
from keras_transfer.config.schema import RunConfig
from keras_transfer.runs import RunDirectory
from keras_transfer.training.train import resume_run, train

PHASES = [
    {"name": "head", "epochs": 2, "learning_rate": 0.01, "schedule": "plateau"},
    {
        "name": "all",
        "epochs": 2,
        "learning_rate": 0.003,
        "schedule": "cosine",
        "warmup_epochs": 0.5,
        "weight_decay": 0.01,
    },
]
FIGURES = ("phase", "epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")


def settings(
    photos: Path, output: Path, save_every: str | float = "0 seconds", report: bool = False, **more: Any
) -> RunConfig:
    tree = {
        "name": "small",
        "data": {"path": str(photos), "image_size": 32, "batch_size": 16, "augment": ["horizontal_flip"], "workers": 2},
        "model": {"backbone": "tiny", "weights": "none", "label_smoothing": 0.0},
        "phases": PHASES,
        "output": {"dir": str(output), "save_every": save_every, "report": report},
    }
    return validate({**tree, **more})


def every_epoch(config: RunConfig) -> RunConfig:
    """The same run, keeping the model of every epoch."""
    return config.model_copy(update={"output": config.output.model_copy(update={"every_epoch": True})})


class StopAt(keras.callbacks.Callback):
    """Interrupt at a batch of an epoch, counted over all phases."""

    def __init__(self, epochs: int, batch: int = 1):
        super().__init__()
        self.left, self.batch = epochs, batch

    def stop(self) -> None:
        raise KeyboardInterrupt

    def on_train_batch_end(self, batch, logs=None):
        if self.left == 0 and batch == self.batch:
            self.stop()

    def on_epoch_end(self, epoch, logs=None):
        self.left -= 1


def like_keras(callback: type[keras.callbacks.Callback]) -> type[keras.callbacks.Callback]:
    """A class that passes for one of Keras's own, which leave frozen layers to be computed once."""
    return type(callback.__name__, (callback,), {"__module__": "keras.callbacks"})


def resume(path: Path, *overrides: str, say: Any = lambda _: None, **options: Any) -> RunDirectory:
    run = resume_run(path)
    return train(run.read_config(overrides), resume=run, say=say, **options)


def read_weights(run: RunDirectory) -> list[np.ndarray]:
    return keras.models.load_model(run.model).get_weights()


def figures(run: RunDirectory) -> list[list[Any]]:
    return [[row[name] for name in FIGURES] for row in run.read_history()]


def assert_same(whole: RunDirectory, resumed: RunDirectory) -> None:
    """The same bits of weights, and the same history but for the times."""
    for a, b in zip(read_weights(whole), read_weights(resumed), strict=True):
        np.testing.assert_array_equal(a, b)
    assert figures(whole) == figures(resumed)
    assert not resumed.state.exists()
