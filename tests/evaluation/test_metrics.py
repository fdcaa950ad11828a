from __future__ import annotations

import json
import time

import numpy as np
import pytest
from sklearn import metrics as sk

from keras_transfer.errors import UserError
from keras_transfer.evaluation.metrics import classification_metrics, log_softmax, most_confused


def case(n=400, c=8, seed=0, quality=1.5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, c, n)
    logits = rng.normal(0, 1, (n, c)).astype(np.float32)
    logits[np.arange(n), labels] += quality
    return logits, labels, [f"c{i}" for i in range(c)]


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_scikit_learn(seed):
    logits, labels, classes = case(seed=seed)
    m = classification_metrics(logits, labels, classes)
    predicted = logits.argmax(1)
    p = np.exp(logits.astype(np.float64)) / np.exp(logits.astype(np.float64)).sum(1, keepdims=True)
    assert m["n"] == 400
    assert m["accuracy"] == sk.accuracy_score(labels, predicted)
    assert m["loss"] == pytest.approx(sk.log_loss(labels, p), rel=1e-12)
    assert m["top5_accuracy"] == sk.top_k_accuracy_score(labels, logits, k=5)
    assert m["macro_f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"), rel=1e-12)
    assert m["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted), rel=1e-12)
    assert m["confusion"] == sk.confusion_matrix(labels, predicted).tolist()
    report = sk.classification_report(labels, predicted, target_names=classes, output_dict=True)
    for name in classes:
        ours, theirs = m["per_class"][name], report[name]
        assert ours["precision"] == pytest.approx(theirs["precision"], rel=1e-12)
        assert ours["recall"] == pytest.approx(theirs["recall"], rel=1e-12)
        assert ours["f1"] == pytest.approx(theirs["f1-score"], rel=1e-12)
        assert ours["support"] == theirs["support"]
    assert "weighted" not in m


def test_is_plain_json():
    logits, labels, classes = case(50)
    m = classification_metrics(logits, labels, classes, np.ones(50, np.float32))
    assert json.loads(json.dumps(m, allow_nan=False)) == m


def test_expected_calibration_error_by_hand():
    # Two classes, so a logit difference d is a confidence of 1 / (1 + exp(-d)).
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    logits = np.stack([np.log(confidence / (1 - confidence)), np.zeros(6)], 1)
    labels = np.array([0, 0, 0, 1, 1, 0])
    m = classification_metrics(logits, labels, ["a", "b"])
    # Four samples say 0.9 and are right 3 times of 4; two say 0.6 and are right once.
    assert m["ece"] == pytest.approx(4 / 6 * abs(0.75 - 0.9) + 2 / 6 * abs(0.5 - 0.6))
    filled = [k for k, count in enumerate(m["calibration"]["count"]) if count]
    assert filled == [8, 13]  # (8/15, 9/15] holds 0.6, its upper edge; (13/15, 14/15] holds 0.9
    assert m["calibration"]["accuracy"][13] == 0.75
    assert m["calibration"]["accuracy"][0] is None


def test_perfect_confidence_is_perfectly_calibrated_and_extreme_logits_are_no_trouble():
    logits = np.array([[1e30, -1e30, 0], [-1e30, 1e30, 0]], np.float32)
    m = classification_metrics(logits, np.array([0, 1]), ["a", "b", "c"])
    assert m["ece"] == 0
    assert m["loss"] == 0
    assert m["accuracy_ci95"][1] == 1 and m["accuracy_ci95"][0] < 0.4, "two right answers do not make certain"
    wrong = classification_metrics(np.array([[0.0, 1e4]]), np.array([0]), ["a", "b"])
    assert wrong["loss"] == 1e4


def test_log_softmax_is_stable_and_keeps_small_terms():
    np.testing.assert_allclose(log_softmax(np.array([1000.0, 1000.0])), np.log([0.5, 0.5]), rtol=1e-15)
    assert log_softmax(np.array([[0.0, -800.0]]))[0, 1] == -800
    np.testing.assert_allclose(np.exp(log_softmax(np.arange(12.0).reshape(3, 4))).sum(1), 1, rtol=1e-15)


def test_weights_are_the_same_as_repeated_samples():
    logits, labels, classes = case(120)
    repeats = np.random.default_rng(1).integers(0, 4, 120)
    assert (repeats == 0).any()
    weighted = classification_metrics(logits, labels, classes, repeats)["weighted"]
    repeated = classification_metrics(np.repeat(logits, repeats, 0), np.repeat(labels, repeats), classes)
    for key in ("loss", "accuracy", "top5_accuracy", "ece", "macro_f1", "balanced_accuracy"):
        assert weighted[key] == pytest.approx(repeated[key], rel=1e-12), key


def test_weights_change_nothing_outside_of_weighted():
    logits, labels, classes = case(60)
    plain = classification_metrics(logits, labels, classes)
    both = classification_metrics(logits, labels, classes, np.linspace(0, 1, 60))
    weighted = both.pop("weighted")
    assert both == plain
    assert weighted["accuracy"] != plain["accuracy"]


def test_a_class_that_only_weightless_samples_have_does_not_enter_the_means():
    logits = np.array([[2.0, 0, 0], [0, 2, 0], [2, 0, 0]])
    m = classification_metrics(logits, np.array([0, 1, 2]), ["a", "b", "c"], np.array([1, 1, 0]))
    assert m["balanced_accuracy"] == pytest.approx(2 / 3)
    assert m["weighted"]["balanced_accuracy"] == 1
    assert m["weighted"]["macro_f1"] == 1


def test_equal_weights_give_the_unweighted_interval():
    logits, labels, classes = case(2000, quality=1.0)
    m = classification_metrics(logits, labels, classes, np.full(2000, 3.0))
    np.testing.assert_allclose(m["weighted"]["accuracy_ci95"], m["accuracy_ci95"], rtol=1e-9)


@pytest.mark.parametrize(("right", "n"), [(0, 1), (1, 1), (12, 12), (0, 7), (5, 7), (4321, 5000)])
def test_interval_is_wilsons(right, n):
    from scipy.stats import binomtest

    logits = np.eye(2)[(np.arange(n) >= right).astype(int)]
    found = classification_metrics(logits, np.zeros(n, int), ["a", "b"])["accuracy_ci95"]
    expected = binomtest(right, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(found, [expected.low, expected.high], atol=1e-12)
    assert found[1] - found[0] > 1.5 / (n + 4), "never of no width"


def test_weighted_interval_is_wider_when_few_samples_carry_the_weight():
    logits, labels, classes = case(1000, quality=1.0)
    weights = np.where(np.arange(1000) < 50, 1.0, 0.001)
    m = classification_metrics(logits, labels, classes, weights)
    low, high = m["weighted"]["accuracy_ci95"]
    assert low < m["weighted"]["accuracy"] < high
    assert high - low > 3 * (m["accuracy_ci95"][1] - m["accuracy_ci95"][0])


def test_ten_thousand_samples_are_scored_well_under_a_second():
    logits, labels, classes = case(10_000, 10)
    classification_metrics(logits[:10], labels[:10], classes)  # imports
    start = time.perf_counter()
    classification_metrics(logits, labels, classes, np.random.default_rng(0).random(10_000))
    assert time.perf_counter() - start < 1.0


def test_top_five_is_none_for_five_classes_and_breaks_ties_like_argmax():
    logits, labels, classes = case(20, 5)
    assert classification_metrics(logits, labels, classes)["top5_accuracy"] is None
    flat = np.zeros((6, 6))
    m = classification_metrics(flat, np.arange(6), list("abcdef"))
    assert m["accuracy"] == 1 / 6  # argmax of a flat row is class 0
    assert m["top5_accuracy"] == 5 / 6


def test_absent_classes_have_zeros_and_do_not_pull_the_means_down():
    logits = np.eye(4)[[0, 1]]
    m = classification_metrics(logits, np.array([0, 1]), ["a", "b", "c", "d"])
    assert m["macro_f1"] == m["balanced_accuracy"] == 1
    assert m["per_class"]["d"] == {"precision": 0, "recall": 0, "f1": 0, "support": 0}
    assert np.shape(m["confusion"]) == (4, 4)


def test_blocks_do_not_change_the_result(monkeypatch):
    import keras_transfer.evaluation.metrics as module

    logits, labels, classes = case(101)
    weights = np.linspace(0, 2, 101)
    whole = classification_metrics(logits, labels, classes, weights)
    monkeypatch.setattr(module, "_BLOCK", 300)
    parts = classification_metrics(logits, labels, classes, weights)
    assert parts == whole


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y, w: (x[:0], y[:0], None), UserError, "no samples"),
        (lambda x, y, w: (x, y + 1, None), UserError, r"labels must be in 0\.\.7 .* got 1\.\.8"),
        (lambda x, y, w: (x, y - 1, None), UserError, r"got -1\.\."),
        (lambda x, y, w: (np.where(np.arange(len(x))[:, None] < 3, np.nan, x), y, None), UserError, "3 of 40 samples"),
        (lambda x, y, w: (x, y, -w), UserError, "weights"),
        (lambda x, y, w: (x, y, 0 * w), UserError, "not all 0"),
        (lambda x, y, w: (x, y, w * np.inf), UserError, "finite"),
        (lambda x, y, w: (x, y, w[1:]), ValueError, r"weights \(40,\)"),
        (lambda x, y, w: (x[:, 1:], y, None), ValueError, r"\(n, 8\)"),
        (lambda x, y, w: (x[1:], y, None), ValueError, r"\(39, 8\)"),
    ],
)
def test_wrong_input_is_named(change, error, message):
    logits, labels, classes = case(40)
    with pytest.raises(error, match=message):
        x, y, w = change(logits, labels, np.ones(40))
        classification_metrics(x, y, classes, w)


def test_most_confused_comes_in_order_of_count_then_share():
    matrix = [[5, 2, 0], [2, 1, 0], [0, 3, 9]]
    assert most_confused(matrix, ["a", "b", "c"]) == [
        {"true": "c", "predicted": "b", "count": 3, "share": 0.25},
        {"true": "b", "predicted": "a", "count": 2, "share": pytest.approx(2 / 3)},
        {"true": "a", "predicted": "b", "count": 2, "share": pytest.approx(2 / 7)},
    ]
    assert len(most_confused(matrix, ["a", "b", "c"], limit=1)) == 1
    assert most_confused(np.eye(3), ["a", "b", "c"]) == []
    assert most_confused([[1, 0.5], [0, 1]], ["a", "b"])[0]["count"] == 0.5
