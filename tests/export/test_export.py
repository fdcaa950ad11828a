"""Every format on every backend: the file predicts as the model does, or the error names a suitable backend."""

from __future__ import annotations

import functools
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_transfer import runtime
from keras_transfer.cli import main
from keras_transfer.errors import MissingExtra, UserError
from keras_transfer.export import FORMATS, export
from keras_transfer.export.command import _in_process
from keras_transfer.export.formats import PRECISIONS
from tests.conftest import ROOT

pytestmark = pytest.mark.backend
EXAMPLES = re.findall(
    r"^## (\w+)$.*?^```python\n(.*?)^```", (ROOT / "docs" / "export.md").read_text("utf-8"), re.M | re.S
)


def _skip_unless_written_from(name: str, backend: str) -> None:
    if backend in FORMATS[name].not_from:
        pytest.skip(f"{name} is not written from {backend}: tested below")


@pytest.fixture(scope="module")
def whole(run, backend, tmp_path_factory):
    """Every format in float32, written once: name → (result row, folder above `runs/flowers/export`)."""

    def make(name):
        root = tmp_path_factory.mktemp(name)
        [row] = export(run, [name], output=root / "runs" / "flowers" / "export", backend=backend)
        return row, root

    return functools.cache(make)


@pytest.mark.parametrize("name", FORMATS)
def test_the_file_predicts_as_the_model_does(name, whole, backend):
    _skip_unless_written_from(name, backend)
    row, root = whole(name)
    assert row["label_agreement"] == 1 and row["agrees"]
    assert 0 < row["max_difference"] < 1e-3
    assert row["compared_on"] == {"images": "test split", "count": 7}
    made = root / "runs" / "flowers" / "export" / FORMATS[name].file
    assert json.loads((made.parent / f"{made.name}.json").read_text("utf-8")) == row
    files = [file for file in made.parent.rglob("*") if file.is_file() and file.name != f"{made.name}.json"]
    assert sum(file.stat().st_size for file in files) == row["bytes"]


@pytest.mark.parametrize("name", FORMATS)
def test_any_batch_size(name, whole, backend):
    _skip_unless_written_from(name, backend)
    logits = FORMATS[name].module().open_file(whole(name)[1] / "runs" / "flowers" / "export" / FORMATS[name].file)
    images = np.random.default_rng(0).integers(0, 256, (7, 64, 64, 3)).astype(np.float32)
    together = logits(images)
    assert together.shape == (7, 3) and together.dtype == np.float32
    apart = np.concatenate([logits(images[:1]), logits(images[1:3]), logits(images[3:])])
    np.testing.assert_allclose(apart, together, atol=1e-4)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "precision", [pytest.param(name, marks=[pytest.mark.slow] * (name == "float16")) for name in PRECISIONS[1:]]
)
def test_smaller_precisions(name, precision, run, whole, backend, tmp_path):
    _skip_unless_written_from(name, backend)
    if precision in FORMATS[name].not_in:
        with pytest.raises(UserError, match=rf"{name} is not available in {precision}: .*available: float32"):
            export(run, [name], precision=precision, output=tmp_path, backend=backend)
        return
    if backend in FORMATS[name].refusals(precision):
        with pytest.raises(UserError, match=f"{name} cannot be written from {backend}: its {precision} is made from "):
            export(run, [name], precision=precision, output=tmp_path, backend=backend)
        return
    full, _ = whole(name)
    small = export(run, [name], precision=precision, output=tmp_path, backend=backend)[0]
    assert small["agrees"], small
    assert small["bytes"] < {"float16": 0.6, "int8": 0.4}[precision] * full["bytes"]
    assert small["max_difference"] > full["max_difference"]
    assert small["file"] != full["file"] and (tmp_path / small["file"]).exists()


@pytest.mark.parametrize("name", [name for name, item in FORMATS.items() if item.not_from])
def test_an_unsupported_backend_names_the_supported_ones(name, run, backend, tmp_path, capsys):
    if backend not in FORMATS[name].not_from:
        pytest.skip(f"{backend} can")
    assert main(["export", str(run), name, "--output", str(tmp_path / "new"), "--backend", backend]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {name} cannot be written from {backend}: ")
    assert f"--backend {' or '.join(FORMATS[name].backends())}" in line
    assert not (tmp_path / "new").exists()


def test_a_wrong_name_suggests_the_nearest(run):
    with pytest.raises(UserError, match="unknown export format 'onx'; did you mean 'onnx'"):
        export(run, ["onx"])
    with pytest.raises(UserError, match="unknown precision 'int16'; did you mean 'int8'"):
        export(run, ["onnx"], precision="int16")
    with pytest.raises(UserError, match="no run directory or model file"):
        export(run / "nothing", ["onnx"])


def test_a_missing_package_names_the_extra(run, backend, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "openvino" else found(name, *rest)
    )
    with pytest.raises(MissingExtra, match=r'pip install "keras_transfer\[export\]"'):
        export(run, ["openvino"], backend=backend)


@pytest.mark.exhaustive
def test_a_model_file_alone_is_verified_on_its_golden_batch(run, backend, tmp_path):
    from keras_transfer.models.bundle import read_golden

    shutil.copy(run / "model.keras", tmp_path)
    [row] = export(tmp_path / "model.keras", ["openvino"], backend=backend)
    assert row["agrees"] and row["compared_on"]["count"] == len(read_golden(run / "model.keras"))
    assert row["compared_on"]["images"].startswith("golden batch")
    assert (tmp_path / "export" / "model.xml").is_file()


def test_an_output_that_is_a_file_is_refused(run, backend, tmp_path):
    (tmp_path / "taken").write_text("kept")
    with pytest.raises(UserError, match="cannot create the output folder"):
        export(run, ["openvino"], output=tmp_path / "taken", backend=backend)
    assert (tmp_path / "taken").read_text() == "kept"


@pytest.mark.exhaustive
def test_a_file_that_disagrees_is_reported(run, backend, tmp_path, monkeypatch, capsys):
    from keras_transfer.export import to_openvino

    honest = to_openvino.open_file
    monkeypatch.setattr(to_openvino, "open_file", lambda path: lambda images: -honest(path)(images))
    assert main(["export", str(run), "openvino", "--output", str(tmp_path), "--backend", backend]) == 1
    assert "TOO LOW" in capsys.readouterr().out
    assert json.loads((tmp_path / "model.xml.json").read_text("utf-8"))["agrees"] is False


@pytest.mark.exhaustive
def test_a_full_disk_is_a_one_line_error(run, backend, tmp_path, monkeypatch, capsys):
    """Whatever the library raises; earlier exports stay."""
    from keras_transfer.export import to_openvino

    export(run, ["openvino"], output=tmp_path, backend=backend)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    usage = shutil.disk_usage(tmp_path)

    def write(model, path, *rest):
        path.write_bytes(b"half")
        raise RuntimeError("basic_ios::clear: iostream error")  # as OpenVINO does

    monkeypatch.setattr(to_openvino, "write", write)
    command = ["export", str(run), "openvino", "--output", str(tmp_path), "--backend", backend]
    with pytest.raises(RuntimeError, match="iostream"):  # there is space: another error
        main(command)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=4096))
    assert main(command) == 2
    assert capsys.readouterr().err == f"error: cannot write '{tmp_path / 'model.xml'}': no space left on the disk\n"
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_torch_on_a_full_disk_does_not_end_the_process(tmp_path, backend):
    """torch's own writer would abort it."""
    import keras

    from keras_transfer.export import to_torch

    _skip_unless_written_from("torch", backend)
    with pytest.raises(OSError, match="No space left"):
        to_torch.write(
            keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Flatten()]), Path("/dev/full"), {}, "", None
        )


@pytest.mark.parametrize("status", [1, 2])
def test_results_of_an_older_export_are_not_reused(run, backend, tmp_path, monkeypatch, status):
    """A crash has exit status 1, as have files that disagree."""
    (tmp_path / "model.xml.json").write_text('{"agrees": true}')
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, status))
    with pytest.raises(UserError, match=f"the export from {backend} failed, see above"):
        _in_process(run, [FORMATS["openvino"]], tmp_path, "float32", backend)


@pytest.mark.exhaustive
def test_works_while_keras_runs_on_another_backend(run, backend, tmp_path, monkeypatch):
    other = next((name for name in runtime.installed_backends() if name != backend), None)
    if other is None:
        pytest.skip("needs two backends")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    [row] = export(run, ["openvino"], output=tmp_path, backend=other)
    assert row["backend"] == other and row["agrees"]


@pytest.mark.exhaustive
@pytest.mark.skipif(not {"torch", "tensorflow"} <= set(runtime.installed_backends()), reason="needs both")
def test_formats_of_two_backends_in_one_command(run, backend, tmp_path):
    if backend != "torch":
        pytest.skip("does not depend on the backend of this process")
    command = [sys.executable, "-m", "keras_transfer", "export", str(run), "torch", "litert", "--output", str(tmp_path)]
    environment = {key: value for key, value in runtime.child_environment("").items() if key != "KERAS_BACKEND"}
    done = subprocess.run(
        command, env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = [json.loads((tmp_path / f"{FORMATS[name].file}.json").read_text("utf-8")) for name in ("torch", "litert")]
    assert [row["backend"] for row in rows] == ["torch", "tensorflow"]
    assert all(row["label_agreement"] == 1 for row in rows)


def test_the_torch_file_stores_each_weight_once(run, whole, backend):
    import torch

    from keras_transfer.models.bundle import load

    _skip_unless_written_from("torch", backend)
    program = torch.export.load(str(whole("torch")[1] / "runs" / "flowers" / "export" / "model.pt2"))
    kept = sum(value.numel() for value in (*program.state_dict.values(), *program.constants.values()))
    assert 0 < kept <= load(run / "model.keras")[0].count_params()


def test_labels_of_litert_can_be_unzipped(run, whole, backend):
    from keras_transfer.models.bundle import read_metadata

    _skip_unless_written_from("litert", backend)
    with zipfile.ZipFile(whole("litert")[1] / "runs" / "flowers" / "export" / "model.tflite") as archive:
        assert archive.read("labels.txt").decode("utf-8").splitlines() == read_metadata(run / "model.keras")["classes"]


def test_every_format_has_an_example():
    assert [name for name, _ in EXAMPLES] == list(FORMATS)
    assert all(len(code.splitlines()) <= 20 for _, code in EXAMPLES)


@pytest.mark.parametrize(("name", "code"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_the_example_in_the_docs_runs(name, code, run, whole, backend):
    """It prints the classes and probabilities of the classifier for the same image."""
    import keras_transfer as kt

    _skip_unless_written_from(name, backend)
    _, root = whole(name)
    image = root / "new.jpg"
    pixels = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(image, format="PNG")  # lossless, in the size of the model input
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = kt.load(run / "model.keras").predict(pixels, top=3)
    printed = [line.rsplit(" ", 1) for line in done.stdout.splitlines()]
    assert [label for label, _ in printed] == list(found.classes)
    assert [float(p) for _, p in printed] == pytest.approx(list(found.probabilities), abs=2e-3)


def test_the_table_in_the_docs_matches_the_formats():
    lines = (ROOT / "docs" / "export.md").read_text("utf-8").splitlines()
    rows = [[cell.strip().strip("`") for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| `")]
    columns = ("torch", "tensorflow", "jax", "float16", "int8")
    expected = {
        name: ["no" if column in {**item.not_from, **item.not_in} else "yes" for column in columns]
        for name, item in FORMATS.items()
    }
    assert {row[0]: row[2:7] for row in rows} == expected
    assert all(FORMATS[row[0]].file in row[1] for row in rows)
