"""Saved corrections can be trained on, with the correct labels."""

from __future__ import annotations

import pytest

from keras_transfer import data
from keras_transfer.errors import UserError
from keras_transfer.serve.corrections import Corrections
from tests.serve.conftest import encoded


@pytest.mark.parametrize(
    "classes",
    [
        ["apple", "berry"],
        ["10", "2"],
        ["big apple", "berry"],
        ["0", "1"],
        ["猫", "<b> dog"],
        ["1", "two words"],
        ["a\nb", '"'],
    ],
)
def test_the_list_reads_back(tmp_path, classes):
    saved = Corrections(tmp_path / "c", classes)
    for seed, label in enumerate([1, 0, 1]):
        path = saved.save(encoded("JPEG" if seed else "PNG", seed=seed), classes[label])
        assert path.read_bytes() == encoded("JPEG" if seed else "PNG", seed=seed)
    read = data.build("list", path=saved.list, classes=str(saved.names), evaluation=True).all
    assert list(read.classes) == classes
    by_name = dict(zip((read.image_name(i) for i in range(3)), read.labels))
    assert [by_name[line.rsplit(" ", 1)[0]] for line in saved.list.read_text("utf-8").splitlines()] == [1, 0, 1]
    assert read.read(0).shape == (60, 90, 3)


def test_correcting_again_replaces_the_label(tmp_path):
    saved = Corrections(tmp_path, ["a", "b"])
    saved.save(encoded(), "a")
    saved.save(encoded(seed=1), "a")
    saved.save(encoded(), "b")
    again = Corrections(tmp_path, ["a", "b"])  # a later server continues the same list
    again.save(encoded(seed=2), "a")
    assert [line[-1] for line in saved.list.read_text().splitlines()] == ["b", "a", "a"]
    assert len(list((tmp_path / "images").iterdir())) == 3


def test_two_servers_share_a_folder(tmp_path):
    first, second = (Corrections(tmp_path, ["a", "b"]) for _ in range(2))
    first.save(encoded(), "new", new=True)
    second.save(encoded(seed=1), "a")
    second.save(encoded(seed=2), "newer", new=True)
    first.save(encoded(seed=3), "newer")
    assert first.names.read_text().split() == ["a", "b", "new", "newer"]
    assert [line.split()[-1] for line in first.list.read_text().splitlines()] == ["new", "a", "newer", "newer"]


def test_unsavable_corrections_are_rejected_and_nothing_is_written(tmp_path):
    saved = Corrections(tmp_path / "c", ["apple", "berry"])
    with pytest.raises(UserError, match="did you mean 'berry'"):
        saved.save(encoded(), "bery")
    assert not (tmp_path / "c").exists()


def test_other_classes_need_another_folder(tmp_path):
    Corrections(tmp_path, ["a", "b"]).save(encoded(), "a")
    with pytest.raises(UserError, match="other classes"):
        Corrections(tmp_path, ["a", "c"])
