"""Random checkpoints written by timm and transformers, and the features that those compute: what conversions are compared with."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the references are PyTorch models")


try:
    import torchvision  # noqa: F401
except ImportError:
    pass
except RuntimeError:
    # Built for another PyTorch, it cannot load its kernels, of which timm needs none but the names of two.
    library = torch.library.Library("torchvision", "DEF")
    library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
timm = pytest.importorskip("timm", reason="timm is not installed (extra: test)")
transformers = pytest.importorskip("transformers", reason="transformers is not installed (extra: test)")


def randomised(model, seed: int = 0):
    """Give every tensor of a model random values that matter; return the model in inference mode."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            noise = torch.randn(tensor.shape, generator=random)
            if not tensor.is_floating_point():
                continue
            if "running_var" in name:
                tensor.copy_(0.5 + noise.abs())
            elif "gamma" in name or "lambda" in name or "layer_scale" in name:
                tensor.copy_(0.5 + 0.2 * noise)
            elif tensor.ndim <= 1:
                tensor.add_(0.2 * noise)
            else:
                tensor.copy_(noise * (0.7 / max(1, tensor[0].numel()) ** 0.5))
    return model.eval()


def timm_folder(folder: Path, architecture: str, **arguments):
    """Write a random model of timm into ``folder``; return the model."""
    from timm.models._hub import save_for_hf

    model = randomised(timm.create_model(architecture, pretrained=False, num_classes=5, **arguments))
    save_for_hf(model, str(folder), model_args=arguments, safe_serialization=True)
    return model


def timm_features(model, images: np.ndarray) -> np.ndarray:
    """Return what timm's classifier reads, for images (n, height, width, 3)."""
    with torch.no_grad():
        return model.forward_head(model.forward_features(nchw(images)), pre_logits=True).numpy()


def transformers_folder(folder: Path, model):
    """Write a model of transformers with random weights into ``folder``; return the model."""
    randomised(model).save_pretrained(folder, safe_serialization=True)
    return model.eval()


def nchw(images: np.ndarray):
    return torch.tensor(images).permute(0, 3, 1, 2)


def noise(size: tuple[int, int], count: int = 2) -> np.ndarray:
    """Return preprocessed pictures, float32 (count, height, width, 3)."""
    return np.random.default_rng(1).standard_normal((count, *size, 3)).astype(np.float32)


def converted(folder: Path, size: tuple[int, int]):
    """Return the Keras network of a checkpoint."""
    from keras_transfer.models.checkpoints.convert import convert
    from keras_transfer.models.checkpoints.tensors import read_checkpoint

    return convert(read_checkpoint(folder), size)


def computed(model, images: np.ndarray) -> np.ndarray:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(model(images, training=False)))


def by_openvino(model, images: np.ndarray) -> np.ndarray:
    """Return what OpenVINO's graph of a network computes."""
    pytest.importorskip("openvino")
    from keras_transfer.engine.openvino_core import core
    from keras_transfer.engine.openvino_graph import translate

    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    return core().compile_model(translate(model, len(images), np.float32), "CPU", settings)(images)[0]


def check_its_file_is_taken(network) -> None:
    """A saved classifier of it is not refused: every layer is allowed, its size can be told, and is told rightly."""
    import json

    import keras

    from keras_transfer.safety.config import check_config
    from keras_transfer.safety.graph_sizes import judge

    told = keras.saving.serialize_keras_object(network)
    config = check_config(json.dumps(told, default=str).encode(), "model.keras")
    shapes = judge(config, "model.keras", tuple(network.input_shape[1:]), network.count_params())
    judged = {layer.name: tuple(layer.output.shape)[1:] for layer in network.layers[1:]}
    assert {name: shapes[name][0][1:] for name in judged} == judged


def relative(received: np.ndarray, expected: np.ndarray) -> float:
    assert received.shape == expected.shape
    return float(np.abs(received - expected).max() / np.abs(expected).max())


def check_every_weight_matters(model, images: np.ndarray, but: str = "nothing") -> None:
    """A small change of any one weight changes the features; otherwise it is not in the network.

    ``but`` is a regular expression for weights that cancel out, such as what is added to every key of an attention.

    Told by derivatives, which one pass computes for all weights; networks consist of the same layers on every backend.
    """
    import keras

    if keras.backend.backend() != "torch":
        return
    frozen = [variable.value for variable in model.weights if not variable.value.requires_grad]
    for value in frozen:  # statistics
        value.requires_grad_(True)
    features = model(torch.tensor(images), training=False)
    direction = torch.randn(features.shape, generator=torch.Generator().manual_seed(2))
    slopes = torch.autograd.grad((features * direction).sum(), [variable.value for variable in model.weights])
    largest = float(features.detach().abs().max())
    idle = [
        variable.path
        for variable, slope in zip(model.weights, slopes)
        if not re.search(but, variable.path)
        and float((slope * (0.01 * variable.value.detach().abs() + 0.025)).abs().max()) < 1e-6 * largest
    ]
    for value in frozen:
        value.requires_grad_(False)
    assert idle == []
