"""keras-hub presets as backbones, named ``hub:PRESET``.

keras-hub depends on TensorFlow, so it is an optional extra and is imported only here. The preprocessing is read from
the preset's image converter; a preset whose converter cannot be expressed by factors and offsets is refused.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence
from numbers import Real
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError

from keras_transfer.errors import MissingExtra, UserError
from keras_transfer.models.backbones.record import Backbone
from keras_transfer.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import keras

_WRONG = ("densenet", "efficientnetv2_rw")
_EXTRA_TOKENS = 16  # largest number of tokens besides those of the patches


def hub_backbone(name: str) -> Backbone:
    """Return the record of the keras-hub preset ``hub:PRESET``; downloads the preset's configuration files.

    Raises:
        MissingExtra: keras-hub is not installed.
        UserError: the preset does not exist or cannot be downloaded, has no image preprocessing, or one that is not a
            factor and an offset per channel.
    """
    preset = name.removeprefix("hub:")
    hub = _keras_hub()
    _refuse_wrong(name, preset)
    converter = _fetch(name, lambda: hub.layers.ImageConverter.from_preset(preset))
    if converter is None:
        raise UserError(f"{name}: keras-hub knows no image preprocessing for it; {_without_hub(preset)}")

    def build(input_shape: tuple[int, int, int], weights: str) -> keras.Model:
        from keras_transfer.models.weights import load_weights

        def load(**options: Any) -> keras.Model:
            pretrained = weights == "imagenet"
            return _fetch(
                name,
                lambda: hub.models.Backbone.from_preset(preset, load_weights=pretrained, dtype="float32", **options),
            )

        model = load()
        if hasattr(model, "image_shape") and None not in model.image_shape and tuple(model.image_shape) != input_shape:
            model = load(image_shape=input_shape)  # a transformer has one position embedding per patch
        if weights not in ("imagenet", "none"):
            load_weights(model, weights)
        return _feature_map(name, model, input_shape)

    size = converter.image_size
    return Backbone(
        name=name,
        family=type(converter).__name__.removesuffix("ImageConverter") or "keras-hub",
        build=build,
        preprocessing=_preprocessing(name, hub, converter),
        image_size=int(size[0]) if size else 224,
        min_size=32,
        groups=None,
        licence="see the preset's page on Kaggle or Hugging Face",
        source=f"keras-hub preset {preset}",
    )


def _refuse_wrong(name: str, preset: str) -> None:
    """Refuse timm's checkpoints that keras-hub converts to other features: wrong padding in DenseNet, 15 % off, and worse."""
    architecture = _architecture(preset)
    if architecture.startswith(_WRONG):
        raise UserError(
            f"{name}: keras-hub converts timm's {architecture[:80]} to a network with other features; {_without_hub(preset)}"
        )


def _architecture(preset: str) -> str:
    """Return timm's name of the architecture in a checkpoint; empty if it is none of timm's, or not here yet."""
    path = Path(preset) / "config.json"
    if preset.startswith("hf://"):
        from huggingface_hub import hf_hub_download

        path = Path(_fetch(preset, lambda: hf_hub_download(preset.removeprefix("hf://"), "config.json")))
    try:
        return str(json.loads(path.read_text("utf-8")).get("architecture", ""))
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""


def _without_hub(preset: str) -> str:
    other = f"hf:{preset.removeprefix('hf://')}" if preset.startswith("hf://") else preset
    return f"without keras-hub, model.backbone {other} reads the checkpoints that docs/backbones.md lists"


def _keras_hub() -> ModuleType:
    try:
        import keras_hub
    except ImportError as error:
        raise MissingExtra("keras-hub", "hub", "a backbone named hub:…") from error
    return keras_hub


def _fetch(name: str, load: Any) -> Any:
    """Call ``load``; turn the errors of keras-hub, Kaggle and Hugging Face into a UserError of one line."""
    from keras_transfer.models.weights import impatient

    try:
        # keras-hub prints a line for each weight that it ports.
        with impatient(), contextlib.redirect_stdout(io.StringIO()):
            return load()
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        first = " ".join(str(error).split())[:200]
        raise UserError(
            f"cannot load the keras-hub preset {name.removeprefix('hub:')!r}: {first} (check the name; without a"
            " network use a folder that save_to_preset wrote, hub:FOLDER, or the embedded backbone efficientnet_lite0)"
        ) from error


def _preprocessing(name: str, hub: ModuleType, converter: Any) -> Preprocessing:
    """Read factor and offset from the preset's image converter."""
    base = hub.layers.ImageConverter
    if type(converter).call is not base.call or type(converter)._call_python is not base._call_python:
        raise UserError(f"{name}: its image preprocessing ({type(converter).__name__}) cannot be built into the model")
    scale = 1.0 if converter.scale is None else converter.scale
    offset = 0.0 if converter.offset is None else converter.offset
    return Preprocessing("hub", _channels(name, scale), _channels(name, offset))


def _channels(name: str, value: Any) -> tuple[float, float, float]:
    values = [float(value)] * 3 if isinstance(value, Real) else [float(v) for v in np.ravel(value)]
    if len(values) != 3:
        raise UserError(f"{name}: the preset's preprocessing is for {len(values)} channels, expected 3")
    return (values[0], values[1], values[2])


def _feature_map(name: str, model: keras.Model, input_shape: tuple[int, int, int]) -> keras.Model:
    """Fix the input size, and make the output a feature map.

    The layers of a convolutional network are copied one by one. A transformer stays one layer: keras-hub can only save
    it as a whole.
    """
    import keras

    from keras_transfer.models.graph import graft

    if len(model.inputs) != 1 or not isinstance(model.output, keras.KerasTensor):
        raise UserError(f"{name}: expected a backbone of one image input and one output")
    inputs = keras.Input(input_shape, name="preprocessed")
    try:
        if len(model.output.shape) == 3 and hasattr(model, "patch_size"):
            model = _settled(model)
            tokens = model({model.inputs[0].name: inputs} if isinstance(model.input, dict) else inputs)
            outputs = _map_of_patches(name, tokens, input_shape, model.patch_size)
        else:
            outputs = graft(model, inputs)
    except ValueError as error:
        raise UserError(
            f"{name} does not accept images of {input_shape}: {' '.join(str(error).split())[:200]}"
        ) from error
    if len(outputs.shape) != 4:
        raise UserError(
            f"{name} gives {len(outputs.shape) - 1}-dimensional features {tuple(outputs.shape[1:])};"
            " only backbones with a feature map (height, width, channels) or with patches are supported"
        )
    return keras.Model(inputs, outputs, name="hub_backbone")


def _map_of_patches(
    name: str, tokens: keras.KerasTensor, input_shape: tuple[int, int, int], patch_size: int | Sequence[int]
) -> keras.KerasTensor:
    """Reshape a transformer's tokens (batch, tokens, channels) to its grid of patches (batch, height, width, channels).

    Tokens before those of the patches (class, distillation, registers) are dropped. Swin merges patches between stages,
    so the grid is halved until it fits.
    """
    import keras

    sides = (patch_size, patch_size) if isinstance(patch_size, int) else tuple(patch_size)
    height, width = input_shape[0] // sides[0], input_shape[1] // sides[1]
    while height * width > tokens.shape[1]:
        height, width = height // 2, width // 2
    extra = tokens.shape[1] - height * width
    if not height * width or extra > _EXTRA_TOKENS:
        raise UserError(f"{name}: its {tokens.shape[1]} tokens do not form a grid of patches")
    if extra:
        tokens = tokens[:, extra:]
    return keras.layers.Reshape((height, width, tokens.shape[2]), name="patch_grid")(tokens)


def _settled(model: keras.Model) -> keras.Model:
    """Return DINOv2 without the parts that only its pretraining needs, and other models unchanged.

    The mask token would never train. The position embeddings, which the layer interpolates from a larger image whenever
    it is built or loaded, become those of this input size: interpolating again would discard what they learn in
    fine-tuning.
    """
    if not hasattr(model, "position_embedding_shape"):
        return model
    changes = {"use_mask_token": False, "position_embedding_shape": model.image_shape}
    settled = type(model).from_config({**model.get_config(), **changes})
    for new, old in zip(settled.layers, model.layers, strict=True):
        values = {weight.path.partition("/")[2]: value for weight, value in zip(old.weights, old.get_weights())}
        if "interpolated_position_embeddings" in values:
            values["position_embeddings"] = values["interpolated_position_embeddings"]
        new.set_weights([values[weight.path.partition("/")[2]] for weight in new.weights])
    return settled
