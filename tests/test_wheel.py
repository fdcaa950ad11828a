"""The wheel and an editable install, each in an environment of its own, used from another folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT

BUILT_FROM = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE")
QUICK = [
    "quickstart",
    *("--set", "model.backbone=tiny", "--set", "model.weights=none", "--set", "data.image_size=32"),
    *("--set", "data.limit=200", "--set", "data.limit_test=40"),
    *("--set", "phases=[{name: all, epochs: 1, learning_rate: 0.01}]"),
]


def run(*command: object, cwd: Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command that does not see this checkout."""
    hidden = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=hidden, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done


def environment(folder: Path, *install: object) -> Path:
    """Make a virtual environment with this one's dependencies and one thing more; return its folder of programs."""
    venv.create(folder)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    packages = run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder)
    known = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    # A path in a .pth file comes after the environment's own packages, and .pth files there have no effect.
    Path(packages.stdout.strip(), "dependencies.pth").write_text("\n".join(known))
    run(
        *(sys.executable, "-m", "pip", "--python", programs / "python", "install"),
        *("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--ignore-installed", *install),
        cwd=folder,
    )
    return programs


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Path:
    """What a clone has: the package, the recipes and the tests, in a folder that has the package's name."""
    folder = tmp_path_factory.mktemp("sources") / "keras_transfer"
    folder.mkdir()
    for name in ("keras_transfer", "configs", "benchmarks", "scripts"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tests").mkdir()
    (folder / "tests" / "test_one.py").touch()
    for name in BUILT_FROM:
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def built(sources, tmp_path_factory) -> Path:
    """The folder with the source distribution and the wheel that is built from it."""
    folder = tmp_path_factory.mktemp("built")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, sources, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """The programs of an environment with the wheel."""
    return environment(tmp_path_factory.mktemp("venv"), *built.glob("*.whl"))


def test_the_wheel_holds_the_package_and_nothing_else(built):
    with zipfile.ZipFile(*built.glob("*.whl")) as archive:
        found = set(archive.namelist())
    metadata = {name for name in found if name.split("/")[0].endswith(".dist-info")}
    assert any(name.endswith("/licenses/LICENSE") for name in metadata)
    package = ROOT / "keras_transfer"
    files = {f"keras_transfer/{file.relative_to(package).as_posix()}" for file in package.rglob("*") if file.is_file()}
    recipes = {f"keras_transfer/configs/{file.name}" for file in (ROOT / "configs").glob("*.yaml")}
    assert found - metadata == {name for name in files if "__pycache__" not in name} | recipes


def test_the_source_distribution_holds_what_the_wheel_is_built_from(built):
    with tarfile.open(*built.glob("*.tar.gz")) as archive:
        found = {name.partition("/")[2].partition("/")[0] for name in archive.getnames()} - {""}
    assert found - {"PKG-INFO", "setup.cfg", "keras_transfer.egg-info"} == {*BUILT_FROM, "configs", "keras_transfer"}


@pytest.mark.no_cover
def test_the_wheel_trains_predicts_and_reports_in_any_folder(installed, tmp_path):
    from PIL import Image

    command = installed / "keras-transfer"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "new.png")
    trained = run(command, "train", *QUICK, "--output", "run", cwd=tmp_path)
    assert trained.stdout.splitlines()[-1] == "run: run"
    assert "new.png" in run(command, "predict", "run", "new.png", cwd=tmp_path).stdout
    (tmp_path / "run" / "report.html").unlink()
    run(command, "report", "run", cwd=tmp_path)
    assert "<h2" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_the_wheel_says_where_the_benchmarks_are(installed, tmp_path):
    done = run(installed / "keras-transfer", "benchmark", cwd=tmp_path, status=2)
    assert len(done.stderr.splitlines()) == 1 and "clone the repository" in done.stderr


def test_the_version_is_in_one_place(installed, built, tmp_path):
    import keras_transfer

    assert run(installed / "keras-transfer", "--version", cwd=tmp_path).stdout.split()[-1] == keras_transfer.__version__
    assert next(built.glob("*.whl")).name.startswith(f"keras_transfer-{keras_transfer.__version__}-")


SHOW = "import keras_transfer, keras_transfer.config.load as c; print(keras_transfer.__file__, *c.recipe_names())"


def test_the_wheel_is_found_beside_a_clone(installed, sources):
    """Not the clone, a folder of the package's name in the current folder."""
    file, *recipes = run(installed / "python", "-c", SHOW, cwd=sources.parent).stdout.split()
    assert Path(file).is_relative_to(installed.parent) and "quickstart" in recipes


def test_an_editable_install_is_found_beside_its_clone(sources, tmp_path):
    programs = environment(tmp_path / "venv", "--editable", sources)
    file, *recipes = run(programs / "python", "-c", SHOW, cwd=sources.parent).stdout.split()
    assert Path(file) == sources / "keras_transfer" / "__init__.py" and "quickstart" in recipes
