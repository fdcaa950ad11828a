"""From options to a data set, and everything that is refused on the way."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest

from keras_transfer import data
from keras_transfer.data.augment import transforms
from keras_transfer.data.checks.verify import check, listed, resolve_workers
from keras_transfer.data.loading.loader import Loader
from keras_transfer.data.sources import SOURCES
from keras_transfer.data.statistics import describe
from keras_transfer.errors import UserError
from tests.data.conftest import encoded, smooth
from tests.html_page import shown_html


def test_importing_is_light():
    heavy = ("keras", "cv2", "torch", "jax", "tensorflow", "sklearn")
    code = f"import sys, keras_transfer.data; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_folder(animals):
    ds = data.folder(animals, 32, seed=4)
    assert ds.classes == ("cat", "dog", "owl")
    assert (len(ds.train), len(ds.val), len(ds.test)) == (21, 5, 4)
    assert len(ds) == 30
    assert ds.image_size == (32, 32)
    assert (ds.color, ds.resize) == ("rgb", "squash")
    assert ds.skipped == ()
    assert repr(ds).endswith("3 classes, train 21, val 5, test 4)")
    split = ds.test
    assert repr(split) == "Split('test', 4 images, 3 classes)"
    i = int(split.indices[2])
    assert split.image_name(2) == ds.samples.images.name(i)
    assert np.array_equal(split.read(2), ds.samples.images.read(i))
    assert split.labels[2] == ("cat", "dog", "owl").index(split.image_name(2).split("/")[0])
    part = split.take([3, 1])
    assert [part.image_name(k) for k in (0, 1)] == [split.image_name(k) for k in (3, 1)]
    assert data.Dataset is type(ds)
    assert data.Split is type(split)
    with pytest.raises(AttributeError):
        data.nothing  # noqa: B018


def same_batches(a, b):
    transform, _ = transforms(["random_resized_crop", "color_jitter"], (16, 16))
    loaders = [Loader(d.train, transform, 8, shuffle=True, seed=3, workers=2) for d in (a, b)]
    for x, y in zip(loaders[0].epoch(1), loaders[1].epoch(1), strict=True):
        for u, v in zip(x, y, strict=True):
            assert np.array_equal(u, v)
    for loader in loaders:
        loader.close()


def test_a_folder_and_a_list_of_it_are_the_same_data(animals):
    names = sorted((p.relative_to(animals).as_posix() for p in animals.rglob("*.jpg")), key=lambda n: n[::-1])
    (animals / "list.txt").write_text("".join(f"{n} {n.split('/')[0]}\n" for n in names))
    (animals / "list.csv").write_text("label,path\n" + "".join(f"{n.split('/')[0]},{n}\n" for n in names[::-1]))
    (animals / "numbers.txt").write_text(
        "".join(f"{n} {('cat', 'dog', 'owl').index(n.split('/')[0])}\n" for n in names)
    )
    by_folder = data.folder(animals, seed=7)
    for other in (
        data.list_file(animals / "list.txt", seed=7),
        data.csv(animals / "list.csv", seed=7),
        data.list_file(animals / "numbers.txt", classes=["cat", "dog", "owl"], seed=7),
    ):
        assert other.split_table() == by_folder.split_table()
        assert other.fingerprint == by_folder.fingerprint
        same_batches(by_folder, other)
    limited = [data.folder(animals, seed=7, limit=15), data.list_file(animals / "list.txt", seed=7, limit=15)]
    assert limited[0].split_table() == limited[1].split_table()
    same_batches(*limited)


def test_saved_splits(animals):
    saved = data.folder(animals, seed=1, limit=12).split_table()
    again = data.folder(animals, seed=2, limit=12, split_table=saved)
    assert again.split_table() == saved


def test_color_auto(animals, tmp_path, write):
    grey = np.repeat(smooth(12, 16)[..., :1], 3, axis=2)
    for c in "ab":
        (tmp_path / "g" / c).mkdir(parents=True)
        for i in range(4):
            (tmp_path / "g" / c / f"{i}.png").write_bytes(encoded(grey))
    assert data.folder(tmp_path / "g").color == "grey"
    assert data.folder(tmp_path / "g", color="rgb").color == "rgb"
    assert data.folder(animals).color == "rgb"
    assert data.folder(animals, color="grey").color == "grey"
    assert data.digits().color == "grey"


def test_facts(animals):
    statistics = describe(data.folder(animals, val_fraction=0.2, test_fraction=0.2))
    assert (statistics.n_train, statistics.n_val, statistics.n_test, statistics.n_classes) == (18, 6, 6, 3)
    assert sum(statistics.counts.values()) == 18
    assert statistics.imbalance == max(statistics.counts.values()) / min(statistics.counts.values())
    assert statistics.median_side == 12
    assert not statistics.is_grey
    digits = describe(data.digits(limit=100))
    assert digits.is_grey
    assert digits.median_side == 8


def test_summary_and_html(animals, tmp_path):
    (animals / "notes.txt").write_text("x")
    (animals / "cat/00.jpg").write_bytes(b"")
    (animals / "owl").rename(animals / "<b>owl")
    ds = data.folder(animals, (20, 30), on_bad_image="skip")
    text = ds.summary()
    assert "dog" in text
    assert "skipped: 1 files that are not images" in text
    assert "skipped: 1 unreadable images, e.g. cat/00.jpg" in text
    assert "input: 20 x 30, rgb, squash" in text
    html = shown_html(ds)
    assert "&lt;b&gt;owl" in html
    assert "<b>owl" not in html
    assert html.count("data:image/png;base64,") == sum(min(4, n) for n in ds.train.counts())


def test_summary_of_many_classes():
    y = np.repeat(np.arange(50), np.arange(50) + 4)
    x = np.random.default_rng(0).integers(0, 256, (len(y), 4, 4), np.uint8)
    ds = data.arrays(x, y, weights=np.ones(len(y)), groups=np.arange(len(y)))
    text = ds.summary()
    assert "… 30 more classes" in text
    assert len(text.splitlines()) == 2 + 20 + 1 + 1 + 3
    assert "with sample weights" in text
    assert shown_html(ds).count("<tr>") == 22


def test_copies_in_different_splits_are_named():
    x = np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8)
    y = np.arange(40) % 2
    assert "copies" not in data.arrays(x_train=x, y_train=y, x_test=x[:0], y_test=y[:0]).summary()
    x_test = np.concatenate([x[3:5], x[:2] ^ 1])
    text = data.arrays(x_train=x, y_train=y, x_test=x_test, y_test=y[:4], val_fraction=0).summary()
    assert "warning: copies in different splits" in text and ": 2, e.g. test/00000000 = train/00000003" in text


def test_data_that_is_only_measured(animals, tmp_path, write):
    ds = data.build("folder", path=write(tmp_path / "one", {"owl/1.png": 0}), evaluation=True)
    assert (len(ds.all), len(ds.train), len(ds.val), len(ds.test)) == (1, 0, 0, 0)
    assert ds.color == "rgb"
    whole = data.folder(animals)
    assert whole.all.indices.tolist() == list(range(30))
    moved = ds.with_classes(["owl", "ant", "cat"])
    assert moved.all.labels.tolist() == [0]
    moved = whole.with_classes(["owl", "ant", "cat", "dog"])
    names = [moved.classes[label] for label in moved.all.labels]
    assert names == [moved.all.image_name(i).split("/")[0] for i in range(30)]
    assert moved.split_table() == whole.split_table()
    with pytest.raises(UserError, match="'owl' is not one of the model's; did you mean 'owls'"):
        ds.with_classes(["owls", "cats"])


class TestBadImages:
    @pytest.fixture
    def broken(self, animals):
        whole = (animals / "cat/03.jpg").read_bytes()
        (animals / "cat/03.jpg").write_bytes(whole[: len(whole) // 2])
        (animals / "dog/01.jpg").write_text("<html>not found</html>")
        (animals / "owl/02.jpg").write_bytes(b"")
        return animals

    def test_all_are_listed(self, broken):
        with pytest.raises(UserError) as error:
            data.folder(broken)
        lines = str(error.value).splitlines()
        assert lines[0] == "3 of 30 images cannot be read (on_bad_image='skip' skips them):"
        assert [line.split(":")[0].strip() for line in lines[1:]] == ["cat/03.jpg", "dog/01.jpg", "owl/02.jpg"]
        assert "HTML" in lines[2]
        assert "empty" in lines[3]

    def test_skipped_as_if_they_were_not_there(self, broken):
        ds = data.folder(broken, on_bad_image="skip", seed=3)
        assert [name for name, _ in ds.skipped] == ["cat/03.jpg", "dog/01.jpg", "owl/02.jpg"]
        assert len(ds) == 27
        for name, _ in ds.skipped:
            (broken / name).unlink()
        assert data.folder(broken, seed=3).split_table() == ds.split_table()

    def test_with_a_limit_only_those_in_use_are_checked(self, broken):
        for name in ("cat/03.jpg", "dog/01.jpg"):
            (broken / name).write_bytes(encoded(smooth(12, 16), "JPEG"))
        results = []
        for seed in range(6):
            ds = data.folder(broken, limit=15, limit_test=3, on_bad_image="skip", seed=seed)
            results.append(len(ds.skipped))
            assert len(ds) == 18 - len(ds.skipped)
        assert set(results) == {0, 1}

    def test_nothing_readable(self, animals):
        for path in animals.rglob("*.jpg"):
            path.write_bytes(b"x")
        with pytest.raises(UserError, match="none of the 30 images can be read"):
            data.folder(animals, on_bad_image="skip")
        with pytest.raises(UserError, match=r"30 of 30(.|\n)*and 10 more$"):
            data.folder(animals)

    def test_a_class_that_skipping_empties(self, animals):
        for path in list((animals / "owl").iterdir())[1:]:
            path.write_bytes(b"x")
        with pytest.raises(UserError, match="only one image of 'owl'"):
            data.folder(animals, on_bad_image="skip")

    def test_check_agrees_for_any_number_of_workers(self, broken):
        sample_table = data.folder(broken, on_bad_image="skip").samples
        assert check(sample_table).bad == []
        from keras_transfer.data.sources import SOURCES

        whole = SOURCES["folder"].load(broken)
        assert check(whole, 1) == check(whole, 3) == check(whole, 0)
        assert len(check(whole).bad) == 3

    def test_listing(self):
        assert listed([("a", "x")]) == "  a: x"
        assert listed([("a", "x")] * 22).splitlines()[-1] == "  … and 2 more"


class TestRefusals:
    def refused(self, match, source, **options):
        with pytest.raises(UserError, match=match) as error:
            data.build(source, **options)
        return str(error.value)

    def test_one_class_only(self, tmp_path, write):
        self.refused("only one class .'a'.", "folder", path=write(tmp_path / "d", {"a/1.png": 0, "a/2.png": 1}))

    def test_a_class_with_one_image(self, animals, write):
        write(animals, {"rare/1.png": 0})
        self.refused("only one image of 'rare'; expected at least two of each class", "folder", path=animals)

    def test_a_class_without_images(self, animals):
        (animals / "l.txt").write_text("cat/00.jpg 0\ncat/01.jpg 0\ndog/00.jpg 1\ndog/01.jpg 1\n")
        self.refused("no image of 'owl'", "list", path=animals / "l.txt", classes=["cat", "dog", "owl"])
        self.refused(
            "no image of 'c2', .* and 4 more", "list", path=animals / "l.txt", classes=[f"c{i}" for i in range(16)]
        )

    def test_a_class_that_is_not_trained(self, tmp_path, write):
        root = write(tmp_path, {f"{s}/{c}/{i}.png": i for s in ("train", "test") for c in "abc" for i in range(3)})
        for path in (root / "train/c").iterdir():
            path.unlink()
        self.refused("no training image of 'c'", "folder", path=root)

    def test_empty_arrays(self):
        self.refused("no images", "arrays", x=np.zeros((0, 2, 2), np.uint8), y=np.zeros(0, int))

    def test_options(self, animals):
        self.refused("unknown data source 'foldr'; did you mean 'folder'", "foldr")
        self.refused("unknown option of the data source 'folder': 'rooot'", "folder", path=animals, rooot=1)
        self.refused(
            "unknown option of the data source 'arrays': 'x_trian'; did you mean 'x_train'", "arrays", x_trian=1
        )
        self.refused("'folder' needs the option 'path'", "folder", path=None)
        assert len(data.build("folder", path=animals, root=None, train=None)) == 30
        self.refused("color: input should be .*; did you mean 'grey'", "folder", path=animals, color="gray")
        self.refused("resize: input should be .*did you mean 'squash'", "folder", path=animals, resize="stretch")
        self.refused("on_bad_image: input should be", "folder", path=animals, on_bad_image="ignore")
        self.refused("workers: input should be", "folder", path=animals, workers=-1)
        self.refused("val_fraction", "folder", path=animals, val_fraction=1.2)

    @pytest.mark.parametrize("size", [0, -3, 2.5, (1, 2, 3), (32, 0), (True, 5), "ab"])
    def test_image_size(self, size):
        self.refused("^image_size", "digits", image_size=size)

    def test_workers(self):
        assert 1 <= resolve_workers("auto") <= 8
        assert resolve_workers(3) == 3
        for bad in (True, "many", 1.5):
            with pytest.raises(UserError, match=re.escape(repr(bad))):
                resolve_workers(bad)


def test_public_functions(tmp_path, shared_data):
    x, y = np.zeros((20, 4, 4, 3), np.uint8), np.arange(20) % 2
    assert len(data.arrays(x, y, 8).train) == 14
    np.savez(tmp_path / "d.npz", x=x, y=y)
    assert data.arrays(tmp_path / "d.npz").classes == ("0", "1")
    assert data.arrays(x_train=x, y_train=y, x_test=x, y_test=y, val_fraction=0.5).val.counts().tolist() == [5, 5]
    fashion = data.idx(shared_data / "fashion-mnist", limit=100, limit_test=50)
    assert (len(fashion.train), len(fashion.val), len(fashion.test)) == (85, 15, 50)
    for function in data.cifar10, data.cifar100:
        with pytest.raises(UserError, match="no such file or folder"):
            function(tmp_path / "gone")


def test_the_options_of_sources_are_the_parameters_of_their_readers():
    from keras_transfer.data import builder

    assert list(builder.source_options("csv")) == ["path", "root", "classes"]


def test_every_option_of_a_source_is_a_key_of_the_configuration():
    """What is no key can be set in ``data.options``, as arrays, which no file can hold, are not."""
    from keras_transfer.config.open_data import source_options
    from keras_transfer.config.schema import RunConfig
    from keras_transfer.data import builder

    keys = set(source_options(RunConfig()))
    files = [name for name in SOURCES if name != "arrays"]
    assert {option for name in files for option in builder.source_options(name)} <= keys
    assert "val_fraction" not in keys and "options" not in keys
    config = RunConfig.model_validate({"data": {"options": {"shade": 3}}})
    assert source_options(config)["shade"] == 3
    for key, hint in (
        ("path", r"set data\.path"),
        ("seed", "no option"),
        ("split_table", "no option"),
        ("workers", r"data\.workers"),
    ):
        with pytest.raises(UserError, match=hint):
            source_options(RunConfig.model_validate({"data": {"options": {key: 1}}}))
