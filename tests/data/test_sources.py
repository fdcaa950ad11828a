"""Every source: what it reads, and what it says when it cannot."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import sys
import tarfile
import types

import numpy as np
import pytest

from keras_transfer.data.samples import ArrayStore, BadImage, fingerprint, make_samples
from keras_transfer.data.sources import SOURCES
from keras_transfer.data.sources.cifar10 import CLASSES
from keras_transfer.data.sources.cifar100 import COARSE, FINE
from keras_transfer.errors import UserError
from keras_transfer.safety import Refused
from tests.data.conftest import encoded, smooth


def load(source, *args, **options):
    return SOURCES[source].load(*args, **options)


def refused(match, source, *args, **options):
    with pytest.raises(UserError, match=match) as error:
        load(source, *args, **options)
    return str(error.value)


def test_digits():
    sample_table = load("digits")
    assert len(sample_table) == 1797
    assert sample_table.classes == tuple("0123456789")
    image = sample_table.images.read(0)
    assert image.shape == (8, 8, 3)
    assert image.dtype == np.uint8
    assert sample_table.images.array.max() == 255
    assert sample_table.images.array.min() == 0


class TestFolder:
    def test_class_folders(self, animals, write):
        (animals / ".hidden.jpg").write_bytes(b"")
        (animals / "cat/.DS_Store").write_bytes(b"")
        (animals / "cat/notes.txt").write_text("x")
        (animals / "README.md").write_text("x")
        (animals / ".git").mkdir()
        write(animals, {"stray.png": 1, "cat/deeper/still/x.PNG": 2})
        sample_table = load("folder", animals)
        assert sample_table.classes == ("cat", "dog", "owl")
        assert np.bincount(sample_table.labels).tolist() == [13, 10, 8]
        assert sample_table.names() == sorted(sample_table.names())
        assert "cat/deeper/still/x.PNG" in sample_table.names()
        assert set(sample_table.split) == {""}
        assert sample_table.notes == (
            "skipped: 2 hidden files",
            "skipped: 2 files that are not images",
            "skipped: 1 images outside class folders",
        )

    @pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
    def test_split_folders(self, tmp_path, write, val):
        names = [f"{s}/{c}/{i}.png" for s in ("train", val, "test") for c in "ab" for i in range(2)]
        sample_table = load("folder", write(tmp_path / "d", dict.fromkeys(names, 0)))
        assert sample_table.classes == ("a", "b")
        expected = {"train": "train", "test": "test", val: "val"}
        assert all(sample_table.split[i] == expected[n.split("/")[0]] for i, n in enumerate(sample_table.names()))
        assert [n.split("/")[1] == "b" for n in sample_table.names()] == sample_table.labels.astype(bool).tolist()

    def test_a_class_may_be_called_train(self, tmp_path, write):
        root = write(tmp_path / "d", {"train/1.png": 0, "bus/1.png": 1, "train/2.png": 2, "bus/2.png": 3})
        assert load("folder", root).classes == ("bus", "train")

    def test_chosen_classes(self, animals):
        sample_table = load("folder", animals, classes=["owl", "cat"])
        assert sample_table.classes == ("owl", "cat")
        assert np.bincount(sample_table.labels).tolist() == [8, 12]
        assert "10 images of classes" in sample_table.notes[0]
        refused("no images of the class 'cow'", "folder", animals, classes=["cow", "cat"])

    def test_links_in_a_circle(self, animals):
        (animals / "cat/loop").symlink_to(animals / "cat", target_is_directory=True)
        assert len(load("folder", animals)) == 30

    def test_refusals(self, tmp_path, animals, write):
        refused("no such folder; did you mean 'animals'", "folder", tmp_path / "animal")
        refused("is a file", "folder", animals / "cat/00.jpg")
        (tmp_path / "empty").mkdir()
        refused("no images in class folders", "folder", tmp_path / "empty")
        write(tmp_path / "flat", {"1.png": 0, "2.png": 0})
        assert "2 images outside" in refused("expected flat/CLASS", "folder", tmp_path / "flat")
        refused(
            "mixes split folders",
            "folder",
            write(tmp_path / "mix", {"train/a/1.png": 0, "test/a/1.png": 0, "x/1.png": 0}),
        )
        refused(
            "two folders for the same split",
            "folder",
            write(tmp_path / "two", {"train/a/1.png": 0, "val/a/1.png": 0, "valid/a/1.png": 0}),
        )
        refused("the split 'test'", "folder", write(tmp_path / "flat2", {"train/a/1.png": 0, "test/1.png": 0}))


class TestList:
    def test_one_list(self, tmp_path, write):
        write(tmp_path, {"my cats/a b.png": 0, "dogs/x.png": 1, "dogs/y.png": 2})
        (tmp_path / "all.txt").write_text("\nmy cats/a b.png  cat\n./dogs//x.png dog\n  dogs/y.png\tdog\n\n")
        sample_table = load("list", tmp_path / "all.txt")
        assert sample_table.names() == ["dogs/x.png", "dogs/y.png", "my cats/a b.png"]
        assert sample_table.classes == ("cat", "dog")
        assert sample_table.labels.tolist() == [1, 1, 0]
        assert set(sample_table.split) == {""}
        assert sample_table.images.read(2).shape == (12, 16, 3)

    def test_lists_of_splits_with_root_and_class_file(self, tmp_path, write):
        root = write(tmp_path / "images", {f"{i}.png": i for i in range(4)})
        lists = tmp_path / "lists"
        lists.mkdir()
        (lists / "train.txt").write_text(f"0.png 0\n{root}/1.png 1\n")
        (lists / "val.txt").write_text("2.png 0\n")
        (lists / "test.txt").write_text("3.png 1\n")
        (lists / "classes.txt").write_text("zebra\nant\n\n")
        options = {s: lists / f"{s}.txt" for s in ("train", "val", "test")}
        sample_table = load("list", root=root, classes=lists / "classes.txt", **options)
        assert sample_table.classes == ("zebra", "ant")
        assert sample_table.names() == ["0.png", "1.png", "2.png", "3.png"]
        assert sample_table.labels.tolist() == [0, 1, 0, 1]
        assert sample_table.split.tolist() == ["train", "train", "val", "test"]
        assert load("list", lists / "train.txt", test=lists / "test.txt", root=root).split.tolist() == [
            "train",
            "train",
            "test",
        ]

    def test_labels_as_numbers(self, tmp_path, write):
        write(tmp_path, {f"{i}.png": i for i in range(4)})
        (tmp_path / "l.txt").write_text("0.png 10\n1.png 2\n2.png 1\n3.png 2\n")
        sample_table = load("list", tmp_path / "l.txt")
        assert sample_table.classes == ("1", "2", "10")
        assert sample_table.labels.tolist() == [2, 1, 0, 1]
        (tmp_path / "m.txt").write_text("0.png 1\n1.png 2\n")
        assert load("list", tmp_path / "m.txt", classes=["2", "1"]).labels.tolist() == [1, 0]
        assert load("list", tmp_path / "m.txt", classes=["a", "b", "c"]).labels.tolist() == [1, 2]

    def test_repeats(self, tmp_path, write):
        write(tmp_path, {"a.png": 0, "b.png": 1})
        (tmp_path / "l.txt").write_text("a.png x\nb.png y\n./a.png x\n")
        sample_table = load("list", tmp_path / "l.txt")
        assert len(sample_table) == 2
        assert sample_table.notes == ("skipped: 1 duplicate lines",)
        (tmp_path / "l.txt").write_text("a.png x\nb.png y\na.png y\n")
        refused(r"l.txt:3: 'a.png' has another label than at .*l.txt:1", "list", tmp_path / "l.txt")
        (tmp_path / "l.txt").write_text("a.png x\nb.png y\n")
        (tmp_path / "t.txt").write_text("\na.png x\n")
        refused(
            r"t.txt:2: 'a.png' is in the split 'test', but in 'train' at .*l.txt:1",
            "list",
            train=tmp_path / "l.txt",
            test=tmp_path / "t.txt",
        )

    def test_refusals_name_the_line(self, tmp_path, write):
        write(tmp_path, {"a.png": 0, "b.png": 1})
        path = tmp_path / "l.txt"
        for text, match in {
            "a.png x\n\nb.png\n": "l.txt:3: expected `path label`, received 'b.png'",
            "a.png x\nc.png y\n": "l.txt:2: no such file: 'c.png'",
            "a.png x\nno/c.png y\n/no/d.png x\n": "(?s)l.txt:2: no such file: 'no/c.png'.*l.txt:3: /no/d.png",
            "a.png 0\nb.png -1\n": "l.txt:2: label -1 is out of range",
            "\n": "no lines",
        }.items():
            path.write_text(text)
            refused(match, "list", path)
        path.write_text("a.png 0\nb.png 2\n")
        refused(r"l.txt:2: label 2 is out of range: expected 0\.\.1", "list", path, classes=["u", "v"])
        path.write_text("a.png cat\nb.png dgo\n")
        refused(
            "l.txt:2: label 'dgo' is not one of the 2 classes; did you mean 'dog'", "list", path, classes=["cat", "dog"]
        )
        path.write_text("".join(f"gone{i}.png x\n" for i in range(30)))
        assert refused("gone0", "list", path).endswith("…")

    def test_other_refusals(self, tmp_path, write):
        write(tmp_path, {"a.png": 0})
        (tmp_path / "l.txt").write_bytes(b"a\xff.png x\n")
        refused("UTF-8", "list", tmp_path / "l.txt")
        refused("cannot read the list", "list", tmp_path / "gone.txt")
        refused("either one list", "list")
        refused("either one list", "list", "a", train="b")
        (tmp_path / "l.txt").write_text("a.png 0\n")
        refused("no such folder", "list", tmp_path / "l.txt", root=tmp_path / "gone")
        refused("occurs twice", "list", tmp_path / "l.txt", classes=["a", "a"])
        (tmp_path / "c.txt").write_text("\n")
        refused("no class names", "list", tmp_path / "l.txt", classes=tmp_path / "c.txt")

    def test_absolute_paths_outside_of_the_root(self, tmp_path, write):
        write(tmp_path / "p", {"a.png": 0, "b.png": 1})
        (tmp_path / "q").mkdir()
        (tmp_path / "q/l.txt").write_text(f"{tmp_path}/p/a.png x\n../p/b.png y\n")
        sample_table = load("list", tmp_path / "q/l.txt")
        assert sorted(sample_table.names()) == ["../p/b.png", f"{tmp_path}/p/a.png"]
        assert sample_table.images.read(0).shape == sample_table.images.read(1).shape

    def test_a_hundred_thousand_lines_do_not_ask_for_each_file(self, tmp_path, monkeypatch):
        names = [f"{i}.png" for i in range(100_000)]
        (tmp_path / "l.txt").write_text("".join(f"d{i % 10}/{n} {i % 7}\n" for i, n in enumerate(names)))
        asked = []

        def listing(folder):
            asked.append(folder)
            return names

        monkeypatch.setattr("keras_transfer.data.sources._files.os.listdir", listing)
        assert len(load("list", tmp_path / "l.txt")) == 100_000
        assert len(asked) == 10


class TestCsv:
    def write(self, path, text):
        path.write_text(text)
        return path

    def test_all_columns(self, tmp_path, write):
        write(tmp_path, {f"{i}.png": i for i in range(4)})
        file = self.write(
            tmp_path / "d.csv",
            'Label, path ,split,weight,group\n"big cat",0.png,train,2,p1\ndog,1.png,valid,,p2\n\ndog,2.png,test,0.5,\n'
            "big cat,3.png,,1,p1\n",
        )
        sample_table = load("csv", file)
        assert sample_table.classes == ("big cat", "dog")
        assert sample_table.labels.tolist() == [0, 1, 1, 0]
        assert sample_table.split.tolist() == ["train", "val", "test", ""]
        assert sample_table.weights.tolist() == [2, 1, 0.5, 1]
        assert sample_table.groups.tolist() == ["p1", "p2", "", "p1"]

    def test_two_columns_and_repeats(self, tmp_path, write):
        write(tmp_path / "p", {"a.png": 0, "b.png": 1})
        file = self.write(tmp_path / "d.csv", "\ufeffpath,label\na.png,1\nb.png,0\na.png,1\n")
        sample_table = load("csv", file, root=tmp_path / "p", classes=["x", "y"])
        assert sample_table.labels.tolist() == [1, 0]
        assert sample_table.weights is None
        assert sample_table.groups is None

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("", "d.csv: the file is empty"),
            ("path,label\n", "no rows"),
            ("path,lable\na.png,1\n", "d.csv:1: unknown column 'lable'; did you mean 'label'"),
            ("path,weight\na.png,1\n", "d.csv:1: the column 'label' is missing"),
            ("path,label,label\na.png,1,1\n", "twice"),
            ("path,label\na.png,x\nb.png\n", "d.csv:3: expected 2 fields, received 1"),
            ('path,label\n"a.png",x\n"b.png,x\n', "d.csv:3"),
            ("path,label\na.png,\n", "d.csv:2: the label is empty"),
            ("path,label\na.png,x\n,x\n", "d.csv:3: the path is empty"),
            ("path,label,weight\na.png,x,1\nb.png,y,-1\n", "d.csv:3: weight '-1'"),
            ("path,label,weight\na.png,x,nan\nb.png,y,1\n", "d.csv:2: weight 'nan'"),
            ("path,label,weight\na.png,x,much\nb.png,y,1\n", "d.csv:2: weight 'much'"),
            ("path,label,split\na.png,x,trian\nb.png,y,\n", "d.csv:2: unknown split 'trian'; did you mean 'train'"),
            ("path,label\na.png,x\ngone.png,y\n", "d.csv:3: no such file: 'gone.png'"),
            ("path,label\na.png,x\na.png,y\n", "d.csv:3: 'a.png' has another label than at .*d.csv:2"),
        ],
    )
    def test_refusals(self, tmp_path, write, text, match):
        write(tmp_path, {"a.png": 0, "b.png": 1})
        refused(match, "csv", self.write(tmp_path / "d.csv", text))

    def test_quoted_line_breaks_keep_the_line_numbers(self, tmp_path, write):
        write(tmp_path, {"a.png": 0})
        file = self.write(tmp_path / "d.csv", 'path,label\na.png,"x\ny"\ngone.png,z\n')
        refused("d.csv:4: no such file", "csv", file)

    def test_other_refusals(self, tmp_path):
        refused("cannot read the CSV", "csv", tmp_path / "gone.csv")
        (tmp_path / "d.csv").write_bytes(b"path,label\n\xff,1\n")
        refused("UTF-8", "csv", tmp_path / "d.csv")
        self.write(tmp_path / "d.csv", "path,label\na,b\n")
        refused("no such folder", "csv", tmp_path / "d.csv", root=tmp_path / "gone")


X = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
Y = np.array([0, 1, 2, 0, 1, 2])


class TestArrays:
    @pytest.mark.parametrize(
        "labels", [Y, Y[:, None], np.eye(3)[Y], Y.astype(np.uint8), Y.tolist(), np.array(["0", "1", "2"])[Y]]
    )
    def test_labels_in_every_form(self, labels):
        sample_table = load("arrays", X, labels)
        assert sample_table.classes == ("0", "1", "2")
        assert sample_table.labels.tolist() == Y.tolist()
        assert np.array_equal(sample_table.images.read(3), X[3])
        assert sample_table.split.tolist() == [""] * 6

    def test_names_as_objects_and_class_names(self):
        names = np.array(["b", "a", "b", "a", "b", "a"], object)
        assert load("arrays", X, names).classes == ("a", "b")
        assert load("arrays", X, Y, classes=["x", "y", "z"]).classes == ("x", "y", "z")

    def test_grey_and_alpha(self):
        assert load("arrays", X[..., 0], Y).images.read(0).shape == (5, 4, 3)
        alpha = np.concatenate([X, np.zeros((6, 5, 4, 1), np.uint8)], axis=3)
        assert (load("arrays", alpha, Y).images.read(0) == 255).all()

    def test_npz_with_splits(self, tmp_path):
        path = tmp_path / "d.npz"
        np.savez(path, x_train=X, y_train=Y, x_test=X[:3], y_test=Y[:3], weights_train=np.arange(6))
        sample_table = load("arrays", path=path)
        assert sample_table.split.tolist() == ["test"] * 3 + ["train"] * 6
        assert np.array_equal(sample_table.images.read(4), X[1])
        assert sample_table.labels.tolist() == [*Y[:3], *Y]
        assert sample_table.weights.tolist() == [1, 1, 1, 0, 1, 2, 3, 4, 5]

    def test_groups(self):
        assert load("arrays", X, Y, groups=[1, 1, 2, 2, 3, 3]).groups.tolist() == list("112233")

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({}, "expected x and y"),
            ({"x": X}, "y is missing"),
            ({"y": Y}, "x is missing"),
            ({"x": X, "y": Y, "x_test": X, "y_test": Y}, "expected x and y, or"),
            ({"x_test": X, "y_test": Y}, "expected x and y, or"),
            ({"x": X, "y": Y[:5]}, "x has 6 images, but y has 5 labels"),
            ({"x": X / 255, "y": Y}, r"x: images must be uint8 .*received dtype float64"),
            ({"x": X[..., :2], "y": Y}, "shape"),
            ({"x": X[0, 0], "y": Y}, "shape"),
            ({"x": X[:, :0], "y": Y}, "shape"),
            ({"x": X, "y": Y / 1}, "integers or class names"),
            ({"x": X, "y": np.full((6, 3), 0.5)}, "one-hot"),
            ({"x": X, "y": np.ones((6, 3, 2))}, r"\(n,\)"),
            ({"x": X, "y": Y - 1}, r"y\[0\]: label -1 is out of range"),
            ({"x": X, "y": Y, "classes": ["a", "b"]}, r"y\[2\]: label 2 is out of range: expected 0..1"),
            ({"x": X, "y": Y, "weights": -np.ones(6)}, "weight -1.0 of '00000000'"),
            ({"x": X, "y": Y, "weights": np.full(6, np.nan)}, "weight nan"),
            ({"x": X, "y": Y, "weights": np.ones(5)}, r"shape \(5,\)"),
            ({"x": X, "y": Y, "weights": ["a"] * 6}, "must be numbers"),
            ({"x_train": X, "y_train": Y, "x_test": X[:, 1:], "y_test": Y}, "image shapes differ"),
            (
                {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 7, "classes": list("abc")},
                r"y_test\[0\]",
            ),
        ],
    )
    def test_refusals(self, options, match):
        refused(match, "arrays", **options)

    def test_files_that_are_not_plain_arrays(self, tmp_path):
        refused("No such file", "arrays", path=tmp_path / "gone.npz")
        np.save(tmp_path / "x.npy", X)
        refused("expected an .npz", "arrays", path=tmp_path / "x.npy")
        np.savez(tmp_path / "o.npz", x=np.array([object()] * 2), y=Y)
        refused("Python objects", "arrays", path=tmp_path / "o.npz")
        np.savez(tmp_path / "k.npz", x=X, labels=Y)
        refused("unknown array 'labels'", "arrays", path=tmp_path / "k.npz")
        (tmp_path / "t.npz").write_bytes((tmp_path / "k.npz").read_bytes()[:100])
        refused("not a readable", "arrays", path=tmp_path / "t.npz")
        (tmp_path / "e.npz").write_bytes(b"")
        refused("not a readable|cannot read", "arrays", path=tmp_path / "e.npz")

    def test_store_refusals(self):
        with pytest.raises(UserError, match="2 names for 6 images"):
            ArrayStore(X, ["a", "b"])


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class TestIdx:
    def make(self, folder, dash="-", zipped=False):
        folder.mkdir()
        for prefix, n in (("train", 6), ("t10k", 3)):
            for what, d, array in (("images", 3, X[:n, ..., 0]), ("labels", 1, Y[:n].astype(np.uint8))):
                data = idx_bytes(np.ascontiguousarray(array))
                name = f"{prefix}-{what}{dash}idx{d}-ubyte"
                (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(data) if zipped else data)
        return folder

    @pytest.mark.parametrize(("dash", "zipped"), [("-", False), ("-", True), (".", False)])
    def test_reads(self, tmp_path, dash, zipped):
        sample_table = load("idx", self.make(tmp_path / "d", dash, zipped))
        assert sample_table.split.tolist() == ["test"] * 3 + ["train"] * 6
        assert np.array_equal(sample_table.images.read(5)[..., 0], X[2, ..., 0])
        assert sample_table.labels.tolist() == [*Y[:3], *Y]

    def test_refusals(self, tmp_path):
        refused("no such folder", "idx", tmp_path / "gone")
        folder = self.make(tmp_path / "d")
        images = folder / "train-images-idx3-ubyte"
        data = images.read_bytes()
        images.write_bytes(data[:-1])
        refused("expected 120 bytes of data, found 119", "idx", folder)
        images.write_bytes(data[:3])
        refused("not an IDX file", "idx", folder)
        images.write_bytes(data[:4] + b"\xff" * 12 + data[16:])
        refused("damaged", "idx", folder)
        images.unlink()
        refused("has no train-images-idx3-ubyte", "idx", folder)
        (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(data)[:-20])
        refused("cannot read", "idx", folder)

    def test_real_data(self, shared_data):
        sample_table = load("idx", shared_data / "fashion-mnist", classes="fashion-mnist")
        assert np.bincount(sample_table.labels).tolist() == [7000] * 10
        assert sample_table.classes[9] == "Ankle boot"


def cifar_pickle(path, n=20, keys=(b"labels",), classes=10, protocol=2, seed=0):
    rng = np.random.default_rng(seed)
    content = {b"data": rng.integers(0, 256, (n, 3072), np.uint8), b"filenames": ["a"] * n, b"batch_label": b"x"}
    content.update({key: (np.arange(n) % classes).tolist() for key in keys})
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return content[b"data"]


class TestCifar:
    def make10(self, folder):
        folder.mkdir(parents=True)
        for k in range(1, 6):
            cifar_pickle(folder / f"data_batch_{k}", seed=k)
        return cifar_pickle(folder / "test_batch")

    def test_original_folder(self, tmp_path):
        data = self.make10(tmp_path / "cifar-10-batches-py")
        for path in tmp_path, tmp_path / "cifar-10-batches-py":
            sample_table = load("cifar10", path)
            assert sample_table.classes == CLASSES
            assert (sample_table.split == "train").sum() == 100
            assert (sample_table.split == "test").sum() == 20
            assert np.array_equal(sample_table.images.read(3), data[3].reshape(3, 32, 32).transpose(1, 2, 0))

    def test_original_archive(self, tmp_path, monkeypatch):
        monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))
        self.make10(tmp_path / "x/cifar-10-batches-py")
        with tarfile.open(tmp_path / "c.tar.gz", "w:gz") as tar:
            tar.add(tmp_path / "x/cifar-10-batches-py", "cifar-10-batches-py")
        assert len(load("cifar10", tmp_path / "c.tar.gz")) == 120

    def test_cifar100(self, tmp_path):
        for name in "train", "test":
            cifar_pickle(tmp_path / name, 200, (b"fine_labels", b"coarse_labels"), 20)
        (tmp_path / "meta").write_bytes(b"")
        assert load("cifar100", tmp_path).classes == FINE
        assert load("cifar100", tmp_path, labels="coarse").classes == COARSE
        assert (len(FINE), len(COARSE)) == (100, 20)
        refused("unknown kind of label 'course'", "cifar100", tmp_path, labels="course")

    def test_images_with_lists(self, tmp_path, write):
        write(tmp_path / "c", {f"{s}/{c}/{i}.jpg": i for s in ("train", "test") for c in "ab" for i in range(2)})
        for split in "train", "test":
            lines = [f"{split}/{c}/{i}.jpg {'ab'.index(c)}" for c in "ab" for i in range(2)]
            (tmp_path / f"c/{split}.txt").write_text("\n".join(lines))
        (tmp_path / "c/classes.txt").write_text("a\nb\n")
        from_list = load("cifar10", tmp_path)
        (tmp_path / "c/train.txt").unlink()
        from_folders = load("cifar10", tmp_path)
        assert from_list.classes == from_folders.classes == ("a", "b")
        assert fingerprint(from_list) == fingerprint(from_folders)
        assert from_list.source == from_folders.source == f"cifar10 {tmp_path}"
        assert from_list.split.tolist() == from_folders.split.tolist()

    def test_a_pickle_cannot_run_code(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (os.mkdir, (str(tmp_path / "owned"),))

        self.make10(tmp_path / "d")
        (tmp_path / "d/data_batch_1").write_bytes(pickle.dumps({b"data": Evil(), b"labels": []}))
        refused(r"asks for \w+\.mkdir", "cifar10", tmp_path / "d")
        assert not (tmp_path / "owned").exists()

    def test_refusals(self, tmp_path):
        refused("no such file or folder", "cifar10", tmp_path / "gone")
        self.make10(tmp_path / "d")
        batch = tmp_path / "d/data_batch_1"
        whole = batch.read_bytes()
        batch.write_bytes(whole[: len(whole) // 2])
        refused("cannot read", "cifar10", tmp_path / "d")
        batch.write_bytes(pickle.dumps([1, 2]))
        refused("not a CIFAR batch", "cifar10", tmp_path / "d")
        batch.write_bytes(pickle.dumps({b"data": np.zeros((2, 5), np.uint8), b"labels": [1, 2]}))
        refused(r"expected uint8 data \(n, 3072\)", "cifar10", tmp_path / "d")
        (tmp_path / "nothing").mkdir()
        refused("expected data_batch_1, or train.txt", "cifar10", tmp_path / "nothing")

    def test_download(self, monkeypatch):
        # Stands in for the package, which would read ~/.keras and start a backend.
        x, y = np.zeros((20, 32, 32, 3), np.uint8), np.arange(20)[:, None] % 10
        keras = types.ModuleType("keras")
        keras.datasets = types.SimpleNamespace(
            cifar10=types.SimpleNamespace(load_data=lambda: ((x, y), (x[:10], y[:10])))
        )
        monkeypatch.setitem(sys.modules, "keras", keras)
        sample_table = load("cifar10")
        assert sample_table.classes == CLASSES
        assert (sample_table.split == "test").sum() == 10

        def fail(label_mode):
            raise Exception(f"URL fetch failure on\nhttps://example.org: {label_mode}")

        keras.datasets.cifar100 = types.SimpleNamespace(load_data=fail)
        message = refused("cifar100 could not be downloaded", "cifar100", labels="coarse")
        assert "\n" not in message
        assert "cifar-100-python.tar.gz" in message
        assert "failure on https://example.org: coarse" in message


class TestArchive:
    def tar(self, path, *members, kind="w:gz"):
        with tarfile.open(path, kind) as tar:
            for name, content in members:
                info = tarfile.TarInfo(name)
                if isinstance(content, bytes):
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
                else:
                    info.type, info.linkname = tarfile.SYMTYPE, content
                    tar.addfile(info)
        return path

    @pytest.fixture(autouse=True)
    def cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))
        return tmp_path / "cache"

    def test_unpacked_once_by_content(self, tmp_path, cache):
        from keras_transfer.data.archive import unpack

        first = unpack(self.tar(tmp_path / "a.tar.gz", ("d/x.txt", b"hello")))
        assert (first / "d/x.txt").read_bytes() == b"hello"
        (first / "mark").touch()
        (tmp_path / "a.tar.gz").rename(tmp_path / "b.tar.gz")
        assert unpack(tmp_path / "b.tar.gz") == first
        assert (first / "mark").exists()
        assert unpack(self.tar(tmp_path / "a.tar.gz", ("d/x.txt", b"other"))) != first
        assert len(list((cache / "archives").iterdir())) == 2

    @pytest.mark.parametrize("members", [[("../x", b"1")], [("l", "../.."), ("l/x", b"1")], [("d/l", "x.txt")]])
    def test_dangerous_members_are_refused(self, tmp_path, cache, members):
        from keras_transfer.data.archive import unpack

        with pytest.raises(Refused, match=r"a link or a special file|outside"):
            unpack(self.tar(tmp_path / "a.tar.gz", *members))
        assert not (tmp_path / "x").exists()
        assert list((cache / "archives").iterdir()) == []

    def test_damaged_archives(self, tmp_path, cache):
        noise = np.random.default_rng(0).bytes(100_000)
        for kind in "gz", "bz2", "xz":
            whole = self.tar(tmp_path / f"a.tar.{kind}", ("x", noise), kind=f"w:{kind}").read_bytes()
            (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
            refused("not a tar archive, or damaged", "cifar10", tmp_path / "cut")
            flipped = bytearray(whole)
            flipped[len(whole) // 2] ^= 0xFF
            (tmp_path / "flipped").write_bytes(flipped)
            refused("damaged|CRC|cannot unpack|Invalid|expected data_batch_1", "cifar10", tmp_path / "flipped")
        (tmp_path / "text").write_text("this is no archive")
        refused("not a tar archive, or damaged", "cifar10", tmp_path / "text")
        assert not [p for p in (cache / "archives").iterdir() if p.name.startswith(".part")]

    def test_too_large(self, tmp_path, monkeypatch):
        monkeypatch.setattr("keras_transfer.data.archive.MAX_UNPACKED_BYTES", 3)
        refused("unpacks to more than", "cifar10", self.tar(tmp_path / "a.tar", ("x", b"1234"), kind="w"))

    def test_a_cache_that_cannot_be_written(self, tmp_path, monkeypatch):
        (tmp_path / "file").touch()
        monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "file"))
        refused("cannot unpack", "cifar10", self.tar(tmp_path / "a.tar", ("x", b"1"), kind="w"))

    def test_another_process_was_faster(self, tmp_path, cache, monkeypatch):
        from keras_transfer.data import archive

        extract = archive._extract

        def slow(path, folder):
            monkeypatch.setattr(archive, "_extract", extract)
            other = archive.unpack(path)  # the other process
            (other / "theirs").touch()
            extract(path, folder)

        monkeypatch.setattr(archive, "_extract", slow)
        result = archive.unpack(self.tar(tmp_path / "a.tar", ("x", b"1"), kind="w"))
        assert (result / "theirs").exists()
        assert len(list((cache / "archives").iterdir())) == 1


class TestManifest:
    def store(self, n=3):
        return ArrayStore(X[:n], ["b", "c", "a"][:n])

    def test_canonical_order(self):
        sample_table = make_samples(
            ["x", "y"], self.store(), [0, 1, 1], ["train", "", "test"], [1, 2, 3], ["g", "h", "i"]
        )
        assert sample_table.names() == ["a", "b", "c"]
        assert sample_table.labels.tolist() == [1, 0, 1]
        assert sample_table.split.tolist() == ["test", "train", ""]
        assert sample_table.weights.tolist() == [3, 1, 2]
        assert sample_table.groups.tolist() == ["i", "g", "h"]
        assert np.array_equal(sample_table.images.read(0), X[2])

    def test_refusals(self):
        for options, match in (
            ({"labels": [0, 1]}, "3 images but 2 labels"),
            ({"labels": [0, 1, 2]}, r"label 2 of 'a' is out of range: expected 0\.\.1"),
            ({"labels": [0, 1, 1], "weights": [1, -1, 1]}, "weight -1.0 of 'c'"),
            ({"labels": [0, 1, 1], "weights": [1, 1, np.inf]}, "weight inf of 'a'"),
        ):
            with pytest.raises(UserError, match=match):
                make_samples(["x", "y"], self.store(), **options)

    def test_fingerprint_sees_names_labels_classes_weights_and_pixels(self, animals, tmp_path):
        def sample_table(classes=("x", "y"), names="abc", labels=(0, 1, 1), weights=None, array=X[:3]):
            return make_samples(classes, ArrayStore(array, list(names)), labels, weights=weights)

        prints = [
            fingerprint(m)
            for m in (
                sample_table(),
                sample_table(classes=("x", "z")),
                sample_table(names="abd"),
                sample_table(labels=(0, 0, 1)),
                sample_table(weights=[1, 1, 2]),
                sample_table(array=X[:3] ^ 1),
            )
        ]
        assert len(set(prints)) == 6
        assert fingerprint(sample_table()) == prints[0]
        before = fingerprint(load("folder", animals))
        animals.rename(tmp_path / "moved")
        assert fingerprint(load("folder", tmp_path / "moved")) == before
        (tmp_path / "moved/cat/00.jpg").write_bytes(encoded(smooth(99, 99), "JPEG"))
        assert fingerprint(load("folder", tmp_path / "moved")) != before

    def test_bad_image_is_a_user_error(self):
        error = BadImage("x.jpg", "cut short")
        assert isinstance(error, UserError)
        assert str(error) == "cannot read the image 'x.jpg': cut short"
