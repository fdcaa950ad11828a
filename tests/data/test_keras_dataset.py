"""The Keras side, on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from keras_transfer import data
from keras_transfer.data.augment import Transform
from keras_transfer.data.loading.loader import Loader

pytestmark = pytest.mark.backend


@pytest.fixture
def batches():
    from keras_transfer.data.loading.keras_dataset import Batches

    split = data.digits(limit=60, limit_test=20).train
    loader = Loader(split, Transform((8, 8), ["padded_random_crop"], color="grey"), 16, shuffle=True, seed=2, workers=2)
    yield Batches(loader)
    loader.close()


def recorder(batches, seen):
    """Have `seen` filled with (epoch, batch) as they are served."""
    served = batches.loader.batch

    def batch(epoch, i):
        seen.append((epoch, i))
        return served(epoch, i)

    batches.loader.batch = batch


def model():
    import keras

    net = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
    net.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    return net


def test_fit_goes_through_epochs_in_order(batches):
    seen = []
    recorder(batches, seen)
    net = model()
    net.fit(batches, epochs=3, shuffle=False, verbose=0)
    assert batches.epoch == 3
    for e in range(3):
        # Backends may draw a batch or two to learn the shapes; each epoch is served whole and in order after that.
        served = [i for epoch, i in seen if epoch == e]
        assert served[-len(batches) :] == list(range(len(batches)))
    batches.set_epoch(7)
    net.fit(batches, epochs=1, shuffle=False, verbose=0)
    assert batches.epoch == 8


def test_evaluate_predict_and_validation(batches):
    from keras_transfer.data.loading.keras_dataset import Batches

    net = model()
    loader = Loader(batches.loader.split, Transform((8, 8), color="grey"), 16, workers=1)
    val = Batches(loader)
    history = net.fit(batches, validation_data=val, epochs=2, shuffle=False, verbose=0).history
    assert len(history["val_loss"]) == 2
    assert history["val_loss"][-1] == pytest.approx(net.evaluate(val, verbose=0), rel=1e-5)
    x = np.concatenate([loader.batch(0, i)[0] for i in range(len(loader))])
    assert net.predict(val, verbose=0).shape == (len(x), 10)
    np.testing.assert_allclose(net.predict(val, verbose=0), net.predict(x, verbose=0), rtol=1e-4, atol=1e-3)
    loader.close()


def test_epochs_only_count_when_they_were_served_whole(batches):
    batches.on_epoch_end()
    assert batches.epoch == 0
    batches.on_epoch_begin()
    batches[0]
    batches.on_epoch_end()
    assert batches.epoch == 0
    batches.on_epoch_begin()
    for i in range(len(batches)):
        batches[i]
    batches.on_epoch_end()
    batches.on_epoch_end()
    assert batches.epoch == 1
    assert np.array_equal(batches[1][0], batches.loader.batch(1, 1)[0])
    assert batches.batch_length(0) == 16
    assert batches.batch_length(len(batches) - 1) == len(batches[len(batches) - 1][0])
