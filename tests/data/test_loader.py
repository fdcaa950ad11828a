from __future__ import annotations

import gc
import threading
import time
import weakref

import numpy as np
import pytest

from keras_transfer import data
from keras_transfer.data.augment import Transform, transforms
from keras_transfer.data.loading.loader import Loader
from keras_transfer.data.samples import BadImage
from keras_transfer.errors import UserError

OPS = ["random_resized_crop", "horizontal_flip", "rand_augment", "random_erasing"]


@pytest.fixture(scope="module")
def digits():
    return data.digits(limit=120, limit_test=20)


@pytest.fixture
def loader():
    """Make loaders that are closed in the end."""
    made = []

    def make(*args, **options):
        made.append(Loader(*args, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def flat(batches):
    return [part.tobytes() for batch in batches for part in (batch if isinstance(batch, tuple) else (batch,))]


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("kt-loader")]


@pytest.mark.parametrize("mixing", [[], ["mixup", "cutmix"]])
def test_bit_identical_for_any_number_of_workers_and_any_order_of_asking(digits, loader, mixing):
    transform, batch_transform = transforms([*OPS, *mixing], (16, 16), color="grey")
    options = {"shuffle": True, "seed": 5, "batch_transform": batch_transform}
    reference = loader(digits.train, transform, 16, workers=0, **options)
    expected = [flat(reference.epoch(e)) for e in range(2)]
    assert expected[0] != expected[1]
    for workers in 1, 2, 5:
        other = loader(digits.train, transform, 16, workers=workers, **options)
        assert [flat(other.epoch(e)) for e in range(2)] == expected
    jumping = loader(digits.train, transform, 16, workers=2, **options)
    for e, i in [(1, 3), (0, 5), (0, 0), (1, 3), (0, 6), (1, 0)]:
        assert flat([jumping.batch(e, i)]) == flat([reference.batch(e, i)])


def test_shapes_labels_and_order(digits, loader):
    one = loader(digits.train, Transform((8, 8), color="grey"), 32)
    batches = list(one.epoch())
    assert len(one) == len(batches) == 4
    assert [x.shape for x, _ in batches] == [(32, 8, 8, 1)] * 3 + [(len(digits.train) - 96, 8, 8, 1)]
    x, y = (np.concatenate(part) for part in zip(*batches))
    assert x.dtype == np.uint8
    assert y.dtype == np.float32
    assert y.argmax(axis=1).tolist() == digits.train.labels.tolist()
    assert np.array_equal(x[5], digits.train.read(5)[..., :1])
    assert not one.weighted


def test_shuffling_serves_every_sample_once_and_anew_each_epoch(digits, loader):
    one = loader(digits.train, Transform((8, 8)), 10, shuffle=True, seed=1)
    orders = [one.order(e).tolist() for e in range(3)]
    assert all(sorted(order) == list(range(len(digits.train))) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    x, y = one.batch(2, 1)
    for k, position in enumerate(orders[2][10:20]):
        assert np.array_equal(x[k], digits.train.read(position))
        assert y[k].argmax() == digits.train.labels[position]
    assert loader(digits.train, Transform((8, 8)), 10, shuffle=True, seed=2).order(0).tolist() != orders[0]


def test_pixels_belong_to_the_sample_not_to_its_place(digits, loader):
    transform = Transform((12, 12), OPS)
    by_size = [loader(digits.train, transform, size, shuffle=True, seed=3) for size in (7, 20)]
    images = []
    for one in by_size:
        x = np.concatenate([batch[0] for batch in one.epoch(4)])
        images.append(x)
    assert np.array_equal(*images)
    unshuffled = loader(digits.train, transform, 20, shuffle=False, augment=True, seed=3)
    x = np.concatenate([batch[0] for batch in unshuffled.epoch(4)])
    assert np.array_equal(x[by_size[0].order(4)], images[0])
    assert np.array_equal(np.concatenate(list(unshuffled.in_order(view=0).epoch(4))), x)
    assert not np.array_equal(np.concatenate(list(unshuffled.in_order(view=1).epoch(4))), x)


def test_some_of_the_images(digits):
    """The same images, labels and pixels as those of the whole split at these positions."""
    chosen = np.array([9, 2, 5, 30, 11])
    with Loader(digits.train, Transform((12, 12), OPS), 2, shuffle=True, workers=0) as whole:
        some = whole.only(chosen)
        for epoch in (0, 3):
            served = [some.positions(epoch, i) for i in range(len(some))]
            assert len(some) == 3 and sorted(np.concatenate(served)) == sorted(chosen)
            for i, positions in enumerate(served):
                images, labels = some.batch(epoch, i)
                for k, position in enumerate(positions):
                    place = int(np.flatnonzero(whole.order(epoch) == position)[0])
                    batch, row = divmod(place, 2)
                    np.testing.assert_array_equal(images[k], whole.batch(epoch, batch)[0][row])
                    assert labels[k].argmax() == digits.train.labels[position]


def test_evaluation_does_not_augment(digits, loader):
    plain = flat(loader(digits.val, Transform((8, 8)), 8).epoch(0))
    with_ops = loader(digits.val, Transform((8, 8), OPS), 8)
    assert flat(with_ops.epoch(0)) == plain == flat(with_ops.epoch(1))
    assert flat(loader(digits.val, Transform((8, 8), OPS), 8, augment=True).epoch(0)) != plain


def test_evaluation_is_what_the_transform_does(animals, loader):
    ds = data.folder(animals)
    transform = Transform((9, 9), [], "crop")
    x, _ = loader(ds.test, transform, 4).batch(0, 0)
    for k in range(4):
        image = ds.samples.images.open(int(ds.test.indices[k]))
        assert np.array_equal(x[k], transform(image, None))


def test_last_batch_and_no_labels(digits, loader):
    n = len(digits.train)
    one = loader(digits.train, Transform((8, 8)), 25, with_labels=False)
    assert len(one) == -(-n // 25)
    assert one.batch(0, 0).shape == (25, 8, 8, 3)
    assert len(one.batch(0, len(one) - 1)) == n % 25 > 0
    assert len(loader(digits.train, Transform((8, 8)), n)) == len(loader(digits.train, Transform((8, 8)), n + 1)) == 1
    with pytest.raises(IndexError):
        one.batch(0, len(one))


class TestWeights:
    def split(self, weights):
        x, y = np.zeros((12, 4, 4), np.uint8), np.arange(12) % 3
        return data.arrays(x, y, weights=weights, val_fraction=0, test_fraction=0).train

    def test_sample_and_class_weights_are_multiplied(self, loader):
        split = self.split(np.arange(12) / 4)
        classes = np.array([1, 2, 0.5])
        w = loader(split, Transform((4, 4)), 12, class_weights=classes).batch(0, 0)[2]
        assert w.dtype == np.float32
        assert np.allclose(w, np.arange(12) / 4 * classes[np.arange(12) % 3])
        assert np.allclose(loader(split, Transform((4, 4)), 12).batch(0, 0)[2], np.arange(12) / 4)
        plain = loader(self.split(None), Transform((4, 4)), 12, class_weights=classes)
        assert plain.weighted
        assert np.allclose(plain.batch(0, 0)[2], classes[np.arange(12) % 3])
        assert not isinstance(loader(split, Transform((4, 4)), 12, with_labels=False).batch(0, 0), tuple)

    def test_mixed_weights_give_the_mixed_loss(self, loader):
        split = self.split(np.array([0, 0, 0, 1, 2, 3, 0.5, 1, 1, 2, 0, 1]))
        transform, mix = transforms(["mixup"], (4, 4))
        mix.ops[0] = type(mix.ops[0])(alpha=5)
        one = loader(split, transform, 12, batch_transform=mix, seed=3, shuffle=True)
        plain = loader(split, transform, 12, seed=3, shuffle=True).batch(0, 0)
        _, y, w = one.batch(0, 0)
        assert np.allclose(y.sum(axis=1), 1, atol=1e-6)
        carried = plain[1] * plain[2][:, None]
        from keras_transfer.data import rng

        _, expected = mix(plain[0], carried, rng.generator(3, rng.BATCH, 0, 0))
        assert np.allclose(y * w[:, None], expected, atol=1e-6)
        assert np.isclose(w.sum(), plain[2].sum(), atol=1e-4)

    @pytest.mark.parametrize("weights", [[1, 2], [1, -1, 1], [1, np.nan, 1]])
    def test_refusals(self, loader, weights):
        with pytest.raises(UserError, match="class_weights"):
            loader(self.split(None), Transform((4, 4)), 12, class_weights=np.array(weights))


class Slow:
    """A store whose images take a while."""

    def __init__(self, store, seconds=0.005, fail_at=None):
        self.store, self.seconds, self.fail_at, self.read = store, seconds, fail_at, 0

    def __len__(self):
        return len(self.store)

    def name(self, i):
        return self.store.name(i)

    def open(self, i):
        self.read += 1
        time.sleep(self.seconds)
        if self.fail_at == i:
            raise BadImage(self.name(i), "gone")
        return self.store.open(i)


def slow_split(digits, **options):
    import dataclasses

    store = Slow(digits.samples.images, **options)
    return dataclasses.replace(digits, samples=dataclasses.replace(digits.samples, images=store)).train, store


def test_threads_work_side_by_side_and_ahead(digits, loader):
    split, store = slow_split(digits)
    one = loader(split, Transform((8, 8)), 16, workers=8)
    one.prefetch = 2
    began = time.perf_counter()
    list(one.epoch())
    assert time.perf_counter() - began < len(split) * 0.005 * 0.6
    assert store.read == len(split)
    again = loader(split, Transform((8, 8)), 16, workers=4)
    again.prefetch = 2
    again.batch(0, 0)
    time.sleep(0.3)
    assert store.read == len(split) + 3 * 16  # bounded
    again.reset()
    again.batch(0, 1)
    assert again.waited < 0.02
    assert one.waited > 0
    assert one.busy > 0
    one.reset()
    assert one.waited == one.busy == 0


def test_no_threads_are_left(digits):
    split, _ = slow_split(digits)
    before = len(threads())
    one = Loader(split, Transform((8, 8)), 16, workers=3, shuffle=True)
    iterator = one.epoch()
    next(iterator)
    del iterator
    assert len(threads()) == before + 3
    one.close()
    one.close()
    assert len(threads()) == before
    with pytest.raises(UserError, match="closed"):
        one.batch(0, 0)
    with Loader(split, Transform((8, 8)), 16, workers=2) as two:
        two.batch(0, 0)
    assert len(threads()) == before
    with Loader(split, Transform((8, 8)), 16, workers=0) as none:
        none.batch(0, 0)
        assert len(threads()) == before


def test_a_forgotten_loader_is_collected(digits):
    before = len(threads())
    one = Loader(digits.train, Transform((8, 8)), 16, workers=2)
    one.batch(0, 0)
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
    deadline = time.monotonic() + 5
    while len(threads()) > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(threads()) == before


@pytest.mark.parametrize("workers", [0, 2])
def test_errors_reach_the_caller_and_the_rest_goes_on(digits, loader, workers):
    split, store = slow_split(digits, seconds=0, fail_at=int(digits.train.indices[20]))
    one = loader(split, Transform((8, 8)), 16, workers=workers)
    one.batch(0, 0)
    with pytest.raises(BadImage, match="gone"):
        one.batch(0, 1)
    assert one.batch(0, 2)[0].shape == (16, 8, 8, 3)
    store.fail_at = None
    assert one.batch(0, 1)[0].shape == (16, 8, 8, 3)


def test_companions(digits, loader):
    """Loaders made from one: in the order of the split without labels, and the same batches as they are."""
    transform, mix = transforms([*OPS, "mixup"], (8, 8), color="grey")
    one = loader(digits.train, transform, 16, shuffle=True, seed=4, batch_transform=mix, class_weights=np.arange(10))
    assert one.augments
    in_order, plain = one.in_order(), one.plain()
    assert not in_order.augments
    assert not plain.augments
    images = np.concatenate(list(in_order.epoch()))
    assert np.array_equal(images[3], digits.train.read(3)[..., :1])
    for i in range(len(one)):
        positions = one.positions(2, i)
        x, y, w = plain.batch(2, i)
        assert np.array_equal(x, images[positions])
        assert np.array_equal(y.argmax(axis=1), digits.train.labels[positions])
        assert np.array_equal(one.targets(positions)[0], y)
        assert np.array_equal(one.targets(positions)[1], w)
    in_order.close()
    plain.close()


def test_refusals(digits):
    with pytest.raises(UserError, match="batch_size must be at least 1"):
        Loader(digits.train, Transform((8, 8)), 0)
    with pytest.raises(UserError, match="workers must be"):
        Loader(digits.train, Transform((8, 8)), 4, workers="all")


def test_empty_split(loader):
    ds = data.digits(val_fraction=0, limit=20, limit_test=5)
    assert list(loader(ds.val, Transform((8, 8)), 4, shuffle=True).epoch()) == []
