"""ConvNeXt V1 and V2 of timm and transformers, and DINOv3's ConvNeXt.

Liu et al. 2022 (https://arxiv.org/abs/2201.03545), Woo et al. 2023 (https://arxiv.org/abs/2301.00808), Siméoni et al. 2025
(https://arxiv.org/abs/2508.10104). Width, MLP ratio, layer scale and global response normalization are read from the tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import layers

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor, activation
from keras_transfer.models.checkpoints.layers_conv import DEPTHWISE, ConvLayers, model_args, numbers
from keras_transfer.models.checkpoints.tensors import Part

_DEPTHS = {
    **dict.fromkeys(("atto", "femto", "pico"), (2, 2, 6, 2)),
    "nano": (2, 2, 8, 2),
    "tiny": (3, 3, 9, 3),
    **dict.fromkeys(("small", "base", "large", "xlarge", "huge"), (3, 3, 27, 3)),
    "xxlarge": (3, 4, 30, 3),
}
# timm's miniatures: epsilon 1e-5 and another activation.
_TESTS = {
    "test_convnext": ((1, 2, 4, 2), "gelu_tanh", (7, 7, 7, 7)),
    "test_convnext2": ((1, 1, 1, 1), "gelu_tanh", (7, 7, 7, 7)),
    "test_convnext3": ((1, 1, 1, 1), "silu", (7, 5, 5, 3)),
}
_ARGS = (
    "depths", "dims", "kernel_sizes", "ls_init_value", "stem_type", "patch_size", "head_norm_first", "head_hidden_size", "conv_mlp",
    "use_grn", "act_layer", "norm_eps",
)  # fmt: skip


@dataclass(frozen=True)
class _Names:
    """Where a library keeps the parts of a network; ``{}`` is the number of the stage."""

    stem: tuple[str, str]
    down: tuple[str, str]
    blocks: str
    depthwise: str
    norm: str
    expand: str
    contract: str
    grn: str
    scale: str
    final: str


_TIMM = _Names(
    ("stem.0", "stem.1"), ("stages.{}.downsample.0", "stages.{}.downsample.1"), "stages.{}.blocks", "conv_dw", "norm", "mlp.fc1",
    "mlp.fc2", "mlp.grn", "gamma", "head.norm",
)  # fmt: skip
_TRANSFORMERS = _Names(
    ("embeddings.patch_embeddings", "embeddings.layernorm"),
    ("encoder.stages.{}.downsampling_layer.0", "encoder.stages.{}.downsampling_layer.1"),
    "encoder.stages.{}.layers", "dwconv", "layernorm", "pwconv1", "pwconv2", "grn", "layer_scale_parameter", "layernorm",
)  # fmt: skip
_DINOV3 = _Names(
    ("stages.0.downsample_layers.0", "stages.0.downsample_layers.1"),
    ("stages.{}.downsample_layers.0", "stages.{}.downsample_layers.1"),
    "stages.{}.layers", "depthwise_conv", "layer_norm", "pointwise_conv1", "pointwise_conv2", "grn", "gamma", "layer_norm",
)  # fmt: skip


@dataclass(frozen=True)
class _Style:
    depths: Sequence[int]
    kernels: Sequence[int] = (7, 7, 7, 7)
    act: str = "gelu"
    epsilon: float = 1e-6
    final_epsilon: float = 1e-6
    patch: int = 4
    rms: bool = False
    grn: bool = False
    scaled: bool = True


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    timm = checkpoint.facts.library == "timm"
    style = _timm_style(checkpoint) if timm else _style(checkpoint)
    root = checkpoint if timm else _root(checkpoint)
    names = _TIMM if timm else _DINOV3 if checkpoint.facts.architecture == "dinov3_convnext" else _TRANSFORMERS
    make = ConvLayers(root)
    pixels = keras.Input((*image_size, 3), name="pixels")
    x = _stem(make, style, names, pixels)
    for i, depth in enumerate(style.depths):
        if i or (timm and make.has(names.down[1].format(0))):  # the first stage too: after patches of 2
            down = make.under("", f"stage{i}block0")
            x = _norm(down, style, x, names.down[0].format(i))
            x = down.conv(x, names.down[1].format(i), 2, 2, pad=0, bias=True)
        for j in range(depth):
            block = make.under(f"{names.blocks.format(i)}.{j}", f"stage{i}block{j}")
            x = _block(block, style, names, x, style.kernels[i])
    return keras.Model(pixels, _head(make.under("", "head"), style, names, x), name="convnext")


def _timm_style(checkpoint: Part) -> _Style:
    name = checkpoint.facts.architecture
    args = model_args(checkpoint, _ARGS)
    depths, act, kernels = _TESTS.get(name, ((), "gelu", (7, 7, 7, 7)))
    sizes = args.get("kernel_sizes", kernels)
    v2 = name.startswith("convnextv2")
    small = name.startswith("test_") or name == "convnext_xxlarge"
    epsilon = args.get("norm_eps") or (1e-5 if small else 1e-6)
    return _Style(
        numbers(args.get("depths", depths or _DEPTHS[name.split("_")[1]]), "depths", 4),
        numbers((sizes,) * 4 if isinstance(sizes, int) else sizes, "kernel_sizes", 4),
        args.get("act_layer", act),
        epsilon,
        epsilon,
        args.get("patch_size", 4),
        "_rms" in name,
        bool(args.get("use_grn", v2)),
        "ls_init_value" in args or not v2,
    )


def _style(checkpoint: Part) -> _Style:
    config = checkpoint.facts.config
    epsilon = float(config.get("layer_norm_eps", 1e-12))
    dinov3 = checkpoint.facts.architecture == "dinov3_convnext"
    return _Style(
        numbers(config.get("depths", _DEPTHS["tiny"]), "depths"),
        act=config.get("hidden_act", "gelu"),
        epsilon=epsilon if dinov3 else 1e-6,
        final_epsilon=epsilon,
        patch=4 if dinov3 else numbers([config.get("patch_size", 4)], "patch_size")[0],
        grn=checkpoint.facts.architecture == "convnextv2",
        scaled=checkpoint.facts.architecture != "convnextv2" and config.get("layer_scale_init_value", 1e-6) > 0,
    )


def _root(checkpoint: Part) -> Part:
    """Return the part that is the network: a classifier has it under its name, a bare network has no prefix."""
    for key in ("convnext", "convnextv2", "model"):
        if any(name.startswith(f"{key}.") for name in checkpoint.tensors):
            return checkpoint.part(key, "")
    return checkpoint


def _stem(make: ConvLayers, style: _Style, names: _Names, x: Tensor) -> Tensor:
    """Cut patches; or, in timm's networks with an overlapping stem, apply two convolutions of stride 2."""
    stem = make.under("", "stem")
    second = "stem.1" if make.rank("stem.1.weight") == 4 else "stem.2" if make.rank("stem.2.weight") == 4 else ""
    if names is not _TIMM or not second:
        x = stem.conv(x, names.stem[0], style.patch, style.patch, pad=0, bias=True)
        return _norm(stem, style, x, names.stem[1])
    x = stem.conv(x, "stem.0", 3, 2, bias=True)
    if second == "stem.2":
        x = activation(style.act)(x, "stem_act")
    x = stem.conv(x, second, 3, 2, bias=True)
    return _norm(stem, style, x, f"stem.{int(second[-1]) + 1}")


def _norm(make: ConvLayers, style: _Style, x: Tensor, key: str) -> Tensor:
    return make.rms_norm(x, key, style.epsilon) if style.rms else make.layer_norm(x, key, style.epsilon)


def _block(make: ConvLayers, style: _Style, names: _Names, x: Tensor, kernel: int) -> Tensor:
    y = make.conv(x, names.depthwise, kernel, groups=DEPTHWISE, bias=True)
    y = make.linear(_norm(make, style, y, names.norm), names.expand)
    y = activation(style.act)(y, make.part.name("act"))
    if style.grn:
        y = make.response_norm(y, names.grn)
    y = make.linear(y, names.contract)
    if style.scaled:
        y = make.scale(y, names.scale)
    return make.add(y, x)


def _head(make: ConvLayers, style: _Style, names: _Names, x: Tensor) -> Tensor:
    """Normalize after pooling (or before it, where timm has ``norm_pre``), and apply timm's layer before the logits."""
    if names is _TIMM and make.has("norm_pre"):
        return _norm(make, style, x, "norm_pre")
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    if names is _TIMM and not make.has("head.norm") and _is_fcmae(make.part):
        return layers.LayerNormalization(epsilon=style.epsilon, center=False, scale=False, name="head_norm")(x)
    final = _Style(style.depths, epsilon=style.final_epsilon, rms=style.rms)
    x = _norm(make, final, x, names.final)
    if names is _TIMM and make.has("head.pre_logits.fc"):
        x = activation("gelu")(make.linear(x, "head.pre_logits.fc"), "head_act")
    return x


def _is_fcmae(part: Part) -> bool:
    """Return whether the checkpoint is of masked pretraining alone, which has no norm before a classifier; timm's is the identity's."""
    stated = part.facts.config.get("pretrained_cfg")
    return isinstance(stated, dict) and stated.get("tag") == "fcmae"


_SIZES = "|".join(_DEPTHS)

FAMILY = Family(
    name="ConvNeXt",
    timm=rf"convnext(v2)?_({_SIZES})(_ols|_rms|_hnf|_mlp)?|{'|'.join(_TESTS)}",
    transformers=("convnext", "convnextv2", "dinov3_convnext"),
    build=build,
    left_out=(r"classifier\.(weight|bias)", r"head\.fc\.(weight|bias)"),
    examples=("convnext_tiny", "convnextv2_nano", "convnext_base"),
    paper="https://arxiv.org/abs/2201.03545",
)
