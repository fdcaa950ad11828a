"""What is not a number is never a probability."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_transfer.errors import UserError
from keras_transfer.evaluation.metrics import NotFinite, classification_metrics, log_softmax, require_finite
from keras_transfer.evaluation.predict import open_images, outputs, predict_images
from keras_transfer.evaluation.table import _interval, _percent, _plain
from keras_transfer.explain.colours import heat
from keras_transfer.formatting import share

METADATA = {"classes": ["a", "b"], "image_size": [8, 8], "color": "rgb", "resize": "squash", "backbone": "tiny"}
IMAGES = [np.full((8, 8, 3), level, np.uint8) for level in (0, 200)]


class Broken:
    """A model whose outputs are not finite for bright images."""

    def __init__(self, value):
        self.value = value

    def predict_on_batch(self, images):
        return np.where(images.mean(axis=(1, 2, 3))[:, None] > 100, self.value, np.array([[1.0, 2.0]]))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_predictions_are_refused(value):
    assert predict_images(Broken(value), METADATA, IMAGES[:1])[0].classes == ("b", "a")
    with pytest.raises(NotFinite, match="not finite for 1 of"):
        predict_images(Broken(value), METADATA, IMAGES)
    with pytest.raises(NotFinite):  # features, which no softmax sees
        list(outputs(Broken(value), METADATA, open_images(IMAGES), 2))
    logits = np.array([[1.0, 2.0], [value, 1.0]])
    for refused in (log_softmax, require_finite, lambda x: classification_metrics(x, np.array([0, 1]), ["a", "b"])):
        with pytest.raises(NotFinite, match="1 of 2"):
            refused(logits)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_no_percentage_is_made_of_what_is_no_number(value):
    assert share(value) == _percent(value) == _plain(value) == "–"
    assert "100" not in _interval([0.1, 0.2])


def test_maps_that_are_not_finite_are_not_drawn():
    with pytest.raises(UserError, match="not finite"):
        heat(np.array([[1.0, np.nan]]))


@pytest.mark.backend
def test_serve_refuses_one_image_and_answers_the_others(tmp_path):
    from keras_transfer.serve.predictor import Predictor

    class Cam:
        def __call__(self, images, classes):
            return np.zeros(images.shape[:3])

    predictor = Predictor.__new__(Predictor)
    predictor.model, predictor.metadata, predictor.classes, predictor._cam = Broken(np.nan), METADATA, ["a", "b"], Cam()
    predictor.engine = predictor.model
    good, bad = predictor._answer([(IMAGES[0], False), (IMAGES[1], False)])
    assert good.probabilities.sum() == pytest.approx(1)
    assert np.isnan(bad.probabilities).all()  # which the application turns into a status of 500
    with pytest.raises(NotFinite):
        require_finite(bad.probabilities)
    Image.fromarray(IMAGES[0]).save(tmp_path / "x.png")


@pytest.mark.backend
def test_a_classifier_that_has_diverged(tmp_path):
    import keras_transfer as kt

    clf = kt.Classifier("tiny", ["a", "b"], image_size=32, weights="none")
    clf.model.layers[-1].bias.assign([np.nan, 0.0])
    image = np.zeros((32, 32, 3), np.uint8)
    for call in (clf.predict, clf.explain, lambda x: clf.explain(x, "occlusion"), lambda x: clf.evaluate(x[None], [0])):
        with pytest.raises(NotFinite):
            call(image)
    with pytest.raises(UserError, match=r"not saved: .* not finite"):
        clf.save(tmp_path / "model.keras")
    assert not list(tmp_path.iterdir())
