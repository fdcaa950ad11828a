"""The same three lines with each kind of data that Keras users have, and the folder's result to the digit."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import keras_transfer as kt
from tests.conftest import make_photos

pytestmark = pytest.mark.backend

CLASSES = ["apple", "berry", "cherry"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return make_photos(tmp_path_factory.mktemp("own") / "photos", dict.fromkeys(CLASSES, 7), size=20)


@pytest.fixture(scope="module")
def held(photos):
    files = sorted(photos.glob("*/*.png"))
    x = np.stack([np.asarray(Image.open(file)) for file in files])
    return x, np.repeat(np.arange(3), 7), [str(file) for file in files]


def three_lines(data, **more):
    clf = kt.Classifier("tiny", CLASSES, image_size=16, weights="none")
    result = clf.fit(data, [kt.Phase("all", epochs=1)], verbose=False, **more)
    return {**{key: result.history[key] for key in ("loss", "val_loss")}, "test": clf.evaluate()["loss"]}


@pytest.fixture(scope="module")
def expected(photos):
    return three_lines(photos)


class Sequence(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, keras.utils.to_categorical(y, 3)

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return self.x[7 * i : 7 * i + 7], self.y[7 * i : 7 * i + 7]


def _torch_loader(x, y, files):
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(x).permute(0, 3, 1, 2), torch.tensor(y))
    return torch.utils.data.DataLoader(data, batch_size=4, shuffle=True)


def _tensorflow(x, y, files):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("imports TensorFlow")
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((x, y)).batch(5)


def _hugging_face(x, y, files):
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict({"image": files, "label": y.tolist()}).cast_column("image", datasets.Image())
    return made.cast_column("label", datasets.ClassLabel(names=CLASSES))


KINDS = {
    "data set": lambda x, y, files: kt.data.open(x, y, image_size=16, classes=CLASSES),
    "arrays": lambda x, y, files: (x, y),
    "PyDataset": lambda x, y, files: Sequence(x, y),
    "tf.data": _tensorflow,
    "DataLoader": _torch_loader,
    "Hugging Face": _hugging_face,
    "PIL": lambda x, y, files: ([Image.open(file) for file in files], y),
    "tensors": lambda x, y, files: (keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor(y)),
    "paths": lambda x, y, files: list(zip(files, (CLASSES[i] for i in y))),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_gives_the_result_of_the_folder(kind, held, expected):
    assert three_lines(KINDS[kind](*held)) == expected


def test_as_keras_users_write_it(held, photos):
    x, y, _ = held
    clf = kt.Classifier("tiny", CLASSES, image_size=16, weights="none")
    history = clf.fit(x, y, validation_data=(x, y), epochs=3, batch_size=8, verbose=False)
    assert history.history["val_accuracy"] == [row["val_accuracy"] for row in history.history]
    assert history.epoch == [0, 1, 2]
    assert [phase["name"] for phase in history.phases] == ["head", "all"]
    assert clf.score(x, y) == clf.evaluate((x, y))["accuracy"] == clf.score(photos)
    assert len(clf.data.train) == len(clf.data.val) == len(x)


def test_prediction_takes_what_people_hold(held):
    x, _, files = held
    clf = kt.Classifier("tiny", CLASSES, image_size=16, weights="none")
    wanted = clf.predict(files[0]).probabilities
    single = [
        x[0],
        Image.open(files[0]),
        Image.fromarray(x[0]),
        x[0] / 255,
        Path(files[0]),
        Path(files[0]).read_bytes(),
    ]
    for given in [*single, keras.ops.convert_to_tensor(x[0])]:
        assert clf.predict(given).probabilities == pytest.approx(wanted, abs=1e-6)
    for several in (x[:2], [x[0], x[1][:9]], [files[0], Image.fromarray(x[1])], (x[:2], [0, 1]), iter([x[0], x[1]])):
        found = clf.predict(several)
        assert len(found) == 2
        assert found[0].probabilities == pytest.approx(wanted, abs=1e-6)
    for nothing in (3, None, {"a": 1}, [1, 2], np.zeros((2, 3, 4, 5, 6))):
        with pytest.raises(kt.UserError, match=r"expected|must have"):
            clf.predict(nothing)


def test_features_are_what_the_last_layer_reads(held, tmp_path):
    x, _, files = held
    clf = kt.Classifier("tiny", CLASSES, image_size=16, weights="none")
    features = clf.embed(x[:4])
    kernel, bias = clf.model.get_layer("logits").get_weights()
    logits = features @ kernel + bias
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for row, found in zip(probabilities, clf.predict(x[:4])):
        assert sorted(row) == pytest.approx(sorted(found.probabilities), abs=1e-5)
    assert clf.embed(x[0]).shape == features[0].shape

    from keras_transfer.inference.embed import embed_files

    clf.save(tmp_path / "model.keras")
    embed_files(tmp_path / "model.keras", files[:4], tmp_path / "features.npz")
    stored = np.load(tmp_path / "features.npz")
    assert stored["paths"].tolist() == [os.fspath(file) for file in files[:4]]
    np.testing.assert_allclose(stored["features"], features, atol=1e-5)


def test_summary_explain_and_report(held, tmp_path):
    x, _, _ = held
    clf = kt.Classifier("tiny", CLASSES, image_size=16, weights="none")
    lines: list[str] = []
    clf.summary(lines.append)
    assert f"{clf.model.count_params():,} parameters; classes: apple, berry, cherry" == lines[-1]
    assert clf.explain(x[:2], output=tmp_path / "maps.png").shape == (2, 16, 16)
    assert (tmp_path / "maps.png").is_file()
    with pytest.raises(kt.UserError, match="did you mean 'apple'"):
        clf.explain(x[0], class_name="aple")
    with pytest.raises(kt.UserError, match="fine_tune"):
        clf.report()
