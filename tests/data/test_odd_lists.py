"""Lists and CSV files whose values would be lost or taken for something else."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_transfer import data
from keras_transfer.errors import UserError

COMPOSED, DECOMPOSED = "J\u00e4", "Ja\u0308"


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(24):
        Image.fromarray(rng.integers(0, 255, (12, 12, 3), np.uint8)).save(tmp_path / f"{i}.png")
    return tmp_path


def csv(folder, head, rows):
    (folder / "l.csv").write_text("\n".join(",".join(row) for row in [head, *rows]) + "\n", encoding="utf-8")
    return data.csv(folder / "l.csv")


def refused(words, call, *arguments):
    with pytest.raises(UserError) as raised:
        call(*arguments)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


ROWS = [(f"{i}.png", "cat" if i % 2 else "dog") for i in range(24)]


def test_a_group_in_two_unicode_forms_is_one(folder):
    rows = [(*row, (COMPOSED if i // 2 % 2 else DECOMPOSED) + str(i // 4)) for i, row in enumerate(ROWS)]
    found = csv(folder, ("path", "label", "group"), rows)
    groups = [set(part.groups) for part in (found.train, found.val, found.test)]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 6


@pytest.mark.parametrize(("column", "values"), [("weight", ("1", "5")), ("group", ("a", "b"))])
def test_a_repeated_image_with_another_value(folder, column, values):
    rows = [(*row, values[0]) for row in ROWS]
    refused(f"another {column}", csv, folder, ("path", "label", column), [*rows, (*ROWS[0], values[1])])
    assert len(csv(folder, ("path", "label", column), [*rows, rows[0]]).all) == 24


@pytest.mark.parametrize("weight", ["1_000", "\uff11", "4e38", "1e400", "-1", "inf", "nan"])
def test_weights_that_are_none(folder, weight, recwarn):
    refused("finite number", csv, folder, ("path", "label", "weight"), [(*row, weight) for row in ROWS])
    assert not recwarn.list


def test_two_columns_of_one_label_in_two_unicode_forms(folder):
    refused("occurs twice", csv, folder, ("path", COMPOSED, DECOMPOSED), [(row[0], "1", "0") for row in ROWS])


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_other_separators_are_named(folder, sign):
    refused("expected commas", csv, folder, (f"path{sign}label",), [(sign.join(row),) for row in ROWS])


@pytest.mark.parametrize("label", ['""', '"c\\u0000t"', '"c\\ud800t"', "c\0t"])
def test_labels_that_no_file_can_hold(folder, label):
    (folder / "l.txt").write_text(
        "".join(f"{path} {label if i < 2 else name}\n" for i, (path, name) in enumerate(ROWS))
    )
    refused("class name", data.list_file, folder / "l.txt")


def test_a_list_that_is_one_line_is_not_printed_in_full(folder):
    (folder / "l.txt").write_bytes(b"\r".join(f"{path} cat".encode() for path, _ in ROWS * 1000))
    with pytest.raises(UserError) as raised:
        data.list_file(folder / "l.txt")
    assert len(str(raised.value)) < 1500
