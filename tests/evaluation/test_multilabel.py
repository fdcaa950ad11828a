"""Metrics and thresholds of several labels, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from keras_transfer.errors import UserError
from keras_transfer.evaluation.metrics import NotFinite
from keras_transfer.evaluation.multilabel import best_thresholds, multilabel_metrics
from keras_transfer.evaluation.tasks import is_multi, probabilities, thresholds_of

RNG = np.random.default_rng(0)
N, NAMES = 150, ["a", "b", "c", "d"]
LABELS = (RNG.random((N, 4)) < [0.5, 0.3, 0.1, 0.8]).astype(np.uint8)
LOGITS = RNG.normal(size=(N, 4)) + 2 * LABELS - 1
WEIGHTS = RNG.random(N)
SHARES = 1 / (1 + np.exp(-LOGITS))
LIMITS = np.array([0.5, 0.3, 0.6, 0.9])


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_figures_are_those_of_scikit_learn(weights):
    found = multilabel_metrics(LOGITS, LABELS, NAMES, weights, LIMITS)
    found = found if weights is None else found["weighted"]
    decided = SHARES >= LIMITS
    given = {"sample_weight": weights}
    assert found["mean_average_precision"] == pytest.approx(reference.average_precision_score(LABELS, LOGITS, **given))
    assert found["micro_f1"] == pytest.approx(reference.f1_score(LABELS, decided, average="micro", **given))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(LABELS, decided, average="macro", **given))
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(LABELS, decided, **given))
    assert found["label_accuracy"] == pytest.approx(1 - reference.hamming_loss(LABELS, decided, **given))
    expected = np.mean([reference.log_loss(LABELS[:, k], SHARES[:, k], **given) for k in range(4)])
    assert found["log_loss"] == pytest.approx(expected)


def test_each_label_has_its_figures_and_its_curve():
    found = multilabel_metrics(LOGITS, LABELS, NAMES, thresholds=LIMITS)
    for k, name in enumerate(NAMES):
        row = found["per_class"][name]
        assert row["average_precision"] == pytest.approx(reference.average_precision_score(LABELS[:, k], LOGITS[:, k]))
        assert row["recall"] == pytest.approx(reference.recall_score(LABELS[:, k], SHARES[:, k] >= LIMITS[k]))
        assert (row["support"], row["threshold"]) == (LABELS[:, k].sum(), LIMITS[k])
        curve = found["curves"][name]
        assert (curve["recall"][0], curve["recall"][-1]) == (1, 0)
        assert len(curve["precision"]) == len(curve["recall"]) <= 60


def test_labels_that_do_not_occur_count_in_no_mean():
    labels = LABELS.copy()
    labels[:, 2] = 0
    found = multilabel_metrics(LOGITS, labels, NAMES)
    rest = [0, 1, 3]
    assert found["per_class"]["c"]["average_precision"] is None
    assert found["mean_average_precision"] == pytest.approx(
        reference.average_precision_score(labels[:, rest], LOGITS[:, rest])
    )
    empty = multilabel_metrics(LOGITS - 20, np.zeros_like(labels), NAMES)
    assert empty["mean_average_precision"] is None
    assert (empty["accuracy"], empty["micro_f1"], empty["macro_f1"]) == (1, 0, 0)


def test_thresholds_are_where_f1_is_highest_and_the_usual_one_for_few():
    found = best_thresholds(LOGITS, LABELS)
    for k in range(4):
        here = reference.f1_score(LABELS[:, k], SHARES[:, k] >= found[k])
        tried = [reference.f1_score(LABELS[:, k], SHARES[:, k] >= value) for value in SHARES[:, k]]
        assert here == pytest.approx(max(tried))
    few = np.zeros((N, 2), np.uint8)
    few[:4, 0], few[5:, 1] = 1, 1
    assert best_thresholds(LOGITS[:, :2], few)[0] == 0.5
    tied = best_thresholds(np.zeros((N, 1)), LABELS[:, :1])
    assert 0 <= tied[0] <= 0.5  # equal predictions are all taken, or none


def test_what_a_model_means_is_in_its_metadata():
    assert not is_multi({"classes": NAMES})
    assert thresholds_of({"classes": NAMES}).tolist() == [0.5] * 4
    assert thresholds_of({"classes": NAMES, "thresholds": [0.1, 0.2, 0.3, 0.4]}).tolist() == [0.1, 0.2, 0.3, 0.4]
    assert np.allclose(probabilities(LOGITS, True), SHARES)
    assert np.allclose(probabilities(LOGITS, False).sum(axis=1), 1)


def test_bad_input_is_refused():
    with pytest.raises(UserError, match="no samples"):
        multilabel_metrics(LOGITS[:0], LABELS[:0], NAMES)
    with pytest.raises(NotFinite):
        multilabel_metrics(LOGITS * np.nan, LABELS, NAMES)
    with pytest.raises(ValueError, match="expected logits and labels"):
        multilabel_metrics(LOGITS[:, :3], LABELS, NAMES)
