"""ConvNeXt tiny to xlarge (keras.applications)."""

from __future__ import annotations

from typing import Any

from keras_transfer.models.backbones.applications import application
from keras_transfer.models.preprocessing import TORCH

# A downsampling belongs to the stage after it. The final LayerNorm is part of keras.applications' model without top.
_GROUPS = (
    ("stem", r".*_stem_"),
    ("stage0", r".*_stage_0_"),
    ("stage1", r".*_stage_1_|.*_downsampling_(layernorm|conv)_0$"),
    ("stage2", r".*_stage_2_|.*_downsampling_(layernorm|conv)_1$"),
    ("stage3", r".*_stage_3_|.*_downsampling_(layernorm|conv)_2$|layer_normalization"),
)
_CONVNEXT: dict[str, Any] = {
    "family": "ConvNeXt",
    "preprocessing": TORCH,
    "image_size": 224,
    "groups": _GROUPS,
    "licence": "MIT",
    "paper": "Liu et al. 2022, https://arxiv.org/abs/2201.03545",
    "options": {"include_preprocessing": False},
}

RECORDS = (
    application("convnext_tiny", "ConvNeXtTiny", **_CONVNEXT),
    application("convnext_small", "ConvNeXtSmall", **_CONVNEXT),
    application("convnext_base", "ConvNeXtBase", **_CONVNEXT),
    application("convnext_large", "ConvNeXtLarge", **_CONVNEXT),
    application("convnext_xlarge", "ConvNeXtXLarge", **_CONVNEXT),
)
