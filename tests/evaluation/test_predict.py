from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from keras_transfer.errors import UserError
from keras_transfer.evaluation import predict as module
from keras_transfer.evaluation.predict import (
    Prediction,
    find_images,
    predict_files,
    predict_images,
    write_csv,
    write_json,
)
from keras_transfer.plots import predicted_files

RIGHT = {"red": "red", "green": "green", "blue": "猫"}


def colour(path):
    return RIGHT[Path(path).stem[:-1].lower()]


def test_folders_are_walked_in_order_and_hidden_files_left_out(images):
    found = [p.relative_to(images).as_posix() for p in find_images(images)]
    assert found == [
        "a/deep/green1.JPG",
        "a/red1.png",
        "b/blue1.png",
        "b/blue2.png",
        "b/red2.png",
        "green2.png",
        "red3.bmp",
    ]


def test_files_come_as_given_and_once(images):
    given = [images / "red3.bmp", str(images / "b"), images / "b" / "red2.png", images / "notes.txt"]
    assert [p.name for p in find_images(given)] == ["red3.bmp", "blue1.png", "blue2.png", "red2.png", "notes.txt"]
    assert find_images(str(images / "red3.bmp")) == [images / "red3.bmp"]


def test_a_link_in_a_circle_ends(images):
    (images / "a" / "up").symlink_to(images, target_is_directory=True)
    assert len(find_images(images)) == 7


def test_nothing_to_predict_is_said_at_once(tmp_path, images):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no images in .*empty.*\.jpg"):
        find_images([images, tmp_path / "empty"])
    with pytest.raises(UserError, match="at least one"):
        find_images([])
    with pytest.raises(UserError, match=r"no such file or folder: .*absent\.png"):
        find_images([tmp_path / "absent.png"])


@pytest.mark.parametrize("batch_size", [1, 2, 7, 32])
def test_every_image_gets_its_own_answer(model, metadata, images, batch_size):
    found = predict_files(model, metadata, images, top=3, batch_size=batch_size)
    assert [p.path for p in found] == [str(p) for p in find_images(images)]
    assert len(found) == 7
    for p in found:
        assert p.error is None
        assert p.classes[0] == colour(p.path)
        assert list(p.probabilities) == sorted(p.probabilities, reverse=True)
        assert sum(p.probabilities) == pytest.approx(1)
    # Logits 12, 2, 2 (a JPEG only nearly so).
    exact = next(p for p in found if p.path.endswith("red1.png"))
    assert exact.probabilities[0] == pytest.approx(1 / (1 + 2 * math.exp(-10)), rel=1e-6)
    assert exact.classes == ("red", "green", "猫")  # equal ones in the order of the classes
    assert set(model.shapes) == {(min(batch_size, 7), 8, 10, 3)}  # one shape, so that nothing is compiled twice


def test_large_photos_give_the_same_pixels_as_in_evaluation(model, metadata, tmp_path):
    # JPEGs are decoded at a fraction of their size where that will do: both ways must do it.
    from keras_transfer.data import folder
    from keras_transfer.data.augment import Transform
    from keras_transfer.evaluation import predict_logits

    rng = np.random.default_rng(0)
    for name in ("red", "green", "blue"):
        (tmp_path / name).mkdir()
        for k in range(3):
            pixels = cv2.resize(rng.integers(0, 255, (20, 15, 3), np.uint8), (150, 200))
            Image.fromarray(pixels).save(tmp_path / name / f"{k}.jpg")
    data = folder(tmp_path, image_size=(8, 10), color="rgb", val_fraction=0.3, test_fraction=0.3)
    split = data.train
    logits = predict_logits(model, split, Transform((8, 10), [], "squash", "rgb"), 4)
    found = predict_files(model, metadata, [tmp_path / split.image_name(i) for i in range(len(split))], top=3)
    for p, row in zip(found, logits):
        expected = np.sort(np.exp(row) / np.exp(row).sum())[::-1]
        np.testing.assert_allclose(p.probabilities, expected, rtol=1e-5)


def test_the_number_of_classes_is_clipped(model, metadata, images):
    path = images / "red3.bmp"
    assert len(predict_files(model, metadata, path, top=99)[0].classes) == 3
    assert len(predict_files(model, metadata, path, top=1)[0].classes) == 1
    with pytest.raises(UserError, match="top must be at least 1, got 0"):
        predict_files(model, metadata, path, top=0)


@pytest.mark.parametrize("batch_size", [1, 3, 32])
def test_a_bad_file_is_reported_and_the_rest_go_on(model, metadata, images, batch_size):
    (images / "b" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    whole = (images / "a" / "deep" / "green1.JPG").read_bytes()
    (images / "b" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    found = predict_files(model, metadata, [images, images / "absent.png"], batch_size=batch_size)
    bad = {Path(p.path).name: p.error for p in found if p.error}
    assert set(bad) == {"broken.png", "half.jpg", "absent.png"}
    assert all(bad.values())
    assert "no such file" in bad["absent.png"]
    good = [p for p in found if not p.error]
    assert len(good) == 7
    assert all(p.classes[0] == colour(p.path) for p in good)
    assert [p.path for p in found] == [str(p) for p in find_images([images, images / "absent.png"])]


def test_nothing_readable_is_an_error_that_names_the_files(model, metadata, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.jpg").write_text("not an image")
    with pytest.raises(UserError, match=r"none of the 2 files could be read:\n  .*a\.png: .+\n  .*b\.jpg: .+"):
        predict_files(model, metadata, tmp_path)
    assert model.shapes == []


def test_grey_models_get_one_channel(metadata, images):
    class Grey:
        def predict_on_batch(self, images):
            assert images.shape[1:] == (8, 10, 1)
            assert images.dtype == np.uint8
            return np.zeros((len(images), 3), np.float32)

    assert len(predict_files(Grey(), {**metadata, "color": "grey"}, images)) == 7


def test_a_failing_model_stops_the_readers(metadata, images):
    class Broken:
        def predict_on_batch(self, images):
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        predict_files(Broken(), metadata, images, batch_size=2)


def test_no_more_than_two_batches_are_held(monkeypatch):
    made = []
    for start, batch in module._ahead(lambda i: made.append(i) or np.array(i), 100, 5, 2):
        assert len(batch) == 5
        assert len(made) <= start + 10
        assert [int(b) for b in batch] == list(range(start, start + 5))


def test_images_in_memory_of_every_kind(model, metadata):
    red = np.zeros((5, 6, 3), np.uint8)
    red[..., 0] = 200
    clear_red = np.concatenate([red, np.full((5, 6, 1), 255, np.uint8)], axis=2)
    grey = np.full((20, 30), 100, np.uint8)
    found = predict_images(model, metadata, [red, clear_red, grey, grey[..., None]], top=3)
    assert [p.path for p in found] == ["0", "1", "2", "3"]
    assert found[0].classes[0] == found[1].classes[0] == "red"
    np.testing.assert_allclose(found[2].probabilities, [1 / 3] * 3)
    assert found[2].probabilities == found[3].probabilities
    assert predict_images(model, metadata, [red], names=["mine"])[0].path == "mine"
    assert predict_images(model, metadata, []) == []
    assert predict_images(model, metadata, [red / 255])[0].probabilities == found[0].probabilities
    with pytest.raises(UserError, match=r"pixels from -1 to 199"):
        predict_images(model, metadata, [red.astype(np.float32) - 1])


SOME = [
    Prediction("a,b.png", ("猫", 'say "hi"'), (0.75, 0.25)),
    Prediction("ü.png", error="cut short"),
]


def test_json(tmp_path):
    write_json(SOME, tmp_path / "p.json")
    text = (tmp_path / "p.json").read_text("utf-8")
    assert "猫" in text
    assert json.loads(text) == [
        {
            "path": "a,b.png",
            "predictions": [{"class": "猫", "probability": 0.75}, {"class": 'say "hi"', "probability": 0.25}],
            "error": None,
        },
        {"path": "ü.png", "predictions": [], "error": "cut short"},
    ]


def test_csv(tmp_path):
    write_csv(SOME, tmp_path / "p.csv")
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["path", "class_1", "probability_1", "class_2", "probability_2", "error"]
    assert rows[0] == {
        "path": "a,b.png",
        "class_1": "猫",
        "probability_1": "0.75",
        "class_2": 'say "hi"',
        "probability_2": "0.25",
        "error": "",
    }
    assert rows[1]["error"] == "cut short"
    assert rows[1]["class_1"] == ""
    assert list(tmp_path.iterdir()) == [tmp_path / "p.csv"]


def test_tables_that_cannot_be_written_are_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    for write in (write_csv, write_json):
        with pytest.raises(UserError, match="cannot write"):
            write(SOME, tmp_path / "file" / "p")


def test_grid_shows_the_readable_ones_with_their_class(model, metadata, images, tmp_path, monkeypatch):
    from keras_transfer.plots import images as drawing

    drawn = {}
    real = drawing.prediction_grid

    def spy(images, titles, path, title=""):
        drawn.update(images=images, titles=titles, title=title)
        real(images, titles, path, title=title)

    monkeypatch.setattr(drawing, "prediction_grid", spy)
    (images / "a" / "broken.png").write_bytes(b"")
    found = predict_files(model, {**metadata, "classes": ["red", "green", "blue"]}, images)
    predicted_files(found, tmp_path / "grid.png", limit=4)
    assert Image.open(tmp_path / "grid.png").format == "PNG"
    assert drawn["title"] == "the first 4 of 7 images"
    assert [t.split("\n")[1] for t in drawn["titles"]] == ["green", "red", "blue", "blue"]
    assert [t.split("\n")[0] for t in drawn["titles"]] == [Path(p.path).name for p in found if p.error is None][:4]
    assert drawn["images"][1][0, 0].tolist() == [120, 20, 20]
    predicted_files(found, tmp_path / "all.png")
    assert drawn["title"] == ""
    with pytest.raises(UserError, match="none of the files"):
        predicted_files([Prediction("x", error="bad")], tmp_path / "none.png")


@pytest.mark.skipif(os.name == "nt", reason="names are always valid there")
def test_a_file_name_that_is_no_text(model, metadata, images, tmp_path):
    name = images / os.fsdecode(b"caf\xe9.png")
    name.write_bytes((images / "green2.png").read_bytes())
    found = predict_files(model, metadata, [name])
    assert found[0].classes[0] == "green"
    write_json(found, tmp_path / "p.json")
    write_csv(found, tmp_path / "p.csv")
    predicted_files(found, tmp_path / "p.png")
