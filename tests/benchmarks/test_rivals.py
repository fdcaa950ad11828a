"""What the benchmarks run: the same work in every rival, and a figure at the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter

import pytest

from benchmarks import contenders, pipeline, scale, scale_solver, shards, startup
from benchmarks.harness import Options
from benchmarks.images import jpeg_folder
from keras_transfer.errors import UserError
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, and rounds of one step."""
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path))
    monkeypatch.setattr(contenders, "ROUND_SECONDS", 0.0)
    return tmp_path


def _kernels_of_keras(model) -> Counter:
    """How many convolutions and dense layers have these (inputs, outputs, height, width)."""
    found: Counter = Counter()
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name == "kernel":
                *size, inputs, outputs = weight.shape
                depthwise = "Depthwise" in type(layer).__name__
                found[(inputs, 1, *size) if depthwise else (inputs, outputs, *(size or (1, 1)))] += 1
    return found


def _kernels_of_torch(module) -> Counter:
    from torch import nn

    found: Counter = Counter()
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            outputs, inputs, *size = layer.weight.shape
            depthwise = isinstance(layer, nn.Conv2d) and layer.groups > 1
            found[(outputs, 1, *size) if depthwise else (inputs, outputs, *(size or (1, 1)))] += 1
    return found


@pytest.mark.backend
@pytest.mark.exhaustive
@pytest.mark.parametrize("name", contenders.MODELS)
def test_models_written_by_hand_have_the_same_kernels_and_maps(name, backend):
    torch = pytest.importorskip("torch")
    from benchmarks.torch_models import MODELS

    model = contenders.keras_classifier(name, 64, "float32", backend, ours=False)
    module = MODELS[name]().eval()
    assert _kernels_of_torch(module) == _kernels_of_keras(model)
    maps = []
    for layer in module.modules():
        if isinstance(layer, torch.nn.AdaptiveAvgPool2d):
            layer.register_forward_hook(lambda layer, inputs, output: maps.append(tuple(inputs[0].shape)))
    with torch.no_grad():
        logits = module(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    (_, height, width, channels) = model.get_layer("pool").input.shape
    assert maps == [(2, channels, height, width)] and logits.shape == (2, contenders.CLASSES)


@pytest.mark.backend
@pytest.mark.exhaustive
@pytest.mark.parametrize("benchmark", ["train_step", "inference"])
@pytest.mark.parametrize("precision", contenders.PRECISIONS)
def test_rivals_give_a_figure(benchmark, precision, backend):
    import importlib

    module = importlib.import_module(f"benchmarks.{benchmark}")
    common = {"model": "mobilenet_v2", "precision": precision, "batch": 2, "size": 32}
    measures = [module.with_keras(**common, backend=backend, ours=True)]
    if benchmark == "inference":
        measures.append(module.features("mobilenet_v2", precision, 32, backend))
    if backend == "torch":
        measures.append(module.by_hand(**common, compiled=False))
    assert all(measure() > 0 for measure in measures)


def test_each_model_and_precision_is_a_case_and_ours_meets_its_rivals():
    found = contenders.cases(Options(models=("vgg16",), backends=("torch", "jax")), "m")
    assert [case.name for case in found] == ["vgg16, float32, batch 16", "vgg16, bfloat16, batch 16"]
    against = {rival.name: rival.against for rival in found[0].rivals if rival.against}
    assert against == {
        "keras_transfer torch": ("PyTorch eager", "PyTorch compiled"),
        "keras_transfer jax": ("Keras jax",),
    }
    with pytest.raises(UserError, match="did you mean 'vgg16'"):
        contenders.cases(Options(models=("vgg",)), "m")


def test_images_are_made_once_and_are_what_they_say(cache):
    import cv2

    folder = jpeg_folder(6)
    files = sorted(folder.glob("*/*.jpg"))
    assert len(files) == 6 and {file.parent.name for file in files} == {"china", "flower"}
    assert all(cv2.imread(str(file)).shape == (375, 500, 3) for file in files)
    assert len({file.read_bytes() for file in files}) == 6
    sizes = [sum(file.stat().st_size for file in jpeg_folder(6, quality).glob("*/*.jpg")) for quality in (75, 95)]
    assert sizes[0] < sizes[1] / 2
    before = [file.stat().st_mtime_ns for file in files]
    assert jpeg_folder(6) == folder and [file.stat().st_mtime_ns for file in files] == before


@pytest.mark.parametrize("chain", pipeline.CHAINS.values())
def test_the_pipeline_runs(chain):
    assert pipeline.ours(chain, quality=75, images=6, batch=4, size=32, workers=1, keep=1 << 20)() > 0


@pytest.mark.parametrize("chain", pipeline.CHAINS.values())
def test_torchvision_runs_or_says_what_to_install(chain):
    try:
        assert pipeline.torchvision_pil(chain, quality=75, images=6, batch=4, size=32, workers=1)() > 0
    except UserError as error:
        assert "pip install" in str(error)


def test_scale_counts_seconds_and_memory(cache, monkeypatch):
    monkeypatch.setattr(scale, "CLASSES", 3)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = scale.list_file(60)()
    assert 0 < found["value"] == pytest.approx(found["read s"] + found["split s"])
    assert 0 < found["peak GB"] < 2


@pytest.mark.parametrize("kind", ["folder", *shards.GOALS])
def test_shards_are_read_as_a_folder_is(kind, cache, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert shards.epochs(kind, images=60, batch=16, size=32, workers=1)() > 0


def test_scale_solves_a_head(cache, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    found = scale_solver.prepare(600, 3, features=16)()
    assert found["value"] > 0 and found["passes"] > 3 and 0 < found["peak GB"] < 2
    assert found["accuracy"] > 0.5 and found["disk GB"] == pytest.approx(600 * 16 * 2 / 1e9, rel=0.01)
    assert found["estimate for 1.2 M x 1,000 h"] == pytest.approx(found["value"] * 2000 * 1000 / 3 / 3600)


def test_startup_measures_whole_processes():
    assert startup.run(["-c", "import time; time.sleep(0.3)"]) > 0.3
    with pytest.raises(RuntimeError, match="exit status 3"):
        startup.run(["-c", "raise SystemExit(3)"])


def test_without_torchvision_its_rival_is_skipped_with_the_command_to_install():
    code = "import sys; sys.modules['torchvision'] = None\nfrom benchmarks.pipeline import import_torchvision\nimport_torchvision()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env={**os.environ}, check=False
    )
    assert "pip install" in done.stderr and "UserError" in done.stderr
    assert done.returncode == 1
