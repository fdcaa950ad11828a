"""Fixtures for tests of training."""

from __future__ import annotations

from pathlib import Path

import pytest

from keras_transfer.runs import RunDirectory
from tests.conftest import make_photos


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, RunDirectory]:
    """Images, and a run over them that was never interrupted."""
    # Only now is the backend chosen.
    from keras_transfer.training.train import train
    from tests.training.small import settings

    folder = tmp_path_factory.mktemp("whole")
    photos = make_photos(folder / "photos", {"apple": 20, "berry": 20, "cherry": 20})
    return photos, train(settings(photos, folder / "run"), say=lambda _: None)
