"""What is saved can be trained on, with the labels that were meant."""

from __future__ import annotations

import pytest

from keras_transfer import data
from keras_transfer.errors import UserError
from keras_transfer.serve.corrections import Corrections
from tests.serve.conftest import encoded


@pytest.mark.parametrize(
    "classes", [["apple", "berry"], ["10", "2"], ["big apple", "berry"], ["0", "1"], ["猫", "<b> dog"]]
)
def test_the_list_reads_back(tmp_path, classes):
    kept = Corrections(tmp_path / "c", classes)
    for seed, label in enumerate([1, 0, 1]):
        path = kept.save(encoded("JPEG" if seed else "PNG", seed=seed), classes[label])
        assert path.read_bytes() == encoded("JPEG" if seed else "PNG", seed=seed)
    read = data.build("list", path=kept.list, classes=str(kept.names), evaluation=True).all
    assert list(read.classes) == classes
    by_name = dict(zip((read.image_name(i) for i in range(3)), read.labels))
    assert [by_name[line.rsplit(" ", 1)[0]] for line in kept.list.read_text("utf-8").splitlines()] == [1, 0, 1]
    assert read.read(0).shape == (60, 90, 3)


def test_correcting_again_replaces_the_label(tmp_path):
    kept = Corrections(tmp_path, ["a", "b"])
    kept.save(encoded(), "a")
    kept.save(encoded(seed=1), "a")
    kept.save(encoded(), "b")
    again = Corrections(tmp_path, ["a", "b"])  # a server that starts later goes on with the same list
    again.save(encoded(seed=2), "a")
    assert [line[-1] for line in kept.list.read_text().splitlines()] == ["b", "a", "a"]
    assert len(list((tmp_path / "images").iterdir())) == 3


def test_what_cannot_be_kept_is_refused_and_nothing_written(tmp_path):
    kept = Corrections(tmp_path / "c", ["apple", "berry"])
    with pytest.raises(UserError, match="did you mean 'berry'"):
        kept.save(encoded(), "bery")
    mixed = Corrections(tmp_path / "c", ["1", "two words"])
    with pytest.raises(UserError, match="cannot be kept"):
        mixed.save(encoded(), "1")
    assert not (tmp_path / "c").exists()


def test_other_classes_need_another_folder(tmp_path):
    Corrections(tmp_path, ["a", "b"]).save(encoded(), "a")
    with pytest.raises(UserError, match="other classes"):
        Corrections(tmp_path, ["a", "c"])
