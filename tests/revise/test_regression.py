"""The comparison of two models against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from keras_transfer.revise.regression import Opinion, judge, mcnemar, regression


def opinion(classes, said):
    return Opinion(classes, np.eye(len(classes))[[classes.index(one) for one in said]] * 0.8 + 0.1)


def test_it_names_exactly_the_pictures_that_changed():
    truth = ["a", "a", "b", "b", "c", "c"]
    old = opinion(["a", "b", "c"], ["a", "b", "b", "a", "c", "a"])
    new = opinion(["a", "b", "c"], ["a", "a", "a", "b", "c", "b"])
    found = regression(list("123456"), truth, old, new)
    assert [one.picture for one in found.better] == ["2", "4"]
    assert [(one.picture, one.label, one.old, one.new) for one in found.worse] == [("3", "b", "b", "a")]
    assert [one.picture for one in found.others] == ["6"]
    assert (found.old_accuracy, found.new_accuracy, found.n) == (3 / 6, 4 / 6, 6)
    rows = {row.name: (row.n, row.old, row.new, row.better, row.worse) for row in found.by_class}
    assert rows == {"a": (2, 1, 2, 1, 0), "b": (2, 1, 1, 1, 1), "c": (2, 1, 1, 0, 0)}
    assert found.interval[0] < found.difference < found.interval[1]


@pytest.mark.parametrize(("better", "worse"), [(0, 0), (1, 0), (8, 1), (1, 8), (30, 12)])
def test_mcnemar_is_the_sum_of_the_tails(better, worse):
    n, least = better + worse, min(better, worse)
    assert mcnemar(better, worse) == pytest.approx(min(1.0, 2 * binom.cdf(least, n, 0.5)))


@pytest.mark.parametrize(
    ("n", "better", "worse", "verdict"),
    [
        (0, 0, 0, "unknown"),
        (100, 0, 0, "take"),
        (100, 9, 0, "take"),
        (100, 0, 9, "leave"),
        (100, 1, 5, "leave"),
        (500, 0, 1, "take"),
    ],
)
def test_the_verdict(n, better, worse, verdict):
    assert judge(n, better, worse, mcnemar(better, worse))[0] == verdict


def test_a_new_class_is_counted_apart_and_a_merged_one_by_its_sum():
    old = Opinion(["x", "x", "b"], np.array([[0.3, 0.3, 0.4], [0.1, 0.2, 0.7], [0.1, 0.1, 0.8]]))
    new = Opinion(["x", "b", "new"], np.eye(3))
    found = regression(["1", "2", "3"], ["x", "b", "new"], old, new)
    assert found.n == 2 and found.old_accuracy == 1 == found.new_accuracy
    assert [(row.name, row.n, row.new) for row in found.added] == [("new", 1, 1)]


def test_nothing_to_compare_on_is_undecided():
    found = regression([], [], Opinion(["a"], np.zeros((0, 1))), Opinion(["a"], np.zeros((0, 1))))
    assert found.verdict == "unknown" and found.as_json()["n"] == 0
