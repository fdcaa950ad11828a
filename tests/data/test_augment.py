"""Augmentations: pixels that can be told in advance, bounds, parameters, determinism."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
import pytest

from keras_transfer.data import rng as addresses
from keras_transfer.data.augment import AUGMENTATIONS, Augmentation, BatchTransform, Transform, make_op, transforms
from keras_transfer.data.augment import color as colors
from keras_transfer.data.augment.color import apply_colors
from keras_transfer.data.augment.randaugment import OPERATIONS
from keras_transfer.data.samples import FileStore
from keras_transfer.errors import UserError
from tests.data.conftest import encoded, smooth

IMAGE = smooth(60, 80)
SINGLE = [name for name, cls in AUGMENTATIONS.items() if issubclass(cls, Augmentation)]


def generator(i=0):
    return addresses.generator(1, addresses.PIXELS, 0, i)


def draws(ops, n=40, image=IMAGE, size=(32, 32), **options):
    transform = Transform(size, ops, **options)
    return [transform(image, generator(i)) for i in range(n)]


class Fixed:
    """A generator whose `random` and `uniform` give one value: for results that can be worked out by hand."""

    def __init__(self, value):
        self.value = value

    def random(self, shape=None):
        return self.value if shape is None else np.full(shape, self.value)

    def uniform(self, low, high):
        return low + self.value * (high - low)

    def integers(self, low, high, size=None):
        return np.full(size, int(low + self.value * (high - low)))


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("color", ["rgb", "grey"])
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_contract(name, color, resize):
    """Every augmentation gives the right shape for images of any shape, does not write to its input, and depends
    on the generator alone."""
    transform = Transform((20, 28), [name], resize, color)
    for shape in (60, 80, 3), (80, 60, 1), (20, 28, 3), (7, 5, 3), (1, 1, 3), (200, 3, 1):
        image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        image.flags.writeable = False
        results = [transform(image, generator(i)) for i in (0, 0, 1, 2, 3)]
        for result in results:
            assert result.shape == (20, 28, 3 if color == "rgb" else 1)
            assert result.dtype == np.uint8
            assert result.flags.c_contiguous
            assert result.flags.writeable
        assert np.array_equal(results[0], results[1])
        plain = transform(image, None)
        assert np.array_equal(plain, transform(image, None))
        assert not np.may_share_memory(plain, image)


@pytest.mark.parametrize("name", [n for n in SINGLE if AUGMENTATIONS[n].random])
def test_random_operations_do_something_and_not_always_the_same(name):
    fields = {f.name for f in dataclasses.fields(AUGMENTATIONS[name])}
    spec = {"name": name, **({"p": 0.5} if "p" in fields else {})}
    ops = ["resize", spec] if name != "random_crop" else [{"name": "resize", "size": 40}, spec]
    assert len({image.tobytes() for image in draws(ops, 20)}) >= 2


@pytest.mark.parametrize("name", [n for n in SINGLE if AUGMENTATIONS[n].random])
def test_evaluation_leaves_random_operations_out(name):
    assert np.array_equal(Transform((32, 32), [name])(IMAGE, None), Transform((32, 32))(IMAGE, None))


class TestFitting:
    def test_same_size_is_untouched(self):
        for how in "squash", "crop", "pad":
            assert np.array_equal(Transform((60, 80), [], how)(IMAGE), IMAGE)

    def test_halving_averages(self):
        expected = IMAGE.reshape(30, 2, 40, 2, 3).mean(axis=(1, 3))
        assert np.abs(Transform((30, 40))(IMAGE) - expected).max() <= 0.5

    def test_large_reductions_do_not_alias(self):
        noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
        for ops in [], ["horizontal_flip"], [{"name": "rotation", "degrees": 20}]:
            small = Transform((30, 40), ops)(noise, generator())
            inner = small[8:-8, 8:-8]
            assert inner.std() < 12  # 20 x 20 pixels in each mean; a picked pixel would have 74
            assert abs(inner.mean() - 127.5) < 3

    def test_squash_of_odd_ratios(self):
        expected = cv2.resize(IMAGE, (33, 17), interpolation=cv2.INTER_AREA)
        assert np.abs(Transform((17, 33))(IMAGE).astype(int) - expected).mean() < 2

    def test_enlarging_has_no_dark_border(self):
        white = np.full((8, 8, 3), 250, np.uint8)
        for ops in [], [{"name": "random_resized_crop", "scale": [0.3, 1]}], ["horizontal_flip"]:
            assert (Transform((50, 50), ops)(white, generator()) == 250).all()

    def test_crop_takes_the_middle(self):
        assert np.array_equal(Transform((60, 60), [], "crop")(IMAGE), IMAGE[:, 10:70])
        assert np.array_equal(Transform((30, 80), [], "crop")(IMAGE), IMAGE[15:45])

    def test_pad_adds_a_border(self):
        padded = Transform((80, 80), [], "pad")(IMAGE)
        assert np.array_equal(padded[10:70], IMAGE)
        assert (padded[:10] == 0).all()
        assert (padded[70:] == 0).all()
        white = Transform((40, 40), [], "pad")(np.full((60, 80, 3), 255, np.uint8))
        assert (white[6:34] == 255).all()
        assert (white[:4] == 0).all()
        assert (white[36:] == 0).all()

    def test_center_crop(self):
        result = Transform((30, 30), [{"name": "center_crop", "fraction": 0.5}])(IMAGE)
        assert np.array_equal(result, IMAGE[15:45, 25:55])

    def test_resize_then_crop(self):
        plan = Transform((24, 24), [{"name": "resize", "size": 30, "mode": "shorter"}, "random_crop"]).plan(
            60, 80, generator()
        )
        assert plan.scale() == pytest.approx((2, 2))
        result = Transform((20, 20), [{"name": "resize", "size": [40, 30]}])(IMAGE)
        assert np.abs(result - cv2.resize(IMAGE, (20, 20), interpolation=cv2.INTER_AREA).astype(int)).mean() < 2

    def test_reduced_jpegs_of_every_orientation_give_the_same_place(self, tmp_path):
        from PIL import Image

        image = smooth(203, 301, 4)
        names = []
        for value in range(1, 9):
            exif = Image.Exif()
            exif[0x0112] = value
            names.append(f"{value}.jpg")
            (tmp_path / names[-1]).write_bytes(encoded(image, "JPEG", quality=98, exif=exif))
        store = FileStore(names, tmp_path)
        # The middle, which no rotation by 30 degrees takes out of the image: at its edges the two blur differently.
        turned = [{"name": "rotation", "degrees": 30}, {"name": "center_crop", "fraction": 0.65}]
        for ops in [], ["random_resized_crop", "horizontal_flip"], turned:
            transform = Transform((24, 24), ops)
            for i in range(8):
                image = store.open(i)
                array, matrix = image.reduced(8)
                assert matrix is not None
                assert max(array.shape) == 38
                few, all_ = transform(image, generator(i)), transform(store.read(i), generator(i))
                assert np.abs(few.astype(int) - all_).mean() < 0.8


class TestGeometry:
    def test_flips(self):
        for name, axis in (("horizontal_flip", 1), ("vertical_flip", 0)):
            always = Transform((60, 80), [{"name": name, "p": 1}])(IMAGE, generator())
            assert np.array_equal(always, np.flip(IMAGE, axis))
            never = Transform((60, 80), [{"name": name, "p": 0}])(IMAGE, generator())
            assert np.array_equal(never, IMAGE)
        flipped = sum(np.array_equal(x, IMAGE[:, ::-1]) for x in draws(["horizontal_flip"], 200, size=(60, 80)))
        assert 70 < flipped < 130

    def test_random_crop_is_a_part(self):
        parts = {IMAGE[y : y + 50, x : x + 60].tobytes() for y in range(11) for x in range(21)}
        found = {x.tobytes() for x in draws([{"name": "resize", "size": (60, 80)}, "random_crop"], 60, size=(50, 60))}
        assert found <= parts
        assert len(found) > 30
        small = draws(["random_crop"], 3, image=IMAGE[:20, :30], size=(40, 40))
        assert (small[0] != 0).any(axis=2).all()

    def test_random_resized_crop_bounds(self):
        transform = Transform((32, 32), [{"name": "random_resized_crop", "scale": [0.1, 0.5], "ratio": [0.5, 2]}])
        areas, places = [], []
        for i in range(300):
            plan = transform.plan(60, 80, generator(i))
            (x0, y0), (w, h) = plan.matrix[:2, 2], (plan.matrix[0, 0] * 32, plan.matrix[1, 1] * 32)
            assert x0 >= 0 and y0 >= 0 and x0 + w <= 80 + 1e-9 and y0 + h <= 60 + 1e-9  # noqa: PT018
            assert 0.45 < w / h < 2.2
            areas.append(w * h / 4800)
            places.append((x0, y0))
        assert 0.08 < min(areas) < 0.15
        assert 0.45 < max(areas) < 0.53
        assert len(set(places)) > 200

    def test_random_resized_crop_of_a_strip_falls_back(self):
        plan = Transform((32, 32), [{"name": "random_resized_crop", "scale": [0.9, 1]}]).plan(1000, 10, generator())
        assert plan.matrix[0, 0] * 32 == pytest.approx(10)
        assert plan.matrix[1, 1] * 32 == pytest.approx(13, abs=1)

    def test_padded_random_crop_shifts_by_whole_pixels(self):
        image = smooth(32, 32)
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
        parts = {padded[y : y + 32, x : x + 32].tobytes() for y in range(9) for x in range(9)}
        found = {x.tobytes() for x in draws(["padded_random_crop"], 100, image=image)}
        assert found <= parts
        assert len(found) > 40
        reflected = draws([{"name": "padded_random_crop", "fill": "reflect"}], 20, image=image)
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), "reflect")
        parts = {padded[y : y + 32, x : x + 32].tobytes() for y in range(9) for x in range(9)}
        assert {x.tobytes() for x in reflected} <= parts
        red = draws([{"name": "padded_random_crop", "fill": [255, 0, 0], "padding": 30}], 10, image=image)
        assert any((x[0, 0] == (255, 0, 0)).all() for x in red)
        grey = draws(
            [{"name": "padded_random_crop", "fill": [255, 0, 0], "padding": 30}], 10, image=image, color="grey"
        )
        assert any((x[0, 0] == 76).all() for x in grey)

    def test_rotation_by_a_right_angle_is_counter_clockwise(self):
        square = smooth(40, 40)
        result = Transform((40, 40), [{"name": "rotation", "degrees": 90}])(square, Fixed(1.0))
        assert np.abs(result.astype(int) - np.rot90(square)).max() <= 1
        back = Transform((40, 40), [{"name": "rotation", "degrees": 90}])(square, Fixed(0.0))
        assert np.abs(back.astype(int) - np.rot90(square, -1)).max() <= 1

    def test_affine(self):
        square = smooth(40, 40)
        moved = Transform((40, 40), [{"name": "affine", "translate": 0.25, "scale": [1, 1]}])(square, Fixed(1.0))
        assert np.array_equal(moved[10:, 10:], square[:30, :30])
        assert (moved[:10] == 0).all()
        larger = Transform((40, 40), [{"name": "affine", "translate": 0, "scale": [0.5, 2]}])(square, Fixed(1.0))
        expected = cv2.resize(square[10:30, 10:30], (40, 40), interpolation=cv2.INTER_LINEAR)
        assert np.abs(larger[2:-2, 2:-2].astype(int) - expected[2:-2, 2:-2]).max() <= 2
        smaller = Transform((40, 40), [{"name": "affine", "translate": 0, "scale": [0.5, 2]}])(square, Fixed(0.0))
        assert (smaller[:9] == 0).all()
        assert (smaller[12:28, 12:28] > 0).any()
        sheared = Transform((40, 40), [{"name": "affine", "translate": 0, "scale": [1, 1], "shear": 45}])(
            square, Fixed(1.0)
        )
        assert len(np.unique(sheared)) > 10

    def test_operations_compose_into_one_warp(self):
        """A flip, a quarter turn and a crop by whole pixels are exact, whatever the order."""
        square = smooth(40, 40)
        ops = [
            {"name": "horizontal_flip", "p": 1},
            {"name": "rotation", "degrees": 90},
            {"name": "vertical_flip", "p": 1},
        ]
        result = Transform((40, 40), ops)(square, Fixed(1.0 - 1e-12))
        # p=1 always happens; the turn is by 90 degrees
        assert np.abs(result.astype(int) - np.rot90(square[:, ::-1])[::-1]).max() <= 1


class TestColor:
    PIXELS = np.array([[[10, 20, 30], [200, 100, 50]], [[0, 128, 255], [90, 90, 90]]], np.uint8)

    def test_brightness_and_identity(self):
        assert apply_colors(self.PIXELS, [colors.brightness(2)]).tolist() == np.minimum(self.PIXELS * 2.0, 255).tolist()
        for op in (
            colors.brightness(1),
            colors.contrast(1),
            colors.saturation(1),
            colors.hue(0),
            colors.solarize(256),
            colors.posterize(8),
            colors.sharpness(1),
        ):
            assert np.abs(apply_colors(self.PIXELS, [op]).astype(int) - self.PIXELS).max() <= 1

    def test_contrast_keeps_the_mean(self):
        luma = self.PIXELS @ colors.LUMA
        assert np.allclose(apply_colors(self.PIXELS, [colors.contrast(0)]), luma.mean(), atol=0.6)
        half = apply_colors(self.PIXELS, [colors.contrast(0.5)])
        assert np.abs(half - (0.5 * self.PIXELS + 0.5 * luma.mean())).max() <= 1

    def test_saturation_zero_is_grey(self):
        grey = apply_colors(self.PIXELS, [colors.saturation(0)])
        assert np.abs(grey - (self.PIXELS @ colors.LUMA)[..., None]).max() <= 1

    def test_hue_keeps_luma_and_grey(self):
        turned = apply_colors(np.full((2, 2, 3), 90, np.uint8), [colors.hue(0.3)])
        assert np.abs(turned.astype(int) - 90).max() <= 1
        soft = np.array([[[120, 100, 110]]], np.uint8)
        assert abs(float((apply_colors(soft, [colors.hue(0.4)]) @ colors.LUMA)[0, 0] - (soft @ colors.LUMA)[0, 0])) <= 1

    def test_merged_matrices_equal_one_after_the_other(self):
        image = (smooth(20, 20) // 2 + 60).astype(np.uint8)
        ops = [colors.brightness(1.1), colors.contrast(0.8), colors.saturation(0.7)]
        merged = apply_colors(image, ops)
        for op in ops:
            image = apply_colors(image, [op])
        assert np.abs(merged.astype(int) - image).max() <= 2

    def test_tables(self):
        assert apply_colors(self.PIXELS, [colors.posterize(4)]).tolist() == (self.PIXELS & 0xF0).tolist()
        solar = np.where(self.PIXELS >= 100, 255 - self.PIXELS, self.PIXELS)
        assert apply_colors(self.PIXELS, [colors.solarize(100)]).tolist() == solar.tolist()
        both = apply_colors(self.PIXELS, [colors.solarize(100), colors.posterize(4)])
        assert both.tolist() == (solar & 0xF0).tolist()
        mixed = apply_colors(
            self.PIXELS, [colors.posterize(4), colors.brightness(2), colors.posterize(2), colors.contrast(0.9)]
        )
        assert mixed.shape == self.PIXELS.shape

    def test_autocontrast_and_equalize(self):
        flat = (smooth(20, 20) // 4 + 40).astype(np.uint8)
        for op in colors.autocontrast(), colors.equalize():
            out = apply_colors(flat, [op])
            assert out.min(axis=(0, 1)).tolist() == [0, 0, 0]
            assert out.max(axis=(0, 1)).tolist() == [255] * 3
        constant = np.full((4, 4, 1), 7, np.uint8)
        assert (apply_colors(constant, [colors.autocontrast()]) == 7).all()

    def test_sharpness_matches_pillow(self):
        from PIL import Image, ImageEnhance

        for factor in 0.0, 0.5, 1.9:
            expected = np.asarray(ImageEnhance.Sharpness(Image.fromarray(IMAGE)).enhance(factor))
            result = apply_colors(IMAGE, [colors.sharpness(factor)])
            assert np.abs(result[1:-1, 1:-1].astype(int) - expected[1:-1, 1:-1]).max() <= 2

    def test_grey_images(self):
        grey = smooth(8, 8)[..., :1]
        for op in colors.brightness(1.5), colors.contrast(0.5), colors.saturation(0.2), colors.hue(0.2):
            out = apply_colors(grey, [op])
            as_rgb = apply_colors(np.repeat(grey, 3, axis=2), [op])
            assert np.abs(out.reshape(8, 8).astype(int) - as_rgb[..., 0]).max() <= 1

    def test_jitter_bounds(self):
        image = np.full((4, 4, 3), 100, np.uint8)
        spec = {"name": "color_jitter", "brightness": 0.3, "contrast": 0, "saturation": 0}
        values = [int(x[0, 0, 0]) for x in draws([spec], 200, image=image)]
        assert 70 <= min(values) < 75
        assert 125 < max(values) <= 130
        full = draws([{"name": "color_jitter", "hue": 0.5}], 5)
        assert len({x.tobytes() for x in full}) == 5

    def test_grayscale(self):
        out = draws([{"name": "grayscale", "p": 1}], 1)[0]
        assert np.ptp(out.astype(int), axis=2).max() <= 1


class TestErasing:
    def test_cutout(self):
        image = np.full((20, 30, 3), 100, np.uint8)
        spec = {"name": "cutout", "size": 0.5, "fill": 7}
        areas, rows = set(), np.zeros(20, int)
        for out in draws([spec], 300, image=image, size=(20, 30)):
            y, x = np.where((out == 7).all(axis=2))
            assert len(y) == (np.ptp(y) + 1) * (np.ptp(x) + 1)  # one box, nothing else
            assert set(np.unique(out)) == {7, 100}
            assert max(np.ptp(y), np.ptp(x)) + 1 <= 10
            areas.add(len(y))
            rows[np.unique(y)] += 1
        assert max(areas) == 100 and min(areas) < 60  # whole squares, and some that are cut off by the border
        assert rows.min() > 50
        assert (draws([{**spec, "p": 0}], 1, image=image, size=(20, 30))[0] == 100).all()

    def test_area_and_value(self):
        image = np.full((50, 50, 3), 100, np.uint8)
        spec = {"name": "random_erasing", "p": 1, "scale": [0.1, 0.2], "fill": 7}
        for out in draws([spec], 50, image=image, size=(50, 50)):
            share = (out == 7).all(axis=2).mean()
            assert 0.07 < share < 0.22
            assert ((out == 7) | (out == 100)).all()
        touched = [
            (x != 100).any() for x in draws([{"name": "random_erasing", "p": 0.5}], 200, image=image, size=(50, 50))
        ]
        assert 70 < sum(touched) < 130

    def test_noise(self):
        image = np.full((50, 50, 3), 100, np.uint8)
        out = draws([{"name": "random_erasing", "p": 1, "count": 3}], 1, image=image)[0]
        assert len(np.unique(out)) > 30


class TestRandAugment:
    @pytest.mark.parametrize("name", OPERATIONS)
    @pytest.mark.parametrize("color", ["rgb", "grey"])
    def test_each_operation(self, name, color, monkeypatch):
        monkeypatch.setattr("keras_transfer.data.augment.randaugment.OPERATIONS", {name: OPERATIONS[name]})
        transform = Transform((60, 80), [{"name": "rand_augment", "count": 1, "magnitude": 20}], color=color)
        out, plain = transform(IMAGE, generator()), transform(IMAGE, None)
        assert np.array_equal(out, plain) == (name == "identity" or (name, color) == ("saturation", "grey"))

    def test_magnitude_zero_changes_little(self):
        out = draws([{"name": "rand_augment", "count": 1, "magnitude": 0}], 60, size=(60, 80))
        same = sum(np.abs(x.astype(int) - IMAGE).max() <= 1 for x in out)
        assert same >= 40  # all but autocontrast and equalize


class TestSpecs:
    @pytest.mark.parametrize(
        ("spec", "match"),
        [
            ("horizontal_flop", "unknown augmentation 'horizontal_flop'; did you mean 'horizontal_flip'"),
            (
                {"name": "rotation", "degree": 3},
                "unknown parameter of the augmentation 'rotation': 'degree'; did you mean 'degrees'",
            ),
            ({"degrees": 3}, "key 'name'"),
            (3, "key 'name'"),
            ({"name": "horizontal_flip", "p": 1.5}, "p must be a number"),
            ({"name": "vertical_flip", "p": "often"}, "received 'often'"),
            ({"name": "rotation", "degrees": True}, "degrees must be a number"),
            ({"name": "rotation", "fill": 300}, "fill must be"),
            ({"name": "rotation", "fill": [1, 2]}, "fill must be"),
            ({"name": "affine", "scale": [2, 1]}, "minimum, maximum"),
            ({"name": "affine", "scale": 2}, "pair of numbers"),
            ({"name": "affine", "shear": 80}, "shear"),
            ({"name": "random_resized_crop", "scale": [0, 1]}, "scale must be a number"),
            ({"name": "resize", "mode": "squeeze"}, "unknown mode of resize"),
            ({"name": "resize", "mode": "shorter"}, "needs size as one number"),
            ({"name": "resize", "size": 0}, "size must be"),
            ({"name": "padded_random_crop", "padding": 1.5}, "whole number"),
            ({"name": "random_erasing", "fill": "black"}, "0..255 or 'noise'"),
            ({"name": "random_erasing", "fill": 256}, "fill must be"),
            ({"name": "cutout", "size": 0}, "size must be"),
            ({"name": "rand_augment", "magnitude": 31}, "magnitude"),
            ({"name": "mixup", "alpha": 0}, "alpha"),
            ({"name": "center_crop", "fraction": 2}, "fraction"),
            ({"name": "color_jitter", "hue": 0.7}, "hue"),
        ],
    )
    def test_refusals(self, spec, match):
        with pytest.raises(UserError, match=match):
            make_op(spec)

    @pytest.mark.parametrize("name", AUGMENTATIONS)
    def test_table(self, name):
        op = make_op(name)
        assert op.name == name
        assert make_op(op) is op
        assert AUGMENTATIONS[name].__doc__
        fields = {f.name: getattr(op, f.name) for f in dataclasses.fields(op)}
        assert make_op({"name": name, **fields}) == op

    def test_sorting(self):
        transform, batch = transforms(
            ["mixup", "horizontal_flip", {"name": "cutmix", "alpha": 0.5}], (8, 8), "pad", "grey"
        )
        assert [op.name for op in transform.ops] == ["horizontal_flip"]
        assert [op.name for op in batch.ops] == ["mixup", "cutmix"]
        assert (transform.resize, transform.color, transform.channels) == ("pad", "grey", 1)
        assert "horizontal_flip" in repr(transform).lower() or "HorizontalFlip" in repr(transform)
        assert "CutMix" in repr(batch)
        assert transforms([], (8, 8))[1] is None
        with pytest.raises(UserError, match="works on batches"):
            Transform((8, 8), ["mixup"])
        with pytest.raises(UserError, match="works on single images"):
            BatchTransform(["horizontal_flip"])
        with pytest.raises(UserError, match="unknown resize"):
            Transform((8, 8), resize="stretch")
        with pytest.raises(UserError, match="unknown color"):
            Transform((8, 8), color="gray")

    @pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros(4, np.uint8)])
    def test_wrong_images(self, image):
        with pytest.raises(UserError, match="expected a uint8 image"):
            Transform((8, 8))(image)

    def test_two_dimensional_image(self):
        assert Transform((8, 8))(IMAGE[..., 0]).shape == (8, 8, 3)


class TestMixing:
    X = np.random.default_rng(0).integers(0, 256, (6, 10, 12, 3), np.uint8)
    Y = np.eye(3, dtype=np.float32)[[0, 1, 2, 0, 1, 2]]

    def test_mixup(self):
        before = self.X.copy()
        x, y = BatchTransform([{"name": "mixup", "alpha": 5}])(self.X, self.Y, generator(3))
        assert np.array_equal(self.X, before)
        assert x.dtype == np.uint8
        assert y.dtype == np.float32
        assert np.allclose(y.sum(axis=1), 1)
        candidates = np.array([[(i, j) for j in range(6)] for i in range(6)])
        share = None
        for i, row in enumerate(y):
            if len(set(np.round(row[row > 0], 6))) == 2:
                share = float(row[np.argmax(self.Y[i])])
                break
        assert share is not None
        for i in range(6):
            fits = [
                j for _, j in candidates[i] if np.abs(share * self.X[i] + (1 - share) * self.X[j] - x[i]).max() <= 0.51
            ]
            assert fits
            assert any(np.allclose(share * self.Y[i] + (1 - share) * self.Y[j], y[i], atol=1e-6) for j in fits)

    def test_cutmix_labels_are_the_areas(self):
        constant = np.repeat(np.arange(6, dtype=np.uint8), 120).reshape(6, 10, 12, 1)
        labels = np.eye(6, dtype=np.float32)
        seen = set()
        for k in range(20):
            x, y = BatchTransform(["cutmix"])(constant, labels, generator(k))
            for i in range(6):
                areas = np.bincount(x[i].ravel(), minlength=6) / 120
                assert np.allclose(areas, y[i], atol=1e-6)
            seen.add(float(y[0].max()))
        assert len(seen) > 10

    def test_probability_choice_and_none(self):
        x, y = BatchTransform([{"name": "mixup", "p": 0}])(self.X, self.Y, generator())
        assert x is self.X
        x, y = BatchTransform([{"name": "cutmix", "p": 0}])(self.X, self.Y, generator())
        assert y is self.Y
        assert BatchTransform([])(self.X, self.Y, generator())[0] is self.X
        both = BatchTransform([{"name": "mixup", "p": 0}, "cutmix"])
        changed = [both(self.X, self.Y, generator(i))[0] is not self.X for i in range(60)]
        assert 15 < sum(changed) < 45


def test_addresses_are_independent():
    numbers = [
        addresses.generator(s, t, e, i, v).random()
        for s in (0, 1)
        for t in (0, 5)
        for e in (0, 1)
        for i in (0, 1)
        for v in (0, 1)
    ]
    assert len(set(numbers)) == 32
    assert addresses.generator(0, 5, 1, 2).random() == addresses.generator(0, 5, 1, 2).random()
    assert sorted(addresses.permutation(50, 3, 1)) == list(range(50))
    assert len(addresses.permutation(0, 3, 1)) == 0
