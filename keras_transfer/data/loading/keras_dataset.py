"""A Loader as a Keras data set."""

from __future__ import annotations

import keras

from keras_transfer.data.loading.job import Batch
from keras_transfer.data.loading.loader import Loader


class Batches(keras.utils.PyDataset):
    """What `model.fit`, `evaluate` and `predict` take; preparing ahead is the loader's business.

    Pass `shuffle=False` to `fit`: the loader shuffles samples, and Keras would shuffle the batches again with a random
    generator of its own, which also defeats preparing ahead.

    The epoch advances when Keras ends an epoch of which the last batch has been served; the few batches that backends
    draw to learn the shapes do not count. Set it with `set_epoch` to resume.

    Args:
        loader: what to serve.
        epoch: number of the first epoch.

    Attributes:
        first: batches of an epoch that are left out at its beginning: an epoch that was broken off is gone on with.
    """

    def __init__(self, loader: Loader, epoch: int = 0):
        super().__init__(workers=0, use_multiprocessing=False)
        self.loader, self.epoch, self.first = loader, int(epoch), 0
        self._begun = self._ended = False

    def __len__(self) -> int:
        return len(self.loader) - self.first

    def __getitem__(self, index: int) -> Batch:
        batch = self.batch(self.first + index)
        # Keras may shuffle the indices, but by the time an epoch ends, all have been asked for.
        self._ended |= self._begun and index == len(self) - 1
        return batch

    def batch(self, number: int) -> Batch:
        """Batch `number` of the whole epoch."""
        return self.loader.batch(self.epoch, number)

    def batch_length(self, index: int) -> int:
        """Number of samples in a batch."""
        return len(self.loader.positions(self.epoch, self.first + index))

    def set_epoch(self, epoch: int) -> None:
        """Go on with this epoch."""
        self.epoch = int(epoch)
        self._begun = self._ended = False

    def on_epoch_begin(self) -> None:
        """Called by Keras."""
        self._begun, self._ended = True, False

    def on_epoch_end(self) -> None:
        """Called by Keras, also outside of an epoch."""
        if self._begun and self._ended:
            self.epoch += 1
        self._begun = self._ended = False
