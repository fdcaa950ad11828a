"""Folds keep classes spread and groups together; copies of a picture become a group."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.solved.folds import choose_folds, fold_numbers, tie_near_duplicates
from tests.solved.small import blobs


def test_folds_are_stratified_and_differ_between_repeats():
    labels = np.repeat(np.arange(4), [50, 25, 15, 10])
    folds = fold_numbers(labels, 5, 2, seed=0)
    assert folds.shape == (2, 100) and folds.dtype == np.int64
    for row in folds:
        for label, size in enumerate([50, 25, 15, 10]):
            assert (np.bincount(row[labels == label], minlength=5) == size / 5).all()
    assert (folds[0] != folds[1]).any()
    np.testing.assert_array_equal(folds, fold_numbers(labels, 5, 2, seed=0))
    assert (folds != fold_numbers(labels, 5, 2, seed=7)).any()


def test_groups_stay_together():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 30, 120).astype(str)
    labels = rng.integers(0, 3, 120)
    for row in fold_numbers(labels, 5, 3, seed=1, groups=groups):
        assert set(row) == set(range(5))
        assert all(len(set(row[groups == group])) == 1 for group in set(groups))
        assert np.bincount(row).min() >= 12


@pytest.mark.parametrize(
    ("labels", "groups", "expected"),
    [
        ([0, 0, 0, 1, 1, 1, 1, 1], None, 3),
        ([0, 0, 0, 0, 0, 1], None, 5),
        ([0, 0, 1, 1, 1, 1], None, 2),
        ([0, 1, 2], None, 3),
        ([0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 1, 1, 2, 2, 3, 3], 2),
        ([0, 1, 0, 1, 0, 1, 0, 1], [0, 0, 1, 1, 2, 2, 3, 3], 4),
        ([0, 1, 0, 1], [0, 0, 1, 1], 2),
        ([0, 0, 1, 1], [0, 0, 1, 1], 2),
    ],
)
def test_small_sets_get_fewer_folds(labels, groups, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds = fold_numbers(np.array(labels), 5, 2, seed=0, groups=None if groups is None else np.array(groups))
    for row in folds:
        assert sorted(set(row)) == list(range(len(set(row))))
        assert 2 <= len(set(row)) <= expected
        if groups is None:
            assert len(set(row)) == min(expected, len(labels))


def test_bad_input():
    with pytest.raises(UserError, match="folds"):
        fold_numbers(np.zeros(10, int), 1, 1, 0)
    with pytest.raises(UserError, match="in one group"):
        fold_numbers(np.zeros(10, int), 5, 1, 0, groups=np.zeros(10))
    with pytest.raises(UserError, match="in one group"):
        fold_numbers(np.zeros(0, int), 5, 1, 0)


def test_the_number_of_folds_follows_from_the_size():
    sizes = {20: (5, 3), 200: (5, 2), 300: (5, 1), 5000: (5, 1), 5001: (3, 1)}
    assert {n: choose_folds(np.zeros(n, int)) for n in sizes} == sizes


def pictures(count: int = 40) -> np.ndarray:
    """Smooth pictures of two classes, uint8 (count, 32, 32, 3): those of a class share a gradient."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 80, 32)
    found = []
    for number in range(count):
        noise = cv2.resize(rng.uniform(0, 150, (6, 6, 3)), (32, 32), interpolation=cv2.INTER_CUBIC)
        found.append(noise + (ramp[:, None, None] if number % 2 else ramp[None, :, None]))
    return np.clip(found, 0, 255).astype(np.uint8)


def features_of(images: np.ndarray) -> np.ndarray:
    """Random filters, rectified and pooled: the kind of features that a network has."""
    rng = np.random.default_rng(1)
    small = np.stack([cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA) for image in images])
    return np.maximum(0, small.reshape(len(images), -1).astype(float) @ rng.normal(size=(192, 300)))


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def test_copies_and_only_copies_are_tied():
    images = pictures()
    copies = [images[0], jpeg(images[1], 85), np.clip(images[2].astype(int) + 4, 0, 255).astype(np.uint8)]
    groups = tie_near_duplicates(None, features_of(np.concatenate([images, copies])))
    expected = np.concatenate([np.arange(40), [0, 1, 2]])
    assert len(set(groups)) == 40
    np.testing.assert_array_equal(groups[expected], groups)


def test_mirror_images_are_tied():
    images = pictures()
    both = np.concatenate([images, images[:3, :, ::-1]])
    assert len(set(tie_near_duplicates(None, features_of(both)))) == 43
    groups = tie_near_duplicates(None, features_of(both), mirrored=features_of(both[:, :, ::-1]))
    assert len(set(groups)) == 40 and (groups[:3] == groups[40:]).all()


def test_given_groups_are_merged():
    features, _ = blobs(10, 50, 2)
    features[9] = features[0]
    groups = tie_near_duplicates(np.array(list("aabbccddee")), features)
    assert len(set(groups)) == 4 and groups[0] == groups[1] == groups[8] == groups[9]


def test_chains_of_copies_are_one_group():
    angles = np.radians([0, 20, 40, 60, 80, 180, 240, 300])
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    rows = np.concatenate([circle, -circle])  # their mean is 0
    groups = tie_near_duplicates(None, rows[:, :2], threshold=np.cos(np.radians(25)))
    assert len(set(groups[:5])) == 1 and groups[0] != groups[6] and groups[5] == groups[8]


def test_all_the_same():
    assert set(tie_near_duplicates(None, np.full((5, 3), 0.1))) == {0}


def test_the_filter_of_large_sets_misses_nothing():
    features, _ = blobs(3000, 100, 5)
    rng = np.random.default_rng(3)
    copies = (
        features[:50] + 0.02 * rng.normal(size=(50, 100)) * np.linalg.norm(features[:50], axis=1, keepdims=True) / 10
    )
    both = np.concatenate([features, copies])
    rows = both - both.mean(axis=0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = np.argwhere(np.triu(rows @ rows.T > 0.97, 1))
    groups = tie_near_duplicates(None, both, threshold=0.97)
    assert len(pairs) >= 50 and (groups[pairs[:, 0]] == groups[pairs[:, 1]]).all()
    assert len(set(groups)) == len(both) - len(pairs)
