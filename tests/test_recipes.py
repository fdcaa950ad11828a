"""Every recipe in `configs/`, on a small piece of data like its own: it trains, is measured, and its model predicts."""

from __future__ import annotations

import gzip
from pathlib import Path

import cv2
import numpy as np
import pytest

from keras_transfer.config import load_config
from tests.conftest import make_photos

CONFIGS = sorted(path.stem for path in (Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))
TWICE = {"cifar10_alexnet", "cifar10_alexnet_scratch", "cifar10_resnet18_scratch"}
"""The same networks and images as their namesakes; `tests/models` builds AlexNet, which takes half a minute here."""
EVERYWHERE = {"cifar10_resnet18"}
"""On every backend. The batches of the others' data are the same on all; their networks are compared by other tests."""
CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar10(folder: Path) -> list[str]:
    for split, count in (("train", 6), ("test", 1)):
        make_photos(folder / split, dict.fromkeys(CIFAR10, count), size=32)
    return [f"data.path={folder}"]


def idx(folder: Path) -> list[str]:
    folder.mkdir()
    for part, count in (("train", 60), ("t10k", 10)):
        images = np.random.default_rng(count).integers(0, 256, (count, 28, 28), np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + b"".join(side.to_bytes(4, "big") for side in array.shape)
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return [f"data.path={folder}"]


def food(folder: Path) -> list[str]:
    """Twenty classes in list files."""
    make_photos(folder / "images", {f"dish{i:02d}": 4 for i in range(20)}, size=64)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png"))
    for file, chosen in (("train.txt", names[::4] + names[1::4] + names[2::4]), ("test.txt", names[3::4])):
        (folder / file).write_text(
            "".join(f"{name} {Path(name).parent.name[-2:].lstrip('0') or 0}\n" for name in chosen)
        )
    return [f"data.train={folder / 'train.txt'}", f"data.test={folder / 'test.txt'}", f"data.root={folder}"]


def small(recipe: str, folder: Path) -> list[str]:
    """Overrides that make a recipe quick: made data, random weights, an epoch a phase."""
    if recipe == "quickstart":
        found = ["data.limit=60", "data.limit_test=20"]
    elif "mnist" in recipe:
        found = idx(folder)
    else:
        found = food(folder) if "food" in recipe else cifar10(folder)
    size = load_config(recipe).data.image_size
    side = min(size, 64) if isinstance(size, int) else 64
    phases = len(load_config(recipe).phases)
    # The 53 BatchNorms of a random ResNet-50 need some steps before their moving statistics keep its outputs finite.
    batch, epochs = (4, 2) if recipe == "mnist_resnet50" else (16, 1)
    return [*found, f"data.image_size={side}", f"data.batch_size={batch}", "model.weights=none", "output.report=false",
            *(f"phases.{i}.epochs={epochs}" for i in range(phases))]  # fmt: skip


def parameters() -> list:
    marks = {name: pytest.mark.exhaustive if name in TWICE else pytest.mark.slow for name in CONFIGS}
    return [pytest.param(name, marks=[] if name in EVERYWHERE else marks[name]) for name in CONFIGS]


@pytest.mark.backend
@pytest.mark.parametrize("recipe", parameters())
def test_it_trains_and_predicts(recipe, tmp_path, backend):
    if backend == "jax":
        pytest.skip("compiles for a minute on jax, where other tests cover the layers")
    from keras_transfer.inference import predict
    from keras_transfer.training.train import train

    lines: list[str] = []
    config = load_config(recipe, small(recipe, tmp_path / "data"), output=str(tmp_path / "run"))
    run = train(config, say=lines.append)
    metrics = run.read_json(run.metrics)
    assert [phase["name"] for phase in metrics["phases"]] == [phase.name for phase in config.phases]
    assert 0 <= metrics["test"]["accuracy"] <= 1
    image = tmp_path / "image.png"
    cv2.imwrite(str(image), np.full((40, 40, 3), 128, np.uint8))
    (result,) = predict(run.path, [str(image)])
    assert len(result.classes) == 3


def test_the_header_of_each_says_how_to_run_it():
    for name in CONFIGS:
        text = (Path(__file__).resolve().parents[1] / "configs" / f"{name}.yaml").read_text("utf-8")
        header = [line for line in text.splitlines() if line.startswith("#")]
        command = "keras-transfer train" if name == "quickstart" else f"keras-transfer train {name} "
        assert any(command in line for line in header), name
        assert any(line.startswith("# Measured") for line in header), name
