"""EfficientNet, EfficientNetV2, MobileNet V1 to V4 and their relatives as timm builds them.

All of them are stages of inverted residuals (Sandler et al. 2018, https://arxiv.org/abs/1801.04381) in timm's names; they differ in
kernels, strides, activations and what follows the last stage. The kind of a block is read from the names of its tensors. Networks ported
from TensorFlow (``tf_…``) have its padding and BatchNorm epsilon.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import keras
from keras import layers

from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor
from keras_transfer.models.checkpoints.layers_conv import DEPTHWISE, ConvLayers, model_args
from keras_transfer.models.checkpoints.tensors import Part

_TENSORFLOW_EPSILON = 1e-3


@dataclass(frozen=True)
class Network:
    """An architecture.

    Attributes:
        stages: a word for each, ``STRIDE:BLOCKS``; a block is the side of its kernel, those of a universal inverted bottleneck (before and
            after the expansion; 0: none), or ``q`` and the stride of keys and values of an attention; ``*N`` repeats it.
        act: activation.
        relu: number of first stages whose activation is ReLU.
        squeeze: activation within squeeze-and-excitation; ``""``: the block's.
        gate: its gate.
        separable: what a depthwise separable block ends with, ``"shortcut"`` or ``"act"``ivation; ``""``: neither.
        bare: number of first stages without shortcuts.
        conv_shortcut: whether a block of one convolution has a shortcut.
        scaled: whether universal inverted bottlenecks and attentions end with a factor for each channel.
        head: the convolution after the last stage: ``"map"``: of the feature map; ``"pooled"``: of its mean; ``"normalized"``: that with a
            norm; ``""``: none.
        head_bias: whether a convolution after the pooling has a bias.
        stem: side of the first kernel.
        epsilon: of BatchNorm.
        same: TensorFlow's padding.
    """

    stages: str
    act: str = "relu"
    relu: int = 0
    squeeze: str = ""
    gate: str = "sigmoid"
    separable: str = "shortcut"
    bare: int = 0
    conv_shortcut: bool = False
    scaled: bool = False
    head: str = "map"
    head_bias: bool = False
    stem: int = 3
    epsilon: float = 1e-5
    same: bool = False

    def deeper(self, *factors: float, ends: bool = True, rounded: bool = False) -> Network:
        """Multiply the repeats of stages by ``factors`` (one for all, or one each); ``ends``: those of first and last stage too."""
        words = self.stages.split()
        each = factors * len(words) if len(factors) == 1 else factors
        if not ends:
            each = (1.0, *each[1:-1], 1.0)
        return replace(self, stages=" ".join(_deeper(word, factor, rounded) for word, factor in zip(words, each)))


def _deeper(stage: str, factor: float, rounded: bool) -> str:
    stride, blocks = stage.split(":")
    kernels = _blocks(blocks)
    number = max(1, round(len(kernels) * factor)) if rounded else math.ceil(len(kernels) * factor)
    return f"{stride}:{kernels[0]}*{number}"


def _blocks(words: str) -> list[str]:
    """Return the kernels of each block: ``"5,3*2"`` → ``["5", "3", "3"]``."""
    pairs = [word.partition("*") for word in words.split(",")]
    return [kernels for kernels, _, times in pairs for _ in range(int(times or 1))]


_B0 = Network("1:3 2:3*2 2:5*2 2:3*3 1:5*3 2:5*4 1:3", "silu")
_DEPTHS = {"b0": 1, "b1": 1.1, "b2": 1.2, "b3": 1.4, "b4": 1.8, "b5": 2.2, "b6": 2.6, "b7": 3.1, "b8": 3.6, "l2": 5.3}
_LITE = replace(_B0, act="relu6")
_V2_BASE = Network("1:3 2:3*2 2:3*2 2:3*3 1:3*5 2:3*8", "silu", conv_shortcut=True)
_V2_S = Network("1:3*2 2:3*4 2:3*4 2:3*6 1:3*9 2:3*15", "silu", conv_shortcut=True)
_V2 = {
    "s": _V2_S,
    "m": Network("1:3*3 2:3*5 2:3*5 2:3*7 1:3*14 2:3*18 1:3*5", "silu", conv_shortcut=True),
    "l": Network("1:3*4 2:3*7 2:3*7 2:3*10 1:3*19 2:3*25 1:3*7", "silu", conv_shortcut=True),
    "xl": Network("1:3*4 2:3*8 2:3*8 2:3*16 1:3*24 2:3*32 1:3*8", "silu", conv_shortcut=True),
}
_EDGE = Network("1:3 2:3*2 2:3*4 2:5*5 1:5*4 2:5*2")
_V1 = Network("1:3 2:3*2 2:3*2 2:3*6 2:3*2", "relu6", separable="act", head="")
_MOBILENET_V2 = Network("1:3 2:3*2 2:3*3 2:3*4 1:3*3 2:3*3 1:3", "relu6")
_V3 = Network("", "hard_swish", squeeze="relu", gate="hard_sigmoid", head="pooled", head_bias=True)
_V3_LARGE = replace(_V3, stages="1:3 2:3*2 2:5*3 2:3*4 1:3*2 2:5*3 1:1", relu=3)
_V3_SMALL = replace(_V3, stages="2:3 2:3*2 2:5*3 1:5*2 2:5*3 1:1", relu=2)
_FBNET = Network("", "hard_swish", gate="hard_sigmoid", head="pooled")
_LARGE_END = "2:55*4,50,53,50*2,53,55,50*3 1:1"

_EXACT = {
    "mobilenetv1_100": _V1,
    "mobilenetv1_100h": replace(_V1, head="map"),
    "mobilenetv1_125": _V1,
    "mobilenetv2_110d": _MOBILENET_V2.deeper(1.2, ends=False),
    "mobilenetv2_120d": _MOBILENET_V2.deeper(1.4, ends=False),
    "mobilenetv3_rw": replace(_V3_LARGE, squeeze="", separable="", head_bias=False, epsilon=_TENSORFLOW_EPSILON),
    "mobilenetv3_large_150d": _V3_LARGE.deeper(1.2),
    "mobilenetv3_large_minimal_100": Network("1:3 2:3*2 2:3*3 2:3*4 1:3*2 2:3*3 1:1", head="pooled", head_bias=True),
    "mobilenetv3_small_minimal_100": Network("2:3 2:3*2 2:3*3 1:3*2 2:3*3 1:1", head="pooled", head_bias=True),
    "mobilenetv4_conv_small": Network("2:3,1 2:3,1 2:55,03*4,30 2:33,55,05*2,03*2 1:1", head="normalized"),
    "mobilenetv4_conv_medium": Network(
        "2:3 2:35,33 2:35,33*2,35,33,30,00,30 2:55*2,35*2,00,30,35,55,00*2,50 1:1", head="normalized"
    ),
    "mobilenetv4_conv_large": Network(f"2:3 2:35,33 2:35,33*3,35,53*5,30 {_LARGE_END}", head="normalized"),
    "mobilenetv4_hybrid_medium": Network(
        "2:3 2:35,33 2:35,00,33,35,q2,33,q2,30,q2,33,q2,30 2:55*2,35*2,00,35,00*2,q1,30,q1,55,q1,50,q1,50 1:1",
        scaled=True,
        head="normalized",
    ),
    "mobilenetv4_hybrid_large": Network(
        "2:3 2:35,33 2:35,33*3,35,53*2,q2,53,q2,53,q2,53,q2,30 2:55*4,50,53,50*2,53,55,q1,50,q1,50,q1,50,q1,50 1:1",
        "gelu",
        scaled=True,
        head="normalized",
    ),
    "fbnetv3_b": replace(_FBNET, stages="1:3*2 2:5*4 2:5*5 2:5,3*4 1:3,5*5 2:3,5*6 1:1"),
    "fbnetv3_d": replace(_FBNET, stages="1:3*2 2:3*6 2:5,3*4 2:3*5 1:3,5*6 2:3,5*6 1:1"),
    "fbnetv3_g": replace(_FBNET, stages="1:3*3 2:5*5 2:5*5 2:5,3*4 1:3,5*8 2:3,5*8 1:1"),
    "mnasnet_small": Network("1:3 2:3 2:3*2 2:5*4 1:3*3 2:5*3 1:3"),
    "spnasnet_100": Network("1:3 2:3*3 2:5,3*3 2:5,3*3 1:5*4 2:5*4 1:3"),
    "efficientnet_es": _EDGE,
    "efficientnet_es_pruned": _EDGE,
    "efficientnet_em": replace(_EDGE.deeper(1.1), bare=1),
    "efficientnet_el": replace(_EDGE.deeper(1.4), bare=1),
    "efficientnet_el_pruned": replace(_EDGE.deeper(1.4), bare=1),
    "efficientnetv2_rw_t": _V2_S.deeper(0.9),
    "efficientnetv2_rw_s": _V2_S,
    "efficientnetv2_rw_m": _V2_S.deeper(1.2, 1.2, 1.2, 1.2, 1.6, 1.6),
    "test_efficientnet": Network("1:3 2:3 2:3 2:3 2:3", "silu", conv_shortcut=True),
    **{f"efficientnetv2_{name}": _V2_BASE.deeper(_DEPTHS[name]) for name in ("b0", "b1", "b2", "b3")},
    **{f"efficientnetv2_{size}": network for size, network in _V2.items()},
    **{f"efficientnet_{name}": _B0.deeper(depth) for name, depth in _DEPTHS.items()},
    **{f"efficientnet_lite{i}": _LITE.deeper(_DEPTHS[f"b{(0, 1, 2, 3, 4)[i]}"], ends=False) for i in range(5)},
    **{f"tinynet_{name}": _B0.deeper(depth, rounded=True) for name, depth in zip("abcde", (1.2, 1.1, 0.85, 0.695, 0.6))},
    **{
        f"efficientnet_b{i}_pruned": replace(_B0.deeper(_DEPTHS[f"b{i}"]), epsilon=_TENSORFLOW_EPSILON, same=True)
        for i in (1, 2, 3)
    },
}  # fmt: skip
# Architectures whose widths, which the tensors tell, are a number at the end of the name.
_ANY_WIDTH = {
    "mobilenetv2": _MOBILENET_V2,
    "mobilenetv3_large": _V3_LARGE,
    "mobilenetv3_small": _V3_SMALL,
    "mobilenetv4_conv_small": _EXACT["mobilenetv4_conv_small"],
    "mobilenetv4_hybrid_medium": _EXACT["mobilenetv4_hybrid_medium"],
    "mobilenetv4_hybrid_large": _EXACT["mobilenetv4_hybrid_large"],
    "mnasnet": Network("1:3 2:3*3 2:5*3 2:5*3 1:3*2 2:5*4 1:3"),
    "semnasnet": Network("1:3 2:3*2 2:5*3 2:3*4 1:3*2 2:5*3 1:3"),
    "lcnet": replace(_V3, stages="1:3 2:3*2 2:3*2 2:3,5 1:5*4 2:5*2", separable="act"),
}


def network(architecture: str) -> Network:
    """Return the description of a timm architecture of this family."""
    name = architecture.removeprefix("tf_")
    found = _EXACT.get(name) or _ANY_WIDTH[re.sub(r"_\d{3}$", "", name)]
    return found if name == architecture else replace(found, same=True, epsilon=_TENSORFLOW_EPSILON)


def build(checkpoint: Part, image_size: tuple[int, int]) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    net = network(checkpoint.facts.architecture)
    model_args(checkpoint)
    pixels = keras.Input((*image_size, 3), name="pixels")
    return keras.Model(pixels, _features(ConvLayers(checkpoint, net.epsilon, net.same), net, pixels), name="mobile")


def _features(make: ConvLayers, net: Network, x: Tensor) -> Tensor:
    """Return the last feature map, or the features after a head that follows the pooling."""
    stem, head = make.under("", "stem"), make.under("", "head")
    x = stem.conv_norm(x, ("conv_stem", "bn1"), net.stem, 2, act=net.act)
    for i, stage in enumerate(net.stages.split()):
        stride, _, words = stage.partition(":")
        acts = replace(net, act="relu") if i < net.relu else net
        _check_squeezes(make, [f"blocks.{i}.{j}.se" for j in range(len(_blocks(words)))])
        for j, kernels in enumerate(_blocks(words)):
            block = make.under(f"blocks.{i}.{j}", f"stage{i}block{j}")
            y, shortcut = _block(block, acts, x, kernels, int(stride) if j == 0 else 1)
            x = block.add(y, x) if shortcut and i >= net.bare and y.shape == x.shape else y
    if net.head == "":
        return x
    if net.head == "map":  # EfficientNet, MobileNetV2: pooled last
        return head.conv_norm(x, ("conv_head", "bn2"), 1, act=net.act)
    x = layers.GlobalAveragePooling2D(keepdims=True, name="head_pool")(x)  # MobileNetV3 and V4: pooled first
    x = head.conv(x, "conv_head", 1, bias=net.head_bias)
    x = head.norm(x, "norm_head") if net.head == "normalized" else x
    return layers.Flatten(name="head_flatten")(head.act(x, "act2", net.act))


def _check_squeezes(make: ConvLayers, keys: list[str]) -> None:
    """Check that all blocks of a stage have squeeze-and-excitation, or none has."""
    missing = [key for key in keys if not make.has(key)]
    if missing and len(missing) < len(keys):
        make.part.shape(f"{missing[0]}.conv_reduce.weight")  # raises the error


def _block(make: ConvLayers, net: Network, x: Tensor, kernels: str, stride: int) -> tuple[Tensor, bool]:
    """Apply a block of the kind that its tensors have; return also whether it has a shortcut where the shapes allow it."""
    if kernels.startswith("q"):
        return _attention(make, net, x, int(kernels[1])), True
    if len(kernels) == 2:
        return _universal(make, net, x, kernels, stride), True
    kernel = int(kernels)
    if make.has("bn3"):
        return _inverted(make, net, x, kernel, stride), True
    if not make.has("bn2"):
        return make.conv_norm(x, ("conv", "bn1"), kernel, stride, act=net.act), net.conv_shortcut
    if make.has("conv_exp") or make.has("conv_pwl"):
        return _edge(make, net, x, kernel, stride), True
    return _separable(make, net, x, kernel, stride), net.separable == "shortcut"


def _squeeze(make: ConvLayers, net: Network, x: Tensor) -> Tensor:
    if not make.has("se"):
        return x
    return make.squeeze_excite(x, "se", ("conv_reduce", "conv_expand"), net.squeeze or net.act, net.gate)


def _separable(make: ConvLayers, net: Network, x: Tensor, kernel: int, stride: int) -> Tensor:
    x = make.conv_norm(x, ("conv_dw", "bn1"), kernel, stride, DEPTHWISE, net.act)
    x = _squeeze(make, net, x)
    return make.conv_norm(x, ("conv_pw", "bn2"), 1, act=net.act if net.separable == "act" else "")


def _inverted(make: ConvLayers, net: Network, x: Tensor, kernel: int, stride: int) -> Tensor:
    x = make.conv_norm(x, ("conv_pw", "bn1"), 1, act=net.act)
    x = make.conv_norm(x, ("conv_dw", "bn2"), kernel, stride, DEPTHWISE, net.act)
    return make.conv_norm(_squeeze(make, net, x), ("conv_pwl", "bn3"), 1)


def _edge(make: ConvLayers, net: Network, x: Tensor, kernel: int, stride: int) -> Tensor:
    """Fused inverted residual (Tan & Le 2021, https://arxiv.org/abs/2104.00298)."""
    x = make.conv_norm(x, ("conv_exp", "bn1"), kernel, stride, act=net.act)
    return make.conv_norm(_squeeze(make, net, x), ("conv_pwl", "bn2"), 1)


def _universal(make: ConvLayers, net: Network, x: Tensor, kernels: str, stride: int) -> Tensor:
    """Universal inverted bottleneck (Qin et al. 2024, https://arxiv.org/abs/2404.10518)."""
    before, middle = map(int, kernels)
    if before:
        x = make.conv_norm(x, ("dw_start.conv", "dw_start.bn"), before, 1 if middle else stride, DEPTHWISE)
    x = make.conv_norm(x, ("pw_exp.conv", "pw_exp.bn"), 1, act=net.act)
    if middle:
        x = make.conv_norm(x, ("dw_mid.conv", "dw_mid.bn"), middle, stride, DEPTHWISE, net.act)
    x = make.conv_norm(x, ("pw_proj.conv", "pw_proj.bn"), 1)
    return make.scale(x, "layer_scale.gamma") if net.scaled else x


def _attention(make: ConvLayers, net: Network, x: Tensor, stride: int) -> Tensor:
    """Multi-query attention (Shazeer 2019, https://arxiv.org/abs/1911.02150): many queries share their keys and values."""
    height, width = x.shape[1:3]
    x, attention = make.norm(x, "norm"), make.under("attn", make.part.name("attn"))

    def shared(part: str) -> Tensor:
        y = x
        if stride > 1:
            y = attention.conv(y, f"{part}.down_conv", 3, stride, DEPTHWISE)
            y = attention.norm(y, f"{part}.norm")
        y = attention.conv(y, f"{part}.proj", 1)
        return layers.Reshape((-1, y.shape[-1]), name=attention.part.name(f"{part}.tokens"))(y)

    keys, values = shared("key"), shared("value")
    queries = attention.conv(x, "query.proj", 1)
    heads = queries.shape[-1] // keys.shape[-1]
    # The heads of a position become positions of their own.
    queries = layers.Reshape((-1, keys.shape[-1]), name=attention.part.name("query.tokens"))(queries)
    queries = layers.Rescaling(keys.shape[-1] ** -0.5, name=attention.part.name("query.scale"))(queries)
    y = layers.Attention(name=attention.part.name("weigh"))([queries, values, keys])
    y = layers.Reshape((height, width, heads * values.shape[-1]), name=attention.part.name("join"))(y)
    y = attention.conv(y, "output.proj", 1)
    return make.scale(y, "layer_scale.gamma") if net.scaled else y


def _names(hybrid: bool) -> str:
    """Return the expression of timm's names with or without attention."""
    exact, widths = ([name for name in table if ("hybrid" in name) is hybrid] for table in (_EXACT, _ANY_WIDTH))
    return rf"(tf_)?({'|'.join(exact)}|({'|'.join(widths)})_\d{{3}})"


FAMILY = Family(
    name="EfficientNet and MobileNet",
    timm=_names(hybrid=False),
    transformers=(),
    build=build,
    left_out=(r"classifier\.(weight|bias)",),
    examples=(
        "efficientnet_b0",
        "tf_efficientnetv2_s",
        "efficientnetv2_rw_t",
        "mobilenetv3_large_100",
        "mobilenetv4_conv_medium",
    ),
    paper="https://arxiv.org/abs/1905.11946",
)
HYBRID = replace(
    FAMILY,
    name="MobileNetV4 hybrid",
    timm=_names(hybrid=True),
    examples=("mobilenetv4_hybrid_medium", "mobilenetv4_hybrid_large"),
    fixed_size=True,
    paper="https://arxiv.org/abs/2404.10518",
)
