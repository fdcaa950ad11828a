from __future__ import annotations

import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.explain import heat, occlusion, overlay


class SquareModel:
    """A model whose logit of class 1 is the brightness of the square at rows 4–7, columns 8–11."""

    input_shape, output_shape = (None, 16, 20, 3), (None, 2)

    def predict_on_batch(self, images):
        bright = np.asarray(images, np.float32)[:, 4:8, 8:12].mean((1, 2, 3)) / 64
        return np.stack([np.zeros_like(bright), bright], 1)


@pytest.fixture
def image():
    image = np.zeros((1, 16, 20, 3), np.uint8)
    image[0, 4:8, 8:12] = 255
    return image


def test_the_drop_is_largest_where_the_evidence_is(image):
    found = occlusion(SquareModel(), image, patch=4, stride=2)
    assert found.shape == (1, 16, 20) and found.dtype == np.float32
    inside = np.zeros((16, 20), bool)
    inside[4:8, 8:12] = True
    assert found[0][inside].min() > 2 * found[0][~inside].mean()
    assert np.unravel_index(found[0].argmax(), (16, 20))[0] in range(4, 8)
    # Far away nothing changes; for the other class hiding the square raises the probability.
    assert abs(found[0, 14:, :4]).max() < 1e-6
    np.testing.assert_allclose(occlusion(SquareModel(), image, 0, patch=4, stride=2), -found, atol=1e-6)


def test_each_pixel_is_covered_for_any_size(image):
    for patch, stride in ((5, 3), (16, 16), (1, 1), (3, 3), (None, None)):
        found = occlusion(SquareModel(), image, 1, patch=patch, stride=stride)
        assert np.isfinite(found).all() and found.max() > 0


@pytest.mark.parametrize("options", [{"patch": 0}, {"patch": 17}, {"patch": 4, "stride": 5}, {"patch": 4, "stride": 0}])
def test_bad_sizes(image, options):
    with pytest.raises(UserError, match="stride <= patch <= 16"):
        occlusion(SquareModel(), image, **options)


def test_heat_is_transparent_for_low_values():
    values = np.array([[-1.0, 0.0], [0.5, 2.0]])
    colours = heat(values)
    assert colours.dtype == np.uint8 and colours.shape == (2, 2, 4)
    assert colours[0, :, 3].tolist() == [0, 0] and 0 < colours[1, 0, 3] < colours[1, 1, 3] < 255
    assert not heat(np.zeros((2, 2)))[..., 3].any()


@pytest.mark.parametrize("channels", [1, 3])
def test_overlay_keeps_the_image_for_low_values(channels):
    image = np.full((4, 4, channels), 77, np.uint8)
    values = np.zeros((4, 4))
    values[1, 1] = 1
    shown = overlay(image, values)
    assert shown.shape == (4, 4, 3) and shown.dtype == np.uint8
    assert (shown[0] == 77).all() and (shown[1, 1] != 77).any()
