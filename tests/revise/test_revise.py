"""New runs from a run: corrections, classes; the old run stays as it is."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from keras_transfer.errors import UserError
from tests.conftest import make_photos

pytestmark = pytest.mark.backend
SETTINGS = [
    "model.backbone=tiny", "model.weights=none", "data.image_size=32", "output.report=false", "output.plots=false",
    "data.augment=[]", "phases=[{name: all, epochs: 3, learning_rate: 0.01}]", "data.val_fraction=0.1", "data.test_fraction=0.25",
]  # fmt: skip


def quiet(line):
    pass


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with photos, and a run of them."""
    from keras_transfer import load_config, train

    folder = tmp_path_factory.mktemp("revise")
    make_photos(folder / "photos", {"apple": 20, "berry": 20, "cherry": 20})
    make_photos(folder / "more", {"x": 1, "y": 1, "z": 1, "date": 8}, seed=5)
    train(load_config(data=folder / "photos", output=folder / "run", overrides=SETTINGS), say=quiet)
    return folder


def state_of(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "corrections" not in path.parts)
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def untouched(place):
    """The old run is not written to."""
    before = state_of(place / "run")
    yield place
    assert state_of(place / "run") == before


def splits(run):
    return json.loads((run / "splits.json").read_text())


def of(run, split, name=""):
    return [path for path, one in splits(run).items() if one == split and name in path]


@pytest.mark.slow
def test_corrections_are_trained_on_and_never_tested_on(untouched, tmp_path):
    from keras_transfer.revise.retrain import retrain

    moved = of(untouched / "run", "test", "berry")[:2]
    kept = of(untouched / "run", "train", "cherry")[0]
    own = untouched / "more" / "x" / "000.png"
    lines = [f"{untouched / 'photos' / name} apple" for name in [*moved, kept]] + [f"{own} berry"]
    (tmp_path / "list.txt").write_text("\n".join(lines) + "\n")
    said = []
    made = retrain(
        untouched / "run", add=tmp_path / "list.txt", head_only=True, output=tmp_path / "new", say=said.append
    )
    new = tmp_path / "new"
    rows = (new / "revised" / "data.csv").read_text().splitlines()[1:]
    for name in (*moved, kept):
        assert [row.split(",")[1:3] for row in rows if row.split(",")[0].endswith(name)] == [["apple", "train"]]
    assert [row.split(",")[1:3] for row in rows if row.startswith(str(own))] == [["berry", "train"]]
    compared = {row.split(",")[0] for row in rows if row.split(",")[2] == "test"}
    figures = json.loads((new / "regression.json").read_text())
    assert made.found.n == figures["n"] == len(compared) == len(of(untouched / "run", "test")) - 2
    assert any("2 pictures that judged" in line for line in said) and "verdict" in " ".join(said)
    page = (new / "regression.html").read_text()
    assert "<script" not in page and "McNemar" in page
    # The new run is one like any other: it can be opened, and revised again.
    from keras_transfer.inference import data_of, evaluate
    from keras_transfer.runs import RunDirectory

    assert data_of(RunDirectory.open(new)) is not None
    assert evaluate(new)["n"] == made.found.n


def test_the_pictures_that_changed_are_those_that_the_models_say(untouched, tmp_path):
    import keras_transfer as kt
    from keras_transfer.revise.retrain import retrain

    (tmp_path / "list.txt").write_text(
        "".join(f"{untouched / 'photos' / name} apple\n" for name in of(untouched / "run", "train", "berry")[:8])
    )
    made = retrain(untouched / "run", add=tmp_path, head_only=True, output=tmp_path / "new", say=quiet)
    test = [str(untouched / "photos" / name) for name in of(untouched / "run", "test")]
    said = [
        [one.classes[0] for one in kt.load(path).predict(test, top=1)] for path in (untouched / "run", tmp_path / "new")
    ]
    truth = [name.split("/")[-2] for name in test]
    expected = {"better": [], "worse": []}
    for path, label, before, now in zip(test, truth, *said):
        if (before == label) != (now == label):
            expected["better" if now == label else "worse"].append(path)
    for kind, paths in expected.items():
        assert sorted("/" + one.picture.lstrip("/") for one in getattr(made.found, kind)) == sorted(paths)


@pytest.mark.slow
def test_add_class(untouched, tmp_path):
    from keras_transfer.revise.classes import add_class

    made = add_class(untouched / "run", "date", [str(untouched / "more" / "date")], output=tmp_path / "new", say=quiet)
    (row,) = made.found.added
    assert row.name == "date" and row.n == 2 and made.found.n == len(of(untouched / "run", "test"))
    import keras_transfer as kt

    old, new = kt.load(untouched / "run"), kt.load(tmp_path / "new")
    assert new.classes == ("apple", "berry", "cherry", "date")
    for before, now in zip(old.model.layers[-1].get_weights(), new.model.layers[-1].get_weights()):
        np.testing.assert_array_equal(now[..., :3], before)  # the old classes stay as they are
    metrics = json.loads((tmp_path / "new" / "metrics.json").read_text())
    assert metrics["outcomes"][0]["old_classes"] == "kept" and "out_of_fold" not in metrics


@pytest.mark.slow
def test_removing_and_renaming_are_arithmetic(untouched, tmp_path):
    import keras_transfer as kt
    from keras_transfer.revise.classes import remove_class, rename_class

    remove_class(untouched / "run", ["berry"], output=tmp_path / "less", say=quiet)
    made = rename_class(untouched / "run", "berry", "cloudberry", output=tmp_path / "named", say=quiet)
    assert not made.found.better and not made.found.worse and made.found.verdict == "take"
    pictures = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.float32)
    old, less, named = (kt.load(untouched / "run"), kt.load(tmp_path / "less"), kt.load(tmp_path / "named"))
    logits = [np.asarray(one.model.predict_on_batch(pictures)) for one in (old, less, named)]
    assert less.classes == ("apple", "cherry") and named.classes == ("apple", "cloudberry", "cherry")
    np.testing.assert_allclose(logits[1], logits[0][:, [0, 2]], atol=1e-5)
    np.testing.assert_allclose(logits[2], logits[0], atol=1e-5)


@pytest.mark.slow
def test_a_run_that_rejects_is_revised_to_one_that_does(place, tmp_path):
    from keras_transfer import load_config, train
    from keras_transfer.inference import evaluate
    from keras_transfer.revise.classes import add_class, rename_class

    settings = [*SETTINGS, "reject_rate=0.2"]
    train(load_config(data=place / "photos", output=tmp_path / "run", overrides=settings), say=quiet)
    rename_class(tmp_path / "run", "apple", "pear", output=tmp_path / "named", say=quiet)
    add_class(tmp_path / "run", "date", [str(place / "more" / "date")], output=tmp_path / "new", say=quiet)
    rates = [evaluate(tmp_path / name)["novelty"] for name in ("run", "named", "new")]
    assert [one["rate"] for one in rates] == [0.2] * 3 and rates[0]["rejected"] == rates[1]["rejected"]
    stored = json.loads((tmp_path / "new" / "metrics.json").read_text())
    assert stored["test"]["novelty"]["rejected"] == rates[2]["rejected"]
    # And once more, from a model that has the layers of novelty.
    add_class(
        tmp_path / "new",
        "elder",
        [str(place / "more" / "x"), str(place / "more" / "y")],
        output=tmp_path / "two",
        say=quiet,
    )
    assert evaluate(tmp_path / "two")["novelty"]["rate"] == 0.2


@pytest.mark.slow
def test_merge_classes(untouched, tmp_path):
    import keras_transfer as kt

    new = kt.load(untouched / "run").merge_classes(["apple", "cherry"], "red", output=tmp_path / "new", say=quiet)
    assert new.classes == kt.load(tmp_path / "new").classes == ("red", "berry") and new.run == tmp_path / "new"
    assert {row.name for row in new.comparison.found.by_class} == {"red", "berry"} and not new.comparison.found.added
    with pytest.raises(UserError, match="has no run"):
        kt.Classifier("tiny", ["a", "b"], image_size=32, weights="none").rename_class("a", "c")


def test_what_cannot_be_done_leaves_nothing_behind(untouched, tmp_path):
    from keras_transfer.revise.classes import add_class, merge_classes, remove_class, rename_class
    from keras_transfer.revise.retrain import retrain

    run, new = untouched / "run", tmp_path / "new"
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "typo.txt").write_text(f"{untouched / 'more' / 'x' / '000.png'} aple\n")
    (tmp_path / "two.txt").write_text(
        f"{untouched / 'more' / 'x' / '000.png'} apple\n{shutil.copy(untouched / 'more' / 'x' / '000.png', tmp_path / 'copy.png')} berry\n"
    )
    (tmp_path / "same.txt").write_text(f"{untouched / 'photos' / of(run, 'train', 'apple')[0]} apple\n")
    photos = str(untouched / "more" / "date")
    cases = [
        (lambda: add_class(run, "apple", [photos], output=new, say=quiet), "already"),
        (lambda: add_class(run, "  ", [photos], output=new, say=quiet), "blank"),
        (lambda: add_class(run, "date", [str(tmp_path / "none")], output=new, say=quiet), "no such file"),
        (lambda: add_class(run, "date", [photos + "/000.png"], output=new, say=quiet), "only one picture"),
        (lambda: add_class(run, "date", [photos, str(tmp_path / "bad.png")], output=new, say=quiet), "cannot be read"),
        (lambda: add_class(tmp_path, "date", [photos], output=new, say=quiet), "not a run"),
        (lambda: remove_class(run, ["aple"], output=new, say=quiet), "did you mean 'apple'"),
        (lambda: remove_class(run, ["apple", "berry"], output=new, say=quiet), "only one class"),
        (lambda: rename_class(run, "apple", "berry", output=new, say=quiet), "merge-classes"),
        (lambda: merge_classes(run, ["apple", "apple"], "red", output=new, say=quiet), "at least two"),
        (lambda: merge_classes(run, ["apple", "berry"], "cherry", output=new, say=quiet), "already"),
        (lambda: retrain(run, output=new, say=quiet), "nothing to add"),
        (lambda: retrain(run, add=tmp_path / "typo.txt", output=new, say=quiet), "did you mean 'apple'.*--new-class"),
        (lambda: retrain(run, add=tmp_path / "two.txt", output=new, say=quiet), "the labels 'apple' and 'berry'"),
        (lambda: retrain(run, add=tmp_path / "same.txt", output=new, say=quiet), "nothing to add"),
        (lambda: add_class(run, "date", [photos], output=run, say=quiet), "not empty"),
    ]  # fmt: skip
    for call, message in cases:
        with pytest.raises(UserError, match=message):
            call()
        assert not new.exists()


def test_a_training_that_fails_leaves_no_run(untouched, tmp_path, monkeypatch):
    from keras_transfer.revise import head
    from keras_transfer.revise.classes import add_class

    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(head, "with_column", stopped)
    with pytest.raises(KeyboardInterrupt):
        add_class(untouched / "run", "date", [str(untouched / "more" / "date")], output=tmp_path / "new", say=quiet)
    assert not (tmp_path / "new").exists()


def test_pictures_in_memory_become_files(tmp_path):
    """A run of arrays is revised like one of files: its pictures, recognized by their pixels, are written down."""
    from keras_transfer.data import build
    from keras_transfer.revise.additions import corrections
    from keras_transfer.revise.revision import Revision

    data = build("digits", limit=60, limit_test=20, val_fraction=0.0)
    place = int(data.test.indices[0])
    Image.fromarray(data.samples.images.open(place).pixels()[..., 0]).save(tmp_path / "seen.bmp")
    (tmp_path / "list.txt").write_text("seen.bmp 7\n")
    revision = Revision.of(data)
    revision.add(corrections(tmp_path / "list.txt", data.classes))
    assert revision.withdrawn == 1 and len(revision.rows) == len(data.samples)
    read = build(
        "csv", path=revision.save(tmp_path / "new"), classes=list(data.classes), val_fraction=0.0, test_fraction=0.0
    )
    rows = revision.rows_of(read.all)
    for i in range(0, len(read.all), 7):
        np.testing.assert_array_equal(read.all.read(i), data.samples.images.read(rows[i].base))
    assert [read.classes[label] for label, row in zip(read.all.labels, rows) if row.base == place] == ["7"]
