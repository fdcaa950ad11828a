"""The solver in chunks against the one that holds everything in memory."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.solved import streamed
from keras_transfer.solved.evidence import losses
from keras_transfer.solved.logistic import Logistic
from keras_transfer.solved.streamed import is_large, solve_streamed


@pytest.fixture(scope="module")
def problem():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 5, 3000)
    centres = generator.normal(size=(6, 24))
    features = (3 + centres[labels] + 2 * generator.normal(size=(3000, 24)) * np.linspace(0.2, 2, 24)).astype(
        np.float32
    )
    return features, labels


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(streamed, "_CHUNK", 700)


class Counted:
    def __init__(self, features):
        self.features, self.most, self.rows = features, 0, 0

    def __call__(self, start, stop):
        self.most, self.rows = max(self.most, stop - start), self.rows + stop - start
        return self.features[start:stop]


def difference(one, other, features) -> float:
    logits = one.logits(features) - other.logits(features)
    return float(np.abs(logits - logits.mean(axis=1, keepdims=True)).max())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("strength", [1e-4, 1e-2])
def test_the_same_head_as_in_memory(problem, weighted, strength, monkeypatch):
    features, labels = problem
    monkeypatch.setattr(streamed, "_PRECISION", 1e-12)
    weights = np.random.default_rng(1).uniform(0.2, 2, len(labels)) if weighted else None
    read = Counted(features)
    found = solve_streamed(read, labels, 6, strength, weights, judged=False)
    expected = Logistic().solve(features, labels, 6, strength, weights)
    assert read.most <= 700 and found.evidence is None
    assert difference(found.head, expected, features) < 0.02
    assert found.head.bias[5] == pytest.approx(expected.bias[5]) and not found.head.kernel[:, 5].any()
    loss = [
        float(np.average(losses(head.logits(features), labels), weights=weights)) for head in (found.head, expected)
    ]
    assert loss[0] == pytest.approx(loss[1], abs=1e-5)


def test_strength_temperature_and_evidence_come_from_samples_that_were_left_out(problem, monkeypatch):
    features, labels = problem
    monkeypatch.setattr(streamed, "_SOME", 600)
    found = solve_streamed(Counted(features), labels, 5)
    held = np.random.default_rng(0).permutation(3000)[:300]
    rest = np.setdiff1d(np.arange(3000), held)
    again = Logistic().solve(features[rest], labels[rest], 5, found.head.strength)
    loss = [float(losses(head.logits(features[rest]), labels[rest]).mean()) for head in (found.head, again)]
    assert loss[0] == pytest.approx(loss[1], abs=1e-3)
    assert found.evidence is not None and found.evidence.n == 300
    scaled = found.head.scaled(found.temperature)
    assert found.evidence.log_loss == pytest.approx(
        float(losses(scaled.logits(features[held]), labels[held]).mean()), abs=1e-6
    )
    whole = [
        float(losses(Logistic().solve(features[rest], labels[rest], 5, s).logits(features[held]), labels[held]).mean())
        for s in Logistic.strengths
    ]
    assert found.evidence.log_loss < min(whole) + 0.02


def test_features_in_two_bytes(problem):
    features, labels = problem
    stored = features.astype(ml_dtypes.bfloat16)
    found = solve_streamed(lambda a, b: stored[a:b].astype(np.float32), labels, 5, 1e-3, judged=False)
    expected = Logistic().solve(stored.astype(np.float32), labels, 5, 1e-3)
    assert difference(found.head, expected, features) < 0.1


def test_what_is_large():
    assert is_large(1_200_000, 1280, 1000) and is_large(100_000, 64, 1000)
    assert not is_large(50_000, 1280, 100)


def test_what_cannot_be_solved(problem):
    features, labels = problem
    with pytest.raises(UserError, match="at least 100 samples"):
        solve_streamed(Counted(features[:50]), labels[:50], 5)
    bad = features.copy()
    bad[1000, 3] = np.nan
    with pytest.raises(UserError, match="NaN"):
        solve_streamed(Counted(bad), labels, 5, 1e-3, judged=False)
