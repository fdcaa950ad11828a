from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from keras_transfer import data
from keras_transfer.errors import UserError
from keras_transfer.evaluation import evaluate_split, predict_logits
from keras_transfer.evaluation.evaluate import logits_of_batch
from keras_transfer.evaluation.mirrored import Mirrored


@pytest.fixture
def colours():
    """53 images of one colour, brighter with their number, in three classes."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 53)
    images = np.zeros((53, 6, 6, 3), np.uint8)
    images[np.arange(53), :, :, labels] = (np.arange(53) * 4 + 30)[:, None, None]
    return images, labels


def dataset(colours, **options):
    images, labels = colours
    return data.arrays(images, labels, classes=["r", "g", "b"], image_size=6, **options)


def transform():
    from keras_transfer.data.augment import Transform

    return Transform((6, 6), [], resize="squash", color="rgb")


@pytest.mark.parametrize("batch_size", [1, 4, 64])
@pytest.mark.parametrize("workers", [0, 2])
def test_logits_come_in_the_order_of_the_split(model, colours, batch_size, workers):
    split = dataset(colours).train
    logits = predict_logits(model, split, transform(), batch_size, workers)
    expected = np.stack([split.read(i).mean(axis=(0, 1)) / 10 for i in range(len(split))])
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=1e-6)
    assert {shape[0] for shape in model.shapes} == {min(batch_size, len(split))}


def test_flips_average_an_image_with_its_mirror_image():
    class Columns:
        """Rows of the first two columns' means; not for a batch of another size."""

        shapes: ClassVar[list[int]] = []

        def predict_on_batch(self, images):
            self.shapes.append(len(images))
            return images[:, :, :2, 0].mean(axis=1).astype(np.float32)

    images = np.random.default_rng(0).integers(0, 256, (10, 5, 6, 3), np.uint8)
    expected = (images[:, :, [0, 1], 0].mean(axis=1) + images[:, :, [5, 4], 0].mean(axis=1)) / 2
    model = Mirrored(Columns())
    np.testing.assert_allclose(model.predict_on_batch(images), expected, rtol=1e-6)
    stream = np.concatenate(list(model.predict_stream([images[:4], images[4:8], images[8:]])))
    np.testing.assert_allclose(stream, expected, rtol=1e-6)
    assert Columns.shapes == [10, 10, *[4] * 6]
    split = data.arrays(images, np.arange(10) % 2, classes=["a", "b"], image_size=(5, 6), test_fraction=0.0).train
    from keras_transfer.data.augment import Transform

    logits = predict_logits(model, split, Transform((5, 6)), 4)
    order = [next(i for i in range(10) if (images[i] == split.read(k)).all()) for k in range(len(split))]
    np.testing.assert_allclose(logits, expected[order], rtol=1e-6)


def test_an_empty_split_has_no_logits_and_cannot_be_scored(model, colours):
    split = dataset(colours, test_fraction=0.0).test
    assert predict_logits(model, split, transform(), 8).shape == (0, 3)
    with pytest.raises(UserError, match="no samples"):
        evaluate_split(model, split, transform(), 8)


def test_metrics_of_a_split(model, colours):
    split = dataset(colours).train
    m = evaluate_split(model, split, transform(), 8)
    assert m["accuracy"] == 1
    assert m["n"] == len(split)
    assert list(m["per_class"]) == ["r", "g", "b"]
    assert "weighted" not in m


def test_sample_weights_of_the_data_are_used(model, colours):
    images, labels = colours
    wrong = np.arange(53) % 4 == 0
    given = np.where(wrong, (labels + 1) % 3, labels)
    weights = np.where(wrong, 0.0, 1.0).astype(np.float32)
    split = dataset((images, given), weights=weights).train
    m = evaluate_split(model, split, transform(), 8)
    assert m["weighted"]["accuracy"] == 1
    predicted = [split.read(i).mean(axis=(0, 1)).argmax() for i in range(len(split))]
    assert m["accuracy"] == accuracy_score(split.labels, predicted) < 1


def test_a_short_batch_is_filled_up_and_cut_again(model):
    images = np.arange(2 * 3, dtype=np.uint8).reshape(2, 1, 1, 3)
    np.testing.assert_allclose(logits_of_batch(model, images, 5), images[:, 0, 0] / 10, rtol=1e-6)
    np.testing.assert_allclose(logits_of_batch(model, images), images[:, 0, 0] / 10, rtol=1e-6)
    assert [shape[0] for shape in model.shapes] == [5, 2]


@pytest.mark.backend
def test_a_real_model_on_this_backend(colours):
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    network = keras.Model(inputs, keras.layers.Dense(3, name="logits")(keras.layers.Dropout(0.5)(x)))
    split = dataset(colours).train
    logits = predict_logits(network, split, transform(), 16)
    kernel, bias = (np.asarray(w) for w in network.get_layer("logits").get_weights())
    means = np.stack([split.read(i).mean(axis=(0, 1)) / 255 for i in range(len(split))])
    np.testing.assert_allclose(logits, means @ kernel + bias, atol=1e-5)


def test_importing_the_package_imports_no_framework():
    code = "import sys, keras_transfer.evaluation; print(*({'keras', 'torch', 'sklearn', 'cv2'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []
