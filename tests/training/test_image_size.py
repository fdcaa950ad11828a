"""Phases that train at another image size than the model predicts at."""

import keras
import numpy as np
import pytest

from keras_transfer import data
from keras_transfer.config.schema import Phase
from keras_transfer.data.augment.transform import Transform
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.data.loading.loader import Loader
from keras_transfer.errors import UserError
from keras_transfer.models.any_size import any_size
from keras_transfer.models.classifier import build_classifier
from keras_transfer.training.optimizer import compile_phase
from keras_transfer.training.setup import TrainingSettings
from keras_transfer.training.train import train
from tests.training.small import StopAt, read_weights, resume, settings

pytestmark = pytest.mark.backend

PHASES = [
    {"name": "small", "train": "all", "epochs": 2, "image_size": 24, "learning_rate": 0.01, "optimizer": "sgd", "nesterov": True,
     "schedule": "constant"},
    {"name": "all", "epochs": 1, "learning_rate": 0.003, "schedule": "cosine"},
]  # fmt: skip


def of(photos, output, phases=PHASES):
    return settings(photos, output, phases=phases, precision="float32")


def test_weights_are_those_of_a_model_that_is_built_for_that_size(photos, tmp_path):
    """The reference trains on images of 24 px with a model for 24 px; only validation sees 32 px here."""
    run = train(of(photos, tmp_path / "run", PHASES[:1]), say=lambda _: None)
    here = keras.models.load_model(run.model)
    assert here.input_shape == (None, 32, 32, 3)
    opened = run_data(run)
    first = build_classifier("tiny", 3, image_size=32, weights="none", seed=0, dropout=run.read_config().model.dropout)
    reference = build_classifier(
        "tiny", 3, image_size=24, weights="none", seed=0, dropout=run.read_config().model.dropout
    )
    reference.set_weights(first.get_weights())
    phase = run.read_config().phases[0]
    with Loader(opened.train, Transform((24, 24), ["horizontal_flip"]), 16, shuffle=True, workers=0) as loader:
        batches = Batches(loader)
        compile_phase(reference, phase, len(batches), TrainingSettings("tiny", (phase,)))
        reference.fit(batches, epochs=2, shuffle=False, verbose=0)
    best = run.read_json(run.metrics)["best"]["epoch"]
    assert best in (1, 2)
    if best == 2:
        for ours, theirs in zip(here.get_weights(), reference.get_weights()):
            np.testing.assert_allclose(ours, theirs, atol=2e-5)


def run_data(run):
    from keras_transfer.config.open_data import open_data

    return open_data(run.read_config())


@pytest.mark.slow
def test_an_interrupted_run_resumes_to_the_same_bits(photos, tmp_path):
    whole = train(of(photos, tmp_path / "whole"), say=lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        train(of(photos, tmp_path / "run"), say=lambda _: None, callbacks=[StopAt(1)])
    for ours, theirs in zip(read_weights(resume(tmp_path / "run")), read_weights(whole)):
        np.testing.assert_array_equal(ours, theirs)


def test_batches_differ_in_size_alone():
    labels = np.arange(10) % 2
    images = np.zeros((10, 40, 40, 3), np.uint8)
    split = data.arrays(images, labels, image_size=32, val_fraction=0, test_fraction=0, workers=0).train
    with (
        Loader(split, Transform((32, 32)), 4, shuffle=True, seed=3, workers=0) as loader,
        loader.at_size((16, 24)) as other,
    ):
        for number in range(len(loader)):
            (x, y), (small, same) = loader.batch(1, number), other.batch(1, number)
            assert x.shape[1:] == (32, 32, 3) and small.shape[1:] == (16, 24, 3)
            np.testing.assert_array_equal(y, same)


def test_layers_are_shared_and_any_size_is_computed():
    model = build_classifier("tiny", 4, image_size=32, weights="none")
    other = any_size(model, (20, 28))
    assert all(a is b for a, b in zip(model.variables, other.variables)) and len(model.variables) == len(
        other.variables
    )
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    ours, theirs = (np.asarray(each.predict(images, verbose=0)) for each in (model, other))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    assert np.asarray(other.predict(images[:, :20, :28], verbose=0)).shape == (2, 4)


def test_a_network_for_one_size_says_so():
    image = keras.Input((16, 16, 3))
    model = keras.Model(image, keras.layers.Dense(2)(keras.layers.Flatten()(image)), name="flat")
    with pytest.raises(UserError, match="cannot train at 20 x 20 px: flat is for 16 x 16 only"):
        any_size(model, (20, 20))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"solver": "exact", "image_size": 24}, "solver exact takes images of data.image_size"),
        ({"image_size": 0}, "image_size"),
        ({"optimizer": "adam", "nesterov": True}, "nesterov needs optimizer sgd, got adam"),
    ],
)
def test_what_does_not_go_together(values, message):
    with pytest.raises((UserError, ValueError), match=message):
        Phase("head", **values)
