"""Images without labels: which of a folder are used, and what a run says of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import keras_transfer as kt
from keras_transfer.config.load import load_config
from keras_transfer.errors import UserError
from keras_transfer.evaluation.leaderboard import Leaderboard
from keras_transfer.training.board import leaderboard
from keras_transfer.training.train import train
from keras_transfer.training.unlabelled import with_unlabelled
from tests.conftest import make_photos


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Photos with labels, and a folder of pictures: new ones in folders of their own, copies, and files of other kinds."""
    root = tmp_path_factory.mktemp("unlabelled")
    photos = make_photos(root / "photos", {"apple": 12, "berry": 12}, seed=3)
    more = make_photos(root / "more", {"a": 9, "b/deep": 9}, seed=4)
    data = kt.data.folder(photos, image_size=32, val_fraction=0)
    shutil.copy(photos / data.test.image_name(0), more / "renamed test picture.png")
    shutil.copy(photos / data.train.image_name(0), more / "a" / "known.png")
    shutil.copy(more / "a" / "000.png", more / "copy.png")
    (more / "notes.txt").write_text("no picture")
    (more / ".hidden.png").write_bytes(b"no picture")
    return root


def open_photos(root: Path):
    return kt.data.folder(root / "photos", image_size=32, val_fraction=0)


def test_pictures_of_the_data_and_copies_are_left_out(folder):
    data = with_unlabelled(open_photos(folder), str(folder / "more"))
    assert len(data.unlabelled) == 18
    names = [Path(data.unlabelled.image_name(i)).name for i in range(18)]
    assert "renamed test picture.png" not in names and "known.png" not in names
    (note,) = data.unlabelled.samples.notes
    assert note in data.details()
    assert "18 images without labels" in note and "2 that the data have, 1 copies" in note


def test_a_folder_of_the_data_alone_is_refused(folder):
    with pytest.raises(UserError, match=r"all 24 images of .* are among the data already"):
        with_unlabelled(open_photos(folder), str(folder / "photos"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.mkdir(), "no images in"),
        (lambda path: path.write_text("text"), "is a file, not a folder"),
        (lambda path: (path.mkdir(), (path / "a.jpg").write_text("text")), "1 of 1 images cannot be read"),
    ],
)
def test_what_is_no_folder_of_pictures_is_refused(folder, tmp_path, make, message):
    make(tmp_path / "given")
    with pytest.raises(UserError, match=message) as caught:
        with_unlabelled(open_photos(folder), str(tmp_path / "given"))
    assert "data.unlabelled" in str(caught.value)


def test_unreadable_pictures_are_skipped_where_the_data_s_are(folder, tmp_path):
    shutil.copytree(folder / "more" / "a", tmp_path / "given")
    (tmp_path / "given" / "broken.jpg").write_text("text")
    data = with_unlabelled(open_photos(folder), str(tmp_path / "given"), "skip")
    assert len(data.unlabelled) == 9
    assert "1 unreadable" in data.unlabelled.samples.notes[0]


def settings(root: Path, output: Path, *more: str) -> kt.RunConfig:
    tiny = ["model.backbone=tiny", "model.weights=none", "data.image_size=32", "output.report=false", "output.plots=false",
            "phases=[{name: head, solver: exact}]", "data.val_fraction=0"]  # fmt: skip
    return load_config(data=str(root / "photos"), output=str(output), overrides=[*tiny, *more])


@pytest.mark.backend
def test_a_run_says_what_came_of_them(folder, tmp_path):
    lines: list[str] = []
    run = train(settings(folder, tmp_path / "run", f"data.unlabelled={folder / 'more'}"), say=lines.append)
    metrics = run.read_json(run.metrics)
    found = metrics["outcomes"][0]["unlabelled"]
    assert found["images"] == 18 and isinstance(found["accepted"], bool)
    names = [entry["candidate"] for entry in metrics["leaderboard"]["entries"]]
    assert sorted(names) == ["+ 18 without labels, solved head", "solved head"]
    assert sum(entry["chosen"] for entry in metrics["leaderboard"]["entries"]) == 1
    assert run.read_json(run.manifest)["data"]["unlabelled"]["images"] == 18
    assert any("18 images without labels from" in line for line in lines)
    assert any("18 images without labels: " in line and "log-loss" in line for line in lines)
    stored = run.read_out_of_fold()
    assert stored is not None and stored[0].shape == (len(stored[1]), 2)


def test_changed_pictures_are_told_on_resuming(folder, tmp_path):
    from keras_transfer.training.changes import changes

    before = {"data": {"unlabelled": {"fingerprint": "a"}}}
    assert changes(before, before) == {}
    assert list(changes(before, {"data": {"unlabelled": {"fingerprint": "b"}}})) == ["data.unlabelled"]
    assert list(changes(before, {"data": {}})) == ["data.unlabelled"]


@pytest.mark.backend
@pytest.mark.parametrize(
    ("phases", "message"),
    [("[{name: head, epochs: 1}]", "every phase here trains by gradient descent")],
)
def test_phases_that_cannot_use_them_are_refused(folder, tmp_path, phases, message):
    more = [f"data.unlabelled={folder / 'more'}", f"phases={phases}", "data.val_fraction=0.2"]
    with pytest.raises(UserError, match=message):
        train(settings(folder, tmp_path / "run", *more), say=lambda line: None)
    assert not (tmp_path / "run").exists()


def test_several_labels_are_refused(folder, tmp_path):
    rows = "".join(
        f"{path},{'apple;berry' if k % 2 else 'apple'}\n"
        for k, path in enumerate(sorted((folder / "photos").rglob("*.png")))
    )
    (tmp_path / "labels.csv").write_text("path,labels\n" + rows)
    config = settings(folder, tmp_path / "run", f"data.unlabelled={folder / 'more'}")
    config = config.model_copy(
        update={"data": config.data.model_copy(update={"source": "csv", "path": str(tmp_path / "labels.csv")})}
    )
    with pytest.raises(UserError, match=r"data\.unlabelled decides between classes"):
        train(config, say=lambda line: None)
    said: list[str] = []
    with pytest.raises(UserError, match="reject_rate decides between classes"):
        train(config.model_copy(update={"reject_rate": 0.1}), say=said.append)
    assert len(said) == 1, "before candidates are computed"


def evidence(loss: float) -> dict[str, float]:
    return {"n": 30, "accuracy": 0.8, "accuracy_error": 0.05, "log_loss": loss, "log_loss_error": 0.03}


@pytest.mark.parametrize("accepted", [True, False])
def test_they_are_a_candidate_of_the_leaderboard(accepted):
    more = {
        "images": 100,
        "accepted": accepted,
        "evidence": evidence(0.4),
        "evidence_start": evidence(0.5),
        "seconds": 1.0,
    }
    outcomes = [{"phase": "head", "solver": "exact", "unlabelled": more}]
    before = {
        "evidence": "x",
        "entries": [{"candidate": "tiny, last map", **evidence(0.5), "seconds": 2.0, "chosen": True}],
    }
    before["entries"][0].pop("n")
    for stored in (None, json.loads(json.dumps(before))):
        board = leaderboard(stored, outcomes)
        assert isinstance(board, Leaderboard) and len(board.entries) == 2
        assert ("without labels" in board.chosen.candidate) == accepted
        assert np.isfinite([entry.log_loss for entry in board.entries]).all()
        assert str(board)


def test_a_picture_is_known_whatever_its_name(folder):
    data = with_unlabelled(open_photos(folder), str(folder / "more"))
    known = {bytes(row) for row in data.content}
    assert not known & {bytes(row) for row in data.unlabelled.samples.images.content}
