"""Figures with standard errors, against scikit-learn, the textbook and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, log_loss

from keras_transfer.errors import UserError
from keras_transfer.solved.evidence import (
    difference,
    expected_calibration_error,
    hits,
    losses,
    measure,
    within_one_error,
)


def predictions(n: int = 200, classes: int = 4, seed: int = 0, skill: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return rng.normal(size=(n, classes)) * 2 + skill * np.eye(classes)[labels], labels


def test_measure_agrees_with_scikit_learn():
    logits, labels = predictions()
    weights = np.random.default_rng(1).uniform(0, 2, 200)
    for given in (None, weights):
        found = measure(logits, labels, given)
        assert found.n == 200
        right = logits.argmax(axis=1)
        assert found.accuracy == pytest.approx(accuracy_score(labels, right, sample_weight=given))
        reference = log_loss(labels, softmax(logits, axis=1), sample_weight=given)
        assert found.log_loss == pytest.approx(reference)
    assert "200 images" in str(found)


def test_standard_errors_are_those_of_the_mean():
    logits, labels = predictions()
    found = measure(logits, labels)
    assert found.accuracy_error == pytest.approx(hits(logits, labels).std(ddof=1) / math.sqrt(200))
    assert found.log_loss_error == pytest.approx(losses(logits, labels).std(ddof=1) / math.sqrt(200))
    spread = np.std([measure(*predictions(seed=s)).log_loss for s in range(300)])
    assert found.log_loss_error == pytest.approx(spread, rel=0.25)
    weights = np.r_[np.ones(100), np.zeros(100)]
    half = measure(logits[:100], labels[:100])
    assert measure(logits, labels, weights).log_loss_error == pytest.approx(half.log_loss_error)
    assert measure(logits[:1], labels[:1]).log_loss_error == math.inf


def test_repeats_are_averaged_by_sample_and_do_not_count_as_samples():
    logits, labels = predictions()
    once, often = measure(logits, labels), measure(np.stack([logits] * 5), labels)
    assert (once.log_loss, once.log_loss_error) == pytest.approx((often.log_loss, often.log_loss_error))


def test_huge_logits_are_finite():
    logits, labels = predictions()
    assert math.isfinite(measure(logits * 1e100, labels).log_loss)


def test_paired_difference_has_a_smaller_error_than_either():
    logits, labels = predictions(skill=2)
    other = logits + np.random.default_rng(2).normal(size=logits.shape) * 0.1
    loss, loss_error, accuracy, accuracy_error = difference(logits, other, labels)
    assert loss == pytest.approx(measure(logits, labels).log_loss - measure(other, labels).log_loss)
    assert accuracy == pytest.approx(measure(logits, labels).accuracy - measure(other, labels).accuracy)
    assert loss_error < 0.3 * measure(logits, labels).log_loss_error
    assert 0 <= accuracy_error < measure(logits, labels).accuracy_error
    assert difference(logits, logits, labels) == (0, 0, 0, 0)


def test_the_cheapest_candidate_within_one_error_is_chosen():
    rng = np.random.default_rng(0)
    base = rng.exponential(size=400)
    noise = rng.normal(size=400)
    noise -= noise.mean()
    error = noise.std(ddof=1) / 20
    table = np.stack([base, base + noise + 0.9 * error, base + noise + 1.1 * error])
    assert within_one_error((3, 2, 1), table) == 1
    assert within_one_error((1, 2, 3), table) == 0
    assert within_one_error((2, 2, 1), table) == 0
    assert within_one_error((3, 2, 1), np.stack([base, base, base])) == 2
    with pytest.raises(UserError, match="cost"):
        within_one_error((1,), table)


def test_calibration_error_by_hand():
    labels = np.zeros(10, int)
    sure = np.tile([np.log(0.9), np.log(0.1)], (10, 1))
    sure[:4] = sure[:4, ::-1]  # 4 of 10 wrong, at 90 % confidence
    assert expected_calibration_error(sure, labels) == pytest.approx(0.3)
    certain = np.tile([1000.0, 0.0], (10, 1))
    assert expected_calibration_error(certain, labels) == 0


def test_calibration_error_of_true_probabilities_is_small():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 3)) * 2
    labels = (softmax(logits, axis=1).cumsum(axis=1) < rng.uniform(size=(20_000, 1))).sum(axis=1)
    assert expected_calibration_error(logits, labels) < 0.01
    assert expected_calibration_error(3 * logits, labels) > 0.1
