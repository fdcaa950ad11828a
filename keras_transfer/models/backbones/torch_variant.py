"""Two functions of one name: the network as ``keras.applications`` has it, and as PyTorch's packages train it.

Weights fit the function that they were trained in. So a backbone of Keras's has a *torch_variant*, a record of the same name and the same
layers whose graph (:mod:`keras_transfer.models.torch_graph`) and preprocessing are PyTorch's. Which of the two a user gets
follows from the weights: :func:`suited`.
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
    """Return ``record`` with a torch_variant for PyTorch's weights.

    Args:
        record: as Keras has the network.
        checkpoints: what the torch_variant accepts.
        epsilon: of the torch_variant's BatchNorm.
        strides: convolution → its stride in the torch_variant, where that is another one.
    """

    def build(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
        from keras_transfer.models.torch_graph import torch_graph
        from keras_transfer.models.torch_weights import set_weights

        return set_weights(
            torch_graph(record.build(input_shape, "none"), epsilon, strides), weights, checkpoints, record.name
        )

    torch_variant = replace(
        record, build=build, preprocessing=TORCH, embedded=False, weights=(), checkpoints=checkpoints, variant=_TORCH
    )
    return replace(record, torch=torch_variant)


def suited(record: Backbone, weights: str) -> Backbone:
    """Return the record of the function that ``weights`` were trained in: ``record`` itself, or its torch_variant.

    A PyTorch state dict is for the torch_variant, unless it was ported from TensorFlow: it has efficientnet_pytorch's names, or timm
    says so by a name that begins with ``tf_``, of the file or in timm's ``config.json`` beside it. The mean and standard
    deviation in that file become the preprocessing. A ``.keras`` file says itself which of the two is in it.

    Raises:
        UserError: no PyTorch checkpoint fits the backbone, or a file is missing or damaged.
    """
    from keras_transfer.models.torch_weights import is_torch_file, looks_like, read_state

    if weights.endswith(".keras"):
        return record.torch if record.torch and _holds_twin(weights) else record
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


def _holds_twin(path: str) -> bool:
    """Whether a ``.keras`` file, if it is one, holds a torch_variant or a classifier on one: their names say so."""
    from keras_transfer.safety.model_file import opened

    if not Path(path).expanduser().is_file():
        return False  # whoever reads it says so
    with opened(Path(path).expanduser()) as archive:
        try:
            name = json.loads(archive.read("config.json"))["config"]["name"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
    return str(name).removesuffix("_classifier").endswith(f"_{_TORCH}")


def _from_tensorflow(path: str, config: Mapping[str, Any]) -> bool:
    from keras_transfer.models.torch_weights import read_state

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
