"""A run on images with several labels, from the CSV file to everything that a model is used for."""

from __future__ import annotations

import csv
import json

import keras
import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, f1_score

import keras_transfer as kt
from keras_transfer.errors import Interrupted, UserError
from keras_transfer.inference import evaluate, images_of, predict, transform_of
from keras_transfer.models.bundle import load
from keras_transfer.runs import RunDirectory
from keras_transfer.training import objectives
from keras_transfer.training.label_losses import Asymmetric, LabelCrossentropy
from keras_transfer.training.train import train
from tests.training.small import StopAt, resume, settings

pytestmark = pytest.mark.backend

COUNT, NAMES = 60, ("blue", "green", "red")
PHASES = [
    {"name": "head", "solver": "exact"},
    {"name": "all", "epochs": 2, "learning_rate": 0.003, "batch_norm": "frozen"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures whose left, middle and right thirds are bright in a colour, or not; `labels.csv` says which."""
    root, rng = tmp_path_factory.mktemp("several"), np.random.default_rng(0)
    rows = []
    for i in range(COUNT):
        has = rng.random(3) < 0.45
        pixels = rng.integers(0, 90, (32, 32, 3))
        for k in np.flatnonzero(has):
            pixels[..., 2 - k] += 110
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / f"{i:02d}.png")
        rows.append(
            (f"{i:02d}.png", ";".join(np.array(NAMES)[has]), ("train", "val", "test")[(i % 10 > 5) + (i % 10 > 7)])
        )
    with (root / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "labels", "split"), *rows])
    return root


def config(folder, output, **more):
    return settings(folder, output, **{"phases": PHASES, "report": True, **more})


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory) -> RunDirectory:
    said: list[str] = []
    # With a callback of one's own, as the interrupted run below: it trains the whole model, whose last bits are others.
    done = train(config(folder, tmp_path_factory.mktemp("run") / "run"), callbacks=[StopAt(99)], say=said.append)
    assert any("several labels per image" in line for line in said)
    assert any("mean average precision" in line for line in said)
    return done


@pytest.mark.slow
def test_metrics_are_those_of_scikit_learn_on_the_predictions_of_the_file(run):
    model, metadata = load(run.model)
    assert metadata["task"] == "multi"
    split = images_of(run, run.path, metadata, None, "test")
    transform = transform_of(metadata)
    logits = np.asarray(model.predict(np.stack([transform(split.read(i), None) for i in range(len(split))]), verbose=0))
    found = run.read_json(run.metrics)["test"]
    assert found["mean_average_precision"] == pytest.approx(average_precision_score(split.labels, logits), abs=1e-6)
    decided = 1 / (1 + np.exp(-logits)) >= metadata["thresholds"]
    assert found["micro_f1"] == pytest.approx(f1_score(split.labels, decided, average="micro"))
    assert found["mean_average_precision"] > 0.9, "the colours are easy"
    assert evaluate(run.path)["mean_average_precision"] == pytest.approx(found["mean_average_precision"])


def test_predictions_have_the_labels_from_the_thresholds_on(run, folder, tmp_path):
    found = predict(run.path, [str(folder)], top=3, json_file=str(tmp_path / "p.json"))
    limits = dict(zip(NAMES, load(run.model)[1]["thresholds"]))
    for one in found:
        by_name = dict(zip(one.classes, one.probabilities))
        assert set(one.labels) == {name for name in NAMES if by_name[name] >= limits[name]}
    assert {len(one.labels) for one in found} >= {0, 1, 2}, "images without a label are predicted so"
    assert json.loads((tmp_path / "p.json").read_text())[0]["labels"] == list(found[0].labels)
    predict(run.path, [str(folder)], csv_file=str(tmp_path / "p.csv"))
    with (tmp_path / "p.csv").open() as stream:
        assert next(csv.DictReader(stream))["labels"] == ";".join(found[0].labels)
    assert "no label" in repr(next(one for one in found if not one.labels))


def test_the_report_shows_every_label_and_no_section_for_one_label(run):
    page = run.report.read_text(encoding="utf-8")
    assert 'id="several"' in page and "Precision-recall curves" in page
    assert 'id="confusion"' not in page and 'id="calibration"' not in page
    assert all(name in page for name in NAMES)


def test_maps_are_drawn_for_each_label_of_an_image(run, folder, tmp_path, capsys):
    from keras_transfer.explain.command import each_label, explain

    shares = np.array([[0.9, 0.2, 0.8], [0.1, 0.2, 0.1]])
    rows, labels = each_label(shares, np.array([0.5, 0.5, 0.5]))
    assert (rows.tolist(), labels.tolist()) == ([0, 0, 1], [0, 2, 1])
    explain("gradcam", run.path, [], tmp_path / "maps.png", count=3)
    assert "true:" in capsys.readouterr().out
    with pytest.raises(UserError, match="for one label per image"):
        explain("top-losses", run.path, [], tmp_path / "losses.png")


def test_serve_answers_with_labels(run):
    from keras_transfer.serve.predictor import Predictor

    model, metadata = load(run.model)
    predictor = Predictor(model, metadata)
    answer = predictor.ask(np.full((32, 32, 3), 200, np.uint8), explain=True).result()
    predictor.close()
    found = predictor.labels_of(answer)
    assert found == [
        NAMES[k] for k in np.argsort(-answer.probabilities) if answer.probabilities[k] >= predictor.thresholds[k]
    ]
    assert answer.probabilities.sum() != pytest.approx(1)


def test_onnx_has_the_same_logits_and_says_what_they_mean(run, tmp_path):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    if keras.backend.backend() != "torch":
        pytest.skip("one backend is enough")
    (row,) = kt.load(run.model).export("onnx", tmp_path)
    assert row["agrees"] and row["max_difference"] < 1e-3
    session = runtime.InferenceSession(tmp_path / row["file"])
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.float32)
    expected = load(run.model)[0].predict(images, verbose=0)
    assert np.allclose(session.run(None, {"image": images})[0], expected, atol=1e-4)
    properties = {one.key: one.value for one in onnx.load(tmp_path / row["file"]).metadata_props}
    assert "sigmoid" in properties["output"]
    assert json.loads(properties["thresholds"]) == load(run.model)[1]["thresholds"]


@pytest.mark.slow
def test_an_interrupted_run_ends_as_one_that_was_not(run, folder, tmp_path):
    with pytest.raises(Interrupted):
        train(config(folder, tmp_path / "cut", report=False), callbacks=[StopAt(2)], say=lambda _: None)
    resumed = resume(tmp_path / "cut")
    assert all(
        np.array_equal(a, b) for a, b in zip(load(resumed.model)[0].get_weights(), load(run.model)[0].get_weights())
    )
    assert load(resumed.model)[1]["thresholds"] == load(run.model)[1]["thresholds"]


def test_data_with_one_label_is_measured_too_and_a_stranger_is_refused(run, folder, tmp_path):
    (tmp_path / "one.csv").write_text(f"path,label\n{folder}/00.png,red\n{folder}/01.png,blue\n")
    assert evaluate(run.path, data=str(tmp_path / "one.csv"), split="all")["n"] == 2
    (tmp_path / "odd.csv").write_text(f"path,labels\n{folder}/00.png,red;purple\n")
    with pytest.raises(UserError, match="'purple' is not one of the 3"):
        evaluate(run.path, data=str(tmp_path / "odd.csv"))


def test_a_classifier_learns_that_from_its_data_and_keeps_it_in_its_file(folder, tmp_path):
    x = np.stack([np.asarray(Image.open(folder / f"{i:02d}.png")) for i in range(COUNT)])
    y = (x.mean(axis=(1, 2))[:, ::-1] > 95).astype(np.uint8)
    clf = kt.Classifier("tiny", NAMES, image_size=32, weights="none")
    clf.fit(x, y, [kt.Phase("head", epochs=2)], loss="asymmetric", class_weights="sqrt", verbose=False)
    clf.save(tmp_path / "model.keras")
    again = kt.load(tmp_path / "model.keras")
    assert again.metadata["thresholds"] == clf.metadata["thresholds"]
    assert again.evaluate(x, y)["task"] == "multi"
    assert "mean average precision" in repr(again.evaluate(x, y))
    assert again.predict(x[0]).labels is not None


def test_losses_against_their_formulas():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(7, 4)).astype(np.float32) * 3, (rng.random((7, 4)) < 0.4).astype(np.float32)
    p, weights = 1 / (1 + np.exp(-logits)), np.array([1.0, 2.0, 3.0, 4.0])
    expected = -(weights * labels * np.log(p) + (1 - labels) * np.log(1 - p)).mean(axis=1)
    value = keras.ops.convert_to_numpy(LabelCrossentropy(weights=weights.tolist()).call(labels, logits))
    assert np.allclose(value, expected, atol=1e-5)
    lowered = np.maximum(p - 0.05, 0)
    expected = -(labels * np.log(p) + (1 - labels) * lowered**4 * np.log(1 - lowered)).mean(axis=1)
    value = keras.ops.convert_to_numpy(Asymmetric().call(labels, logits))
    assert np.allclose(value, expected, atol=1e-5)
    smoothed = keras.ops.convert_to_numpy(LabelCrossentropy(label_smoothing=0.2).call(labels, logits))
    theirs = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=0.2, reduction=None)(labels, logits)
    assert np.allclose(smoothed, keras.ops.convert_to_numpy(theirs), atol=1e-5)
    right = keras.ops.convert_to_numpy(objectives.all_right(labels, logits))
    assert right.tolist() == ((logits > 0) == (labels > 0)).all(axis=1).tolist()


def test_what_is_for_one_label_says_so():
    with pytest.raises(UserError, match="several labels per image; these images have one"):
        objectives.training_loss("asymmetric", 0.0)
    loss = objectives.training_loss("sparse_categorical_crossentropy", 0.0, several=True)
    with pytest.raises(UserError, match="for one label per image"):
        loss.call(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))
