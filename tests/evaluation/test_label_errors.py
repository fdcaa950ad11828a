"""Likely label errors."""

from __future__ import annotations

import numpy as np

from keras_transfer.evaluation.label_errors import likely_label_errors


def test_likely_label_errors():
    sure = np.array([[0.9, 0.1], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9]])
    assert likely_label_errors(np.log(sure), np.array([0, 0, 1, 1])).tolist() == []
    planted = np.concatenate([sure, [[0.05, 0.95], [0.4, 0.6]]])
    assert likely_label_errors(np.log(planted), np.array([0, 0, 1, 1, 0, 0])).tolist() == [4]
