"""Images are known by their content: a run notices other pixels under the same names, and the same ones under others."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from keras_transfer import data
from keras_transfer.cli import main
from keras_transfer.errors import UserError
from keras_transfer.evaluation.predict import find_images
from keras_transfer.inference.data import data_of, images_of
from keras_transfer.runs import RunDirectory

pytestmark = pytest.mark.backend

META = {"classes": ["cat", "dog"]}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on uncompressed images, whose files all have the same size."""
    folder = tmp_path_factory.mktemp("content")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(
                folder / "photos" / name / f"{i}.bmp"
            )
    options = ["model.backbone=tiny", "model.weights=none", "data.image_size=32", "output.report=false", "output.plots=false",
               "phases=[{name: all, epochs: 1}]"]  # fmt: skip
    settings = [word for option in options for word in ("--set", option)]
    assert main(["train", "--data", str(folder / "photos"), "--output", str(folder / "run"), *settings]) == 0
    return folder


@pytest.fixture
def copied(trained, tmp_path):
    """The run with a copy of its images elsewhere."""
    shutil.copytree(trained / "photos", tmp_path / "moved")
    return RunDirectory.open(trained / "run"), tmp_path / "moved"


def invert(folder):
    for path in folder.rglob("*.bmp"):
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)


def test_other_pixels_of_the_same_size(trained, tmp_path):
    run = RunDirectory.open(trained / "run")
    assert data_of(run) is not None
    sizes = {path.stat().st_size for path in find_images(trained / "photos")}
    invert(trained / "photos")
    try:
        assert len(sizes) == 1 and data_of(run) is None
        with pytest.raises(UserError, match="has changed since training"):
            images_of(run, run.path, META, None, "test")
    finally:
        invert(trained / "photos")
    assert data_of(run) is not None


def test_resuming_lists_it(trained):
    """``changes`` compares the fingerprints that both manifests hold."""
    from keras_transfer.training.changes import changes

    before = data.folder(trained / "photos").fingerprint
    invert(trained / "photos")
    after = data.folder(trained / "photos").fingerprint
    invert(trained / "photos")
    assert before != after
    found = changes({"data": {"fingerprint": before}}, {"data": {"fingerprint": after}})
    assert list(found) == ["data"]


def test_cached_features_see_it(trained):
    import os

    from keras_transfer.engine.keys import images_digest

    def digest():
        for path in find_images(trained / "photos"):
            os.utime(path, (1, 1))
        return images_digest(data.folder(trained / "photos").train)

    before = digest()
    invert(trained / "photos")
    after = digest()
    invert(trained / "photos")
    assert before != after


def test_its_own_splits_are_found_again(copied):
    run, moved = copied
    for i, path in enumerate(find_images(moved)):
        path.rename(path.with_name(f"renamed-{i}.bmp"))
    own, said = data_of(run), []
    for split in ("test", "val", "train"):
        found = images_of(run, run.path, META, str(moved), split, said.append)
        assert len(found) == len(getattr(own, split)), split
    assert len(said) == 1 and f"left out: {len(own.train)} images that the model was trained on" in said[0]
    assert (
        len(images_of(run, run.path, META, str(moved), "all", said.append)) == 24 and "warning: among the 24" in said[1]
    )


def test_new_images_beside_old_ones(copied):
    run, moved = copied
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(moved / "cat" / "new.bmp")
    found = images_of(run, run.path, META, str(moved), "test")
    names = [found.image_name(i) for i in range(len(found))]
    assert "cat/new.bmp" in names and len(found) == len(data_of(run).test) + 1


def test_only_training_images(copied):
    run, moved = copied
    known = run.split_of_content()
    opened = data.build("folder", path=moved, evaluation=True)
    for name, row in zip(opened.samples.names(), opened.content):
        if known[bytes(row)] == "test":
            (moved / name).unlink()
    with pytest.raises(UserError, match="were used in training"):
        images_of(run, run.path, META, str(moved), "test")


def test_the_command_says_it(copied, capfd):
    run, moved = copied
    assert main(["evaluate", str(run.path), "--data", str(moved)]) == 0
    assert "left out:" in capfd.readouterr().err
