"""Every user error ends with status 2 and one clear line, never a traceback."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from keras_transfer import runtime
from keras_transfer.cli import main

SMALL = ["--set", "model.backbone=tiny", "--set", "model.weights=none", "--set", "data.image_size=32",
         "--set", "data.augment=[]", "--set", "phases=[{name: head, epochs: 1}]", "--set", "data.batch_size=8",
         "--set", "output.report=false"]  # fmt: skip


def fails(capsys, *arguments: object) -> str:
    """Run a command that must fail with a user error; return its error lines."""
    assert main([str(argument) for argument in arguments]) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert lines, captured.err
    assert "Traceback" not in captured.err + captured.out
    assert "run: " not in captured.out
    return "\n".join(lines)


def test_mistyped_keys_are_listed_together(capsys, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("data: {bacth_size: 3}\nmodle: {}\nphases: [{name: head, epocs: 2}]\n")
    text = fails(capsys, "train", file)
    assert "did you mean 'batch_size'" in text and "did you mean 'model'" in text and "did you mean 'epochs'" in text


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.backbone=resnet5", r"unknown backbone 'resnet5'; did you mean 'resnet50'"),
        ("data.augment=[horizontal_flop]", r"did you mean 'horizontal_flip'"),
        ("data.augment=[{name: rotation, degree: 3}]", r"degree"),
        ("phases=[{name: x, train: [nothing*]}]", r"nothing\*"),
        ("phases=[{name: last 99 groups, epochs: 1}]", r"99"),
        ("model.weights=/nowhere/w.h5", r"/nowhere/w.h5"),
        ("data.image_size=4", r"4"),
        ("backend=torhc", r"did you mean 'torch'"),
    ],
)
def test_bad_values(capsys, photos, tmp_path, override, words):
    text = fails(capsys, "train", "--data", photos, *SMALL, "--set", override, "--output", tmp_path / "run")
    assert re.search(words, text), text


def test_a_backend_that_is_not_installed(capsys, photos, monkeypatch):
    monkeypatch.setattr(runtime.backend, "installed_backends", lambda: [])
    assert "pip install" in fails(capsys, "train", "--data", photos, "--backend", "torch")


def test_an_unknown_backend(capsys, photos):
    assert "did you mean 'torch'" in fails(capsys, "train", "--data", photos, "--backend", "pytorch")


def test_folders_without_a_task(capsys, tmp_path):
    assert "nowhere" in fails(capsys, "train", "--data", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    fails(capsys, "train", "--data", tmp_path / "empty")
    (tmp_path / "one" / "cat").mkdir(parents=True)
    for i in range(5):
        Image.new("RGB", (20, 20), (i, 0, 0)).save(tmp_path / "one" / "cat" / f"{i}.png")
    assert "class" in fails(capsys, "train", "--data", tmp_path / "one")
    (tmp_path / "one" / "dog").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "one" / "dog" / "0.png")
    assert "dog" in fails(capsys, "train", "--data", tmp_path / "one")


def test_lists_with_faults_name_the_line(capsys, photos):
    good = "\n".join(f"{p.relative_to(photos)} {p.parent.name}" for p in sorted(photos.rglob("*.png")))
    for bad, words in (("apple/nothing.png apple", "61"), ("lonelyword", "61")):
        (photos / "list.txt").write_text(f"{good}\n{bad}\n")
        assert words in fails(capsys, "train", "--data", photos / "list.txt", *SMALL)
    numbered = "\n".join(f"{p.relative_to(photos)} {i % 3}" for i, p in enumerate(sorted(photos.rglob("*.png"))))
    (photos / "list.txt").write_text(numbered + "\napple/000.png 7\n")
    text = fails(capsys, "train", "--data", photos / "list.txt", "--set", "data.classes=[a, b, c]", *SMALL)
    assert "7" in text


@pytest.mark.backend
def test_images_that_cannot_be_read_are_all_listed_before_training(capsys, photos, tmp_path):
    whole = (photos / "apple" / "000.png").read_bytes()
    (photos / "apple" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "berry" / "text.jpg").write_text("not an image")
    (photos / "cherry" / "empty.png").write_bytes(b"")
    output = tmp_path / "run"
    text = fails(capsys, "train", "--data", photos, *SMALL, "--output", output)
    assert all(name in text for name in ("cut.png", "text.jpg", "empty.png"))
    assert not output.exists()
    assert (
        main(["train", "--data", str(photos), *SMALL, "--set", "data.on_bad_image=skip", "--output", str(output)]) == 0
    )
    assert (output / "manifest.json").read_text().count("cut.png") == 1


@pytest.mark.backend
def test_weights_of_another_shape(capsys, photos, tmp_path):
    from keras_transfer.models.classifier import build_classifier

    build_classifier("mobilenet_v2", 2, image_size=(32, 32), weights="none").save_weights(tmp_path / "w.weights.h5")
    fails(capsys, "train", "--data", photos, *SMALL, "--set", f"model.weights={tmp_path / 'w.weights.h5'}")


@pytest.mark.backend
def test_no_network_for_weights(capsys, photos, monkeypatch):
    import keras

    def refuse(*_, **__):
        raise Exception("URL fetch failure: name resolution failed")

    monkeypatch.setattr(keras.utils, "get_file", refuse)
    for module in ("resnet", "mobilenet_v2"):
        monkeypatch.setattr(f"keras.src.applications.{module}.file_utils.get_file", refuse)
    text = fails(capsys, "train", "--data", photos, *SMALL, "--set", "model.backbone=resnet50",
                 "--set", "model.weights=imagenet")  # fmt: skip
    assert "efficientnet_lite0" in text


def test_outputs_that_exist_or_cannot_be_written(capsys, photos, tmp_path):
    assert "exists and is not empty" in fails(capsys, "train", "--data", photos, "--output", photos)
    (tmp_path / "file").write_text("x")
    assert "is a file" in fails(capsys, "train", "--data", photos, "--output", tmp_path / "file")
    fails(capsys, "train", "--data", photos, *SMALL, "--output", tmp_path / "file" / "below")


def test_no_space(capsys, photos, tmp_path, monkeypatch):
    """Writing to a full disk ends with one clear line."""
    import errno

    from keras_transfer import files

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    assert "No space left" in fails(capsys, "train", "--data", photos, *SMALL, "--output", tmp_path / "run")


def test_resume_without_a_run(capsys, tmp_path, photos):
    assert "train --resume RUN" in fails(capsys, "train", "--resume")
    assert "train --resume RUN" in fails(capsys, "train", "--resume", photos)
    assert "no run directory" in fails(capsys, "train", "--resume", "--output", tmp_path / "nothing")
    assert "config.yaml" in fails(capsys, "train", "--resume", "--output", photos)
    assert "leave out" in fails(capsys, "train", "--resume", "--output", photos, photos)


def test_the_run_to_resume_may_stand_where_the_data_would(capsys, tmp_path):
    (tmp_path / "manifest.json").write_text("{}")
    assert "config.yaml" in fails(capsys, "train", "--resume", tmp_path)


def test_models_that_are_none(capsys, tmp_path, photos):
    assert "no run directory or model file" in fails(capsys, "predict", tmp_path / "x.keras", photos)
    (tmp_path / "x.keras").write_bytes(b"PK not really")
    fails(capsys, "predict", tmp_path / "x.keras", photos)
    fails(capsys, "evaluate", tmp_path / "x.keras", "--data", photos)
    fails(capsys, "predict", photos, photos)


def test_nothing_to_predict(capsys, tmp_path):
    (tmp_path / "x.keras").write_bytes(b"PK")
    assert "nothing.jpg" in fails(capsys, "predict", tmp_path / "x.keras", tmp_path / "nothing.jpg")


def test_parity_needs_two_backends(capsys):
    assert "at least two" in fails(capsys, "parity", "--backends", runtime.installed_backends()[0])
    assert "unknown backend" in fails(capsys, "parity", "--backends", "torch,theano")


def test_arrays_of_another_kind(capsys, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 8, 8, 3), np.uint8), y=np.array([0, 1, 0]))
    fails(capsys, "train", "--data", tmp_path / "a.npz", *SMALL)
    (tmp_path / "b.npz").write_bytes(b"no zip")
    fails(capsys, "train", "--data", tmp_path / "b.npz", *SMALL)


@pytest.mark.parametrize("size", ["0", "100000", "abc", "true", "[32, 0]"])
def test_a_bad_size_is_one_line(capsys, photos, size):
    text = fails(capsys, "train", "--data", photos, "--set", f"data.image_size={size}")
    assert len(text.splitlines()) == 1 and "data.image_size" in text


def test_output_files_are_refused_before_anything_is_computed(capsys, photos, tmp_path):
    model = tmp_path / "m.keras"
    model.write_bytes(b"no model")
    image = photos / "apple" / "000.png"
    for command in (
        ("predict", model, image, "--json", tmp_path),
        ("predict", model, image, "--csv", tmp_path),
        ("evaluate", model, "--json", tmp_path),
        ("doctor", photos, "--json", tmp_path),
    ):
        assert "is a folder; name a file" in fails(capsys, *command)
    for command in (
        ("predict", model, image, "--grid", "grid.txt"),
        ("doctor", photos, "--sheet", "sheet.txt"),
        ("explain", "gradcam", model, image, "--output", "cam.txt"),
    ):
        assert "expected a name that ends in .png" in fails(capsys, *command)
    assert "is not a Keras model file" in fails(capsys, "predict", model, image)
