"""Eight threads load, predict, save and export at the same time; afterwards Keras is as it was."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

pytestmark = pytest.mark.backend

IMAGES = [np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8) for i in range(8)]


def test_load_predict_save_and_export(tmp_path):
    import keras

    import keras_transfer as kt
    from keras_transfer.export import export

    before = keras.layers.Layer.add_weight
    clf = kt.Classifier("tiny", ["a", "b"], image_size=32, weights="none")
    clf.save(tmp_path / "m.keras")
    expected = [clf.predict(image).probabilities for image in IMAGES]
    gate = threading.Barrier(8)

    def right(one, k):
        np.testing.assert_allclose(one.predict(IMAGES[k % 8]).probabilities, expected[k % 8], atol=1e-5)

    def work(k):
        gate.wait(60)
        for i in range(3):
            right(clf, k + i)
            if k % 4 == 0:
                right(kt.load(tmp_path / "m.keras"), k)
            elif k % 4 == 1:
                clf.save(tmp_path / f"{k}.keras")
            elif k == 2 and i == 0 and keras.backend.backend() == "torch":
                export(tmp_path / "m.keras", ["torch"], output=tmp_path / "out")
            elif k % 4 == 3:  # a model of one's own, which must not be charged to a file that is loading
                x = inputs = keras.Input((10,))
                for _ in range(3):
                    x = keras.layers.Dense(1000)(x)
                keras.Model(inputs, x)

    with ThreadPoolExecutor(8) as pool:
        for job in [pool.submit(work, k) for k in range(8)]:
            job.result()
    assert keras.layers.Layer.add_weight is before
    for k in (1, 5):
        right(kt.load(tmp_path / f"{k}.keras"), k)
    right(clf, 0)
