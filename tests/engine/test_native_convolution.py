"""Convolution with a gradient of its own, against torch's in float64: every way that a gradient may be computed."""

import keras
import pytest

pytestmark = pytest.mark.backend

if keras.backend.backend() != "torch":
    pytest.skip("native operations exist for torch only", allow_module_level=True)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from keras_transfer.engine.torch_native import autograd, onednn  # noqa: E402
from keras_transfer.engine.torch_native.activation import LINEAR, RELU  # noqa: E402

# channels in and out, side of the image, side of the window, stride, groups
CASES = {
    "plain": (8, 12, 9, 3, 1, 1),
    "pointwise": (8, 12, 9, 1, 1, 1),
    "pointwise, many channels": (96, 64, 3, 1, 1, 1),
    "pointwise, strided": (96, 64, 4, 1, 2, 1),
    "strided": (8, 12, 9, 3, 2, 1),
    "depthwise, strided": (8, 8, 9, 3, 2, 8),
    "depthwise, large window": (8, 8, 9, 5, 1, 8),
}


@pytest.mark.parametrize("activation", [LINEAR, RELU], ids=["linear", "relu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name, dtype, activation):
    inputs, outputs, side, window, stride, groups = CASES[name]
    torch.manual_seed(0)
    x = torch.randn(2, inputs, side, side, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(outputs, inputs // groups, window, window, dtype=dtype).requires_grad_()
    half = window // 2
    y = autograd.convolution(
        x, weight, None, None, ((stride, stride), ((half, half), (half, half)), (1, 1), groups), activation
    )
    truth = [tensor.detach().double().requires_grad_() for tensor in (x, weight)]
    exact = F.conv2d(*truth, None, stride, half, 1, groups)
    exact = F.relu(exact) if activation is RELU else exact
    slope = torch.randn_like(y)
    y.backward(slope)
    # Where rounding has moved a unit over the kink its gradient is another one: judge by the units that were on.
    exact.backward(slope.double() * (y.detach() != 0) if activation is RELU else slope.double())
    tolerance = 2**-7 if dtype == torch.bfloat16 else 1e-5
    for ours, theirs in ((y, exact), (x.grad, truth[0].grad), (weight.grad, truth[1].grad)):
        assert ours.dtype == dtype
        assert float((ours.double() - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


@pytest.mark.parametrize("activation", [LINEAR, RELU], ids=["linear", "relu"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("side", [1, 3])
def test_a_window_that_covers_the_image(dtype, side, activation):
    torch.manual_seed(0)
    x = torch.randn(4, 6, side, side, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    weight = torch.randn(5, 6, side, side, dtype=dtype).to(memory_format=torch.channels_last).requires_grad_()
    bias = torch.randn(5).requires_grad_()  # stays float32
    y = autograd.convolution(x, weight, bias, None, ((1, 1), ((0, 0), (0, 0)), (1, 1), 1), activation)
    truth = [tensor.detach().double().requires_grad_() for tensor in (x, weight, bias)]
    exact = F.conv2d(*truth)
    exact = F.relu(exact) if activation is RELU else exact
    slope = torch.randn_like(y)
    y.backward(slope)
    exact.backward(slope.double() * (y.detach() != 0) if activation is RELU else slope.double())
    tolerance = 2**-6 if dtype == torch.bfloat16 else 1e-5
    pairs = ((y, exact), (x.grad, truth[0].grad), (weight.grad, truth[1].grad), (bias.grad, truth[2].grad))
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        assert float((ours.double() - theirs).detach().abs().max()) <= tolerance * float(theirs.detach().abs().max())


def test_many_channels_and_few_positions_make_a_matrix_product():
    deep, wide = torch.zeros(2, 96, 3, 3, dtype=torch.bfloat16), torch.zeros(2, 96, 30, 30, dtype=torch.bfloat16)
    weight = torch.zeros(64, 96, 1, 1, dtype=torch.bfloat16)
    assert onednn.better_as_product(deep, weight, (1, 1), 1)
    assert not onednn.better_as_product(wide, weight, (1, 1), 1)
    assert not onednn.better_as_product(deep, weight, (2, 2), 1)
    assert not onednn.better_as_product(deep.float(), weight.float(), (1, 1), 1)
