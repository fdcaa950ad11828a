"""Runs travel: their data are found where they were, where they moved to with the run, or where the caller says."""

from __future__ import annotations

import shutil

import pytest

from keras_transfer.config.load import load_config
from keras_transfer.config.open_data import open_data, with_absolute_paths
from keras_transfer.errors import UserError
from keras_transfer.inference.data import data_of, images_of
from keras_transfer.runs import RunDirectory, as_seen_from, where_data_are
from tests.conftest import make_photos


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with photos and a run on them, whose data were given relative to it."""
    home = tmp_path / "project"
    make_photos(home / "photos", {"apple": 10, "berry": 10})
    monkeypatch.chdir(home)
    config = with_absolute_paths(load_config(data="photos", overrides=["data.image_size=32"]))
    run, data = RunDirectory.create("runs/one", "one"), open_data(config)
    manifest = {"data": {"fingerprint": data.fingerprint}, "data_from_run": as_seen_from(run, config)}
    run.start(config, data.split_table(), manifest, data.content)
    return home


def test_relative_data_are_found_from_another_folder(project, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert data_of(RunDirectory(project / "runs" / "one")) is not None


def test_a_run_that_moved_with_its_data_finds_them(project, tmp_path):
    moved = shutil.copytree(project, tmp_path / "elsewhere")
    shutil.rmtree(project / "photos")
    found = where_data_are(RunDirectory(moved / "runs" / "one"))
    assert found.data.path == str(moved / "photos")


def test_data_that_moved_alone_have_to_be_named(project, tmp_path):
    shutil.move(project / "photos", tmp_path / "pictures")
    run = RunDirectory(project / "runs" / "one")
    with pytest.raises(UserError, match=r"no longer at .*photos; .*--data"):
        data_of(run)
    assert data_of(run, str(tmp_path / "pictures")) is not None
    with pytest.raises(UserError, match="put a link there"):
        data_of(run, advice="put a link there")


def test_images_that_the_run_knows_are_left_out_wherever_they_are(project, tmp_path):
    run = RunDirectory(project / "runs" / "one")
    own = data_of(run)
    metadata = {"classes": list(own.classes)}
    others = make_photos(tmp_path / "others", {"apple": 3, "berry": 2}, seed=1)
    for number in range(len(own.train)):  # under other names
        label = own.classes[own.train.labels[number]]
        shutil.copy(project / "photos" / own.train.image_name(number), others / label / f"copy{number}.png")
    said: list[str] = []
    left = images_of(run, "x", metadata, str(others), "test", say=said.append)
    assert len(left) == 5 and not any("copy" in left.image_name(i) for i in range(len(left)))
    assert len(said) == 1 and f"{len(own.train)} images that the model was trained on" in said[0]
    assert len(images_of(None, "x", metadata, str(others), "test")) == 5 + len(own.train), "a file without its run"


def test_if_it_knows_all_of_them_there_is_nothing_to_measure(project, tmp_path):
    run = RunDirectory(project / "runs" / "one")
    own = data_of(run)
    known = tmp_path / "known"
    for number in range(len(own.train)):
        label = own.classes[own.train.labels[number]]
        (known / label).mkdir(parents=True, exist_ok=True)
        shutil.copy(project / "photos" / own.train.image_name(number), known / label)
    said: list[str] = []
    metadata = {"classes": list(own.classes)}
    with pytest.raises(UserError, match=f"all {len(own.train)} images were used in training"):
        images_of(run, "x", metadata, str(known), "test", say=said.append)
    found = images_of(run, "x", metadata, str(known), "all", say=said.append)
    assert len(found) == len(own.train) and said[0].startswith("warning")
