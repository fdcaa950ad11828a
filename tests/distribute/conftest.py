"""The configuration that is trained in several ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.distribute.pictures import CONFIG


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("distributed")
    rng = np.random.default_rng(0)
    for number, name in enumerate(("apple", "berry", "cherry")):
        (folder / "photos" / name).mkdir(parents=True)
        for k in range(22):
            pixels = rng.integers(0, 120, (32, 32, 3))
            pixels[:, :, number] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "photos" / name / f"{k:03d}.png")
    tree = {**CONFIG, "data": {**CONFIG["data"], "path": str(folder / "photos")}}
    (folder / "small.yaml").write_text(yaml.safe_dump(tree))
    return folder / "small.yaml"
