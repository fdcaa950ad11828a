"""Torch variants: the same layers as in ``keras.applications``, computing what PyTorch's packages compute.

PyTorch's implementations differ from Keras's in strides, BatchNorm epsilon or preprocessing, and weights only work in
the variant they were trained in. So a backbone of ``keras.applications`` may have a *torch variant*: a record of the
same name and layers with PyTorch's graph (:mod:`keras_transfer.models.torch_graph`) and preprocessing. :func:`suited`
chooses by the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from keras_transfer.errors import UserError
from keras_transfer.models.backbones.record import Backbone, Checkpoint
from keras_transfer.models.backbones.torch_weights import is_torch_file, looks_like, read_state, set_weights
from keras_transfer.models.preprocessing import TORCH, Preprocessing, standardised

if TYPE_CHECKING:
    import keras

_TORCH = "torch"


def with_torch_variant(
    record: Backbone,
    *checkpoints: Checkpoint,
    epsilon: float = 1e-5,
    strides: Mapping[str, int] = MappingProxyType({}),
) -> Backbone:
    """Return ``record`` with a torch variant.

    Args:
        record: Keras's variant.
        checkpoints: state dicts that the torch variant accepts.
        epsilon: BatchNorm epsilon of the torch variant.
        strides: convolution → stride in the torch variant, for those that differ.
    """

    def build(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
        from keras_transfer.models.torch_graph import torch_graph

        model = torch_graph(record.build(input_shape, "none"), epsilon, strides)
        return set_weights(model, weights, checkpoints, record.name)

    variant = replace(
        record,
        build=build,
        preprocessing=TORCH,
        embedded=False,
        package="",
        weights=(),
        checkpoints=checkpoints,
        variant=_TORCH,
    )
    return replace(record, torch=variant)


def suited(record: Backbone, weights: str) -> Backbone:
    """Return the variant that ``weights`` were trained in: ``record`` itself, or its torch variant.

    A PyTorch state dict belongs to the torch variant unless it was ported from TensorFlow: its layers have the names of
    efficientnet_pytorch, or timm's name of the model (the file's, or in timm's ``config.json`` beside it) starts with
    ``tf_``. Mean and standard deviation in that ``config.json`` become the preprocessing. A ``.keras`` file names its
    variant.

    Raises:
        UserError: the backbone has no PyTorch checkpoints, or a file is missing or damaged.
    """
    if weights.endswith(".keras"):
        return record.torch if record.torch and _holds_torch_variant(weights) else record
    if not is_torch_file(weights):
        return record
    if not record.checkpoints and record.torch is None:
        raise UserError(
            f"no PyTorch checkpoint fits backbone {record.name}: {weights!r}{looks_like(read_state(weights))}"
        )
    config = _timm_config(weights)
    if record.torch is not None and not (record.checkpoints and _from_tensorflow(weights, config)):
        record = record.torch
    return replace(record, preprocessing=_preprocessing(config, record.preprocessing))


def _holds_torch_variant(path: str) -> bool:
    """Return whether the model in a ``.keras`` file has the name of a torch variant, or of a classifier on one."""
    from keras_transfer.safety.model_file import opened

    if not Path(path).expanduser().is_file():
        return False  # loading the weights raises the error
    with opened(Path(path).expanduser()) as archive:
        try:
            name = json.loads(archive.read("config.json"))["config"]["name"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
    return str(name).removesuffix("_classifier").endswith(f"_{_TORCH}")


def _from_tensorflow(path: str, config: Mapping[str, Any]) -> bool:
    named = Path(path).name.startswith("tf_") or str(config.get("architecture")).startswith("tf_")
    return named or "_conv_stem.weight" in read_state(path)


def _timm_config(path: str) -> dict[str, Any]:
    """Return timm's ``config.json`` beside a checkpoint; empty if there is none."""
    try:
        found = json.loads(Path(path).expanduser().with_name("config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("architecture"), str) else {}


def _preprocessing(config: Mapping[str, Any], default: Preprocessing) -> Preprocessing:
    stated = config.get("pretrained_cfg")
    stated = stated if isinstance(stated, dict) else {}
    try:
        mean, std = (tuple(float(n) for n in stated[key]) for key in ("mean", "std"))
        return standardised("timm", mean, std)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return default
