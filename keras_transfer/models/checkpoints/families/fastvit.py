"""FastViT of timm, MobileCLIP's towers among them (``fastvit_mci…``).

Vasu et al. 2023 (https://arxiv.org/abs/2303.14189), Vasu et al. 2024 (https://arxiv.org/abs/2311.17049). Its parallel branches, which could be
merged for inference, stay apart, as in training. Widths, attention and positions are read from the tensors.
"""

from __future__ import annotations

from dataclasses import replace

import keras
from keras import layers

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import DEPTHWISE, ConvLayers, model_args, numbers
from keras_transfer.models.checkpoints.tensors import Part
from keras_transfer.models.checkpoints.transformer import Names, Style, attention

_CONVOLUTIONAL = {"t8": (2, 2, 4, 2), "t12": (2, 2, 6, 2), "s12": (2, 2, 6, 2)}
_WITH_ATTENTION = {
    "sa12": (2, 2, 6, 2),
    "sa24": (4, 4, 12, 4),
    "sa36": (6, 6, 18, 6),
    "ma36": (6, 6, 18, 6),
    "mci0": (2, 6, 10, 2),
    "mci1": (4, 12, 20, 4),
    "mci2": (4, 12, 24, 4),
    "mci3": (2, 12, 24, 4, 2),
    "mci4": (2, 12, 24, 4, 4),
}
_HEAD = 32  # channels of an attention head
_ATTENTION = Names(qkv="token_mixer.qkv", proj="token_mixer.proj")


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    size = checkpoint.facts.architecture.removeprefix("fastvit_")
    args = model_args(checkpoint, ("layers", "embed_dims"))
    depths = numbers(args.get("layers", {**_CONVOLUTIONAL, **_WITH_ATTENTION}[size]), "layers")
    make, act_down = ConvLayers(checkpoint), "gelu" if size.startswith("mci") else ""
    pixels = keras.Input((*image_size, 3), name="pixels")
    stem = make.under("stem", "stem")
    x = _branches(stem.under("0", "stem_0"), pixels, 3, 2)
    x = _branches(stem.under("1", "stem_1"), x, 3, 2)
    x = _branches(stem.under("2", "stem_2"), x, 1)
    for i, depth in enumerate(depths):
        start = make.under(f"stages.{i}", f"stage{i}block0_start")
        if start.has("downsample"):
            x = _downsample(start.under("downsample.proj", f"stage{i}block0_down"), x, act_down)
        if start.has("pos_emb"):
            x = start.add(start.conv(x, "pos_emb.pos_enc", 7, groups=DEPTHWISE, bias=True), x)
        make.part.check_alike([f"stages.{i}.blocks.{j}" for j in range(depth)])
        for j in range(depth):
            x = _block(make.under(f"stages.{i}.blocks.{j}", f"stage{i}block{j}"), x)
    return keras.Model(pixels, _branches(make.under("final_conv", "head"), x, 3), name="fastvit")


def _groups(make: ConvLayers, x: Tensor, key: str) -> int:
    """Return whether a convolution is depthwise, :data:`DEPTHWISE`, or 1."""
    return 1 if make.part.shape(f"{key}.weight")[1] == x.shape[-1] else DEPTHWISE


def _conv(make: ConvLayers, x: Tensor, key: str, kernel: int, stride: int) -> Tensor:
    groups = _groups(make, x, f"{key}.conv")
    return make.conv_norm(x, (f"{key}.conv", f"{key}.bn"), kernel, stride, groups)


def _branches(make: ConvLayers, x: Tensor, kernel: int, stride: int = 1, act: str = "gelu") -> Tensor:
    """Add a convolution, one of 1x1 and a normalized shortcut, as far as there are any (MobileOne, https://arxiv.org/abs/2206.04040)."""
    found = []
    if make.has("conv_scale"):
        found.append(_conv(make, x, "conv_scale", 1, stride))
    found += [_conv(make, x, "conv_kxk.0", kernel, stride)]
    if stride == 1 and found[0].shape == x.shape:
        found.insert(-1, make.norm(x, "identity"))
    y = found[0] if len(found) == 1 else layers.Add(name=make.part.name("branches"))(found)
    if make.has("se"):
        y = make.squeeze_excite(y, "se", ("fc1", "fc2"))
    return make.act(y, "act", act)


def _downsample(make: ConvLayers, x: Tensor, act: str) -> Tensor:
    large = make.under("0", make.part.name("0"))
    x = large.add(_conv(large, x, "large_conv", 7, 2), _conv(large, x, "small_conv", 3, 2))
    if large.has("se"):
        x = large.squeeze_excite(x, "se", ("fc1", "fc2"))
    return _branches(make.under("1", make.part.name("1")), large.act(x, "act", act), 1)


def _block(make: ConvLayers, x: Tensor) -> Tensor:
    if make.has("token_mixer.qkv"):
        y = make.scale(_attention(make, x), "layer_scale_1.gamma")
        scale = "layer_scale_2.gamma"
    else:
        mixer = make.under("token_mixer", make.part.name("token_mixer"))
        y = _branches(mixer.under("mixer", mixer.part.name("mixer")), x, 3, act="")
        y = layers.Subtract(name=mixer.part.name("subtract"))([y, mixer.norm(x, "norm.identity")])
        y = mixer.scale(y, "layer_scale.gamma")
        scale = "layer_scale.gamma"
    x = make.add(x, y, "add1")
    y = make.conv_norm(x, ("mlp.conv.conv", "mlp.conv.bn"), 7, groups=DEPTHWISE)
    y = make.act(make.conv(y, "mlp.fc1", 1, bias=True), "mlp.act", "gelu")
    return make.add(x, make.scale(make.conv(y, "mlp.fc2", 1, bias=True), scale), "add2")


def _attention(make: ConvLayers, x: Tensor) -> Tensor:
    rows, columns, channels = (int(n) for n in x.shape[1:])
    y = make.norm(x, "norm") if make.part.has("norm.running_mean") else make.layer_norm(x, "norm", 1e-5)
    y = layers.Reshape((rows * columns, channels), name=make.part.name("tokens"))(y)
    y = attention(y, make.part, _ATTENTION, Style(max(1, channels // _HEAD)))
    return layers.Reshape((rows, columns, channels), name=make.part.name("map"))(y)


FAMILY = Family(
    name="FastViT",
    timm=f"fastvit_({'|'.join(_CONVOLUTIONAL)})",
    transformers=(),
    build=build,
    left_out=(r"head\.fc\..*",),
    examples=("fastvit_t8", "fastvit_s12"),
    paper="https://arxiv.org/abs/2303.14189",
)
WITH_ATTENTION = replace(
    FAMILY,
    name="FastViT with attention",
    timm=f"fastvit_({'|'.join(_WITH_ATTENTION)})",
    examples=("fastvit_sa12", "fastvit_mci0"),
    fixed_size=True,
)
