"""Which last layer a revised run gets, and by which pictures that is decided."""

import numpy as np
import pytest

from keras_transfer.revise import candidates
from keras_transfer.revise.candidates import Candidate, Known, best_with_new_class, solved_again, with_column
from keras_transfer.solved.evidence import measure
from keras_transfer.solved.head import SolvedHead
from keras_transfer.solved.solvers import SOLVERS

D, OLD = 16, 3


def make(seed: int, counts: list[int], noise: float = 0.6):
    centres = np.random.default_rng(0).normal(size=(len(counts), D))
    labels = np.repeat(np.arange(len(counts)), counts)
    return centres[labels] + noise * np.random.default_rng(seed).normal(size=(len(labels), D)), labels


def known(train, val, measured=None):
    return Known(*train, OLD + 1, None, measured, None, *val, None)


@pytest.fixture(scope="module")
def train():
    return make(1, [30, 30, 30, 8])


@pytest.fixture(scope="module")
def old(train):
    features, labels = train
    return SOLVERS["logistic"].solve(features[labels < OLD], labels[labels < OLD], OLD, 1e-3)


def test_validation_judges_and_training_pictures_of_a_class_that_it_lacks(train):
    val = make(2, [5, 5, 10])
    one = known(train, val)
    np.testing.assert_array_equal(one.judging, train[1] == OLD)
    np.testing.assert_array_equal(one.judged, [*val[1], *[OLD] * 8])
    # 20 validation pictures stand for the 90 training pictures of the old classes.
    np.testing.assert_allclose(one.judged_weights, [90 / 20] * 20 + [1] * 8)
    none = np.empty((0, D)), np.empty(0, np.int64)
    assert known(train, none).judging.all() and not known(train, make(2, [3, 3, 3, 3])).judging.any()
    np.testing.assert_allclose(known(train, none, np.full(98, 2.0)).judged_weights, 2)


def test_several_labels_are_judged_like_that_too():
    labels = np.array([[1, 0], [0, 1], [1, 1], [0, 0]])
    one = Known(np.eye(4), labels, 2, None, None, None, np.eye(4)[:2], np.array([[1, 0], [0, 0]]), None)
    np.testing.assert_array_equal(one.judging, [False, True, True, False])


@pytest.mark.parametrize("with_val", [True, False])
def test_a_column_more_leaves_the_other_classes_as_they_are(train, old, with_val):
    val = make(2, [10, 10, 10]) if with_val else (np.empty((0, D)), np.empty(0, np.int64))
    found = with_column(known(train, val), old.kernel, old.bias)
    np.testing.assert_array_equal(found.head.kernel[:, :OLD], old.kernel)
    np.testing.assert_array_equal(found.head.bias[:OLD], old.bias)
    features, labels = make(3, [40, 40, 40, 40])
    says = found.head.logits(features).argmax(axis=1)
    assert (says[labels == OLD] == OLD).mean() > 0.9
    stay = says != OLD
    np.testing.assert_array_equal(says[stay], old.logits(features).argmax(axis=1)[stay])
    assert (found.out_of_fold is None) is with_val and found.outcome()["old_classes"] == "kept"


def test_earlier_predictions_stand_for_those_of_the_old_head(train, old):
    none = np.empty((0, D)), np.empty(0, np.int64)
    earlier = old.logits(train[0]) + np.random.default_rng(5).normal(size=(98, OLD))
    earlier[train[1] == OLD] = np.nan
    found = with_column(known(train, none), old.kernel, old.bias, earlier)
    np.testing.assert_allclose(found.out_of_fold[:90, :OLD], earlier[:90])
    np.testing.assert_allclose(found.out_of_fold[90:, :OLD], old.logits(train[0])[90:])


def test_solving_again_is_the_logistic_head_with_the_temperature_of_what_judges(train):
    val = make(2, [10, 10, 10, 10])
    found = solved_again(known(train, val), strengths=(1e-3,))
    same = SOLVERS["logistic"].solve(*train, OLD + 1, 1e-3)
    np.testing.assert_allclose(found.head.kernel * found.temperature, same.kernel, atol=1e-9)
    np.testing.assert_allclose(found.logits, found.head.logits(val[0]))
    assert found.evidence == measure(found.logits, val[1], np.ones(40)) and found.out_of_fold is None


def test_all_classes_are_solved_again_only_where_that_is_clearly_better(train, old, monkeypatch):
    one = known(train, make(2, [10, 10, 10]))
    asked = []

    def other(better):
        def solve(_):
            asked.append(better)
            logits = 9.0 * np.eye(OLD + 1)[one.judged] if better else np.zeros((len(one.judged), OLD + 1))
            head = SolvedHead(np.zeros((D, OLD + 1)), np.zeros(OLD + 1), "logistic", 1.0)
            return Candidate(head, logits, measure(logits, one.judged), None)

        return solve

    good = with_column(one, old.kernel, old.bias)
    assert best_with_new_class(one, good, other(True)) is good and not asked  # no mistake to make good
    poor = with_column(one, np.zeros_like(old.kernel), old.bias)  # an old head that knows nothing
    monkeypatch.setattr(candidates, "MISTAKES", -1)
    assert best_with_new_class(one, poor, other(False)) is poor
    assert not best_with_new_class(one, poor, other(True)).adds and asked == [False, True]
