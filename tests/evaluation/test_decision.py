"""Decisions by expected cost, quadratic kappa, and cost tables that make no sense."""

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

import keras_transfer as kt
from keras_transfer.arguments.costs import cost_matrix, ranks_of
from keras_transfer.errors import UserError
from keras_transfer.evaluation.decision import decision_metrics, decisions, expected_costs, quadratic_kappa

GOOD = "true,cat,dog\ncat,0,1\ndog,5,0\n"


def load(tmp_path, text):
    file = tmp_path / "costs.csv"
    file.write_text(text) if isinstance(text, str) else file.write_bytes(text)
    return kt.load_config("quickstart", [f"costs={file}"]).costs


def test_a_costly_mistake_is_avoided(tmp_path):
    costs = cost_matrix(load(tmp_path, GOOD), ["cat", "dog"])
    logits = np.log([[0.8, 0.2], [0.9, 0.1]])
    np.testing.assert_allclose(expected_costs(logits, costs), [[1.0, 0.8], [0.5, 0.9]])
    assert decisions(logits, costs).tolist() == [1, 0]


def test_equal_costs_choose_the_most_probable_class():
    logits = np.random.default_rng(0).normal(size=(50, 4))
    assert (decisions(logits, 1 - np.eye(4)) == logits.argmax(axis=1)).all()


def test_kappa_is_that_of_scikit_learn_on_ranks():
    rng = np.random.default_rng(0)
    labels, predicted, ranks = rng.integers(0, 4, 60), rng.integers(0, 4, 60), [2, 0, 3, 1]
    rank = np.array(ranks)
    expected = cohen_kappa_score(rank[labels], rank[predicted], weights="quadratic")
    assert quadratic_kappa(labels, predicted, ranks) == pytest.approx(expected)


def test_decisions_cost_no_more_on_calibrated_probabilities():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), 4000)
    labels = np.array([rng.choice(3, p=row) for row in p])
    found = decision_metrics(np.log(p), labels, {"costs": [[0, 1, 9], [1, 0, 1], [3, 1, 0]], "ranks": [0, 1, 2]})
    assert found["costs"]["mean"] < found["costs"]["most_probable"]
    assert 0 < found["quadratic_kappa"] < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("true,cat,dog\ncat,0,1\n", "'dog' has only one of them"),
        ("true,cat,dog\ncat,0\ndog,1,0\n", "line 2: expected 2 costs"),
        ("true,cat,dog\ncat,0,-1\ndog,1,0\n", "at least 0, got '-1'"),
        ("true,cat,dog\ncat,0,nan\ndog,1,0\n", "finite number of at least 0, got 'nan'"),
        ("true,cat,dog\ncat,0,inf\ndog,1,0\n", "finite number"),
        ("true,cat,dog\ncat,0,\ndog,1,0\n", "finite number"),
        ("true,cat,dog\ncat,0,many\ndog,1,0\n", "finite number"),
        ("true,cat,dog\ncat,2,1\ndog,1,0\n", "a right prediction costs 0, got 2"),
        ("true,cat,dog\ncat,0,0\ndog,0,0\n", "all costs are 0"),
        ("true,cat,dog\ncat,0,1\ncat,0,1\ndog,1,0\n", "occurs twice"),
        ("true,cat,cat\ncat,0,1\n", "occurs twice"),
        (b"\xff\xfe\x00\x01", "not a CSV file in UTF-8"),
    ],
)
def test_a_table_that_makes_no_sense_is_one_line(tmp_path, text, message):
    with pytest.raises(UserError, match=message) as caught:
        load(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_no_such_table(tmp_path):
    with pytest.raises(UserError, match="cannot be read: No such file"):
        kt.load_config("quickstart", [f"costs={tmp_path / 'none.csv'}"])


def test_classes_that_there_are_not():
    with pytest.raises(UserError, match="did you mean 'dog'"):
        cost_matrix({"cat": {"dgo": 2.0}}, ["cat", "dog"])
    assert cost_matrix({"cat": {"dog": 2.0}}, ["cat", "dog"]).tolist() == [[0, 2], [1, 0]]


@pytest.mark.parametrize("order", [["low"], ["low", "low", "high"], ["low", "hihg"], ["low", "high", "low"]])
def test_an_order_of_other_classes(order):
    with pytest.raises(UserError, match=r"data\.ordinal"):
        ranks_of(order, ["high", "low"])
    assert ranks_of(["low", "high"], ["high", "low"]) == [1, 0]
