"""One epoch of the recipe `cifar10_resnet18`, second phase: all layers, with data and augmentation; images per second.

The reference is hand-written as in tutorials: torchvision's ResNet-18 and transforms on PIL images, torch's DataLoader with as
many processes as we have threads, Adam, and the loss read in every iteration. Both keep the same 32 px images in memory as
uint8 arrays, as torchvision's CIFAR10 does; both compute in float32.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.harness import Case, Options, Rival
from benchmarks.pipeline import import_torchvision

IMAGES, BATCH, SIZE, WORKERS, CLASSES = 5120, 128, 32, 2, 10
RATE, DECAY = 1e-4, 1e-4
GOAL = 1.3


def cases(options: Options) -> list[Case]:
    common: dict[str, Any] = {
        "images": options.images or IMAGES,
        "batch": options.batch or BATCH,
        "workers": options.workers or WORKERS,
    }
    title = f"cifar10_resnet18, one epoch of {common['images']} images, batch {common['batch']}"
    backends = options.choose("backends", ("torch", "tensorflow", "jax")) if options.backends else ("torch",)
    return [
        Case(
            title,
            "images/s",
            (
                Rival("PyTorch loop", f"{__name__}:by_hand", common),
                *(
                    Rival(
                        f"keras_transfer {name}",
                        f"{__name__}:ours",
                        common,
                        {"KERAS_BACKEND": name},
                        ("PyTorch loop",),
                        GOAL if name == "torch" else None,
                    )
                    for name in backends
                ),
            ),
            rounds=3,
        )
    ]


def made_images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random images, uint8 (n, 32, 32, 3), and labels, int64 (n,)."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8), rng.integers(0, CLASSES, count)


def by_hand(images: int, batch: int, workers: int) -> Callable[[], float]:
    torchvision = import_torchvision()
    import torch
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset

    t = torchvision.transforms
    steps = t.Compose(
        [
            t.RandomCrop(SIZE, padding=4),
            t.RandomHorizontalFlip(),
            t.ColorJitter(0.2, 0.2, 0.2, 0.1),
            t.RandomRotation(15),
            t.ToTensor(),
            t.Normalize((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
        ]
    )
    arrays, labels = made_images(images)

    class Images(Dataset):
        def __len__(self) -> int:
            return images

        def __getitem__(self, index: int) -> Any:
            return steps(Image.fromarray(arrays[index])), int(labels[index])

    loader = DataLoader(Images(), batch, shuffle=True, num_workers=workers, persistent_workers=True)
    model = torchvision.models.resnet18(weights=None)
    model.fc = torch.nn.Linear(model.fc.in_features, CLASSES)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, weight_decay=DECAY)
    loss_of = torch.nn.CrossEntropyLoss()

    def measure() -> float:
        model.train()
        began = time.perf_counter()
        count = correct = 0
        losses = []
        for x, y in loader:
            optimizer.zero_grad()
            logits = model(x)
            loss = loss_of(logits, y)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            correct += int((logits.argmax(1) == y).sum())
            count += len(x)
        return count / (time.perf_counter() - began)

    measure()
    return measure


def ours(images: int, batch: int, workers: int) -> Callable[[], float]:
    from keras_transfer import runtime, use_backend
    from keras_transfer.config import load_config

    use_backend()
    runtime.hide_progress_bars()
    from keras_transfer import data
    from keras_transfer.data.augment import Transform
    from keras_transfer.data.loading.keras_dataset import Batches
    from keras_transfer.data.loading.loader import Loader
    from keras_transfer.engine.native import install
    from keras_transfer.models.classifier import build_classifier
    from keras_transfer.training.callbacks import RunHistory
    from keras_transfer.training.optimizer import compile_phase
    from keras_transfer.training.setup import TrainingSettings

    config = load_config("cifar10_resnet18")
    arrays, labels = made_images(images)
    found = data.arrays(arrays, labels, image_size=SIZE, val_fraction=0.0, test_fraction=0.0)
    loader = Loader(found.train, Transform((SIZE, SIZE), config.data.augment), batch, shuffle=True, workers=workers)
    model = build_classifier("resnet18", CLASSES, image_size=SIZE, weights="none", dropout=0.0)
    install(model)
    batches = Batches(loader)
    compile_phase(model, config.phases[1], len(batches), TrainingSettings(config.model.backbone, ()))
    epochs = iter(range(1 << 30))

    def measure() -> float:
        began = time.perf_counter()
        history = RunHistory()  # records the loss of every iteration, as the loop does
        history.train = batches
        history.first_epoch = next(epochs)
        model.fit(batches, epochs=1, verbose=0, shuffle=False, callbacks=[history])
        return images / (time.perf_counter() - began)

    measure()
    return measure
