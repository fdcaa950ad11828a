"""Logistic regression for several labels, against scikit-learn, one label at a time."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from keras_transfer.solved.cross_validation import cross_validate
from keras_transfer.solved.evidence import hits, losses
from keras_transfer.solved.folds import fold_numbers
from keras_transfer.solved.one_vs_rest import OneVsRest
from keras_transfer.solved.solvers import SOLVERS, solver_for
from keras_transfer.solved.temperature import fit_temperature

N, D, C = 200, 20, 4
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D)) * 3 + 5
Y = ((X - 5) @ RNG.normal(size=(D, C)) + RNG.normal(size=(N, C)) * 8 > 4).astype(np.uint8)


@pytest.mark.parametrize("rows", [N, 15])  # with fewer rows than features, too
@pytest.mark.parametrize("strength", [1e-4, 1e-2])
def test_each_label_is_scikit_learns_optimum(rows, strength):
    x, y = X[:rows], Y[:rows].copy()
    y[0], y[1] = 0, 1
    size = np.sqrt(np.square(x - x.mean(axis=0)).sum(axis=1).mean())
    found = OneVsRest().solve(x, y, C, strength).logits(x)
    for k in range(C):
        one = LogisticRegression(C=1 / (rows * strength), tol=1e-10, max_iter=20_000).fit(
            (x - x.mean(axis=0)) / size, y[:, k]
        )
        assert np.allclose(found[:, k], one.decision_function((x - x.mean(axis=0)) / size), atol=1e-4)


def test_weights_of_labels_and_of_samples_count_like_repeated_rows():
    samples = RNG.integers(1, 4, N)
    weighted = OneVsRest().solve(X, Y, C, 1e-2, samples)
    repeated = OneVsRest().solve(np.repeat(X, samples, axis=0), np.repeat(Y, samples, axis=0), C, 1e-2)
    assert np.allclose(weighted.kernel, repeated.kernel, atol=1e-6)
    each = np.where(Y > 0, [1.0, 3.0, 1.0, 1.0], 1.0)
    tilted, plain = (OneVsRest().solve(X, Y, C, 1e-2, w).logits(X) for w in (each, None))
    assert (tilted[:, 1] > plain[:, 1]).mean() > 0.95  # the label counts more where it is there


def test_labels_that_never_or_always_occur_are_predicted_so_by_laplaces_rule():
    y = Y.copy()
    y[:, 0], y[:, 1] = 0, 1
    logits = OneVsRest().solve(X, y, C, 1e-2).logits(X)
    assert np.allclose(1 / (1 + np.exp(-logits[:, 0])), 1 / (N + 2))
    assert np.allclose(1 / (1 + np.exp(-logits[:, 1])), (N + 1) / (N + 2))
    assert np.isfinite(OneVsRest().solve(X, np.zeros_like(Y), C, 1e-2).kernel).all()


def test_evidence_is_binary_cross_entropy_and_all_labels_right():
    from sklearn.metrics import accuracy_score, log_loss

    logits = RNG.normal(size=(N, C))
    shares = 1 / (1 + np.exp(-logits))
    assert losses(logits, Y).mean() == pytest.approx(np.mean([log_loss(Y[:, k], shares[:, k]) for k in range(C)]))
    assert hits(logits, Y).mean() == pytest.approx(accuracy_score(Y, shares > 0.5))
    best = fit_temperature(logits, Y)
    for other in (0.8, 1.25):
        assert losses(logits / best, Y).mean() <= losses(logits / (best * other), Y).mean() + 1e-4


def test_cross_validation_predicts_samples_by_heads_without_them():
    folds = fold_numbers(Y, 4, 2, 0)
    found = cross_validate(solver_for(Y), X, Y, C, folds, strengths=(1e-3, 1e-2))
    assert folds.shape == (2, N)
    assert found.logits.shape == (N, C)
    inside = folds[0] == 1
    head = OneVsRest().solve(X[~inside], Y[~inside], C, found.strength)
    once = cross_validate(solver_for(Y), X, Y, C, folds[0], strengths=(found.strength,))
    assert np.allclose(once.logits[inside], head.logits(X[inside]), atol=1e-5)


def test_folds_have_their_share_of_each_label_and_keep_groups():
    groups = np.arange(N) // 4
    numbers = fold_numbers(Y, 5, 1, 0, groups)[0]
    assert all(len(set(numbers[groups == group])) == 1 for group in set(groups))
    counts = np.array([Y[numbers == k].sum(axis=0) for k in range(5)])
    assert np.abs(counts - Y.sum(axis=0) / 5).max() < 8
    assert solver_for(Y[:, 0].astype(np.int64)) is SOLVERS["logistic"]
