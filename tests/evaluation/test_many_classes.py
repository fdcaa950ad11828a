"""Thousands of classes: what is stored and drawn grows with the images, not with classes × classes."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from keras_transfer import plots
from keras_transfer.evaluation.confusion import DENSE_UP_TO, Cells
from keras_transfer.evaluation.intervals import of_confusion
from keras_transfer.evaluation.metrics import classification_metrics, most_confused
from keras_transfer.report.sections.classes import rows_of
from keras_transfer.report.sections.confusion import matrix


def many(classes=3000, images=3000, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(images, classes)).astype(np.float32)
    labels = np.arange(images) % classes
    logits[np.arange(images), labels] += 4 * (np.arange(images) % 2)
    return logits, labels, [f"class {k}" for k in range(classes)]


def test_metrics_are_small_and_complete(tmp_path):
    logits, labels, classes = many()
    tracemalloc.start()
    found = classification_metrics(logits, labels, classes)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * logits.nbytes + (200 << 20)  # blocks in float64; a matrix of all cells would be added to that
    assert len(json.dumps(found)) < 1_000_000
    cells = Cells.read(json.loads(json.dumps(found["confusion"])))
    assert cells.right() / len(labels) == pytest.approx(found["accuracy"])
    assert cells.totals().tolist() == np.bincount(labels, minlength=len(classes)).tolist()
    plots.confusion(found["confusion"], classes, tmp_path / "confusion.png")
    page = matrix(found["confusion"], classes)
    assert page["total"] == len(labels) and len(page["light"]) < 200_000
    assert len(rows_of(found)) == len(classes)


def test_both_forms_mean_the_same():
    logits, labels, classes = many(30, 300)
    dense = classification_metrics(logits, labels, classes)["confusion"]
    cells = Cells.read(dense)
    sparse = {"classes": 30, **{name: getattr(cells, name).tolist() for name in ("true", "predicted", "count")}}
    assert np.array_equal(Cells.read(sparse).dense(), dense)
    assert most_confused(sparse, classes) == most_confused(dense, classes)
    assert of_confusion(sparse) == of_confusion(dense)
    expected = np.array(dense) / np.array(dense).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(cells.shares(1000), expected)


def test_a_mistake_does_not_disappear_in_a_coarse_matrix():
    true, predicted = np.array([0, 1, 999, 500]), np.array([0, 1, 3, 500])
    shares = Cells.of(true, predicted, 1000).shares(100)
    assert shares.shape == (100, 100) and shares[99, 0] == 1
    assert np.isnan(shares[7]).all()  # no class of that block has images


def test_the_stored_form_changes_with_the_number_of_classes():
    true = np.array([0, 1])
    assert Cells.of(true, true, DENSE_UP_TO).stored()[1][1] == 1
    assert Cells.of(true, true, DENSE_UP_TO + 1).stored()["count"] == [1, 1]
    with pytest.raises(ValueError, match="confusion matrix"):
        Cells.read(np.zeros((2, 3)))
