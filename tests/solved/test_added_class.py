"""A column for a new class beside the given logits of the others."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_softmax, logsumexp, softmax

from keras_transfer.errors import UserError
from keras_transfer.solved.added_class import added_class

N, D, OLD, STRENGTH = 90, 12, 3, 1e-3


@pytest.fixture(scope="module")
def problem():
    """Features, logits of the old classes, which samples are of the new one, and folds."""
    rng = np.random.default_rng(0)
    labels = np.arange(N) % (OLD + 1)
    centres = rng.normal(size=(OLD + 1, D))
    features = centres[labels] + 1.3 * rng.normal(size=(N, D))
    return features, features @ centres[:OLD].T, labels == OLD, np.arange(N) // 2 % 3


def objective(features, offset, targets, weights):
    """Loss and gradient of a column on centred features of unit mean square norm, written down anew."""
    shares = weights / weights.sum()
    rows = features - shares @ features
    rows /= np.sqrt(shares @ np.square(rows).sum(axis=1))

    def value(point):
        logits = rows @ point[:-1] + point[-1] - offset
        loss = shares @ (np.logaddexp(0, logits) - targets * logits) + STRENGTH / 2 * np.square(point[:-1]).sum()
        error = shares * (expit(logits) - targets)
        return loss, np.append(rows.T @ error + STRENGTH * point[:-1], error.sum())

    return value, rows


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_optimum(problem, weighted):
    features, logits, new, folds = problem
    weights = np.random.default_rng(1).uniform(0, 2, N) if weighted else np.ones(N)
    (found,) = added_class(features, logits, new, folds, weights if weighted else None, (STRENGTH,))
    value, rows = objective(features, logsumexp(logits, axis=1), new, weights)
    best = minimize(value, np.zeros(D + 1), jac=True, method="BFGS", options={"gtol": 1e-9}).x
    np.testing.assert_allclose(found.logits(features), rows @ best[:-1] + best[-1], atol=1e-5)


def test_the_probability_of_the_new_class_is_that_of_softmax_and_the_others_keep_their_ratios(problem):
    features, logits, new, folds = problem
    (found,) = added_class(features, logits, new, folds, None, (STRENGTH,))
    both = softmax(np.column_stack([logits, found.logits(features)]), axis=1)
    np.testing.assert_allclose(both[:, -1], expit(found.logits(features) - logsumexp(logits, axis=1)))
    np.testing.assert_allclose(both[:, :OLD] / both[:, :OLD].sum(axis=1, keepdims=True), softmax(logits, axis=1))
    losses = -log_softmax(np.column_stack([logits, found.logits(features)]), axis=1)[new, -1]
    assert losses.mean() < 0.7 * np.log(1 / new.mean())  # it has learned something


def test_out_of_fold_logits_are_those_of_columns_made_without_the_fold(problem):
    features, logits, new, folds = problem
    (found,) = added_class(features, logits, new, folds, None, (STRENGTH,))
    for number in range(3):
        kept = (folds != number).astype(float)
        rows = objective(features, logsumexp(logits, axis=1), new, np.ones(N))[1]

        def without(point, kept=kept, rows=rows):
            z = rows @ point[:-1] + point[-1] - logsumexp(logits, axis=1)
            shares = kept / kept.sum()
            error = shares * (expit(z) - new)
            penalty = STRENGTH / 2 * np.square(point[:-1]).sum()
            gradient = np.append(rows.T @ error + STRENGTH * point[:-1], error.sum())
            return shares @ (np.logaddexp(0, z) - new * z) + penalty, gradient

        best = minimize(without, np.zeros(D + 1), jac=True, method="BFGS", options={"gtol": 1e-9}).x
        held = folds == number
        np.testing.assert_allclose(found.out_of_fold[held], (rows @ best[:-1] + best[-1])[held], atol=1e-5)


def test_strengths_come_from_the_strongest_and_what_cannot_be_solved_is_refused(problem):
    features, logits, new, folds = problem
    found = list(added_class(features, logits, new, folds, None, (1e-4, 1e-2)))
    assert [one.strength for one in found] == [1e-2, 1e-4]
    assert np.linalg.norm(found[0].kernel) < np.linalg.norm(found[1].kernel)
    with pytest.raises(UserError, match="of the new class and of the old"):
        next(added_class(features, logits, np.zeros(N, bool), folds))
    with pytest.raises(UserError, match="finite logits"):
        next(added_class(features, logits[:-1], new, folds))
