"""RepViT of timm.

Wang et al. 2023, https://arxiv.org/abs/2307.09283. Its parallel branches, which could be merged for inference, stay apart, as in training.
"""

from __future__ import annotations

import keras

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import DEPTHWISE, ConvLayers, model_args, numbers
from keras_transfer.models.checkpoints.tensors import Part

_DEPTHS = {
    "m1": (2, 2, 14, 2),
    "m2": (2, 2, 12, 2),
    "m3": (4, 4, 18, 2),
    "m0_9": (2, 2, 14, 2),
    "m1_0": (2, 2, 14, 2),
    "m1_1": (2, 2, 12, 2),
    "m1_5": (4, 4, 24, 4),
    "m2_3": (6, 6, 34, 2),
}


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    name = checkpoint.facts.architecture.removeprefix("repvit_")
    args = model_args(checkpoint, ("depth", "embed_dim", "distillation"))
    depths = numbers(args.get("depth", _DEPTHS[name]), "depth")
    legacy = "_" not in name
    make = ConvLayers(checkpoint)
    pixels = keras.Input((*image_size, 3), name="pixels")
    stem = make.under("stem", "stem")
    x = _conv(stem, _conv(stem, pixels, "conv1", 3, 2, act="gelu"), "conv2", 3, 2)
    for i, depth in enumerate(depths):
        if i:
            x = _downsample(make.under(f"stages.{i}.downsample", f"stage{i}block0_down"), x, legacy)
        make.part.check_alike([f"stages.{i}.blocks.{j}" for j in range(depth)], ("se.",))
        for j in range(depth):
            block = make.under(f"stages.{i}.blocks.{j}", f"stage{i}block{j}")
            x = _block(block, x, legacy, squeeze=j % 2 == 0)
    return keras.Model(pixels, x, name="repvit")


def _downsample(make: ConvLayers, x: Tensor, legacy: bool) -> Tensor:
    x = _block(make.under("pre_block", make.part.name("pre_block")), x, legacy, squeeze=False)
    x = _conv(make, x, "spatial_downsample", 3, 2, DEPTHWISE)
    x = _conv(make, x, "channel_downsample", 1)
    return _mlp(make, x, "ffn")


def _block(make: ConvLayers, x: Tensor, legacy: bool, *, squeeze: bool) -> Tensor:
    mixer = make.under("token_mixer", make.part.name("token_mixer"))
    y = mixer.add(_conv(mixer, x, "conv", 3, groups=DEPTHWISE), x, "add1")
    if legacy:
        y = mixer.add(y, _conv(mixer, x, "conv1", 1, groups=DEPTHWISE), "add2")
    else:
        y = mixer.norm(mixer.add(y, mixer.conv(x, "conv1", 1, groups=DEPTHWISE, bias=True), "add2"), "bn")
    if squeeze:
        y = make.squeeze_excite(y, "se", ("fc1", "fc2"))
    return _mlp(make, y, "channel_mixer")


def _mlp(make: ConvLayers, x: Tensor, key: str) -> Tensor:
    y = _conv(make, x, f"{key}.conv1", 1, act="gelu")
    return make.add(_conv(make, y, f"{key}.conv2", 1), x, f"{key}.add")


def _conv(
    make: ConvLayers, x: Tensor, key: str, kernel: int, stride: int = 1, groups: int = 1, act: str = ""
) -> Tensor:
    return make.conv_norm(x, (f"{key}.c", f"{key}.bn"), kernel, stride, groups, act)


FAMILY = Family(
    name="RepViT",
    timm=f"repvit_({'|'.join(_DEPTHS)})",
    transformers=(),
    build=build,
    left_out=(r"head\.head(_dist)?\..*",),
    examples=("repvit_m0_9", "repvit_m1_1"),
    paper="https://arxiv.org/abs/2307.09283",
)
