"""Gradient accumulation gives the weights and metrics of whole batches, up to rounding."""

from __future__ import annotations

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.errors import Interrupted
from keras_transfer.training import accumulate
from keras_transfer.training.train import resume_run, train
from tests.training.small import StopAt, read_weights, settings

pytestmark = pytest.mark.backend

CLOSE = 1e-5


def images(count: int = 60, weights: bool = False):
    """Three classes that differ in colour; 42 training images, so the last batch of 16 has only 10."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 3
    x = rng.integers(0, 120, (count, 16, 16, 3))
    x[np.arange(count), :, :, labels] += 100
    more = {"weights": rng.uniform(0.2, 2.0, count).astype(np.float32)} if weights else {}
    return kt.data.arrays(x.astype(np.uint8), labels, image_size=16, **more)


def fit(data, parts, phases, **options):
    """Train a network without interaction between images: BatchNorm frozen, no dropout."""
    classifier = kt.Classifier("tiny", data.classes, weights="none", image_size=16, dropout=0.0, precision="float32")
    phases = [phase.model_copy(update={"batch_norm": "frozen"}) for phase in phases]
    options = {"cache": "memory", "workers": 1, **options}
    result = classifier.fit(data, phases, batch_size=16, accumulate=parts, verbose=False, **options)
    return classifier.model.get_weights(), result


def assert_same(one, other):
    for a, b in zip(one[0], other[0]):
        np.testing.assert_allclose(a, b, rtol=0, atol=CLOSE)
    assert len(one[1].iterations) == len(other[1].iterations)
    np.testing.assert_allclose(
        [loss for _, loss in one[1].iterations], [loss for _, loss in other[1].iterations], rtol=0, atol=CLOSE
    )
    for a, b in zip(one[1].history, other[1].history):
        for metric in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
            assert a[metric] == pytest.approx(b[metric], abs=CLOSE), metric


OPTIMIZERS = {
    "adamw, cosine": {"optimizer": "adamw", "weight_decay": 0.01, "clip_norm": 1.0, "schedule": "cosine", "warmup_epochs": 1},
    "adam": {"optimizer": "adam", "schedule": "constant"},
    "sgd, one cycle": {"optimizer": "sgd", "weight_decay": 0.001, "clip_norm": 0.5, "schedule": "one_cycle"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parts"),
    [("adamw, cosine", 3), pytest.param("adam", 16, marks=pytest.mark.slow), ("sgd, one cycle", 2)],
)
def test_micro_batches_give_the_weights_and_metrics_of_whole_batches(name, parts):
    phases = [kt.Phase("all", epochs=2, learning_rate=1e-3, **OPTIMIZERS[name])]
    data, options = images(), {"augment": ["horizontal_flip"], "label_smoothing": 0.1}
    assert_same(fit(data, parts, phases, **options), fit(data, 1, phases, **options))


@pytest.mark.slow
@pytest.mark.parametrize("weights", [False, True])
def test_class_and_sample_weights_and_mixing_act_as_in_whole_batches(weights):
    phases = [kt.Phase("all", epochs=2, learning_rate=1e-3)]
    options = {"class_weights": "balanced", "augment": ["mixup", "cutmix"]}
    data = images(weights=weights)
    assert_same(fit(data, 3, phases, **options), fit(data, 1, phases, **options))


@pytest.mark.slow
def test_phases_on_cached_features_use_micro_batches_too():
    phases = [
        kt.Phase("head", epochs=2, learning_rate=1e-2, augment=False),
        kt.Phase("top", train="last 1 groups", epochs=2, learning_rate=1e-3, augment=False),
    ]
    data = images()
    assert_same(fit(data, 3, phases), fit(data, 1, phases))


@pytest.mark.slow
def test_equal_weights_for_unequal_micro_batches_would_be_noticed(monkeypatch):
    phases, data = [kt.Phase("all", epochs=2, learning_rate=1e-2, optimizer="sgd")], images()
    whole = fit(data, 1, phases)
    parts = accumulate.parts_of

    def alike(batch, size):
        found = list(parts(batch, size))
        return [(1 / len(found), part) for _, part in found]

    monkeypatch.setattr(accumulate, "parts_of", alike)
    with pytest.raises(AssertionError):
        assert_same(fit(data, 3, phases), whole)


@pytest.mark.slow
def test_at_most_one_micro_batch_is_computed_at_once(monkeypatch):
    import keras

    seen = []
    layer = keras.layers.Dropout
    call = layer.call

    def watched(self, inputs, training=False):
        seen.append(inputs.shape[0])
        return call(self, inputs, training=training)

    class Begin(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            seen.clear()  # so far Keras has only inferred shapes

    monkeypatch.setattr(layer, "call", watched)
    fit(images(), 4, [kt.Phase("all", epochs=1)], augment=["horizontal_flip"], callbacks=[Begin()])
    assert seen and max(size or 0 for size in seen) <= 4


@pytest.mark.slow
def test_afterwards_the_model_uses_the_keras_step_again():
    data = images()
    classifier = kt.Classifier("tiny", data.classes, weights="none", image_size=16)
    classifier.fit(data, [kt.Phase("all", epochs=1)], batch_size=16, accumulate=4, verbose=False)
    model = classifier.model
    assert model.train_function is None
    model.fit(np.zeros((4, 16, 16, 3), np.uint8), np.eye(3, dtype=np.float32)[[0, 1, 2, 0]], verbose=0)


@pytest.mark.slow
def test_an_interrupted_run_with_micro_batches_resumes_bit_identically(photos, tmp_path):
    tree = settings(photos, tmp_path).model_dump(exclude_unset=True)["data"]
    tree["accumulate"] = 3
    whole = train(settings(photos, tmp_path / "whole", data=tree), say=lambda _: None)
    with pytest.raises(Interrupted):
        train(settings(photos, tmp_path / "cut", data=tree), callbacks=[StopAt(3)], say=lambda _: None)
    resumed = resume_run(tmp_path / "cut")
    train(resumed.read_config(), resume=resumed, say=lambda _: None)
    for a, b in zip(read_weights(whole), read_weights(resumed)):
        np.testing.assert_array_equal(a, b)
