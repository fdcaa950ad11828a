"""Input pipeline: JPEG files of 500 x 375 to augmented uint8 batches of 224 x 224, images per second.

Ours against torchvision's transforms in torch's DataLoader, with as many processes as we have threads. A round is one whole
epoch, start and end included. *First epoch*: every image is decoded; otherwise decoded images were kept in memory by an epoch before, as
in training (`data.image_memory`), which torchvision's transforms leave to the user. The files have the default quality of Pillow (75) or OpenCV (95); decoding, by libjpeg-turbo in
all rivals, takes longer for the latter. torchvision's images stay uint8 too (`PILToTensor`), which is less work than the usual
`ToTensor` and `Normalize`, and its rotation uses its default, the fast nearest-neighbour interpolation.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Case, Options, Rival
from benchmarks.images import jpeg_folder
from keras_transfer.errors import UserError

IMAGES, BATCH, SIZE, WORKERS = 1024, 64, 224, 2
KEEP = 4 << 30
GOAL = 2.0
QUALITIES = (75, 95)
CHAINS = {
    "RandomResizedCrop and flip": "crop",
    "resize, rotation 45, centre crop, flips, colour jitter": "rotate",
}
TORCHVISION = ("torchvision", "torchvision v2, tensors")


def cases(options: Options) -> list[Case]:
    common: dict[str, Any] = {
        "images": options.images or IMAGES,
        "batch": options.batch or BATCH,
        "size": options.size or SIZE,
        "workers": options.workers or WORKERS,
    }
    return [
        Case(
            f"{name}, JPEG quality {quality}, {common['workers']} workers",
            "images/s",
            _rivals({"chain": chain, "quality": quality, **common}),
        )
        for name, chain in CHAINS.items()
        for quality in QUALITIES
    ]


def _rivals(arguments: dict[str, Any]) -> tuple[Rival, ...]:
    here = "benchmarks.pipeline"
    return (
        Rival(TORCHVISION[0], f"{here}:torchvision_pil", arguments),
        Rival(TORCHVISION[1], f"{here}:torchvision_tensors", arguments),
        Rival("keras_transfer, first epoch", f"{here}:ours", {**arguments, "keep": 0}, {}, TORCHVISION, GOAL),
        Rival("keras_transfer", f"{here}:ours", {**arguments, "keep": KEEP}, {}, TORCHVISION, GOAL),
    )


def ours(chain: str, quality: int, images: int, batch: int, size: int, workers: int, keep: int) -> Callable[[], float]:
    from keras_transfer import data
    from keras_transfer.data.augment import Transform
    from keras_transfer.data.loading.loader import Loader

    ops: dict[str, list[Any]] = {
        "crop": [{"name": "random_resized_crop", "scale": [0.08, 1.0]}, "horizontal_flip"],
        "rotate": [
            {"name": "resize", "size": size * 8 // 7, "mode": "shorter"},
            {"name": "rotation", "degrees": 45},
            "center_crop",
            "horizontal_flip",
            "vertical_flip",
            {"name": "color_jitter", "brightness": 0.2, "contrast": 0.2, "saturation": 0.2},
        ],
    }
    opened = data.folder(jpeg_folder(images, quality), size, val_fraction=0.0, test_fraction=0.0)
    loader = Loader(opened.train, Transform((size, size), ops[chain]), batch, shuffle=True, workers=workers)
    loader.keep(keep)
    epochs = iter(range(1 << 30))

    def measure() -> float:
        epoch = next(epochs)
        began = time.perf_counter()
        with loader.only(np.arange(len(opened.train))) as part:
            count = sum(len(x) for x, _ in part.epoch(epoch))
            seconds = time.perf_counter() - began
        return count / seconds

    measure()
    return measure


def torchvision_pil(chain: str, quality: int, images: int, batch: int, size: int, workers: int) -> Callable[[], float]:
    """Measure torchvision as its documentation shows it: PIL images, transforms v1."""
    torchvision = import_torchvision()
    t = torchvision.transforms
    if chain == "crop":
        steps = [t.RandomResizedCrop(size), t.RandomHorizontalFlip(), t.PILToTensor()]
    else:
        steps = [
            t.Resize(size * 8 // 7),
            t.RandomRotation(45),
            t.CenterCrop(size),
            t.RandomHorizontalFlip(),
            t.RandomVerticalFlip(),
            t.ColorJitter(0.2, 0.2, 0.2),
            t.PILToTensor(),
        ]
    data = torchvision.datasets.ImageFolder(str(jpeg_folder(images, quality)), t.Compose(steps))
    return _epochs(data, batch, workers)


def torchvision_tensors(
    chain: str, quality: int, images: int, batch: int, size: int, workers: int
) -> Callable[[], float]:
    """Measure torchvision's own JPEG decoder and transforms v2 on uint8 tensors."""
    torchvision = import_torchvision()
    from torchvision.io import ImageReadMode, decode_image, read_file
    from torchvision.transforms import v2

    if chain == "crop":
        steps = [v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()]
    else:
        steps = [
            v2.Resize(size * 8 // 7, antialias=True),
            v2.RandomRotation(45),
            v2.CenterCrop(size),
            v2.RandomHorizontalFlip(),
            v2.RandomVerticalFlip(),
            v2.ColorJitter(0.2, 0.2, 0.2),
        ]

    def read(path: str) -> Any:
        return decode_image(read_file(path), ImageReadMode.RGB)

    data = torchvision.datasets.ImageFolder(str(jpeg_folder(images, quality)), v2.Compose(steps), loader=read)
    try:
        data[0]
    except RuntimeError as error:
        raise UserError(f"torchvision's JPEG decoder does not work here: {str(error)[:60]} …") from None
    return _epochs(data, batch, workers)


def _epochs(data: Any, batch: int, workers: int) -> Callable[[], float]:
    from torch.utils.data import DataLoader

    loader = DataLoader(data, batch, shuffle=True, num_workers=workers, persistent_workers=True)

    def measure() -> float:
        began = time.perf_counter()
        count = sum(len(x) for x, _ in loader)
        return count / (time.perf_counter() - began)

    measure()
    return measure


def import_torchvision() -> Any:
    try:
        import torch
    except ImportError:
        raise UserError('needs torch: pip install "keras_transfer[torch]"') from None
    try:
        try:
            import torchvision
        except RuntimeError:  # a build for CUDA registers shape functions of two operations that are missing
            for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
                del sys.modules[name]
            for operation in ("nms", "qnms"):
                torch.library.define(
                    f"torchvision::{operation}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
            import torchvision
    except ImportError:
        raise UserError("needs torchvision: pip install --no-deps torchvision==0.28.0") from None
    return torchvision
