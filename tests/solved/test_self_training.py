"""Labels that spread to samples without any, against the closed form, and whether they are used only where they help."""

from __future__ import annotations

import numpy as np
import pytest

from keras_transfer.solved.cross_validation import cross_validate
from keras_transfer.solved.folds import folds_of
from keras_transfer.solved.self_training import (
    SPREAD,
    Beside,
    SelfTraining,
    certainty,
    neighbours,
    principal_axes,
    self_train,
    spread,
)
from keras_transfer.solved.solvers import SOLVERS

SOLVER = SOLVERS["logistic"]


def clouds(count: int, seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return three clouds in 20 dimensions, each long in a direction of its own, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    rows = rng.normal(size=(count, 20)) * 0.6
    rows[np.arange(count), labels] += 3 + spread * rng.normal(size=count)
    return rows, labels


def learn(rows: np.ndarray, labels: np.ndarray, others: np.ndarray) -> SelfTraining:
    folds = folds_of(labels, rows)
    found = cross_validate(SOLVER, rows, labels, 3, folds)
    return self_train(SOLVER, rows, labels, 3, folds, others, found)


def test_labels_spread_as_the_closed_form_says():
    rows, labels = clouds(60, 0)
    graph = neighbours(rows - rows.mean(axis=0), 5)
    known = np.eye(3)[labels[:6]]
    dense = graph.toarray()
    scale = np.diag(dense.sum(axis=0) ** -0.5)
    start = np.zeros((60, 3))
    start[:6] = known
    exact = (1 - SPREAD) * np.linalg.solve(np.eye(60) - SPREAD * scale @ dense @ scale, start)
    np.testing.assert_allclose(spread(graph, known), exact / exact.sum(axis=1, keepdims=True), atol=1e-4)


def test_neighbours_are_those_with_the_largest_cosines():
    rows = np.random.default_rng(1).normal(size=(30, 4))
    graph = neighbours(rows, 3).toarray()
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -1)
    nearest = np.argsort(-cosines, axis=1)[:, :3]
    np.testing.assert_array_equal(graph, graph.T)
    for i in range(30):
        assert (graph[i, nearest[i]] > 0).all() or (cosines[i, nearest[i]] <= 0).any()
    assert not graph.diagonal().any()


def test_a_sample_that_no_label_reaches_says_nothing():
    rows = np.concatenate([np.eye(4)[:1] + 0.01 * np.eye(4), -np.eye(4)[:1] + 0.01 * np.eye(4)])
    shares = spread(neighbours(rows, 2), np.eye(3)[[0, 1]])
    np.testing.assert_allclose(shares[4:], 1 / 3)
    assert certainty(shares[4:]).max() < 1e-12
    assert certainty(np.eye(3)).min() > 1 - 1e-9


def test_the_head_is_that_of_all_rows_where_every_label_is_right():
    rows, labels = clouds(90, 2, spread=0.1)
    beside = Beside(rows[:30], rows[30:])
    (head,) = beside.heads(SOLVER, np.arange(30), labels, 3, (1e-3,))
    used = spread(beside.graph, np.eye(3)[labels[:30]])[30:]
    assert (used.argmax(axis=1) == labels[30:]).all()
    weights = np.concatenate([np.ones(30), certainty(used)])
    reference = SOLVER.solve(rows, labels, 3, 1e-3, weights)
    np.testing.assert_allclose(head.logits(rows), reference.logits(rows), atol=1e-6)


def test_principal_axes_hold_the_largest_variances():
    rows = np.random.default_rng(3).normal(size=(80, 40)) * np.geomspace(10, 0.01, 40)
    rows -= rows.mean(axis=0)
    exact = np.linalg.svd(rows, compute_uv=False)
    few = principal_axes(rows, 5)
    assert few.shape == (40, 5)
    np.testing.assert_allclose(np.linalg.norm(rows @ few, axis=0), exact[:5], rtol=0.02)
    np.testing.assert_allclose(few.T @ few, np.eye(5), atol=1e-6)


def test_unlabelled_samples_of_the_same_kind_help():
    rows, labels = clouds(615, 4)
    found = learn(rows[:15], labels[:15], rows[15:315])
    first = SOLVER.solve(rows[:15], labels[:15], 3, 1e-3)
    hits = [(head.logits(rows[315:]).argmax(axis=1) == labels[315:]).mean() for head in (first, found.head)]
    assert found.accepted and found.samples == 300
    assert hits[1] > hits[0]
    assert found.evidence.log_loss < found.evidence_start.log_loss
    assert found.logits.shape == (15, 3)
    assert "they help" in str(found) and found.as_json()["accepted"] is True


def test_noise_is_not_used():
    rows, labels = clouds(60, 5)
    found = learn(rows, labels, np.random.default_rng(6).normal(size=(200, 20)) * 3)
    assert not found.accepted
    assert "not used" in str(found)


@pytest.mark.parametrize("count", [1, 2])
def test_very_few_unlabelled_samples(count):
    rows, labels = clouds(20, 7)
    found = learn(rows[: 20 - count], labels[: 20 - count], rows[20 - count :])
    assert np.isfinite(found.head.kernel).all()
