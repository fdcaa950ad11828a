"""The Python of README and docs runs as it stands: only epochs are fewer here, and random weights stand for downloads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import keras_transfer as kt
from keras_transfer import runtime
from tests.conftest import ROOT, make_photos

pytestmark = [pytest.mark.backend, pytest.mark.slow]

# Pages or blocks that do not run here, and why.
LEFT_OUT = {
    "compare.md-0": "trains two runs in processes of their own; tests/compare does",
    "data.md-1": "defines a source; tests/extending runs one",
    "backbones.md-1": "builds a keras-hub backbone; tests/models/test_zoo_hub.py does",
    "export.md-0": "needs an export; tests/export opens each",
    "export.md-1": "needs an export; tests/export opens each",
    "export.md-2": "needs an export; tests/export opens each",
    "export.md-3": "needs an export; tests/export opens each",
    "export.md-4": "needs an export; tests/export opens each",
    "parity.md-0": "runs two backends; tests/parity does",
    "results.md-0": "needs weights that are not in the package",
    "residuals.md-0": "needs a residual network; tests/explain has one",
}
HIDE = '''
import os, sys
HIDDEN = set(os.environ.get("KERAS_TRANSFER_TEST_HIDDEN", "").split())


class Without:
    """A finder that does not find the frameworks that are not installed in this test."""

    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in HIDDEN else self.finder.find_spec(name, path, target)

    def __getattr__(self, name):
        return getattr(self.finder, name)


if HIDDEN:
    sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
'''


def _blocks() -> list[Any]:
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for number, text in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text("utf-8"), re.M | re.S)):
            name = f"{page.name}-{number}"
            marks = [pytest.mark.skip(reason=LEFT_OUT[name])] if name in LEFT_OUT else []
            marks += [pytest.mark.exhaustive] if name in ("training.md-0", "training.md-3") else []  # 224 pixels
            found.append(pytest.param(text, id=name, marks=marks))
    return found


def _smaller(text: str) -> str:
    """One epoch a phase; arrays in the size of the network that stands for a trained one here."""
    return (
        re.sub(r"epochs=\d+", "epochs=1", text)
        .replace("trials=20", "trials=2")
        .replace("(2, 224, 224, 3)", "(2, 64, 64, 3)")
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with everything that the pages speak of."""
    folder = tmp_path_factory.mktemp("docs")
    make_photos(folder / "photos", {"cat": 8, "dog": 8})
    make_photos(folder / "flowers", {"daisy": 8, "rose": 8, "tulip": 8})
    (folder / "holiday").mkdir()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    for name in ("cat.jpg", "new.jpg", "holiday/one.jpg", "holiday/two.jpg"):
        picture.save(folder / name)
    _stand_in(Path(os.environ["KERAS_HOME"]))
    settings = ["model.backbone=mobilenet", "model.weights=none", "data.image_size=64", "output.report=false",
                "output.plots=false", "phases=[{name: all, epochs: 1}]"]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = kt.train(kt.load_config(data="flowers", output="runs/flowers", overrides=settings), say=lambda line: None)
        (folder / "runs/photos").mkdir()
        (folder / "runs/photos/splits.json").write_text(json.dumps(kt.data.folder("photos").split_table()))
        settings = yaml.safe_load(run.config.read_text())
    settings["output"]["dir"] = None
    (folder / "flowers.yaml").write_text(yaml.safe_dump(settings))
    return folder


def _stand_in(home: Path) -> None:
    """Put random weights of MobileNetV2 where Keras keeps what it has downloaded, for both image sizes in the docs."""
    import keras

    folder = home / "models"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_{n}_no_top.h5" for n in (160, 224)]
    if not all(file.is_file() for file in files):
        network = keras.applications.MobileNetV2(input_shape=(224, 224, 3), include_top=False, weights=None)
        # Larger than Keras draws them: with untrained statistics, nothing of an image would be left after 52 layers.
        network.set_weights([3 * values if values.ndim == 4 else values for values in network.get_weights()])
        for file in files:
            if not file.is_file():
                network.save(file)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("text", _blocks())
def test_each_block_runs(text: str, place: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(place)
    text = re.sub(r'use_backend\("\w+"\)', "use_backend()", text)  # one process has one backend
    text = text.replace('backend="torch"', f'backend="{runtime.choose_backend().value}"')
    exec(compile(_smaller(text), "docs", "exec"), {"__name__": "docs"})


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "alone",  # the others take one to two minutes
    [pytest.param(x, marks=[pytest.mark.exhaustive] * (x != "torch")) for x in runtime.installed_backends()],
)
def test_the_readme_runs_with_one_backend_installed(alone: str, place: Path, tmp_path: Path):
    text = (ROOT / "README.md").read_text("utf-8")
    lines = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)[0]
    (tmp_path / "sitecustomize.py").write_text(HIDE)
    environment = {
        key: value for key, value in os.environ.items() if key not in ("KERAS_BACKEND", "COVERAGE_PROCESS_CONFIG")
    }
    # What Keras itself has written there if it was once imported with another backend.
    environment["KERAS_HOME"] = str(Path(shutil.copytree(os.environ["KERAS_HOME"], tmp_path / "home")))
    (tmp_path / "home" / "keras.json").write_text('{"backend": "tensorflow"}')
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(ROOT)])
    environment["KERAS_TRANSFER_TEST_HIDDEN"] = " ".join({"torch", "tensorflow", "jax"} - {alone})
    ends = "\nassert keras.backend.backend() == " + repr(alone)
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", _smaller(lines) + ends], env=environment, cwd=place,
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
