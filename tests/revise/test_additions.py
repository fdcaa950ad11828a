"""Lists of corrections as people write them."""

from __future__ import annotations

import pytest

from keras_transfer.data import build
from keras_transfer.errors import UserError
from keras_transfer.revise.additions import corrections, more_data, new_class
from keras_transfer.revise.revision import Revision
from tests.conftest import make_photos

CLASSES = ("apple", "big berry", "berry")


@pytest.fixture
def folder(tmp_path):
    make_photos(tmp_path / "new pictures", {"x": 3})
    return tmp_path


def labels_of(folder, text: str, encoding: str = "utf-8"):
    (folder / "corrections.txt").write_bytes(text.encode(encoding))
    return corrections(folder / "corrections.txt", CLASSES).labels


@pytest.mark.parametrize(
    "line",
    [
        'new pictures/x/000.png "big berry"',
        "new pictures/x/000.png big berry",
        "  new pictures/x/000.png   big berry  \r",
        "./new pictures/x/000.png 1",
    ],
)
def test_a_class_with_spaces(folder, line):
    assert labels_of(folder, f"\n{line}\n\n") == ("big berry",)


def test_a_class_that_ends_like_another_is_itself(folder):
    assert labels_of(folder, "new pictures/x/001.png berry\n") == ("berry",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no lines"),
        ("new pictures/x/000.png\n", "is not a class of the run"),
        ("one\n", "expected `path label`"),
        ("new pictures/x/000.png aple\n", "did you mean 'apple'"),
        ("\nnew pictures/x/000.png aple\n", r"corrections\.txt:2: 'aple'"),
        ("new pictures/x/009.png apple\n", r"corrections\.txt:1: no such file.*looked in"),
        ("new pictures/x/000.png apple;berry\n", "as one label"),
        ("new pictures/x/000.png apple\nnew pictures/x/000.png berry\n", "two|labels|twice"),
    ],
)
def test_what_is_no_correction_is_told_in_a_line(folder, text, message):
    with pytest.raises(UserError, match=message) as caught:
        found = labels_of(folder, text)
        Revision(CLASSES, []).add(corrections(folder / "corrections.txt", CLASSES))
        assert found
    assert len(str(caught.value).splitlines()) <= 2


@pytest.mark.parametrize("name", ["labels.csv", "more.npz", "list.JSON"])
def test_other_formats_have_another_door(folder, name):
    (folder / name).write_text("path,label\n")
    with pytest.raises(UserError, match="--data takes"):
        corrections(folder / name, CLASSES)
    with pytest.raises(UserError):
        corrections(folder / "none.txt", CLASSES)


def test_a_picture_that_cannot_be_read_is_named_with_its_source(folder):
    (folder / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"cannot be read \(.*corrections\.txt\)"):
        labels_of(folder, "broken.png apple\n")


def test_a_name_with_the_separator_cannot_be_one_of_several_labels():
    assert new_class("a;b", CLASSES) == "a;b"
    with pytest.raises(UserError, match="cannot be told from two"):
        new_class("a;b", CLASSES, several=True)


@pytest.fixture
def revision(folder):
    """The revision of data with groups of three pictures, two classes, training and test."""
    make_photos(folder / "own", {"apple": 6, "berry": 6}, seed=7)
    rows = [
        f"own/{name}/{i:03d}.png,{name},{'test' if i < 3 else 'train'},{name}{i // 3}"
        for name in ("apple", "berry")
        for i in range(6)
    ]
    (folder / "own.csv").write_text("path,label,split,group\n" + "\n".join(rows) + "\n")
    return Revision.of(build("csv", path=folder / "own.csv", val_fraction=0.0, test_fraction=0.0))


def split_of(revision, *names):
    return [next(row.split for row in revision.rows if row.images.name(row.place).endswith(name)) for name in names]


def test_the_data_once_more_leave_every_picture_in_its_split(revision, folder):
    before = [(row.label, row.split) for row in revision.rows]
    revision.add(more_data(str(folder / "own"), revision.classes))
    assert [(row.label, row.split) for row in revision.rows] == before and not revision.changes()


def test_data_that_say_otherwise_change_the_label_and_not_the_split(revision, folder):
    (folder / "more.csv").write_text("path,label\nown/apple/000.png,berry\nown/apple/003.png,berry\n")
    revision.add(more_data(str(folder / "more.csv"), revision.classes))
    assert split_of(revision, "apple/000.png", "apple/003.png") == ["test", "train"] and not revision.withdrawn
    assert [row.label for row in revision.rows].count("berry") == 8


def test_a_correction_takes_its_group_along(revision, folder):
    """Otherwise a group would be trained on and tested on, which no data may have."""
    (folder / "list.txt").write_text("own/apple/000.png berry\n")
    revision.add(corrections(folder / "list.txt", revision.classes))
    assert split_of(revision, "apple/000.png", "apple/001.png", "apple/002.png") == ["train"] * 3
    assert revision.withdrawn == 3 and [row.label for row in revision.rows].count("berry") == 7


def test_weights_and_groups_of_more_data_are_kept(revision, folder):
    lines = ("new pictures/x/000.png,berry,berry0,2", "new pictures/x/001.png,berry,,1", "new pictures/x/002.png,1,z,3")
    (folder / "more.csv").write_text("path,label,group,weight\n" + "\n".join(lines[:2]) + "\n")
    revision.add(more_data(str(folder / "more.csv"), revision.classes))
    new = [(row.split, row.weight, row.group) for row in revision.rows if row.base is None]
    assert new == [("test", 2.0, "berry0"), ("train", 1.0, "")]  # the group is one of test pictures
    (folder / "more.csv").write_text("path,label,group,weight\n" + lines[2] + "\n")
    revision.add(more_data(str(folder / "more.csv"), revision.classes))  # a number is a place, as in any CSV file
    assert (revision.rows[-1].label, revision.rows[-1].weight, revision.rows[-1].group) == ("berry", 3.0, "z")


def test_a_folder_called_by_a_number_is_no_place(revision, folder):
    make_photos(folder / "numbers", {"1": 2})
    with pytest.raises(UserError, match="'1' is not a class of the run"):
        more_data(str(folder / "numbers"), revision.classes)
