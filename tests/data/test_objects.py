"""Data that other libraries hold become the samples that a folder of the same images gives."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from keras_transfer import data as kt_data
from keras_transfer.data.objects import gathering
from keras_transfer.errors import UserError
from tests.conftest import make_photos

COMMON = {"image_size": 16, "seed": 1}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return make_photos(tmp_path_factory.mktemp("objects") / "photos", {"apple": 7, "berry": 7, "cherry": 7}, size=20)


@pytest.fixture(scope="module")
def held(photos):
    """What a folder holds: paths, pixels (n, 20, 20, 3), names and numbers of the classes."""
    files = sorted(photos.glob("*/*.png"))
    names = [file.parent.name for file in files]
    return SimpleNamespace(
        files=files,
        x=np.stack([np.asarray(Image.open(file)) for file in files]),
        names=names,
        y=np.unique(names, return_inverse=True)[1],
        classes=("apple", "berry", "cherry"),
    )


def _torch_kinds(held):
    torch = pytest.importorskip("torch")
    tensors = torch.utils.data.TensorDataset(torch.tensor(held.x).permute(0, 3, 1, 2), torch.tensor(held.y))

    class Folder(torch.utils.data.Dataset):  # as torchvision's ImageFolder
        def __init__(self):
            self.classes, self.transform, self.target_transform = list(held.classes), None, None
            self.samples = [(str(file), int(label)) for file, label in zip(held.files, held.y)]

        def __len__(self):
            return len(self.samples)

        def __getitem__(self, i):
            return Image.open(self.samples[i][0]).convert("RGB"), self.samples[i][1]

    def lists(batch):
        return [image for image, _ in batch], [label for _, label in batch]

    loader = torch.utils.data.DataLoader
    yield "TensorDataset", tensors
    yield "DataLoader", loader(tensors, batch_size=5, shuffle=True)
    yield "image folder", Folder()
    yield "DataLoader of files", loader(Folder(), batch_size=4, shuffle=True)
    yield "DataLoader that collates", loader(Folder(), batch_size=4, collate_fn=lists)
    yield "Subset", torch.utils.data.Subset(Folder(), range(21))


def _other_kinds(held):
    pairs = list(zip(held.files, held.names))
    yield "arrays", (held.x, held.y)
    yield "names", (held.x, held.names)
    yield "one-hot and 0..1", (held.x.astype(np.float32) / 255, np.eye(3)[held.y])
    yield "channels first", (np.moveaxis(held.x, -1, 1), held.y[:, None])
    yield "PIL", ([Image.open(file) for file in held.files], held.y)
    yield "PIL in memory", ([Image.fromarray(image) for image in held.x], held.y)
    yield "paths", ([str(file) for file in held.files], held.names)
    yield "pairs", pairs[::-1]
    yield "stream", ((image, label) for image, label in zip(held.x, held.y))
    yield "stream of batches", ((held.x[i : i + 4], held.y[i : i + 4]) for i in range(0, 21, 4))
    yield "dictionaries", [{"image": image, "label": label} for image, label in zip(held.x, held.names)]


def _frames(held):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"path": [str(file) for file in held.files], "label": held.names})
    yield "DataFrame", frame.sample(frac=1, random_state=0)


def _hugging_face_kinds(held):
    datasets = pytest.importorskip("datasets")
    columns = {"image": [str(file) for file in held.files], "label": held.names}
    made = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    made = made.cast_column("label", datasets.ClassLabel(names=list(held.classes)))
    yield "Hugging Face", made
    yield "Hugging Face, shuffled", made.shuffle(seed=0)
    yield "Hugging Face, streamed", made.to_iterable_dataset()


@pytest.mark.parametrize("makes", [_other_kinds, _torch_kinds, _hugging_face_kinds, _frames])
def test_every_kind_gives_what_the_folder_gives(photos, held, makes):
    expected = kt_data.folder(photos, **COMMON)
    for name, given in makes(held):
        found = kt_data.open(given, classes=held.classes, **COMMON)
        for split in ("train", "val", "test"):
            one, other = getattr(expected, split), getattr(found, split)
            np.testing.assert_array_equal(one.labels, other.labels, name)
            for i in range(len(one)):
                np.testing.assert_array_equal(one.read(i), other.read(i), name)


def test_a_dictionary_of_splits_keeps_them(photos, held):
    given = {"train": (held.x[::2], held.y[::2]), "validation": photos, "test": [*zip(held.files, held.names)]}
    found = kt_data.open(given, **COMMON)
    assert (len(found.train), len(found.val), len(found.test)) == (11, 21, 21)
    assert found.classes == held.classes


def test_classes_are_those_asked_for_else_the_objects_own_else_the_labels(held):
    assert kt_data.open(held.x, held.names).classes == held.classes
    assert kt_data.open(held.x, held.y * 5).classes == ("0", "5", "10")
    turned = kt_data.open(held.x, held.names, classes=held.classes[::-1]).all
    np.testing.assert_array_equal(turned.labels, 2 - held.y)


def test_pictures_of_any_size_and_channels(held):
    rng = np.random.default_rng(0)
    sizes = [(9, 12), (20, 10, 3), (8, 8, 1), (6, 7, 4)] * 3
    pictures = [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]
    found = kt_data.open(pictures, y=[0, 1] * 6, image_size=8).all
    assert [found.read(i).shape for i in range(4)] == [(9, 12, 3), (20, 10, 3), (8, 8, 3), (6, 7, 3)]


def test_a_random_transform_is_read_once(held):
    class Noisy:
        def __len__(self):
            return len(held.y)

        def __getitem__(self, i):
            return np.random.default_rng().integers(0, 256, (8, 8, 3), dtype=np.uint8), held.y[i]

    found = kt_data.open(Noisy(), **COMMON).all
    np.testing.assert_array_equal(found.read(0), found.read(0))


def test_what_is_too_large_is_read_when_it_is_needed(held, monkeypatch):
    monkeypatch.setattr(gathering, "KEPT_BYTES", 2000)
    reads = []

    class Items:
        def __len__(self):
            return len(held.y)

        def __getitem__(self, i):
            reads.append(i)
            return held.x[i], held.y[i]

    found = kt_data.open(Items(), **COMMON).all
    reads.clear()
    np.testing.assert_array_equal(found.read(3), held.x[3])
    assert reads == [3]
    with pytest.raises(UserError, match="GiB in memory"):
        gathering.stream(((image, 0) for image in held.x), "data", length=21)


def test_an_endless_stream_is_cut_and_says_so(held, monkeypatch):
    monkeypatch.setattr(gathering, "ENDLESS", 60)
    found = kt_data.open(itertools.cycle(zip(held.x, held.y)), **COMMON)
    assert len(found) == 60
    assert found.samples.notes[0].startswith(
        "the stream does not end: its first 60 images are used (kt.data.write_shards"
    )


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (3, "expected a path, arrays"),
        (None, "expected a path, arrays"),
        (np.zeros((4, 8, 8, 3), np.uint8), "images without labels"),
        ((np.zeros((4, 8, 8, 3), np.uint8), [0, 1]), "4 images but 2 labels"),
        ((np.zeros((4, 8, 8, 3), np.uint8), [0, 1, 0, 9]), "label 9 of image 3 is out of range"),
        ((np.zeros((4, 8, 8, 3), np.uint8), ["a", "b", "a", "c"]), "label 'c' is not one of the 2 classes"),
        ((np.zeros((4, 8, 8, 3), np.uint8), ["a", 1, "a", 1]), "numbers or names"),
        ((np.zeros((4, 8, 8, 3), np.uint8), [0.5, 1, 0, 1]), "expected a whole number"),
        ((np.zeros((4, 8, 8, 3), np.uint8), [[0.5, 0.5]] * 4), "mixtures of classes"),
        ((np.full((4, 8, 8, 3), -1.0), [0, 1, 0, 1]), "standardized"),
        ((np.full((4, 8, 8, 3), 300), [0, 1, 0, 1]), "pixels from 300 to 300"),
        ((np.full((4, 8, 8, 3), np.nan), [0, 1, 0, 1]), "pixels from nan"),
        ((np.zeros((4, 8)), [0, 1, 0, 1]), "4 labels"),
        ((np.zeros((4, 8, 8, 5), np.uint8), [0, 1, 0, 1]), "must have the shape"),
        ([1, 2, 3], "a list with int"),
        ({"train": [], "vall": []}, "keys train, val and test"),
        ([], "no images"),
    ],
)
def test_what_cannot_be_used_is_one_line(given, says):
    with pytest.raises(UserError, match=says):
        kt_data.open(given, classes=["a", "b"], image_size=8)


def test_16_bit_pictures_keep_the_range_that_is_used(tmp_path):
    rng = np.random.default_rng(0)
    files = []
    for i in range(20):
        file = tmp_path / "photos" / "ab"[i % 2] / f"{i:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 4096, (9, 9)).astype(np.uint16)).save(file)
        files.append(file)
    expected = kt_data.folder(tmp_path / "photos", image_size=8)
    files.sort()
    y = [file.parent.name for file in files]
    opened = [Image.open(file) for file in files]
    loaded = [Image.open(file) for file in files]
    for picture in loaded:
        picture.load()
    for given in (files, [file.read_bytes() for file in files], opened, loaded, None):
        part = (given, y) if given else expected
        found = kt_data.open({"train": part}, image_size=8, val_fraction=0, test_fraction=0)
        assert found.depth == expected.depth == (0, 4095)
        np.testing.assert_array_equal(found.all.read(3), expected.all.read(3))
        assert len(found.content) == 20
    split = kt_data.open(opened, y, image_size=8).all.at_depth((0, 65535))
    assert split.read(3).max() <= 16  # 4095 of 65535


def test_labels_mean_what_they_mean_elsewhere():
    x = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(UserError, match="give names as text"):
        kt_data.open(x, [1, 2, 1, 2], classes=["2", "1"])
    assert kt_data.open(x, ["1", "2", "1", "2"], classes=["2", "1"]).all.labels.tolist() == [1, 0, 1, 0]
    assert kt_data.open(x, ["007", "11", "007", "11"]).classes == ("007", "11")
    for missing in ([None, "a"] * 2, ["nan", "a"] * 2, [np.nan, 1.0] * 2, [-1, 1] * 2):
        with pytest.raises(UserError):
            kt_data.open(x, missing)


@pytest.mark.parametrize(
    ("item", "length", "says"),
    [
        (lambda i: 1 / (2 - i), 4, "item 2 of Faulty raised ZeroDivisionError: division by zero"),
        (lambda i: [][i], 4, "item 0 of Faulty raised IndexError"),
        (None, -1, r"len\(Faulty\) raised ValueError"),
    ],
)
def test_a_data_set_whose_own_code_fails(item, length, says):
    torch_data = pytest.importorskip("torch.utils.data")

    class Faulty(torch_data.Dataset):
        def __len__(self):
            return length

        def __getitem__(self, i):
            return np.full((8, 8, 3), item(i), np.uint8), i % 2

    with pytest.raises(UserError, match=says):
        kt_data.open(Faulty(), classes=["a", "b"], image_size=8)
