"""``out_of_fold.npz``: what is written is read, and what is damaged is said."""

from __future__ import annotations

import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.runs import RunDirectory


def test_logits_and_labels_come_back(tmp_path):
    run = RunDirectory(tmp_path)
    assert run.read_out_of_fold() is None
    logits = np.random.default_rng(0).normal(size=(7, 3))
    labels = np.array([0, 1, 2, 0, 1, 2, 0], np.int32)
    run.write_out_of_fold(logits, labels)
    assert [path.name for path in tmp_path.iterdir()] == ["out_of_fold.npz"]
    stored = run.read_out_of_fold()
    assert stored is not None
    assert (stored[0].dtype, stored[1].dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(stored[0], logits.astype(np.float32))
    np.testing.assert_array_equal(stored[1], labels)


@pytest.mark.parametrize(("logits", "labels"), [((7, 3), (6,)), ((7,), (7,)), ((2, 7, 3), (7,))])
def test_shapes_that_do_not_match_are_refused(tmp_path, logits, labels):
    run = RunDirectory(tmp_path)
    with pytest.raises(ValueError, match=r"expected logits \(n, C\)"):
        run.write_out_of_fold(np.zeros(logits), np.zeros(labels, int))
    np.savez(run.out_of_fold, logits=np.zeros(logits), labels=np.zeros(labels, int))
    with pytest.raises(UserError, match="is damaged"):
        run.read_out_of_fold()


def test_a_damaged_file_is_one_line(tmp_path):
    run = RunDirectory(tmp_path)
    run.write_out_of_fold(np.zeros((50, 3)), np.zeros(50, int))
    whole = run.out_of_fold.read_bytes()
    middle = len(whole) // 2
    for broken in (b"", b"no archive", whole[:200], whole[:middle] + b"\xff" + whole[middle + 1 :]):
        run.out_of_fold.write_bytes(broken)
        with pytest.raises(UserError, match=r"out_of_fold.npz is damaged: expected logits and labels") as raised:
            run.read_out_of_fold()
        assert "\n" not in str(raised.value)
    np.savez(run.out_of_fold, logits=np.zeros((2, 3)))
    with pytest.raises(UserError, match="is damaged"):
        run.read_out_of_fold()
    np.savez(run.out_of_fold, logits=np.array([object()]), labels=np.zeros(1))
    with pytest.raises(UserError, match="is damaged"):
        run.read_out_of_fold()
