"""The scikit-learn front: scikit-learn's own checks, cross-validation, pipelines, searches and pickles."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

import keras_transfer as kt
from keras_transfer.sklearn import ImageClassifier, _seed

pytestmark = [pytest.mark.backend, pytest.mark.slow]

Y = np.array(["day", "night"])[np.arange(24) % 2]
X = np.random.default_rng(0).integers(0, 100, (24, 8, 8, 3), dtype=np.uint8) + (
    150 * (Y == "day")[:, None, None, None]
).astype(np.uint8)


def tiny(kind=ImageClassifier, **given):
    given = {"phases": [kt.Phase("all", epochs=8, learning_rate=0.02)], "batch_size": 8, **given}
    return kind("tiny", weights="none", image_size=8, **given)


@pytest.fixture(scope="module")
def fitted():
    return tiny().fit(X, Y)


def test_it_learns_and_gives_probabilities_in_the_order_of_its_classes(fitted):
    assert fitted.classes_.tolist() == ["day", "night"]
    assert fitted.score(X, Y) > 0.9
    probabilities = fitted.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (fitted.classes_[probabilities.argmax(axis=1)] == fitted.predict(X)).all()


def test_lists_of_pictures_and_flattened_images(fitted):
    pictures = [Image.fromarray(image) for image in X]
    np.testing.assert_allclose(fitted.predict_proba(pictures), fitted.predict_proba(X))
    flat = tiny(image_shape=(8, 8, 3)).fit(X.reshape(24, -1), Y)
    assert flat.n_features_in_ == 192
    np.testing.assert_allclose(flat.predict_proba(X.reshape(24, -1)), fitted.predict_proba(X), atol=1e-5)


def test_clones_searches_pipelines_and_cross_validation():
    brief = tiny(phases=[kt.Phase("head", epochs=1)])
    copy = clone(brief)
    assert copy.get_params() == brief.get_params()
    assert copy.set_params(batch_size=4).batch_size == 4
    assert len(cross_val_score(brief, X, Y, cv=2)) == 2
    assert len(cross_val_score(brief, [Image.fromarray(image) for image in X], Y, cv=2)) == 2
    search = GridSearchCV(brief, {"batch_size": [4, 8]}, cv=2).fit(X, Y)
    assert search.best_params_["batch_size"] in (4, 8)
    pipeline = make_pipeline(FunctionTransformer(lambda images: images[:, ::-1]), brief).fit(X, Y)
    assert pipeline.predict(X).shape == (24,)


def test_it_is_pickled_with_its_network(fitted):
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_allclose(again.predict_proba(X), fitted.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (X, Y[:3], "24 images, but y has 3 labels"),
        (X, ["a"] * 24, "at least two classes"),
        (X.reshape(24, -1), Y, "image_shape="),
        ([], [], "no images"),
        ("photos", Y, "sequence of images"),
        (X[0], Y, "that of one image"),
    ],
)
def test_what_cannot_be_used_is_a_value_error(x, y, says):
    with pytest.raises(ValueError, match=says):
        tiny().fit(x, y)


@pytest.mark.parametrize("shape", [16, "16,16,3", (-1, 3), (8,), (8.0, 8), np.array([2, 2, 2, 2])])
def test_shapes_of_flattened_images(shape):
    with pytest.raises(ValueError, match="image_shape: expected"):
        tiny(image_shape=shape).fit(X.reshape(24, -1), Y)


def test_random_states():
    assert [_seed(state) for state in (None, 0, np.int64(3))] == [0, 0, 3]
    assert _seed(np.random.RandomState(5)) == _seed(np.random.RandomState(5)) != _seed(np.random.RandomState(6))
    with pytest.raises(ValueError, match="cannot be used to seed"):
        _seed("x")


class OfTables(ImageClassifier):
    """Rows of a table as grey pictures of one row, because scikit-learn's checks only have tables."""

    def _unflattened(self, X):
        return (255 / (1 + np.exp(-np.clip(X.astype(np.float64), -50, 50)))).astype(np.uint8)[:, None, :]


EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "which images are in a batch depends on how many there are",
    "check_estimators_pickle": "probabilities are computed in float32: the same to 1e-6, not to 1e-9",
}


@pytest.mark.exhaustive
@pytest.mark.no_cover
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks():
    phases = [kt.Phase("all", epochs=12, learning_rate=0.03)]
    found = check_estimator(
        tiny(OfTables, image_shape=(), phases=phases, batch_size=32), expected_failed_checks=EXPECTED, on_fail=None
    )
    failed = {result["check_name"]: str(result["exception"]) for result in found if result["status"] == "failed"}
    assert not failed
    assert len(found) > 50
