from __future__ import annotations

import pytest
import yaml

from tests.conftest import make_photos

SMALL = {
    "data": {"image_size": 32, "batch_size": 16, "augment": ["horizontal_flip"], "workers": 1},
    "model": {"backbone": "tiny", "weights": "none"},
    "phases": [{"name": "all", "epochs": 2, "learning_rate": 0.01, "schedule": "constant"}],
    "callbacks": {"early_stopping": None},
    "output": {"save_every": "1 step"},
}


def write_config(path, photos, **phase):
    tree = {**SMALL, "data": {**SMALL["data"], "path": str(photos)}, "phases": [{**SMALL["phases"][0], **phase}]}
    path.write_text(yaml.safe_dump(tree))
    return str(path)


@pytest.fixture
def configs(tmp_path, photos):
    """Two configurations with the same images."""
    return [write_config(tmp_path / "one.yaml", photos), write_config(tmp_path / "two.yaml", photos, epochs=3)]


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """(folder of the configurations, report): two trained runs in `out`; read-only for tests."""
    from keras_transfer.compare import compare

    folder = tmp_path_factory.mktemp("compared")
    photos = make_photos(folder / "photos", {"apple": 20, "berry": 20, "cherry": 20})
    sources = [write_config(folder / "one.yaml", photos), write_config(folder / "two.yaml", photos, epochs=3)]
    return folder, compare(sources, ["seed=3"], output=folder / "out", quiet=True)
