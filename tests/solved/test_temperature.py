"""Temperature scaling: the minimum of the log-loss where there is one, and sense where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from keras_transfer.solved.evidence import measure
from keras_transfer.solved.temperature import HIGHEST, LOWEST, fit_temperature


def calibrated(n: int = 5000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)) * 2
    return logits, (softmax(logits, axis=1).cumsum(axis=1) < rng.uniform(size=(n, 1))).sum(axis=1)


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_the_temperature_of_scaled_true_logits_is_the_factor(factor):
    logits, labels = calibrated()
    assert fit_temperature(logits * factor, labels) == pytest.approx(factor, rel=0.05)


def test_it_is_the_minimum_of_the_log_loss():
    logits, labels = calibrated(400)
    found = fit_temperature(3 * logits, labels)
    grid = np.geomspace(0.5, 10, 600)
    lowest = min(grid, key=lambda t: measure(3 * logits / t, labels).log_loss)
    assert found == pytest.approx(lowest, rel=0.03)


def test_weights_and_repeats():
    logits, labels = calibrated(400)
    weights = np.r_[np.ones(200), np.zeros(200)]
    assert fit_temperature(logits, labels, weights) == pytest.approx(
        fit_temperature(logits[:200], labels[:200]), rel=1e-4
    )
    assert fit_temperature(np.stack([logits] * 3), labels) == pytest.approx(fit_temperature(logits, labels), rel=1e-4)


@pytest.mark.parametrize("n", [5, 50, 5000])
def test_all_right_gives_the_confidence_that_n_samples_allow(n):
    """Equal margins, all right: the probability of the label becomes (n + 1)/(n + 2), whatever the margin."""
    labels = np.arange(n) % 3
    for margin in (3.0, 10.0):
        logits = margin * np.eye(3)[labels]
        temperature = fit_temperature(logits, labels)
        assert softmax(logits[0] / temperature)[0] == pytest.approx((n + 1) / (n + 2), rel=1e-4)


def test_it_stays_in_its_bounds():
    labels = np.zeros(4, int)
    for logits in (np.zeros((4, 3)), np.tile([1e-9, 0, 0], (4, 1)), np.tile([0, 1e9, 0], (4, 1)), np.zeros((4, 1))):
        assert LOWEST <= fit_temperature(logits, labels) <= HIGHEST
