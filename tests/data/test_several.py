"""Several labels for an image: every way to give them, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import keras_transfer as kt
from keras_transfer.data.objects import open_any
from keras_transfer.data.sources import SOURCES
from keras_transfer.errors import UserError
from keras_transfer.stratify import divide

SETS = [("a", "b"), ("b",), (), ("a", "c"), ("c",), ("a", "b", "c"), ("b", "c"), (), ("a",), ("c", "a")] * 4


@pytest.fixture
def folder(tmp_path):
    """Forty pictures, 00.png to 39.png."""
    rng = np.random.default_rng(0)
    for i in range(len(SETS)):
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(tmp_path / f"{i:02d}.png")
    return tmp_path


def expected(classes: tuple[str, ...]) -> np.ndarray:
    return np.array([[name in labels for name in classes] for labels in SETS], np.uint8)


def write(folder, lines, name="labels.csv"):
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / name


def listed(folder, join=";".join):
    return write(folder, ["path,labels", *(f"{i:02d}.png,{join(labels)}" for i, labels in enumerate(SETS))])


def table(folder, names=("a", "b", "c")):
    lines = [f"path,{','.join(names)}"]
    for i, labels in enumerate(SETS):
        lines.append(f"{i:02d}.png,{','.join(str(int(name.lower() in labels)) for name in names)}")
    return write(folder, lines)


def test_every_form_gives_the_same_labels(folder):
    x = np.stack([np.asarray(Image.open(folder / f"{i:02d}.png")) for i in range(len(SETS))])
    rows = expected(("a", "b", "c"))
    frame = {"path": [str(folder / f"{i:02d}.png") for i in range(len(SETS))], "labels": [";".join(s) for s in SETS]}
    import pandas

    found = [
        SOURCES["csv"].load(listed(folder)),
        SOURCES["folder"].load(folder),
        SOURCES["csv"].load(table(folder)),
        SOURCES["folder"].load(folder),
        SOURCES["arrays"].load(x, rows, classes=["a", "b", "c"]),
        open_any((x, rows), classes=["a", "b", "c"]).samples,
        open_any(list(x), [list(s) for s in SETS]).samples,
        open_any(pandas.DataFrame(frame)).samples,
    ]
    for samples in found:
        assert samples.classes == ("a", "b", "c")
        assert samples.is_multi
        assert samples.labels.dtype == np.uint8
        assert samples.labels[np.argsort(samples.names())].tolist() == rows.tolist()


def test_the_summary_says_so_and_warns_of_labels_that_teach_nothing(folder):
    rare = [*SETS[:-1], ("a", "rare")]
    lines = ["path,labels,split"] + [f"{i:02d}.png,{';'.join((*s, 'always'))},train" for i, s in enumerate(rare)]
    text = kt.data.csv(write(folder, lines), val_fraction=0.2).summary()
    mean = sum(map(len, rare)) / len(rare) + 1
    assert f"several labels per image: {mean:.2f} on average, at most 4" in text
    assert "on every training image, so always predicted: 'always'" in text
    assert "label " in text.splitlines()[1]
    assert "no training image, so never predicted: 'rare'" in text or "on one training image" in text


@pytest.mark.parametrize(
    "join", [lambda s: " ; ".join(s) + " ", lambda s: ";".join((*s, *s)), lambda s: ";".join(("", *s, ""))]
)
def test_spaces_doubles_and_empty_parts_do_not_matter(folder, join):
    assert SOURCES["csv"].load(listed(folder, join)).labels.tolist() == expected(("a", "b", "c")).tolist()


def test_numbers_are_labels_in_numerical_order(folder):
    number = {"a": "10", "b": "9", "c": "2"}
    samples = SOURCES["csv"].load(listed(folder, lambda s: ";".join(number[name] for name in s)))
    assert samples.classes == ("2", "9", "10")
    assert samples.labels.tolist() == expected(("c", "b", "a")).tolist()


def test_columns_keep_their_capitals_and_follow_the_classes_asked_for(folder):
    samples = SOURCES["csv"].load(table(folder, ("C", "B", "A")), classes=["A", "B", "C"])
    assert samples.classes == ("A", "B", "C")
    assert samples.labels.tolist() == expected(("a", "b", "c")).tolist()


def test_one_label_for_each_image_stays_a_class(folder):
    one = [(s or ("c",))[0] for s in SETS]
    lines = [f"{i:02d}.png,{name}" for i, name in enumerate(one)]
    classes = SOURCES["csv"].load(write(folder, ["path,label", *lines]))
    several = SOURCES["csv"].load(write(folder, ["path,labels", *lines]))
    assert several.labels.dtype == np.int64
    assert several.labels.tolist() == classes.labels.tolist()
    assert any("exactly one label" in note for note in several.notes)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["path,labels", "00.png,", "01.png,"], "no image has a label"),
        (["path,labels,label", "00.png,a;b,a"], "one column 'labels', received 'label'"),
        (["path,a,b", "00.png,1,0", "01.png,1,-1", "02.png,0,1"], r":3: expected 0 or 1 in the column 'b', received '-1'"),
        (["path,lable", "00.png,a", "01.png,b"], "unknown column"),
        (["path,a,a", "00.png,1,0"], "a column occurs twice"),
        (["path,labels", "00.png,a;b", "00.png,a"], "another label than"),
        (["path,labels", "00.png,a;nan", "01.png,b"], "stands for a missing value"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(folder, lines, message):
    with pytest.raises(UserError, match=message):
        SOURCES["csv"].load(write(folder, lines))


def test_nothing_to_learn_is_said(folder):
    lines = [f"{i:02d}.png,a;b" for i in range(8)]
    with pytest.raises(UserError, match="nothing to learn"):
        kt.data.csv(write(folder, ["path,labels", *lines]))
    with pytest.raises(UserError, match="only one label"):
        kt.data.csv(write(folder, ["path,labels", "00.png,a", "01.png,", "02.png,a"]))


def test_labels_with_commas_between_them_are_warned_of(folder):
    samples = SOURCES["csv"].load(listed(folder, lambda s: '"' + ",".join(s) + '"'))
    assert "a,b" in samples.classes and any("is one label; labels have ';'" in note for note in samples.notes)


def test_a_column_called_label_says_what_a_semicolon_means_there(folder):
    pairs = [f"{i:02d}.png,{'a;b' if i % 2 else 'c'}" for i in range(8)]
    samples = SOURCES["csv"].load(write(folder, ["path,label", *pairs]))
    assert samples.classes == ("a;b", "c")
    assert any("for several labels" in note for note in samples.notes)
    with pytest.raises(UserError, match="CSV column called labels"):
        kt.data.csv(write(folder, ["path,label", *pairs, "09.png,b;c"]))


def test_a_folder_of_classes_ignores_a_table_of_other_facts(photos):
    write(photos, ["path,width,height", "apple/000.png,40,40"])
    assert SOURCES["folder"].load(photos).classes == ("apple", "berry", "cherry")


def test_models_for_one_label_and_for_several_take_each_others_data_where_that_can_be(folder):
    data = kt.data.csv(listed(folder), test_fraction=0)
    with pytest.raises(UserError, match=r"one label per image, but '00\.png' has 2"):
        data.as_task(False)
    one = kt.data.arrays(np.zeros((6, 8, 8, 3), np.uint8), np.arange(6) % 3, classes=["a", "b", "c"], test_fraction=0)
    assert one.as_task(True).samples.labels.tolist() == np.eye(3)[one.samples.labels].tolist()
    assert one.as_task(True).as_task(False).samples.labels.tolist() == one.samples.labels.tolist()
    assert data.with_classes(["c", "x", "b", "a"]).samples.labels.tolist() == [
        [row[2], 0, row[1], row[0]] for row in data.samples.labels.tolist()
    ]


class TestDivide:
    """Iterative stratification."""

    def test_every_part_has_its_share_of_every_label(self):
        rng = np.random.default_rng(0)
        labels = (rng.random((500, 6)) < [0.5, 0.3, 0.1, 0.05, 0.02, 0.9]).astype(np.uint8)
        parts = divide(labels, (0.7, 0.15, 0.15), rng.permutation(500))
        for part, share in enumerate((0.7, 0.15, 0.15)):
            inside = parts == part
            assert abs(inside.sum() - share * 500) <= 3
            assert np.abs(labels[inside].sum(axis=0) - share * labels.sum(axis=0)).max() <= 2.5

    def test_groups_stay_together_and_rare_labels_stay_in_the_largest_part(self):
        rng = np.random.default_rng(1)
        labels = np.hstack([rng.random((120, 3)) < 0.4, (np.arange(120) < 2)[:, None]]).astype(np.uint8)
        groups = rng.integers(0, 40, 120)
        groups[:2] = 0, 1
        parts = divide(labels, (0.8, 0.2), rng.permutation(120), groups)
        assert all(len(set(parts[groups == group])) == 1 for group in set(groups))
        assert set(parts[:2]) == {0}
        assert 10 <= (parts == 1).sum() <= 38

    def test_splits_of_a_data_set_do_not_depend_on_the_order_of_reading(self, folder):
        first = kt.data.csv(listed(folder), seed=3)
        lines = (folder / "labels.csv").read_text().split()
        again = kt.data.csv(write(folder, [lines[0], *lines[:0:-1]]), seed=3)
        assert first.split_table() == again.split_table()
        assert first.fingerprint == again.fingerprint
        assert kt.data.csv(listed(folder), seed=4).split_table() != first.split_table()
        limited = kt.data.csv(listed(folder), seed=3, limit=20, limit_test=3)
        assert len(limited.train) + len(limited.val) <= 20
        assert len(limited.test) == 3


def test_mixing_weighted_images_mixes_each_label_by_the_weights():
    from keras_transfer.data.loading.job import _mix_several

    labels, weights = np.array([[1, 1, 0], [0, 0, 0]], np.float32), np.array([3, 1], np.float32)

    def halves(images, carried, generator):
        return images, 0.5 * carried + 0.5 * carried[::-1]

    _, mixed, total = _mix_several(halves, np.zeros((2, 4, 4, 3)), labels, weights, np.random.default_rng(0))
    assert np.allclose(total, 2)
    assert np.allclose(mixed, [[0.75, 0.75, 0], [0.75, 0.75, 0]])
