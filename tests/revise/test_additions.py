"""Lists of corrections as people write them."""

from __future__ import annotations

import pytest

from keras_transfer.errors import UserError
from keras_transfer.revise.additions import corrections
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
        ("new pictures/x/009.png apple\n", "no such file"),
        ("new pictures/x/000.png apple\nnew pictures/x/000.png berry\n", "two|labels|twice"),
    ],
)
def test_what_is_no_correction_is_told_in_a_line(folder, text, message):
    with pytest.raises(UserError, match=message) as caught:
        found = labels_of(folder, text)
        from keras_transfer.revise.revision import Revision

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
