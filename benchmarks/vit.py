"""Vision transformers from checkpoints: training steps and frozen features, against timm; images per second.

All weights are random. timm trains and predicts compiled by PyTorch; OpenVINO's own converter takes timm's model as well. Ours reads a
checkpoint folder of the same architecture.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import inference, train_step
from benchmarks.contenders import BATCH, CLASSES, PRECISIONS, SIZE, prepared
from benchmarks.harness import Case, Options, Rival
from keras_transfer.errors import UserError
from keras_transfer.runtime import BACKENDS

WIDTHS = {"vit_tiny_patch16_224": 192, "vit_small_patch16_224": 384, "vit_base_patch16_224": 768}
_DEPTH, _PATCH = 12, 16


def cases(options: Options) -> list[Case]:
    backend = options.choose("backends", BACKENDS)[0]
    found = []
    for model in options.choose("models", tuple(WIDTHS)) if options.models else ("vit_small_patch16_224",):
        for precision in options.choose("precisions", PRECISIONS):
            common: dict[str, Any] = {
                "model": model,
                "precision": precision,
                "batch": options.batch or BATCH,
                "size": options.size or SIZE,
            }
            ours = {**common, "backend": backend}
            title = f"{model}, {precision}, batch {common['batch']}"
            environment = {"KERAS_BACKEND": backend}
            training = (
                Rival("timm compiled", f"{__name__}:timm_trains", common),
                Rival(f"Keras {backend}", f"{__name__}:trains", {**ours, "native": False}, environment),
                Rival(
                    f"keras_transfer {backend}",
                    f"{__name__}:trains",
                    {**ours, "native": True},
                    environment,
                    ("timm compiled",),
                    1.0,
                ),
            )
            features = (
                Rival("timm compiled", f"{__name__}:timm_predicts", common),
                Rival("timm by OpenVINO", f"{__name__}:timm_by_openvino", common),
                Rival(
                    f"keras_transfer {backend}, frozen features",
                    f"{__name__}:features",
                    {key: ours[key] for key in ("model", "precision", "size", "backend")},
                    environment,
                    ("timm by OpenVINO",),
                    0.85,
                ),
            )
            found += [
                Case(f"training step: {title}", "images/s", training),
                Case(f"features: {title}", "images/s", features),
            ]
    return found


def timm_trains(model: str, precision: str, batch: int, size: int) -> Callable[[], float]:
    return train_step.loop(*_timm_module(model, size, compiled=True), precision, batch, size)


def timm_predicts(model: str, precision: str, batch: int, size: int) -> Callable[[], float]:
    torch, module, device = _timm_module(model, size, compiled=True)
    module.eval()
    return inference.predict(torch, module, device, precision, batch, size)


def timm_by_openvino(model: str, precision: str, batch: int, size: int) -> Callable[[], float]:
    torch, module, _ = _timm_module(model, size, compiled=False)
    return inference.by_openvino(torch, module, precision, batch, size)


def trains(model: str, precision: str, batch: int, size: int, backend: str, native: bool) -> Callable[[], float]:
    return train_step.fit(_classifier(model, precision, size, backend, native), model, batch, size)


def features(model: str, precision: str, size: int, backend: str) -> Callable[[], float]:
    return inference.by_engine(_classifier(model, precision, size, backend, True), model, precision, size)


def _classifier(model: str, precision: str, size: int, backend: str, native: bool) -> Any:
    def build() -> Any:
        from keras_transfer.models.classifier import build_classifier

        with tempfile.TemporaryDirectory() as folder:
            write_checkpoint(Path(folder), model)
            return build_classifier(folder, CLASSES, size, dropout=0.0)

    return prepared(build, precision, backend, native)


def write_checkpoint(folder: Path, model: str) -> None:
    """Write a checkpoint of random weights, as timm does."""
    from safetensors.numpy import save_file

    width = WIDTHS[model]
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, (224 // _PATCH) ** 2 + 1, width),
        "patch_embed.proj.weight": (width, 3, _PATCH, _PATCH),
        "patch_embed.proj.bias": (width,),
    }
    for number in range(_DEPTH):
        linear = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
        for name, (outputs, inputs) in linear.items():
            shapes[f"blocks.{number}.{name}.weight"] = (outputs * width, inputs * width)
            shapes[f"blocks.{number}.{name}.bias"] = (outputs * width,)
    for name in ("norm", *(f"blocks.{number}.norm{place}" for number in range(_DEPTH) for place in (1, 2))):
        shapes |= {f"{name}.weight": (width,), f"{name}.bias": (width,)}
    random = np.random.default_rng(0)
    tensors = {name: random.normal(0.0, 0.02, shape).astype(np.float32) for name, shape in shapes.items()}
    tensors |= {name: tensors[name] + 1 for name in tensors if "norm" in name and name.endswith("weight")}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"architecture": model, "global_pool": "token"}), "utf-8")


def _timm_module(model: str, size: int, compiled: bool) -> tuple[Any, Any, str]:
    """Return torch, timm's model of uint8 images, and its device."""
    try:
        import torch

        _name_kernels(torch)
        import timm
    except ImportError:
        raise UserError("needs timm: pip install timm") from None
    from benchmarks.torch_models import Scale

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = torch.nn.Sequential(Scale(), timm.create_model(model, num_classes=CLASSES, img_size=size)).to(device)
    return torch, torch.compile(module) if compiled else module, device


def _name_kernels(torch: Any) -> None:
    """Name the kernels of torchvision that timm's import asks for, where torchvision was built for another PyTorch."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return
    except RuntimeError:
        _NAMED.append(torch.library.Library("torchvision", "DEF"))
        for name in ("nms", "qnms"):
            _NAMED[-1].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


_NAMED: list[Any] = []  # the names live as long as the library object
