"""The caller's callbacks, made for one ``fit`` of one model, over the many fits of parts that a training consists of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras

from keras_transfer.errors import UserError

Save = Callable[[keras.Model, Path], None]


def check_callbacks(callbacks: Sequence[Any]) -> None:
    """Refuse what can only serve a single ``fit``.

    Raises:
        UserError: with what to use instead.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise UserError(
                "callbacks: BackupAndRestore knows a single fit; runs of keras_transfer.train and fine_tune are resumed without it "
                "(keras-transfer train --resume --output RUN)"
            )


class AcrossPhases(keras.callbacks.Callback):
    """Call a callback with epochs that are numbered on over all phases, and with the whole model where it saves one.

    Args:
        callback: the caller's.
        whole: the complete model; only its upper part may be trained.
        first_epoch: epochs of the phases before.
        begun: whether an earlier phase or process has used the callback's files.
        save: writes a model file.
    """

    def __init__(
        self, callback: keras.callbacks.Callback, whole: keras.Model, first_epoch: int, begun: bool, save: Save
    ):
        super().__init__()
        self.callback, self.whole, self.first_epoch, self.save = callback, whole, first_epoch, save
        self.async_safe = getattr(callback, "async_safe", False)
        if begun:
            self._continue_file()

    def set_model(self, model: keras.Model) -> None:
        """Pass the model on; a checkpoint gets one that saves the whole."""
        super().set_model(model)
        saves = isinstance(self.callback, keras.callbacks.ModelCheckpoint)
        self.callback.set_model(_SavesWhole(self, model) if saves else model)

    def set_params(self, params: dict[str, Any]) -> None:
        """Pass the parameters on, with the number of epochs so far."""
        super().set_params(params)
        epochs = params.get("epochs") if params else None
        self.callback.set_params({**params, "epochs": self.first_epoch + epochs} if epochs else params)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass on with the number over all phases."""
        self.callback.on_epoch_begin(self.first_epoch + epoch, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Pass on with the number over all phases."""
        self.callback.on_epoch_end(self.first_epoch + epoch, logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Pass on; what comes next continues the file."""
        self.callback.on_train_end(logs)
        self._continue_file()

    def _continue_file(self) -> None:
        if isinstance(self.callback, keras.callbacks.CSVLogger):  # would otherwise begin its file anew in every fit
            self.callback.append = True


def _passed_on(name: str) -> Callable[..., None]:
    def call(self: AcrossPhases, *arguments: Any, **named: Any) -> None:
        getattr(self.callback, name)(*arguments, **named)

    call.__doc__ = "Pass on."
    return call


for _name in (
    *("on_train_begin", "on_train_batch_begin", "on_train_batch_end"),
    *("on_test_begin", "on_test_end", "on_test_batch_begin", "on_test_batch_end"),
    *("on_predict_begin", "on_predict_end", "on_predict_batch_begin", "on_predict_batch_end"),
):
    setattr(AcrossPhases, _name, _passed_on(_name))


class _SavesWhole:
    """The model in training, except that it is the whole classifier that is saved."""

    def __init__(self, owner: AcrossPhases, trained: keras.Model):
        self._owner, self._trained = owner, trained

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trained, name)

    def save(self, path: str | Path, overwrite: bool = True, **_: Any) -> None:
        """Write the whole classifier."""
        _ = self._owner.model  # on jax, copies the trained values back to the variables
        self._owner.save(self._owner.whole, Path(path))

    def save_weights(self, path: str | Path, overwrite: bool = True) -> None:
        """Write the weights of the whole classifier."""
        _ = self._owner.model
        self._owner.whole.save_weights(path, overwrite=overwrite)
