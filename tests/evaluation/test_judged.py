from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from keras_transfer.data import arrays
from keras_transfer.evaluation.judged import OUT_OF_FOLD, judged, judged_split


def data_of(**options):
    y = np.arange(60) % 3
    return arrays(np.zeros((60, 8, 8, 3), np.uint8), y, classes=["a", "b", "c"], **options)


def test_each_name_has_its_samples():
    data = data_of(val_fraction=0.2, test_fraction=0.1)
    logits = {name: np.zeros((len(split), 3)) for name, split in
              (("val", data.val), ("test", data.test), (OUT_OF_FOLD, data.train))}  # fmt: skip
    found = judged(data, logits)
    assert {name: one.split.name for name, one in found.items()} == {"val": "val", "test": "test", OUT_OF_FOLD: "train"}


def test_without_validation_images_val_means_out_of_fold():
    data = data_of(val_fraction=0, test_fraction=0.1)
    assert judged_split(data, "val") == (OUT_OF_FOLD, data.train)
    logits = np.random.default_rng(0).normal(size=(len(data.train), 3))
    assert list(judged(data, {"val": logits, OUT_OF_FOLD: logits})) == [OUT_OF_FOLD]


def test_probabilities_and_losses():
    data = data_of(val_fraction=0, test_fraction=0)
    logits = np.random.default_rng(0).normal(0, 3, (60, 3)).astype(np.float32)
    (one,) = judged(data, {OUT_OF_FOLD: logits}).values()
    np.testing.assert_allclose(one.probabilities(slice(None)), softmax(logits.astype(np.float64), axis=1))
    assert one.losses.mean() == pytest.approx(
        log_loss(data.train.labels, one.probabilities(slice(None)), labels=[0, 1, 2])
    )


def test_logits_of_other_samples_are_refused():
    data = data_of(val_fraction=0.2, test_fraction=0.1)
    with pytest.raises(ValueError, match=rf"val: expected logits \({len(data.val)}, 3\), got \(5, 3\)"):
        judged(data, {"val": np.zeros((5, 3))})
