"""Revisions of a run whose pictures may have several labels."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

from keras_transfer.errors import UserError
from keras_transfer.revise.label_regression import LabelOpinion, label_regression

pytestmark = pytest.mark.backend
NAMES = ("blue", "green", "red")
SETTINGS = [
    "model.backbone=tiny", "model.weights=none", "data.image_size=32", "output.report=false", "output.plots=false",
    "data.augment=[]", "phases=[{name: head, solver: exact}]",
]  # fmt: skip


def quiet(line):
    pass


def picture(has, rng):
    """Return a picture that is brighter in the colours that it has."""
    pixels = rng.integers(0, 90, (32, 32, 3))
    for k in np.flatnonzero(has):
        pixels[..., 2 - k] += 110
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Pictures with `labels.csv`, a run of them, and pictures of something bright."""
    from keras_transfer import load_config, train

    root, rng = tmp_path_factory.mktemp("several"), np.random.default_rng(0)
    rows = []
    for i in range(60):
        has = rng.random(3) < 0.45
        picture(has, rng).save(root / f"{i:02d}.png")
        split = ("train", "val", "test")[(i % 10 > 5) + (i % 10 > 7)]
        rows.append((f"{i:02d}.png", ";".join(np.array(NAMES)[has]), split))
    with (root / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("path", "labels", "split"), *rows])
    (root / "white").mkdir()
    for i in range(8):
        Image.fromarray(rng.integers(200, 256, (32, 32, 3)).astype(np.uint8)).save(root / "white" / f"{i}.png")
    train(load_config(data=root / "labels.csv", output=root / "run", overrides=SETTINGS), say=quiet)
    return root


def table(run):
    with (run / "revised" / "data.csv").open(newline="") as stream:
        return {row["path"].rpartition("/")[2]: row for row in csv.DictReader(stream)}


@pytest.mark.slow
def test_rename_and_remove_are_arithmetic(place, tmp_path):
    import keras_transfer as kt

    old = kt.load(place / "run")
    named = old.rename_class("red", "crimson", output=tmp_path / "named", say=quiet)
    less = old.remove_class(["green"], output=tmp_path / "less", say=quiet)
    assert named.classes == ("blue", "green", "crimson") and less.classes == ("blue", "red")
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.float32)
    logits = [np.asarray(one.model.predict_on_batch(pictures)) for one in (old, named, less)]
    np.testing.assert_allclose(logits[1], logits[0], atol=1e-5)
    np.testing.assert_allclose(logits[2], logits[0][:, [0, 2]], atol=1e-5)
    limits = old.metadata["thresholds"]
    assert named.metadata["thresholds"] == limits and less.metadata["thresholds"] == [limits[0], limits[2]]
    before, now = table(tmp_path / "named"), table(tmp_path / "less")
    for name, row in before.items():  # pictures stay, without the label
        assert now[name]["labels"] == ";".join(
            sorted(one.replace("crimson", "red") for one in row["labels"].split(";") if one != "green")
        )
    for one in (named, less):
        found = one.comparison.found
        assert (
            not found.better
            and not found.worse
            and found.mean_average_precision[0] == pytest.approx(found.mean_average_precision[1])
        )
    from keras_transfer.inference import evaluate

    assert evaluate(tmp_path / "less")["task"] == "multi"


@pytest.mark.slow
def test_retrain_with_labels_and_the_report_of_each_label(place, tmp_path):
    from keras_transfer.revise.retrain import retrain

    wrong = [name for name, row in _rows(place).items() if row["split"] == "train"][:3]
    test = next(name for name, row in _rows(place).items() if row["split"] == "test")
    (tmp_path / "list.txt").write_text(
        f"{place / wrong[0]} red;blue\n{place / wrong[1]} ;\n{place / wrong[2]} green\n{place / test} blue;green\n"
    )
    said = []
    made = retrain(place / "run", add=tmp_path / "list.txt", head_only=True, output=tmp_path / "new", say=said.append)
    rows = table(tmp_path / "new")
    assert [rows[name]["labels"] for name in (*wrong, test)] == ["blue;red", "", "green", "blue;green"]
    assert rows[test]["split"] == "train" and made.found.n == 12 - 1
    stored = json.loads((tmp_path / "new" / "regression.json").read_text())
    assert [one["name"] for one in stored["labels"]] == list(NAMES)
    assert any("all labels right:" in line for line in said) and any("mean average precision" in line for line in said)
    page = (tmp_path / "new" / "regression.html").read_text()
    assert "Mean average precision now" in page and ">Labels<" in page
    (tmp_path / "more.csv").write_text(
        f"path,labels\n{place / 'white' / '0.png'},\n{place / 'white' / '1.png'},red;green\n"
    )
    retrain(tmp_path / "new", data=tmp_path / "more.csv", head_only=True, output=tmp_path / "more", say=quiet)
    assert table(tmp_path / "more")["1.png"]["labels"] == "green;red"


def _rows(place):
    with (place / "labels.csv").open(newline="") as stream:
        return {row["path"]: row for row in csv.DictReader(stream)}


@pytest.mark.slow
def test_a_label_more_and_labels_merged(place, tmp_path):
    import keras_transfer as kt
    from keras_transfer.revise.classes import add_class

    white = [str(place / "white")]
    with pytest.raises(UserError, match="--others-lack-it"):
        add_class(place / "run", "white", white, output=tmp_path / "new", say=quiet)
    old = kt.load(place / "run")
    new = old.add_class("white", white, others_lack_it=True, output=tmp_path / "new", say=quiet)
    for before, now in zip(old.model.layers[-1].get_weights(), new.model.layers[-1].get_weights()):
        np.testing.assert_array_equal(now[..., :3], before)
    assert new.metadata["thresholds"][:3] == old.metadata["thresholds"] and len(new.metadata["thresholds"]) == 4
    (row,) = [one for one in new.comparison.found.labels if one.old_precision is None]
    assert row.name == "white" and row.new_precision > 0.5
    seen = next(name for name, row in _rows(place).items() if row["labels"] == "red" and row["split"] == "train")
    again = [*white, str(place / seen)]  # a picture that the run has keeps its other labels
    add_class(place / "run", "white", again, others_lack_it=True, output=tmp_path / "again", say=quiet)
    assert table(tmp_path / "again")[seen]["labels"] == "red;white"
    merged = old.merge_classes(["red", "blue"], "violet", output=tmp_path / "merged", say=quiet)
    assert merged.classes == ("violet", "green")
    assert {row["labels"] for row in table(tmp_path / "merged").values()} == {"", "green", "violet", "green;violet"}


def test_what_cannot_be_done_is_said_in_a_line(place, tmp_path):
    from keras_transfer.revise.classes import remove_class
    from keras_transfer.revise.retrain import retrain

    (tmp_path / "typo.txt").write_text(f"{place / 'white' / '0.png'} red;gren\n")
    (tmp_path / "single.csv").write_text("path,label\n")
    cases = [
        (lambda: retrain(place / "run", add=tmp_path / "typo.txt", output=tmp_path / "new", say=quiet), "mean 'green'"),
        (lambda: remove_class(place / "run", ["red", "blue"], output=tmp_path / "new", say=quiet), "only one class"),
    ]  # fmt: skip
    for call, message in cases:
        with pytest.raises(UserError, match=message):
            call()
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("line", "labels"),
    [
        ("a b.png dark red;blue", "blue;dark red"),
        ('a b.png "dark red"', "dark red"),
        ("a b.png ;", ""),
        ("a b.png blue;blue", "blue"),
    ],
)
def test_lines_with_several_labels(tmp_path, line, labels):
    from keras_transfer.revise.additions import corrections

    picture(np.ones(3, bool), np.random.default_rng(0)).save(tmp_path / "a b.png")
    (tmp_path / "list.txt").write_text(line + "\n")
    assert corrections(tmp_path / "list.txt", ("blue", "dark red"), (), True).labels == (labels,)


def test_the_comparison_against_the_definitions():
    rng = np.random.default_rng(3)
    truth = rng.random((40, 2)) < 0.5
    labels = [[name for name, has in zip("ab", row) if has] for row in truth]
    values = [np.clip(truth + rng.normal(0, 0.6, truth.shape), 0, 1) for _ in range(2)]
    old = LabelOpinion(("a", "gone", "b"), np.insert(values[0], 1, 1, axis=1), np.array([0.4, 0.5, 0.6]))
    new = LabelOpinion(("b", "a", "c"), np.column_stack([values[1][:, ::-1], np.zeros(40)]), np.full(3, 0.5))
    found = label_regression([f"{i}" for i in range(40)], labels, old, new)
    was = ((values[0] >= [0.4, 0.6]) == truth).all(axis=1)
    is_now = ((values[1] >= 0.5) == truth).all(axis=1)
    assert {one.picture for one in found.better} == {str(i) for i in np.flatnonzero(~was & is_now)}
    assert {one.picture for one in found.worse} == {str(i) for i in np.flatnonzero(was & ~is_now)}
    assert (found.old_accuracy, found.new_accuracy) == (was.mean(), is_now.mean())
    rows = {row.name: row for row in found.labels}
    assert list(rows) == ["b", "a", "c"] and rows["c"].new_precision is None
    for k, name in enumerate("ab"):
        assert rows[name].old_precision == pytest.approx(average_precision_score(truth[:, k], values[0][:, k]))
        assert rows[name].new_precision == pytest.approx(average_precision_score(truth[:, k], values[1][:, k]))
    assert found.mean_average_precision[1] == pytest.approx(np.mean([rows[name].new_precision for name in "ab"]))
