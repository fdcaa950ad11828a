"""Streams written as shards hold every image once, unchanged, with its label; what cannot be written is said in a line."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import keras_transfer as kt
from keras_transfer.data.objects import gathering, images_in
from keras_transfer.data.writing import streams
from keras_transfer.errors import UserError

CLASSES = ["ant", "bee", "cat"]


def png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((6, 5, 3), number, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


FILES = [png(number) for number in range(30)]


def hugging_face(rows: range, names: bool = True):
    datasets = pytest.importorskip("datasets")
    columns = {"image": [{"bytes": FILES[k], "path": None} for k in rows], "label": [k % 3 for k in rows]}
    label = datasets.ClassLabel(names=CLASSES) if names else datasets.Value("int64")
    features = datasets.Features({"image": datasets.Image(), "label": label})
    return datasets.Dataset.from_dict(columns, features=features).to_iterable_dataset()


def written(output) -> dict[int, str]:
    """Number of each picture, from its pixels → class."""
    data = kt.data.shards(output, image_size=8, val_fraction=0, test_fraction=0)
    return {int(data.all.read(i)[0, 0, 0]): data.classes[data.all.labels[i]] for i in range(len(data.all))}


EXPECTED = {k: CLASSES[k % 3] for k in range(30)}


def test_a_hugging_face_stream(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "MIXED", 5)
    assert kt.data.write_shards(hugging_face(range(30)), tmp_path / "a", size="10kB") == 30
    assert written(tmp_path / "a") == EXPECTED
    assert len(list((tmp_path / "a").glob("*.tar"))) > 1 and not (tmp_path / "a" / "unfinished").exists()
    packed = b"".join(path.read_bytes() for path in sorted((tmp_path / "a").glob("*.tar")))
    assert all(file in packed for file in FILES)  # unchanged
    kt.data.write_shards(hugging_face(range(30)), tmp_path / "b", size="10kB")
    for path in (tmp_path / "a").glob("*.tar"):
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert sorted(range(30), key=lambda k: packed.index(FILES[k])) != list(range(30))  # mixed
    with pytest.raises(UserError, match="holds other shards already"):
        kt.data.write_shards(hugging_face(range(30)), tmp_path / "a")


def test_splits_are_kept(tmp_path):
    parts = {
        "train": hugging_face(range(18)),
        "validation": hugging_face(range(18, 24)),
        "test": hugging_face(range(24, 30)),
    }
    assert kt.data.write_shards(parts, tmp_path / "a") == 30
    data = kt.data.shards(tmp_path / "a", image_size=8)
    assert [len(split) for split in (data.train, data.val, data.test)] == [18, 6, 6]
    assert sorted(int(data.val.read(i)[0, 0, 0]) for i in range(6)) == list(range(18, 24))


def test_generators_batches_and_what_can_be_looked_up(tmp_path):
    arrays = np.stack([np.full((6, 5, 3), k, np.uint8) for k in range(30)])
    names = [CLASSES[k % 3] for k in range(30)]
    given = {
        "pairs": (zip(arrays, names), {"classes": CLASSES}),
        "files": (zip(FILES, names), {"classes": CLASSES}),
        "batches": (
            ((arrays[k : k + 4], np.arange(k, min(k + 4, 30)) % 3) for k in range(0, 30, 4)),
            {"classes": CLASSES},
        ),
        "one-hot": (zip(arrays, np.eye(3)[np.arange(30) % 3]), {"classes": CLASSES}),
        "arrays": (arrays, {"y": names}),
    }
    for name, (data, options) in given.items():
        assert kt.data.write_shards(data, tmp_path / name, **options) == 30
        assert written(tmp_path / name) == EXPECTED, name


def test_what_cannot_be_written_is_said(tmp_path):
    pairs = [(FILES[0], "ant"), (FILES[1], "bee"), (b"no image", "cat")]
    with pytest.raises(UserError, match=r"labels of a stream .* name the classes with classes="):
        kt.data.write_shards(iter(pairs), tmp_path / "a")
    with pytest.raises(UserError, match="the label 'bee' is none of the classes; did you mean 'beed'"):
        kt.data.write_shards(iter(pairs), tmp_path / "b", classes=["ant", "beed"])
    with pytest.raises(UserError, match=r"000000002: .*on_bad_image='skip'"):
        kt.data.write_shards(iter(pairs), tmp_path / "c", classes=CLASSES)
    with pytest.raises(UserError, match="expected a label from 0 to 2, received 3"):
        kt.data.write_shards(iter([(FILES[0], 3)]), tmp_path / "d", classes=CLASSES)
    with pytest.raises(UserError, match="image 0 has no label"):
        kt.data.write_shards(iter(FILES), tmp_path / "e", classes=CLASSES)
    with pytest.raises(UserError, match="no images"):
        kt.data.write_shards(iter([]), tmp_path / "f", classes=CLASSES)
    assert kt.data.write_shards(iter(pairs), tmp_path / "g", classes=CLASSES, on_bad_image="skip") == 2


def test_a_long_stream_is_refused_for_predictions_which_take_its_shards(tmp_path, monkeypatch):
    monkeypatch.setattr(gathering, "ENDLESS", 20)
    assert len(images_in(hugging_face(range(10)))[0]) == 10
    with pytest.raises(UserError, match=r"longer than the 20 images .* kt.data.write_shards"):
        images_in(hugging_face(range(30)))
    kt.data.write_shards(hugging_face(range(30)), tmp_path / "a")
    data = kt.data.shards(tmp_path / "a", image_size=8)
    for given in (data, data.all):
        store, names = images_in(given)
        assert sorted(int(store.open(i).pixels()[0, 0, 0]) for i in range(len(names))) == list(range(30))
