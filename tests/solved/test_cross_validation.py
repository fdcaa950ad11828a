"""Out-of-fold predictions are made without the sample, and the strength that they choose is a good one."""

from __future__ import annotations

import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.solved.cross_validation import cross_validate, stack_views
from keras_transfer.solved.evidence import losses, measure
from keras_transfer.solved.folds import fold_numbers
from keras_transfer.solved.solvers import SOLVERS
from keras_transfer.solved.temperature import fit_temperature
from tests.solved.small import blobs

NAMES = list(SOLVERS)


@pytest.mark.parametrize("name", NAMES)
def test_each_sample_is_predicted_by_a_head_that_never_saw_it(name):
    features, labels = blobs(60, 20, 3)
    folds = fold_numbers(labels, 4, 1, seed=0)
    solver = SOLVERS[name]
    found = cross_validate(solver, features, labels, 3, folds)
    for number in range(4):
        held = folds[0] == number
        head = solver.solve(features[~held], labels[~held], 3, found.strength)
        np.testing.assert_allclose(found.logits[held], head.logits(features[held]), atol=1e-5)
    assert found.evidence == measure(found.logits / found.temperature, labels)
    assert found.seconds > 0


def test_the_strength_has_the_lowest_loss_at_its_best_temperature():
    features, labels = blobs(80, 200, 4, apart=0.4)
    folds = fold_numbers(labels, 4, 1, seed=0)[0]
    solver = SOLVERS["logistic"]
    found = cross_validate(solver, features, labels, 4, folds)
    costs = []
    for strength in solver.strengths:
        logits = np.empty((80, 4))
        for number in range(4):
            held = folds == number
            logits[held] = solver.solve(features[~held], labels[~held], 4, strength).logits(features[held])
        costs.append(losses(logits / fit_temperature(logits, labels), labels).mean())
    assert found.strength == solver.strengths[int(np.argmin(costs))]
    assert found.evidence.log_loss == pytest.approx(min(costs), abs=1e-5)


def test_labels_without_relation_to_the_features_are_not_learnt():
    features, _ = blobs(200, 300, 4)
    labels = np.random.default_rng(5).integers(0, 4, 200)
    found = cross_validate(SOLVERS["logistic"], features, labels, 4, fold_numbers(labels, 5, 1, 0))
    assert found.evidence.accuracy < 0.35
    assert found.evidence.log_loss == pytest.approx(np.log(4), abs=0.05)


def test_out_of_fold_figures_are_those_of_new_samples():
    features, labels = blobs(2300, 50, 4, apart=0.5)
    found = cross_validate(SOLVERS["logistic"], features[:300], labels[:300], 4, fold_numbers(labels[:300], 5, 1, 0))
    head = SOLVERS["logistic"].solve(features[:300], labels[:300], 4, found.strength).scaled(found.temperature)
    new = measure(head.logits(features[300:]), labels[300:])
    assert abs(found.evidence.accuracy - new.accuracy) < 3 * found.evidence.accuracy_error
    assert abs(found.evidence.log_loss - new.log_loss) < 3 * found.evidence.log_loss_error


def test_repeats_give_the_mean_logits():
    features, labels = blobs(50, 20, 3)
    folds = fold_numbers(labels, 5, 2, seed=0)
    both = cross_validate(SOLVERS["lda"], features, labels, 3, folds)
    one, two = (cross_validate(SOLVERS["lda"], features, labels, 3, row) for row in folds)
    np.testing.assert_allclose(both.logits, (one.logits + two.logits) / 2)
    assert both.evidence.n == 50


def test_views_train_and_view_0_is_predicted():
    features, labels = blobs(40, 20, 3)
    other = features + np.random.default_rng(1).normal(size=features.shape) * 0.2
    views = np.stack([features, other])
    weights = np.linspace(0.5, 2, 40)
    folds = fold_numbers(labels, 4, 1, seed=0)
    solver = SOLVERS["logistic"]
    found = cross_validate(solver, views, labels, 3, folds, weights)
    held = folds[0] == 2
    rows = np.concatenate([features[~held], other[~held]])
    head = solver.solve(rows, np.tile(labels[~held], 2), 3, found.strength, np.tile(weights[~held] / 2, 2))
    np.testing.assert_allclose(found.logits[held], head.logits(features[held]), atol=1e-5)
    same = cross_validate(solver, np.stack([features, features]), labels, 3, folds, weights)
    once = cross_validate(solver, features, labels, 3, folds, weights)
    np.testing.assert_allclose(same.logits, once.logits, atol=1e-5)
    rows, tiled, none = stack_views(views, labels, None)
    assert rows.shape == (80, 20) and (tiled[:40] == tiled[40:]).all() and none is None


def test_a_class_with_one_sample_is_no_problem():
    features, labels = blobs(40, 20, 3)
    labels[labels == 2] = 1
    labels[0] = 2
    for solver in SOLVERS.values():
        found = cross_validate(solver, features, labels, 3, fold_numbers(labels, 5, 2, 0))
        assert np.isfinite(found.logits).all() and np.isfinite(found.evidence.log_loss)


def test_samples_that_do_not_count_change_only_the_evidence():
    features, labels = blobs(60, 20, 3)
    folds = fold_numbers(labels, 4, 1, 0)
    measured = (np.arange(60) < 30).astype(float)
    found = cross_validate(SOLVERS["centroid"], features, labels, 3, folds, measured=measured)
    part = measure(found.logits[:30] / found.temperature, labels[:30])
    assert found.evidence.log_loss == pytest.approx(part.log_loss)


def test_bad_shapes():
    with pytest.raises(UserError, match="folds"):
        cross_validate(SOLVERS["lda"], np.zeros((4, 2)), np.zeros(4, int), 2, np.zeros((1, 3), int))


def test_what_does_not_fit_into_memory_is_refused(monkeypatch):
    monkeypatch.setattr("keras_transfer.solved.cross_validation.usable_memory", lambda: 10**6)
    features, labels = np.zeros((3000, 2)), np.arange(3000) % 1000
    with pytest.raises(UserError, match=r"solving the head for 1,000 classes and 3,000 images would take about .* GiB"):
        cross_validate(SOLVERS["logistic"], features, labels, 1000, np.arange(3000) % 5)
