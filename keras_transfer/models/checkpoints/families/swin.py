"""Swin and Swin V2 of timm and transformers: transformers whose attention stays within windows.

Liu et al. 2021 (https://arxiv.org/abs/2103.14030), Liu et al. 2022 (https://arxiv.org/abs/2111.09883). Widths, heads and the kind of
positions are read from the tensors. At another picture size the windows keep their size, as when timm creates a network of that ``img_size``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import keras
from keras import layers

from keras_transfer.errors import UserError
from keras_transfer.models.checkpoints.families.family import Family
from keras_transfer.models.checkpoints.layers import Tensor, conv_of, dense
from keras_transfer.models.checkpoints.layers_conv import model_args, numbers
from keras_transfer.models.checkpoints.record import Unsupported
from keras_transfer.models.checkpoints.relative import resample_linear, table_bias
from keras_transfer.models.checkpoints.tensors import Part
from keras_transfer.models.checkpoints.transformer import Names, Style, mlp, norm
from keras_transfer.models.checkpoints.windows import Pair, Windows, continuous_bias, window_attention


@dataclass(frozen=True)
class _Layout:
    """Where a library keeps the parts of a network; ``{}`` is the number of the stage."""

    patches: str
    first_norm: str
    blocks: str
    merge: str
    merge_offset: int
    names: Names
    table: str
    scale: str
    distances: tuple[str, str]
    final: str


_TIMM = _Layout(
    "patch_embed.proj", "patch_embed.norm", "layers.{}.blocks", "layers.{}.downsample", 0, Names(),
    "attn.relative_position_bias_table", "attn.logit_scale", ("attn.cpb_mlp.0", "attn.cpb_mlp.2"), "norm",
)  # fmt: skip
_SELF = "attention.self"
_TRANSFORMERS = _Layout(
    "embeddings.patch_embeddings.projection",
    "embeddings.norm",
    "encoder.layers.{}.blocks",
    "encoder.layers.{}.downsample",
    -1,
    Names(
        norm1="layernorm_before",
        qkv="",
        q=f"{_SELF}.query",
        k=f"{_SELF}.key",
        v=f"{_SELF}.value",
        proj="attention.output.dense",
        norm2="layernorm_after",
        fc1="intermediate.dense",
        fc2="output.dense",
    ),
    f"{_SELF}.relative_position_bias_table",
    f"{_SELF}.logit_scale",
    (f"{_SELF}.continuous_position_bias_mlp.0", f"{_SELF}.continuous_position_bias_mlp.2"),
    "layernorm",
)
_DEPTHS = {"tiny": (2, 2, 6, 2), "s3_base": (2, 2, 30, 2)}
_DEPTHS_OF_OTHERS = (2, 2, 18, 2)
_S3_WINDOWS = {"tiny": (7, 7, 14, 7), "small": (14, 14, 14, 7), "base": (7, 7, 14, 7)}


@dataclass(frozen=True)
class _Plan:
    """What the tensors do not tell.

    Attributes:
        depths: numbers of blocks.
        windows: sides of the windows of each stage.
        pretrained: windows that Swin V2's distances are relative to; 0: the window itself.
        trained: rows and columns of patches in training.
        style: of the perceptrons and norms.
    """

    depths: Sequence[int]
    windows: Sequence[Pair]
    pretrained: Sequence[int]
    trained: Pair
    style: Style


def build(checkpoint: Part, image_size: Pair) -> keras.Model:
    """Build the network; see :class:`.family.Family`."""
    timm = checkpoint.facts.library == "timm"
    layout, plan = (_TIMM, _timm_plan(checkpoint)) if timm else (_TRANSFORMERS, _plan(checkpoint))
    root = next(
        (checkpoint.part(key, "") for key in ("swin", "swinv2") if checkpoint.has(f"{key}.{layout.final}.weight")),
        checkpoint,
    )
    every = [f"{layout.blocks.format(i)}.{j}" for i, depth in enumerate(plan.depths) for j in range(depth)]
    root.check_alike(every, ("attn_mask", "relative_position_index", "relative_coords_table"))
    image = keras.Input((*image_size, 3), name="pixels")
    x = _patches(image, root.part("", "stem"), layout, timm)
    for stage, depth in enumerate(plan.depths):
        if stage:
            start = root.part(layout.merge.format(stage + layout.merge_offset), f"stage{stage}block0_merge")
            x = _merged(x, start)
        for number in range(depth):
            part = root.part(f"{layout.blocks.format(stage)}.{number}", f"stage{stage}block{number}")
            x = _block(x, part, layout, plan, stage, number)
    return keras.Model(image, norm(x, root.part("", "head"), layout.final, plan.style.epsilon), name="swin")


def _timm_plan(checkpoint: Part) -> _Plan:
    name = checkpoint.facts.architecture
    keys = ("depths", "window_size", "embed_dim", "num_heads", "pretrained_window_sizes", "strict_img_size")
    args = model_args(checkpoint, keys)
    kind = re.sub(r"swin(v2)?_(cr_)?", "", name)
    depths: Sequence[int] = next((d for start, d in _DEPTHS.items() if kind.startswith(start)), _DEPTHS_OF_OTHERS)
    depths = (2, 2, 6, 2) if kind.startswith("s3_tiny") else depths
    depths = numbers(args.get("depths", depths), "depths")
    stated = re.search(r"window(\d+)(?:to(\d+))?", name)
    windows = _S3_WINDOWS[kind.split("_")[1]] if stated is None else (int(stated[2] or stated[1]),) * len(depths)
    fine_tuned = stated is not None and stated[2] is not None
    pretrained = (12, 12, 12, 6) if fine_tuned else (0,) * len(depths)
    side = args.get("img_size", checkpoint.facts.image_size)
    patch = checkpoint.shape("patch_embed.proj.weight")[2:]
    height, width = numbers((side, side) if isinstance(side, int) else side, "img_size", 2)
    return _Plan(
        depths,
        _sides(args.get("window_size", windows), len(depths)),
        args.get("pretrained_window_sizes", pretrained),
        (height // patch[0], width // patch[1]),
        Style(1, 1e-5),
    )


def _sides(value: object, stages: int) -> list[Pair]:
    if isinstance(value, int):
        return [(value, value)] * stages
    found = numbers(value, "window_size")
    if len(found) == 2 != stages:
        return [(found[0], found[1])] * stages
    return [(side, side) for side in numbers(value, "window_size", stages)]


def _plan(checkpoint: Part) -> _Plan:
    config = checkpoint.facts.config
    if config.get("use_absolute_embeddings"):
        raise Unsupported(f"{checkpoint.facts.architecture} with use_absolute_embeddings is not supported")
    depths = numbers(config.get("depths", _DEPTHS["tiny"]), "depths")
    side, patch, window = (
        config.get(key, value) for key, value in (("image_size", 224), ("patch_size", 4), ("window_size", 7))
    )
    height, width = numbers((side, side) if isinstance(side, int) else side, "image_size", 2)
    patch, window = numbers([patch, window], "patch_size, window_size")
    pretrained = config.get("pretrained_window_sizes") or (0,) * len(depths)
    style = Style(1, float(config.get("layer_norm_eps", 1e-5)), str(config.get("hidden_act", "gelu")))
    return _Plan(depths, [(window, window)] * len(depths), pretrained, (height // patch, width // patch), style)


def _patches(image: Tensor, stem: Part, layout: _Layout, timm: bool) -> Tensor:
    kernel = stem.take(f"{layout.patches}.weight")
    down, right = (0, 0) if timm else (-image.shape[1] % kernel.shape[-2], -image.shape[2] % kernel.shape[-1])
    if down or right:
        image = layers.ZeroPadding2D(((0, down), (0, right)), name="stem_pad")(image)
    x = conv_of(image, stem.name(layout.patches), kernel, stem.take(f"{layout.patches}.bias"))
    return norm(x, stem, layout.first_norm, 1e-5)


def _merged(x: Tensor, part: Part) -> Tensor:
    """Join two by two neighbours and project them; Swin V2 normalizes after the projection."""
    down, right = x.shape[1] % 2, x.shape[2] % 2
    if down or right:
        x = layers.ZeroPadding2D(((0, down), (0, right)), name=part.name("pad"))(x)
    rows, columns, channels = x.shape[1] // 2, x.shape[2] // 2, x.shape[3]
    x = layers.Reshape((rows, 2, columns, 2, channels), name=part.name("pairs"))(x)
    x = layers.Permute((1, 3, 4, 2, 5), name=part.name("columns_first"))(x)
    x = layers.Reshape((rows, columns, 4 * channels), name=part.name("joined"))(x)
    if part.shape("norm.weight")[0] == 4 * channels:
        return dense(norm(x, part, "norm", 1e-5), part, "reduction")
    return norm(dense(x, part, "reduction"), part, "norm", 1e-5)


def _block(x: Tensor, part: Part, layout: _Layout, plan: _Plan, stage: int, number: int) -> Tensor:
    names, epsilon = layout.names, plan.style.epsilon
    grid = (int(x.shape[1]), int(x.shape[2]))
    windows = _windows(part, plan, stage, number, grid)
    if part.has(layout.scale):  # V2
        trained = (plan.pretrained[stage],) * 2 if plan.pretrained[stage] else windows.size
        bias = continuous_bias(x, part, layout.distances, windows.size, trained)
        y = window_attention(x, part, names, windows, bias, layout.scale)
        x = layers.Add(name=part.name("add1"))([x, norm(y, part, names.norm1, epsilon)])
        y = norm(mlp(x, part, names, plan.style), part, names.norm2, epsilon)
    else:
        y = norm(x, part, names.norm1, epsilon)
        y = window_attention(y, part, names, windows, _table_bias(y, part, layout, plan, stage, windows))
        x = layers.Add(name=part.name("add1"))([x, y])
        y = mlp(norm(x, part, names.norm2, epsilon), part, names, plan.style)
    return layers.Add(name=part.name("add2"))([x, y])


def _windows(part: Part, plan: _Plan, stage: int, number: int, grid: Pair) -> Windows:
    """Return how a block cuts a map of ``grid``: a map that is no larger than a window is one window, which is not shifted."""
    target = plan.windows[stage]
    shift = (target[0] // 2, target[1] // 2) if number % 2 else (0, 0)
    if part.facts.library == "timm":
        pairs = [(n, 0) if n <= w else (w, s) for n, w, s in zip(grid, target, shift)]
        return Windows((pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1]))
    # transformers: the smaller side counts for both; of V2, that of the configuration, not of the picture.
    trained = [n // 2**stage for n in plan.trained]
    smallest = trained[0] if part.facts.architecture == "swinv2" else min(grid)
    if smallest <= target[0]:
        return Windows((smallest, smallest), pad_first=True)
    return Windows(target, shift, pad_first=True)


def _table_bias(x: Tensor, part: Part, layout: _Layout, plan: _Plan, stage: int, windows: Windows) -> Tensor:
    """Return the bias of Swin's table of distances, resampled where windows are smaller or larger than in training."""
    rows = part.take(layout.table)
    target = plan.windows[stage]
    if part.facts.library == "timm":
        trained = [min(-(-n // 2**stage), w) for n, w in zip(plan.trained, target)]
    else:
        trained = list(target)
    shape = (2 * trained[0] - 1, 2 * trained[1] - 1)
    side = math.isqrt(len(rows))
    if shape[0] * shape[1] != len(rows):
        if side * side != len(rows) or side % 2 == 0:
            raise UserError(
                f"the checkpoint's {part.prefix}{layout.table} has shape {rows.shape}, expected {shape[0] * shape[1]} rows"
            )
        shape = (side, side)
    table = rows.reshape(*shape, rows.shape[1])
    table = resample_linear(table, (2 * windows.size[0] - 1, 2 * windows.size[1] - 1))
    return table_bias(x, part.name(layout.table), table)


FAMILY = Family(
    name="Swin",
    timm=r"swin_(tiny|small|base|large)_patch4_window\d+_\d+|swin_s3_(tiny|small|base)_224"
    r"|swinv2_(tiny|small|base|large)_window\d+(to\d+)?_\d+(to\d+)?",
    transformers=("swin", "swinv2"),
    build=build,
    left_out=(r"head\.fc\..*", r"classifier\..*", r".*mask_token", r"decoder\..*", r".*attn_mask", r".*\.k_bias"),
    examples=("swin_tiny_patch4_window7_224", "swinv2_tiny_window8_256", "swin_s3_tiny_224"),
    fixed_size=True,
    paper="https://arxiv.org/abs/2103.14030",
)
