"""Labels mean one thing, and names read back as they were written."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_transfer import data
from keras_transfer.config.load import read_yaml
from keras_transfer.data.sources import list_file
from keras_transfer.data.sources._labels import by_class, class_names, index_labels, name_lines
from keras_transfer.errors import UserError
from keras_transfer.files import write_csv, write_json
from tests.data.conftest import encoded, smooth

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda name: name.strip()
)
COMPOSED = NAMES.map(lambda name: unicodedata.normalize("NFC", name)).filter(lambda name: name.strip())


def labels(written, classes=None):
    names, places = index_labels(written, None if classes is None else tuple(classes), lambda i: f"l.txt:{i + 1}")
    return [names[k] for k in places]


@settings(max_examples=200, deadline=None)
@given(st.lists(COMPOSED, min_size=1, max_size=5, unique=True), st.lists(NAMES, min_size=1, max_size=5))
def test_lists_and_class_files_read_back(tmp_path_factory, names, paths):
    folder = tmp_path_factory.getbasetemp()
    (folder / "classes.txt").write_bytes(name_lines(names).encode())
    assert class_names(folder / "classes.txt") == tuple(names)
    rows = [(path, names[i % len(names)]) for i, path in enumerate(paths)]
    (folder / "list.txt").write_bytes(list_file.list_lines(rows).encode())
    found, written, _ = list_file.read_list(folder / "list.txt")
    assert list(zip(found, written)) == rows


@settings(max_examples=100, deadline=None)
@given(st.lists(COMPOSED, min_size=1, max_size=5, unique=True))
def test_csv_and_json_read_back(tmp_path_factory, names):
    import csv
    import json

    folder = tmp_path_factory.getbasetemp()
    write_json(folder / "n.json", names)
    assert json.loads((folder / "n.json").read_text("utf-8")) == names
    write_csv(folder / "n.csv", [{"name": name} for name in names], ["name"])
    with (folder / "n.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["name"] for row in csv.DictReader(stream)] == names


@pytest.mark.parametrize("written", [["1", "2"], ["2", "1", "3"], ["3"]])
def test_a_number_is_a_name_where_a_class_is_called_by_a_number(written):
    assert labels(written, ["1", "2", "3"]) == written
    with pytest.raises(UserError, match="'0' is not one of the 3 classes; class names that are numbers are names"):
        labels([*written, "0"], ["1", "2", "3"])


@pytest.mark.parametrize("written", [["0", "1"], ["1"], ["2", "0"]])
def test_a_number_is_a_place_where_no_class_is_called_by_a_number(written):
    assert labels(written, "abc") == ["abc"[int(one)] for one in written]


def test_codes_keep_their_writing():
    assert sorted(set(labels(["007", "010", "100", "007"]))) == ["007", "010", "100"]
    assert labels(["01"], ["1", "01"]) == ["01"]
    assert labels(["9" * 5000, "1"]) == ["9" * 5000, "1"]


@pytest.mark.parametrize("pair", [("1", "01"), ("1", "1.0"), ("+2", "2"), ("0.5", ".50")])
def test_a_number_in_two_writings_is_refused(pair):
    with pytest.raises(UserError, match=r"l.txt:2: the label .* is the same number as"):
        labels(pair)


@pytest.mark.parametrize("missing", ["nan", "NaN", "None", "NA", "<NA>", "null", "#N/A"])
def test_a_missing_value_is_no_class(missing):
    with pytest.raises(UserError, match=r"l.txt:2: .*stands for a missing value"):
        labels(["a", missing])
    assert labels(["a", missing], ["a", missing]) == ["a", missing]  # unless it is named as one


def test_missing_values_in_arrays():
    x = np.zeros((4, 2, 2, 3), np.uint8)
    for y in (["a", "b", None, "a"], ["a", "b", float("nan"), "a"], [1.0, 0.0, np.nan, 1.0]):
        with pytest.raises(UserError, match="y"):
            data.arrays(x, np.array(y, object if isinstance(y[0], str) else float))
    groups = data.build("arrays", x=x, y=[0, 1, 0, 1], groups=[None, "p", float("nan"), "p"], evaluation=True)
    assert groups.samples.groups.tolist() == ["", "p", "", "p"]
    with pytest.raises(UserError, match="class name '1'"):
        data.arrays(x, [0, 1, 0, 1], classes=["1", "2"])


def test_unicode_forms_are_one_name(tmp_path, write):
    one, other = unicodedata.normalize("NFC", "café"), unicodedata.normalize("NFD", "café")
    root = write(
        tmp_path / "d", {f"train/{one}/1.png": 0, "train/b/2.png": 1, f"test/{other}/3.png": 2, "test/b/4.png": 3}
    )
    read = data.build("folder", path=root, evaluation=True)
    assert read.classes == ("b", one)
    assert any("Unicode form" in note for note in read.samples.notes)
    assert labels([other], [one, "b"]) == [one]
    assert read.with_classes(["b", other]).all.counts().tolist() == [2, 2]
    (tmp_path / "l.txt").write_text(f"test/{one}/3.png x\n")  # the folder is written in the other form
    assert list_file.load(tmp_path / "l.txt", root=root).names() == [f"test/{other}/3.png"]


def test_odd_file_names_in_lists(tmp_path):
    names = ["a\u2028b.png", "c\u0085d.png", ' "quoted".png', "e f.png", "g\nh.png"]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(encoded(smooth(4, 4, i)))
    (tmp_path / "l.txt").write_bytes(list_file.list_lines((name, "x y") for name in names).encode())
    read = list_file.load(tmp_path / "l.txt")
    assert sorted(read.names()) == sorted(names) and read.classes == ("x y",)
    (tmp_path / "l.txt").write_text("a\0b.png x\n")
    with pytest.raises(UserError, match=r"l.txt:1: .* is no path"):
        list_file.load(tmp_path / "l.txt")


def test_a_class_that_vanished_is_named(tmp_path, write):
    root = write(tmp_path / "d", {f"{name}/{i}.png": i for name in "ab" for i in range(2)})
    (root / "empty").mkdir()
    (root / "owl").mkdir()
    (root / "owl" / "1.nef").write_bytes(b"x")
    notes = "\n".join(data.build("folder", path=root, evaluation=True).samples.notes)
    assert "the folder 'empty' has no images" in notes
    assert "the folder 'owl' has no images (files: 1 .nef)" in notes
    assert "1 .nef files, which are not read" in notes


def test_names_that_differ_little_or_mean_nothing_are_told(tmp_path, write):
    root = write(tmp_path / "d", {f"{name}/1.png": 0 for name in ("Cat", "cat", "nan")})
    notes = "\n".join(data.build("folder", path=root, evaluation=True).samples.notes)
    assert "'Cat' and 'cat' differ only" in notes and "'nan' is called like a missing value" in notes


@pytest.mark.parametrize("leftover", ["__MACOSX", "@eaDir", "#recycle", "System Volume Information"])
def test_what_systems_leave_behind_is_left_out(tmp_path, write, leftover):
    names = [f"{split}/{name}/{i}.png" for split in ("train", "test") for name in "ab" for i in range(2)]
    root = write(tmp_path / "d", dict.fromkeys(names, 0))
    write(root, {f"{leftover}/train/a/x.png": 1, f"train/a/{leftover}/thumb.png": 2})
    (root / "train" / "a" / "Thumbs.db").write_bytes(b"x")
    (root / "train" / "a" / "._0.png").write_bytes(b"Mac OS X")
    read = data.build("folder", path=root, evaluation=True)
    assert sorted(read.samples.names()) == sorted(names)
    assert any(leftover in note and "Thumbs.db" in note for note in read.samples.notes)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data: {val_fraction: 0.1}\nseed: 1\ndata: {}\n", "the key 'data' occurs twice, first in line 1"),
        ("data: {classes: !!set {a, b}}\n", "a set, which has no order"),
        ("seed: 1\n'seed': 2\n", "occurs twice"),
    ],
)
def test_yaml_that_can_be_read_in_two_ways(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=words):
        read_yaml(tmp_path / "c.yaml")


def test_yaml_merges_still_override(tmp_path):
    (tmp_path / "c.yaml").write_text("a: &x {k: 1, l: 2}\nb: {<<: *x, k: 3}\n")
    assert read_yaml(tmp_path / "c.yaml")["b"] == {"k": 3, "l": 2}


def test_weights_by_class():
    assert by_class({"a": 2.0}, ["a", "b"], "w") == {0: 2.0}
    assert by_class({"2": 2.0}, ["1", "2", "3"], "w") == {1: 2.0}
    for wrong in ({"0": 1.0}, {"c": 1.0}):
        with pytest.raises(UserError, match="not one of"):
            by_class(wrong, ["1", "2", "3"], "w")
