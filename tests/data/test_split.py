from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_transfer.data.samples import ArrayStore, make_samples
from keras_transfer.data.split import allocate, apply_table, assign
from keras_transfer.errors import UserError


def samples(labels, **options):
    labels = np.asarray(labels)
    images = ArrayStore(np.zeros((len(labels), 1, 1), np.uint8))
    return make_samples([f"c{k}" for k in range(labels.max() + 1)], images, labels, **options)


def table(sample_table):
    """Samples of each class (rows) in train, val, test."""
    return np.array(
        [
            [int(((sample_table.labels == c) & (sample_table.split == s)).sum()) for s in ("train", "val", "test")]
            for c in range(len(sample_table.classes))
        ]
    )


LABELS = np.repeat([0, 1, 2], [100, 60, 20])


def test_stratified_disjoint_and_complete():
    sample_table = assign(samples(LABELS), 0.15, 0.15)
    counts = table(sample_table)
    assert counts.sum() == 180
    assert counts.tolist() == [[70, 15, 15], [42, 9, 9], [14, 3, 3]]


def test_seeded():
    first = assign(samples(LABELS), seed=1).split
    assert np.array_equal(assign(samples(LABELS), seed=1).split, first)
    assert not np.array_equal(assign(samples(LABELS), seed=2).split, first)
    assert set(assign(samples(LABELS), seed=-(1 << 70)).split) == {"train", "val", "test"}


def test_order_of_the_source_does_not_matter():
    names = [f"{i:03d}" for i in range(180)]
    back = np.arange(180)[::-1]
    store = ArrayStore(np.zeros((180, 1, 1), np.uint8), [names[i] for i in back])
    a, b = samples(LABELS), make_samples(["c0", "c1", "c2"], store, LABELS[back])
    assert assign(a, seed=3).split.tolist() == assign(b, seed=3).split.tolist()


@given(
    st.lists(st.integers(2, 30), min_size=2, max_size=6),
    st.floats(0.01, 0.45),
    st.floats(0.01, 0.45),
    st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_classes_of_three_are_in_every_split(sizes, val, test, seed):
    counts = table(assign(samples(np.repeat(np.arange(len(sizes)), sizes)), val, test, seed))
    assert (counts.sum(axis=1) == sizes).all()
    assert (counts[:, 0] >= 1).all()
    for size, row in zip(sizes, counts):
        if size >= 3:
            assert (row >= 1).all()
    total = sum(sizes)
    slack = len(sizes) + 1
    assert abs(counts[:, 2].sum() - test * total) <= slack
    assert abs(counts[:, 1].sum() - val * total) <= 2 * slack


def test_no_fractions():
    assert set(assign(samples(LABELS), 0, 0).split) == {"train"}
    assert set(assign(samples(LABELS), 0, 0.2).split) == {"train", "test"}
    assert set(assign(samples(LABELS), 0.2, 0).split) == {"train", "val"}


def test_given_splits_are_kept():
    split = np.where(np.arange(180) % 3 == 0, "test", "train").astype(object)
    sample_table = assign(samples(LABELS, split=split), 0.1, 0.5)
    assert (sample_table.split[split == "test"] == "test").all()
    assert (sample_table.split == "test").sum() == 60
    assert (sample_table.split == "val").sum() == 12
    split[split == "test"] = "val"
    sample_table = assign(samples(LABELS, split=split), 0.1, 0.25)
    assert (sample_table.split == "val").sum() == 60
    assert (sample_table.split == "test").sum() == 30
    split = np.where(np.arange(180) % 3 == 0, "test", "").astype(object)
    split[np.arange(180) % 3 == 1] = "val"
    sample_table = assign(samples(LABELS, split=split))
    assert [int((sample_table.split == s).sum()) for s in ("train", "val", "test")] == [60, 60, 60]


class TestLimit:
    def test_train_and_val_together(self):
        counts = table(assign(samples(LABELS), 0.15, 0.15, limit=60))
        assert counts[:, :2].sum() == 60
        assert counts[:, 2].tolist() == [15, 9, 3]
        assert np.abs(counts[:, :2].sum(axis=1) - [33.3, 20, 6.7]).max() < 1
        assert counts[:, 1].sum() == round(60 * 0.15 / 0.85)

    def test_the_test_split_does_not_change(self):
        whole = assign(samples(LABELS), seed=5)
        few = assign(samples(LABELS), seed=5, limit=30)
        names = {n for n, s in zip(whole.names(), whole.split) if s == "test"}
        assert {n for n, s in zip(few.names(), few.split) if s == "test"} == names

    def test_given_test(self):
        split = np.where(np.arange(180) % 3 == 0, "test", "train").astype(object)
        sample_table = assign(samples(LABELS, split=split), 0.2, limit=40, limit_test=10)
        assert table(sample_table)[:, :2].sum() == 40
        assert (sample_table.split == "val").sum() == 8
        assert (sample_table.split == "test").sum() == 10
        assert (table(sample_table) >= 1).all()

    def test_given_val_is_left_whole(self):
        split = np.where(np.arange(180) % 3 == 0, "val", "train").astype(object)
        counts = table(assign(samples(LABELS, split=split), test_fraction=0, limit=30))
        assert counts.sum(axis=0).tolist() == [30, 60, 0]

    def test_rare_classes_keep_a_sample_for_val(self):
        counts = table(assign(samples(np.repeat([0, 1], [1000, 10])), 0.2, 0.2, limit=20))
        assert counts[1, 0] >= 1
        assert counts.sum(axis=0)[:2].sum() == 20

    def test_larger_than_the_data(self):
        assert len(assign(samples(LABELS), limit=10_000, limit_test=10_000)) == 180

    def test_refusals(self):
        with pytest.raises(UserError, match=r"limit=2 is too small: .* 3 classes"):
            assign(samples(LABELS), limit=2)
        with pytest.raises(UserError, match="limit must be at least 1"):
            assign(samples(LABELS), limit=0)


class TestGroups:
    @given(st.integers(0, 10_000))
    @settings(max_examples=25, deadline=None)
    def test_no_group_in_two_splits(self, seed):
        rng = np.random.default_rng(seed)
        groups = np.array([f"g{g}" for g in rng.integers(0, 40, 300)], object)
        groups[rng.random(300) < 0.1] = ""
        sample_table = assign(samples(rng.integers(0, 3, 300), groups=groups), 0.2, 0.2, seed)
        homes = {}
        for group, split in zip(sample_table.groups, sample_table.split):
            if group:
                assert homes.setdefault(group, split) == split
        assert len(sample_table) == 300
        for name in "val", "test":
            assert 30 <= (sample_table.split == name).sum() <= 90
        assert (table(sample_table) > 0).all()

    def test_few_large_groups(self):
        groups = np.array(list("aaaaabbbbbccccc"), object)
        sample_table = assign(samples(np.tile([0, 1, 0], 5), groups=groups), 0.1, 0.1)
        assert sorted(len(set(sample_table.groups[sample_table.split == s])) for s in ("train", "val", "test")) == [
            1,
            1,
            1,
        ]

    def test_a_group_is_never_taken_if_a_class_would_vanish_from_training(self):
        sample_table = assign(samples(np.repeat([0, 1], 10), groups=np.repeat(["a", "b"], 10)), 0.3, 0.3)
        assert set(sample_table.split) == {"train"}

    def test_given_splits_draw_their_groups(self):
        split = ["test", "", "train", ""] + [""] * 8
        groups = ["a", "a", "b", "b", *(f"x{i}" for i in range(8))]
        sample_table = assign(samples([0, 1] * 6, split=split, groups=groups), 0.25)
        assert sample_table.split[1] == "test"
        assert (sample_table.split == "test").sum() == 2

    def test_a_group_in_two_given_splits_is_refused(self):
        with pytest.raises(UserError, match="the group 'a' is in two splits: train and test"):
            assign(samples([0, 1, 0], split=["train", "test", "train"], groups=["a", "a", "b"]))


@pytest.mark.parametrize("val", [-0.1, 1.0, 1.5, float("nan")])
def test_fractions_out_of_range(val):
    with pytest.raises(UserError, match="val_fraction must be at least 0 and below 1"):
        assign(samples(LABELS), val, 0.1)
    with pytest.raises(UserError, match="test_fraction must be"):
        assign(samples(LABELS), 0.1, val)


def test_fractions_that_leave_nothing():
    with pytest.raises(UserError, match="add up to less than 1"):
        assign(samples(LABELS), 0.5, 0.5)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=8), st.integers(0, 200))
def test_allocation_is_exact_and_bounded(sizes, total):
    sizes = np.array(sizes)
    low, high = np.minimum(sizes, 1), np.maximum(sizes - 1, np.minimum(sizes, 1))
    count = allocate(sizes, total, low, high)
    assert count.sum() == np.clip(total, low.sum(), high.sum())
    assert (low <= count).all()
    assert (count <= high).all()


def test_saved_splits_are_restored():
    sample_table = assign(samples(LABELS), seed=9)
    saved = dict(zip(sample_table.names(), sample_table.split.tolist()))
    assert apply_table(samples(LABELS), saved).split.tolist() == sample_table.split.tolist()
    name = next(iter(saved))
    del saved[name]
    fewer = apply_table(samples(LABELS), saved)
    assert name not in fewer.names()
    assert fewer.notes == ("skipped: 1 images that are not in the saved split",)
    with pytest.raises(UserError, match=r"1 images of the saved split are not in the data, e.g. 'gone'"):
        apply_table(samples(LABELS), {**saved, "gone": "train"})
    with pytest.raises(UserError, match="names 'trian'"):
        apply_table(samples(LABELS), dict.fromkeys(saved, "trian"))
