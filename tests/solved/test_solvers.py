"""Every solver, against scikit-learn or the formula, and with data that is hard on it."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.covariance import ledoit_wolf
from sklearn.linear_model import LogisticRegression
from sklearn.linear_model import Ridge as ReferenceRidge
from sklearn.neighbors import NearestCentroid

from keras_transfer.errors import UserError
from keras_transfer.solved.solvers import SOLVERS
from tests.solved.small import blobs, standard, zero_sum

NAMES = list(SOLVERS)


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(("n", "d"), [(150, 12), (60, 200)], ids=["n > d", "n < d"])
@pytest.mark.parametrize("strength", [1e-4, 1e-2])
def test_logistic_agrees_with_scikit_learn(n, d, strength, weighted):
    features, labels = blobs(n, d, 4)
    weights = np.random.default_rng(1).uniform(0, 3, n) if weighted else None
    head = SOLVERS["logistic"].solve(features, labels, 4, strength, weights)
    rows, _, scale = standard(features, weights)
    shares = np.full(n, 1 / n) if weights is None else weights / weights.sum()
    reference = LogisticRegression(C=1 / (n * strength), solver="newton-cg", tol=1e-13, max_iter=1000)
    reference.fit(rows, labels, sample_weight=shares * n)
    np.testing.assert_allclose(head.kernel * scale, reference.coef_.T, rtol=0, atol=1e-6 * abs(reference.coef_).max())
    np.testing.assert_allclose(head.logits(features), zero_sum(reference.decision_function(rows)), atol=1e-6)


def test_logistic_is_at_the_minimum_for_every_strength_of_its_path():
    features, labels = blobs(80, 120, 5)
    solver = SOLVERS["logistic"]
    rows, _, scale = standard(features)
    for strength, head in zip(solver.strengths, solver.path(features, labels, 5, solver.strengths)):
        assert head.strength == strength
        kernel = head.kernel * scale
        error = (softmax(head.logits(features), axis=1) - np.eye(5)[labels]) / len(rows)
        gradient = rows.T @ error + strength * kernel
        assert np.linalg.norm(gradient) < 1e-8 * strength * np.linalg.norm(kernel)
        assert abs(error.sum(axis=0)).max() < 1e-9
        alone = solver.solve(features, labels, 5, strength)
        np.testing.assert_allclose(head.kernel, alone.kernel, atol=1e-6 * abs(alone.kernel).max())


def test_a_small_change_of_the_features_is_a_small_change_of_the_head():
    features, labels = blobs(60, 200, 4)
    noise = np.random.default_rng(5).normal(size=features.shape)
    for strength in (1e-6, 1e-3):
        one, other = (
            SOLVERS["logistic"].solve(x, labels, 4, strength).kernel for x in (features, features + 1e-9 * noise)
        )
        assert abs(one - other).max() < 1e-5 * abs(one).max()


def test_a_weight_of_two_is_the_sample_twice():
    features, labels = blobs(40, 10, 3)
    weights = np.ones(40)
    weights[:15] = 2
    twice = np.concatenate([features, features[:15]]), np.concatenate([labels, labels[:15]])
    for name in ("logistic", "ridge", "centroid"):
        solver = SOLVERS[name]
        strength = solver.strengths[len(solver.strengths) // 2]
        one = solver.solve(features, labels, 3, strength, weights)
        two = solver.solve(*twice, 3, strength)
        np.testing.assert_allclose(one.kernel, two.kernel, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(one.bias, two.bias, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(("n", "d"), [(150, 12), (60, 200)], ids=["n > d", "n < d"])
def test_lda_is_the_formula_with_the_covariance_of_ledoit_and_wolf(n, d):
    features, labels = blobs(n, d, 4)
    head = SOLVERS["lda"].solve(features, labels, 4, 1.0)
    rows = standard(features)[0]
    means = np.array([rows[labels == c].mean(axis=0) for c in range(4)])
    covariance, shrinkage = ledoit_wolf(rows - means[labels], assume_centered=True)
    assert 0 < shrinkage < 1
    kernel = np.linalg.solve(covariance, means.T)
    bias = np.log(np.bincount(labels) / n) - (means * kernel.T).sum(axis=1) / 2
    np.testing.assert_allclose(head.logits(features), zero_sum(rows @ kernel + bias), atol=1e-8)


@pytest.mark.parametrize(("n", "d"), [(80, 12), (40, 120)], ids=["n > d", "n < d"])
def test_ridge_agrees_with_scikit_learn(n, d):
    features, labels = blobs(n, d, 3)
    weights = np.random.default_rng(2).uniform(0.1, 2, n)
    rows = standard(features, weights)[0]
    for strength in (1e-4, 0.1):
        head = SOLVERS["ridge"].solve(features, labels, 3, strength, weights)
        reference = ReferenceRidge(alpha=strength, tol=1e-12)
        reference.fit(rows, 2 * np.eye(3)[labels] - 1, sample_weight=weights / weights.sum())
        np.testing.assert_allclose(head.logits(features), zero_sum(reference.predict(rows)), atol=1e-8)


@pytest.mark.parametrize(("n", "d"), [(30, 8), (20, 60)], ids=["n > d", "n < d"])
def test_leave_one_out_of_ridge_is_what_leaving_one_out_gives(n, d):
    features, labels = blobs(n, d, 3)
    weights = np.random.default_rng(2).uniform(0.1, 2, n)
    weights[4] = 0
    strengths = (1e-3, 0.1)
    found = SOLVERS["ridge"].leave_one_out(features, labels, 3, strengths, weights)
    assert found.shape == (2, n, 3)
    rows = standard(features, weights)[0]
    shares = weights / weights.sum()
    targets = 2 * np.eye(3)[labels] - 1
    for k, strength in enumerate(strengths):
        for i in range(n):
            kept = np.arange(n) != i
            reference = ReferenceRidge(alpha=strength, tol=1e-12).fit(
                rows[kept], targets[kept], sample_weight=shares[kept]
            )
            np.testing.assert_allclose(found[k, i], zero_sum(reference.predict(rows[i : i + 1])[0]), atol=1e-7)


def test_centroid_predicts_the_nearest_mean():
    features, labels = blobs(60, 100, 4, apart=0.5)
    new, _ = blobs(200, 100, 4, apart=0.5, seed=0)
    head = SOLVERS["centroid"].solve(features, labels, 4, 1.0)
    np.testing.assert_array_equal(head.logits(new).argmax(axis=1), NearestCentroid().fit(features, labels).predict(new))


@pytest.mark.parametrize("name", NAMES)
def test_every_solver_learns(name):
    features, labels = blobs(300, 40, 4, apart=3)
    solver = SOLVERS[name]
    head = solver.solve(features[:200], labels[:200], 4, solver.strengths[0])
    assert head.kernel.dtype == head.bias.dtype == np.float64 and head.kernel.shape == (40, 4) and head.solver == name
    assert (head.logits(features[200:]).argmax(axis=1) == labels[200:]).mean() > 0.9


def hard_cases() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray | None]]:
    features, labels = blobs(40, 60, 4)
    some = np.ones(40)
    some[labels == 2] = 0
    return {
        "class missing": (features[labels != 2], labels[labels != 2], None),
        "class without weight": (features, labels, some),
        "one class": (features[labels == 1], labels[labels == 1], None),
        "one sample": (features[:1], labels[:1], None),
        "fewer samples than classes": (features[:2], labels[:2], None),
        "one sample a class": (features[:4], np.arange(4), None),
        "constant": (np.full((40, 60), 0.1), labels, None),
        "constant columns": (np.where(np.arange(60) < 30, 0.1, features), labels, None),
        "duplicated rows": (np.repeat(features[:8], 5, axis=0), np.repeat(np.arange(8) % 4, 5), None),
        "contradicting rows": (np.repeat(features[:4], 10, axis=0), labels, None),
        "huge": (features * 1e6, labels, None),
        "tiny": (features * 1e-200, labels, None),
        "far from zero": (features + 1e6, labels, None),
        "one column": (features[:, :1], labels, None),
        "float32": (features.astype(np.float32), labels.astype(np.int32), None),
        "huge weights": (features, labels, np.linspace(1, 2, 40) * 1e300),
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", hard_cases())
@pytest.mark.filterwarnings("error")
def test_hard_data(name, case):
    features, labels, weights = hard_cases()[case]
    solver = SOLVERS[name]
    for head in solver.path(features, labels, 4, solver.strengths, weights):
        logits = head.logits(features)
        assert np.isfinite(head.kernel).all() and np.isfinite(head.bias).all() and np.isfinite(logits).all()
        used = np.ones(len(labels), bool) if weights is None else weights > 0
        absent = np.setdiff1d(np.arange(4), labels[used])
        assert not np.isin(logits.argmax(axis=1), absent).any()
        assert (softmax(logits, axis=1)[:, absent] <= 1 / (used.sum() + 1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_unit_of_the_features_does_not_matter(name):
    features, labels = blobs(40, 60, 4)
    solver = SOLVERS[name]
    strength = solver.strengths[len(solver.strengths) // 2]
    logits = solver.solve(features, labels, 4, strength).logits(features)
    for unit in (1e6, 1e-150):
        other = solver.solve(features * unit, labels, 4, strength).logits(features * unit)
        np.testing.assert_allclose(other, logits, atol=1e-6 * abs(logits).max())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": np.arange(10) % 3 + 1}, "labels: expected 0 to 2, got 1 to 3"),
        ({"labels": np.zeros(9, int)}, "expected features"),
        ({"features": np.full((10, 4), np.nan)}, "NaN"),
        ({"weights": np.zeros(10)}, "weights"),
        ({"weights": np.full(10, -1.0)}, "weights"),
        ({"strength": 0.0}, "strength"),
    ],
)
def test_bad_input(change, words):
    good = {"features": np.eye(10, 4), "labels": np.arange(10) % 3, "classes": 3, "strength": 0.1, "weights": None}
    with pytest.raises(UserError, match=words):
        SOLVERS["logistic"].solve(**{**good, **change})


def test_temperature_is_part_of_the_weights():
    features, labels = blobs(40, 60, 4)
    head = SOLVERS["logistic"].solve(features, labels, 4, 1e-3)
    np.testing.assert_allclose(head.scaled(2.5).logits(features), head.logits(features) / 2.5)
    with pytest.raises(UserError, match="temperature"):
        head.scaled(0)


def test_logistic_is_fast():
    """The strengths of a whole path for 320 × 1280 features and ten classes: some 0.25 s of one core, here with room to spare."""
    features, labels = blobs(320, 1280, 10)
    solver = SOLVERS["logistic"]
    began = time.process_time()
    heads = list(solver.path(features, labels, 10, solver.strengths))
    assert time.process_time() - began < 3
    losses = [-log_softmax(head.logits(features), axis=1)[np.arange(320), labels].mean() for head in heads]
    assert losses == sorted(losses)


def test_the_room_is_light():
    code = (
        "import sys, keras_transfer.solved.solvers; "
        "assert not {'scipy', 'sklearn', 'keras'} & set(sys.modules), set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
