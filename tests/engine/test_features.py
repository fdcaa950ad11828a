"""Features of frozen layers: computed once, kept, found again, and drawn from as views."""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest

from keras_transfer import data
from keras_transfer.data.augment import transforms
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.data.loading.loader import Loader
from keras_transfer.engine import features as features_module
from keras_transfer.engine.feature_cache import ArrayWriter
from keras_transfer.engine.features import FeatureSettings, FrozenFeatures, draw_views, upper_part
from keras_transfer.engine.keys import prefix_digest
from keras_transfer.engine.prefix import find_cut
from keras_transfer.models.classifier import build_classifier
from keras_transfer.models.freeze import apply_train

pytestmark = pytest.mark.backend

GIB = 1024**3


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("KERAS_TRANSFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "features"


@pytest.fixture
def dataset(photos):
    return data.folder(photos, val_fraction=0.3, test_fraction=0.0)


def make_model(seed: int = 0, train: str = "head") -> keras.Model:
    model = build_classifier("tiny", 3, image_size=32, weights="none", seed=seed)
    apply_train(model, "tiny", train, batch_norm="frozen")
    return model


def batches(dataset, augment=(), **options) -> tuple[Batches, Batches]:
    transform, mix = transforms(list(augment), (32, 32))
    plain, _ = transforms([], (32, 32))
    options = {"batch_size": 16, "workers": 1, **options}
    train = Loader(dataset.train, transform, shuffle=True, batch_transform=mix, **options)
    return Batches(train), Batches(Loader(dataset.val, plain, **options))


def halves(model, train, val, epochs=6, **settings):
    """The upper part, and what was said."""
    said: list[str] = []
    settings = {"cache": "disk", "limit": GIB, **settings}
    return upper_part(model, train, val, epochs, FeatureSettings(**settings), said.append), said


def served(part: Batches, epoch: int) -> list[tuple[np.ndarray, ...]]:
    part.set_epoch(epoch)
    return [tuple(np.asarray(x) for x in part[i]) for i in range(len(part))]


def test_features_stand_in_the_place_of_their_images(dataset):
    model, (train, val) = make_model(), batches(dataset)
    upper, said = halves(model, train, val)
    assert len(said) == 2 and all("images/s, by " in line and "float32" in line for line in said)
    prefix = find_cut(model).prefix
    for epoch in 0, 3:
        for found, images in zip(served(upper.train, epoch), served(train, epoch)):
            np.testing.assert_allclose(found[0], prefix.predict(images[0], verbose=0), rtol=1e-3, atol=1e-4)
            np.testing.assert_array_equal(found[1], images[1])


def test_a_second_run_takes_what_the_first_one_kept(dataset, cache, monkeypatch):
    first, said = halves(make_model(), *batches(dataset))
    assert not any("found in" in line for line in said) and len(list(cache.glob("*.npy"))) == 2
    # Other batches, another order, another head: none of it matters to the features.
    monkeypatch.setattr(FrozenFeatures, "_compute", lambda *_: pytest.fail("computed again"))
    model = make_model()
    model.get_layer("logits").set_weights([w + 1 for w in model.get_layer("logits").get_weights()])
    second, said = halves(model, *batches(dataset, batch_size=7, seed=3))
    assert [f"found in {cache}" in line for line in said] == [True, True]
    np.testing.assert_array_equal(first.train.features[0], second.train.features[0])


@pytest.mark.parametrize("change", ["weights", "file", "size", "image", "part", "precision"])
def test_whatever_features_depend_on_makes_them_others(dataset, photos, cache, change):
    halves(make_model(), *batches(dataset))
    before = set(cache.glob("*.npy"))
    model, parts, settings = make_model(seed=int(change == "weights")), batches(dataset), {}
    if change == "file":  # the same bytes, written again
        for path in photos.rglob("*.png"):
            os.utime(path, (1e9, 1e9))
    elif change == "size":
        parts = tuple(
            Batches(Loader(b.loader.split, transforms([], (32, 32), "crop")[0], 16, workers=1)) for b in parts
        )
    elif change == "image":
        parts = tuple(
            Batches(Loader(b.loader.split.take(np.arange(5)), b.loader.transform, 16, workers=1)) for b in parts
        )
    elif change == "part":
        model = make_model(train="last 1 groups")
    elif change == "precision":
        settings = {"precision": "bfloat16"}
        pytest.importorskip("openvino")
    _, said = halves(model, *parts, **settings)
    assert not any("found in" in line for line in said)
    assert len(set(cache.glob("*.npy")) - before) == 2


def test_a_damaged_file_is_computed_again(dataset, cache):
    first, _ = halves(make_model(), *batches(dataset))
    expected = np.array(first.train.features[0])
    del first
    for path in cache.glob("*.npy"):
        path.write_bytes(path.read_bytes()[:-9])
    again, said = halves(make_model(), *batches(dataset))
    assert not any("found in" in line for line in said)
    np.testing.assert_array_equal(again.train.features[0], expected)


def test_on_a_full_disk_they_stay_in_memory_and_it_is_said(dataset, cache, monkeypatch):
    def full(self, start, rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ArrayWriter, "write", full)
    upper, said = halves(make_model(), *batches(dataset))
    assert sum("cannot be kept on disk: No space left on device" in line for line in said) == 2
    assert list(cache.iterdir()) == []
    assert upper.train.features[0].shape == (len(dataset.train), 32)
    # And where memory has no room either, the whole model trains.
    monkeypatch.setattr(features_module, "MEMORY_LIMIT", 100)
    upper, said = halves(make_model(), *batches(dataset))
    assert upper is None and "every epoch" in said[-1] and "of memory" in said[-1]


@pytest.mark.parametrize(("settings", "files"), [({"cache": "memory"}, False), ({"cache": "disk"}, True)])
def test_the_cache_is_where_it_was_asked_for(dataset, cache, settings, files):
    upper, _ = halves(make_model(), *batches(dataset), **settings)
    assert upper is not None and cache.exists() == files


@pytest.mark.parametrize(
    ("settings", "augment", "epochs", "reason"),
    [
        ({"cache": "off"}, [], 6, None),
        ({}, [], 1, None),
        ({}, ["horizontal_flip"], 6, "data.views: 4"),
        ({"views": 6}, ["horizontal_flip"], 6, "6 views are not fewer than 6 epochs"),
        ({"views": 2}, ["horizontal_flip", "mixup"], 6, "mixed with each other"),
    ],
)
def test_nothing_is_cut_where_it_would_change_something_and_the_reason_is_said(
    dataset, settings, augment, epochs, reason
):
    upper, said = halves(make_model(), *batches(dataset, augment), epochs, **settings)
    assert upper is None
    assert said == [] if reason is None else reason in said[0]


def test_too_many_features_are_not_computed(dataset, monkeypatch):
    monkeypatch.setattr(features_module, "MEMORY_LIMIT", 100)
    upper, said = halves(make_model(), *batches(dataset), limit=0)
    assert upper is None and "would take" in said[0]


def test_views_are_drawn_anew_each_epoch_and_the_same_in_every_run(dataset, cache):
    augment = ["horizontal_flip", {"name": "random_resized_crop", "scale": [0.4, 1.0]}]
    upper, said = halves(make_model(), *batches(dataset, augment), views=3)
    assert sum("view" in line for line in said) == 3 and len(list(cache.glob("*.npy"))) == 4
    views = upper.train.features
    assert not np.array_equal(views[0], views[1])
    shown = []
    for epoch in range(6):
        positions = upper.train.loader.order(epoch)
        rows = np.concatenate([batch[0] for batch in served(upper.train, epoch)])
        which = [[k for k in range(3) if np.array_equal(row, views[k][p])] for row, p in zip(rows, positions)]
        assert all(which)
        shown.append({p: w[0] for p, w in zip(positions.tolist(), which)})
    # A round of three epochs shows a sample each of its views once; rounds differ.
    table = np.array([[by_sample[p] for p in range(len(dataset.train))] for by_sample in shown])
    assert (np.sort(table[:3], axis=0) == np.arange(3)[:, None]).all()
    assert not np.array_equal(table[0], table[3])

    again, said = halves(make_model(), *batches(dataset, augment), views=3)
    assert all("found in" in line for line in said)
    for epoch in 5, 2:  # in any order: epochs have no memory
        for a, b in zip(served(upper.train, epoch), served(again.train, epoch)):
            np.testing.assert_array_equal(a[0], b[0])
    fewer, said = halves(make_model(), *batches(dataset, augment), views=2)
    assert all("found in" in line for line in said) and len(fewer.train.features) == 2
    _, said = halves(make_model(), *batches(dataset, augment, seed=1), views=2)
    assert sum("found in" in line for line in said) == 1  # the validation images only


def test_a_view_is_the_image_as_it_is_augmented(dataset):
    train, val = batches(dataset, ["horizontal_flip", "color_jitter"])
    model = make_model()
    upper, _ = halves(model, train, val, views=2)
    with train.loader.in_order(len(dataset.train), view=1) as loader:
        expected = find_cut(model).prefix.predict(loader.batch(0, 0), verbose=0)
    np.testing.assert_allclose(upper.train.features[1], expected, rtol=1e-3, atol=1e-4)


def test_draws_are_even():
    drawn = np.stack([draw_views(4000, 4, seed=0, epoch=epoch) for epoch in range(8)])
    assert drawn.min() == 0 and drawn.max() == 3
    for epoch in drawn:
        assert np.abs(np.bincount(epoch, minlength=4) - 1000).max() < 150
    assert 0.1 < (drawn[0] == drawn[4]).mean() < 0.4  # another round is another draw


def test_names_do_not_count_and_wiring_does():
    def build(name, swap=False):
        image = keras.Input((4, 4, 3), name=f"{name}_image")
        a = keras.layers.Rescaling(2.0, name=f"{name}_a")(image)
        pair = [image, a] if swap else [a, image]
        return keras.Model(image, keras.layers.Concatenate(name=f"{name}_b")(pair))

    assert prefix_digest(build("x")) == prefix_digest(build("y")) != prefix_digest(build("x", swap=True))


@pytest.mark.parametrize(
    ("backbone", "train", "where"),
    [
        ("efficientnet_lite0", "last 2 groups", "block6d_add"),
        *(
            pytest.param(*case, marks=pytest.mark.exhaustive)  # the same graphs on every backend
            for case in (
                ("mobilenet_v2", "head", "pool"),
                ("mobilenet_v2", "last 2 groups", "block_15_add"),
                ("resnet50", "last 1 groups", "conv4_block6_out"),
                ("resnet50", "last 2 groups", "conv3_block4_out"),
                ("vgg16", "last 1 groups", "block4_pool"),
            )
        ),
    ],
)
def test_the_last_groups_of_backbones_leave_a_prefix(backbone, train, where):
    model = build_classifier(backbone, 3, image_size=64, weights="none")
    apply_train(model, backbone, train, batch_norm="frozen")
    cut = find_cut(model)
    assert cut.name == where
    frozen = sum(int(np.prod(w.shape)) for w in cut.prefix.weights)
    assert frozen + sum(int(np.prod(w.shape)) for w in cut.suffix.weights) == model.count_params()
    assert not cut.prefix.trainable_weights
