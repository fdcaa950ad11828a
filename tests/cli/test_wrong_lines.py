"""Forty wrong command lines: each ends with status 2 and one line that says what to do. `docs/wrong_lines.md` lists them."""

from __future__ import annotations

import shlex

import pytest

from keras_transfer.cli import main
from tests.wrong_calls import PAGE, prepare_lines, row

# Command line, and what its error must hold. `photos/` has images, `model.keras` is none, `empty/` is empty.
WRONG = (
    ("trian photos/", "unknown command 'trian'; did you mean 'train'?"),
    ("photos/", "'photos/' is data, not a command; to train on it: keras-transfer train photos/"),
    ("train photoz/", "no folder, file or configuration 'photoz/'"),
    ("train quickstar", "did you mean 'quickstart'?"),
    ("train photos/ --data photos/", "two data sets: photos/ and --data photos/; name one"),
    ("train empty/", "empty"),
    ("train photos/ --epcohs 3", "unknown option '--epcohs'; did you mean '--epochs'?"),
    ("train photos/ --epochs", "--epochs: expected one argument"),
    ("train photos/ --epochs 0", "--epochs: input should be greater than or equal to 1, got 0"),
    ("train photos/ --epochs five", "--epochs: input should be a valid integer"),
    ("train photos/ --epochs 2.5", "--epochs: input should be a valid integer"),
    ("train photos/ --effort quick --epochs 3", "effort quick leaves out fine-tuning, whose epochs are set"),
    ("train quickstart --effort quick", "--effort says how phases are chosen, but quickstart names its phases"),
    ("train photos/ --effort fastest", "--effort: expected quick, standard, best or minutes"),
    ("train --epochs 3", "settings without data: name a folder (train photos/)"),
    ("train photos/ --lr -1", "--lr: input should be greater than 0, got -1"),
    ("train photos/ --lr fast", "--lr: input should be a valid number"),
    ("train photos/ --learning-rate 1e-4", "did you mean '--lr'?"),
    ("train photos/ --imgsz 224", "unknown option '--imgsz'; did you mean '--image-size'?"),
    ("train photos/ --image-size big", "--image-size: input should be a valid integer"),
    ("train photos/ --image-size 224x0", "--image-size: input should be greater than or equal to 1, got 0"),
    ("train photos/ --image-size 100000", "--image-size: input should be less than or equal to 4096"),
    ("train photos/ --batch 32", "unknown option '--batch'; did you mean '--batch-size'?"),
    ("train photos/ --batch-size 0", "--batch-size: input should be greater than or equal to 1, got 0"),
    ("train photos/ --model resnet50", "unknown option '--model'; did you mean '--backbone'?"),
    ("train photos/ --backbone ''", "--backbone: expected NAME, got an empty value"),
    ("train photos/ --seed -1", "--seed: input should be greater than or equal to 0, got -1"),
    ("train photos/ --precision fp16", "--precision: input should be 'auto', 'float32', 'bfloat16' or 'float16'"),
    ("train photos/ --backend pytorch", "unknown backend 'pytorch'; did you mean 'torch'?"),
    ("train photos/ --workers -2", "--workers: input should be greater than or equal to 0, got -2"),
    ("train photos/ --set epochs=3", "unknown key 'epochs'"),
    ("train photos/ --set data.batchsize=3", "did you mean 'batch_size'?"),
    ("train photos/ --set batch_size", "--set expects KEY=VALUE, got 'batch_size'"),
    ("train photos/ --output photos", "exists and is not empty"),
    ("train --resume", "--resume needs the run directory"),
    ("train photos/ --accept-changes", "--accept-changes needs --resume"),
    ("predict model.keras", "missing PATH"),
    ("predict runs/nothing new.jpg", "no such file or folder: new.jpg"),
    ("predict model.keras photos/ --top 0", "--top: expected an integer of at least 1, got '0'"),
    ("predict model.keras photos/ --output grid.jpg", "--output: expected a name that ends in .png, got 'grid.jpg'"),
    ("predict model.keras photos/", "'model.keras' is not a Keras model file (.keras), or is damaged"),
    ("evaluate runs/nothing", "no run directory or model file at runs/nothing"),
    ("evaluate photos/ --split tets", "--split: unknown value 'tets'; did you mean 'test'?"),
    ("explain grad-cam model.keras", "METHOD: unknown value 'grad-cam'; did you mean 'gradcam'?"),
    ("report photos/", "photos/ is not a run directory: it has no config.yaml"),
    ("parity --backends torch", "parity needs at least two backends, got torch"),
    ("completion bsh", "SHELL: unknown value 'bsh'; did you mean 'bash'?"),
    ("doctor photos/ --output sheet.pdf", "--output: expected a name that ends in .png, got 'sheet.pdf'"),
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("wrong")
    prepare_lines(where)
    return where


@pytest.mark.parametrize(("line", "words"), WRONG, ids=[line for line, _ in WRONG])
def test_a_wrong_line_says_what_to_do(line, words, folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    try:
        status = main(shlex.split(line))
    except SystemExit as stop:
        status = stop.code
    captured = capsys.readouterr()
    said = [text for text in captured.err.splitlines() if text.startswith("error: ")]
    assert status == 2 and len(said) == 1, captured.err
    assert words in said[0]
    assert row(line, said[0].removeprefix("error: ")) in PAGE.read_text("utf-8"), "python -m tests.wrong_calls"
    assert "Traceback" not in captured.err and not (folder / "runs").exists()
