"""The time that training waits for images is measured, saved and reported."""

from __future__ import annotations

import io
import json
import time

import pytest

from keras_transfer.config.load import validate
from keras_transfer.data.augment import Transform
from keras_transfer.training.progress import Progress
from keras_transfer.training.train import train

pytestmark = pytest.mark.backend


def run(photos, output):
    tree = {
        "data": {"path": str(photos), "image_size": 32, "batch_size": 16, "augment": ["horizontal_flip"], "workers": 1},
        "model": {"backbone": "tiny", "weights": "none"},
        "phases": [{"name": "all", "epochs": 3, "learning_rate": 0.001, "train": "all"}],
        "output": {"dir": str(output), "plots": False, "report": False},
    }
    return json.loads(train(validate(tree), say=lambda _: None).metrics.read_text())["phases"][0]


@pytest.mark.slow
def test_slow_images_are_measured_and_reported(photos, tmp_path, monkeypatch, capfd):
    quick = Transform.__call__

    def slow(self, *arguments):
        time.sleep(0.06)
        return quick(self, *arguments)

    monkeypatch.setattr(Transform, "__call__", slow)
    phase = run(photos, tmp_path / "run")
    assert 0.2 < phase["data_wait"] <= 1
    assert f"waiting for data: {phase['data_wait']:.0%} of the training time of phase all" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("waited", "seconds", "reported"), [(0.35, 100, True), (0.1, 100, False), (0.9, 0.5, False), (None, 0, False)]
)
def test_only_long_waiting_is_reported(waited, seconds, reported):
    stream = io.StringIO()
    Progress(stream).tell_waiting({"name": "head", "data_wait": waited, "seconds": seconds})
    assert ("waiting for data: 35% of the training time of phase head" in stream.getvalue()) is reported
    assert bool(stream.getvalue()) is reported
