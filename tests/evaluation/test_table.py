from __future__ import annotations

import json

import numpy as np
from rich.console import Console

from keras_transfer.evaluation import classification_metrics, metrics_table


def text_of(metrics, **options):
    console = Console(width=100, record=True, file=open("/dev/null", "w"))  # noqa: PTH123, SIM115
    console.print(metrics_table(metrics, **options))
    return console.export_text()


def some(classes, weights=False, n=200):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, len(classes), n)
    logits = rng.normal(0, 1, (n, len(classes)))
    logits[np.arange(n), labels] += 1
    return classification_metrics(logits, labels, classes, rng.random(n) if weights else None)


def test_shows_every_class_and_number():
    m = some(["cat", "dog", "[red]", "猫", "e", "f", "g"])
    text = text_of(m, title="test")
    assert "test · 200 samples" in text
    for word in ("[red]", "猫", "top-5", "balanced", f"{m['accuracy']:.2%}", f"{m['loss']:.4f}", f"{m['ece']:.2%}"):
        assert word in text
    assert f"{m['accuracy_ci95'][0]:.2%} – {m['accuracy_ci95'][1]:.2%}" in text
    assert "weighted" not in text
    assert "most confused" in text


def test_two_classes_have_no_top_five_and_perfection_has_no_confusion():
    m = classification_metrics(np.eye(2), np.arange(2), ["a", "b"])
    text = text_of(m)
    assert "top-5" not in text
    assert "most confused" not in text
    assert "34.24% – 100.00%" in text, "Wilson's interval for 2 of 2"
    assert "2 samples" in text


def test_weighted_column():
    m = some(["a", "b"], weights=True)
    text = text_of(m)
    assert "weighted" in text
    assert f"{m['weighted']['accuracy']:.2%}" in text


def test_of_many_classes_the_worst_are_shown_and_it_says_so():
    m = some([f"class{i:03}" for i in range(60)], n=600)
    text = text_of(json.loads(json.dumps(m)), max_classes=5, max_confused=0)
    assert "the 5 of 60 classes with the lowest F1" in text
    worst = sorted(m["per_class"], key=lambda name: m["per_class"][name]["f1"])
    assert all(name in text for name in worst[:5])
    assert worst[-1] not in text


def test_names_longer_than_the_screen_are_folded_and_not_cut():
    m = some(["x" * 150, "y"])
    assert text_of(m, max_confused=0).count("x") >= 150
