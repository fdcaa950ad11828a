"""Fixtures for all tests; one process runs one backend (``KERAS_BACKEND``, else the first installed)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

# Keras reads, and may write, ~/.keras: tests must neither see nor leave anything there.
os.environ.setdefault("KERAS_HOME", tempfile.mkdtemp(prefix="keras_home_"))
# Nor shall they leave features in, or take them from, the user's cache.
os.environ["KERAS_TRANSFER_CACHE"] = tempfile.mkdtemp(prefix="keras_transfer_cache_")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# A job that a shell put into the background ignores Ctrl-C, and so would the processes that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1000,1000",
)  # fmt: skip


# These take longest: begun last, they would keep one core busy while the other has nothing left to do.
LONGEST = (
    "test_examples.py", "test_kill.py", "test_parity.py", "test_recipes.py", "test_export.py", "test_wheel.py",
    "test_compare.py", "test_commands.py", "test_resume.py", "test_extending.py", "test_site.py",
)  # fmt: skip


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
    if any(item.get_closest_marker("backend") for item in items):
        from keras_transfer.runtime import use_backend

        use_backend()
    for item in items:
        # Tracing each line doubles the time of building a network. A slow case of a test that also has quick ones runs the
        # same lines of the package as those, most often with a larger network.
        if any(mark.name == "slow" for mark in (item.callspec.marks if hasattr(item, "callspec") else ())):
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(autouse=True)
def _processes_are_traced_as_their_test(request, monkeypatch):
    """A test that is not traced starts processes that are not: coverage would trace them by this variable."""
    if request.node.get_closest_marker("no_cover"):
        monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)


@pytest.fixture(scope="session")
def backend() -> str:
    """The backend of this process."""
    from keras_transfer.runtime import choose_backend

    return choose_backend().value


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights beside the checkout; the test is skipped without it."""
    for folder in ROOT.parents:
        if (folder / "shared" / "data").is_dir():
            return folder / "shared"
    pytest.skip("needs the folder shared/ with real data beside the checkout")


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    return shared / "data"


@pytest.fixture(scope="session")
def shared_weights(shared: Path) -> Path:
    return shared / "weights"


def make_photos(folder: Path, classes: dict[str, int], size: int = 40, seed: int = 0) -> Path:
    """Write class folders of easy images: each class has its own colour and stripe direction, plus noise."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    for number, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 80, (size, size, 3)).astype(np.int64)
            pixels[..., number % 3] += 110
            stripes = (np.arange(size) // 4 % 2) * 60
            pixels += (stripes[:, None] if number % 2 else stripes[None, :])[..., None]
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / name / f"{i:03d}.png")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three classes of 20 images."""
    return make_photos(tmp_path / "photos", {"apple": 20, "berry": 20, "cherry": 20})


@pytest.fixture(scope="session")
def command():
    """Run ``keras-transfer …`` in a process of its own; returns the finished process with its text output."""

    def run(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "keras_transfer", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A real headless Chromium; the test is skipped where there is none (Debian: chromium, chromium-driver)."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver on the PATH")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    yield driver
    driver.quit()
