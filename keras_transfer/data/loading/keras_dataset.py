"""A `Loader` as a Keras data set."""

from __future__ import annotations

import keras
import numpy as np

from keras_transfer.data.loading.job import Batch
from keras_transfer.data.loading.loader import Loader


class Batches(keras.utils.PyDataset):
    """Input of `model.fit`, `evaluate` and `predict`; prefetching is left to the loader.

    Pass `shuffle=False` to `fit`: the loader shuffles samples, and Keras would shuffle the batches again, unseeded,
    which also defeats prefetching.

    The epoch advances when Keras ends an epoch whose last batch has been served; the few batches that backends draw to
    infer shapes do not count. Set it with `set_epoch` to resume.

    Args:
        loader: the batches.
        epoch: number of the first epoch.

    Attributes:
        first: number of batches to skip at the start of an epoch, to continue an interrupted one.
    """

    def __init__(self, loader: Loader, epoch: int = 0):
        super().__init__(workers=0, use_multiprocessing=False)
        self.loader, self.epoch, self.first = loader, int(epoch), 0
        self._begun = self._ended = False

    def __len__(self) -> int:
        return len(self.loader) - self.first

    def __getitem__(self, index: int) -> Batch:
        batch = self.batch(self.first + index)
        # Keras may shuffle the indices, but all have been requested by the end of an epoch.
        self._ended |= self._begun and index == len(self) - 1
        return batch

    def batch(self, number: int) -> Batch:
        """Return batch `number` of the whole epoch."""
        return self.loader.batch(self.epoch, number)

    def only(self, positions: np.ndarray) -> Batches:
        """Return batches of the samples at these positions of the split; see :meth:`Loader.only`."""
        return Batches(self.loader.only(positions))

    def batch_length(self, index: int) -> int:
        """Return the number of samples in a batch."""
        return len(self.loader.positions(self.epoch, self.first + index))

    def set_epoch(self, epoch: int) -> None:
        """Continue with this epoch."""
        self.epoch = int(epoch)
        self._begun = self._ended = False

    def on_epoch_begin(self) -> None:
        """Called by Keras."""
        self._begun, self._ended = True, False

    def on_epoch_end(self) -> None:
        """Called by Keras, also outside an epoch."""
        if self._begun and self._ended:
            self.epoch += 1
        self._begun = self._ended = False
