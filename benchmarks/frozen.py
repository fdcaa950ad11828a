"""A phase on a frozen backbone: a hand-written PyTorch loop, and ours.

Both get the same batches from the same loader, train the same layers with AdamW on a label-smoothed cross-entropy, keep
BatchNormalization frozen and validate after each epoch. A round is the wall-clock time of the whole phase, from the images on
disk to the trained head; ours includes computing the features, except in the rival called a second run. All epochs of the
loop take the same time, so that by default one is measured and extrapolated; its name says so.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import Case, Options, Rival
from benchmarks.images import jpeg_folder

IMAGES, BATCH, SIZE, WORKERS = 2000, 16, 224, 2
AUGMENT = [{"name": "random_resized_crop", "scale": [0.5, 1.0]}, "horizontal_flip"]
RATE = 1e-3


@dataclass(frozen=True)
class Work:
    """The work of all rivals of a case: train `part` of `model` for `epochs` epochs on `images` images."""

    model: str
    part: str
    epochs: int
    images: int
    batch: int
    size: int
    workers: int


def case(options: Options, name: str, model: str, part: str, epochs: int, views: int, goal: float) -> Case:
    """Return the case of one phase.

    Args:
        options: options of the command line.
        name: name of the case.
        model: "resnet50" or "mobilenet_v2".
        part: key of `PARTS`, the part that trains.
        epochs: number of epochs.
        views: augmented views per image; 0: images are not augmented.
        goal: required ratio to the loop in float32.
    """
    epochs = options.epochs or epochs
    images, batch, size = options.images or IMAGES, options.batch or BATCH, options.size or SIZE
    work = Work(model, part, epochs, images, batch, size, options.workers or WORKERS)
    whole = any("whole" in word for word in options.rivals or ())
    told = "whole" if whole else "extrapolated from 1 epoch"
    loops = {precision: f"PyTorch loop, {precision}, {told}" for precision in ("float32", "bfloat16")}
    augment = bool(views)
    rivals = [
        Rival(
            loop,
            "benchmarks.frozen:pytorch",
            {**asdict(work), "precision": precision, "augment": augment, "measured": epochs if whole else 1},
        )
        for precision, loop in loops.items()
    ]
    mine = {**asdict(work), "views": views}
    environment = {"KERAS_BACKEND": (options.backends or ("torch",))[0]}
    for title, more, target in (
        ("keras_transfer, float32", {"precision": "float32"}, None),
        ("keras_transfer", {"precision": "auto"}, goal),
        ("keras_transfer, second run", {"precision": "auto", "again": True}, None),
    ):
        rivals.append(
            Rival(title, "benchmarks.frozen:ours", {**mine, **more}, environment, (loops["float32"],), target)
        )
    title = f"{name}, {images} images, {epochs} epochs" + (f", {views} views" if views else "")
    return Case(title, "s", tuple(rivals), higher_is_better=False, rounds=1)


# Part that trains → our `train` option, number of modules at the end of the hand-written network (head included).
PARTS: dict[str, tuple[str | list[str], int]] = {
    "head": ("head", 1),
    "last 3 blocks": (["block_14_*", "block_15_*", "block_16_*", "Conv_1*"], 7),  # and convolution, pooling, flattening
}


def loaders(work: Work, augment: bool) -> tuple[Any, Any]:
    """Return the training and validation loaders of all rivals."""
    from keras_transfer import data
    from keras_transfer.data.augment import Transform
    from keras_transfer.data.loading.loader import Loader

    opened = data.folder(jpeg_folder(work.images), val_fraction=0.15, test_fraction=0.0)
    size = (work.size, work.size)
    common: dict[str, Any] = {"batch_size": work.batch, "workers": work.workers}
    train = Loader(opened.train, Transform(size, AUGMENT if augment else []), shuffle=True, **common)
    return train, Loader(opened.val, Transform(size), **common)


def pytorch(precision: str, augment: bool, measured: int, **same: Any) -> Callable[[], dict[str, float]]:
    import torch
    from torch import nn

    from benchmarks.torch_models import MODELS

    work = Work(**same)
    train, val = loaders(work, augment)
    torch.manual_seed(0)
    parts = list(MODELS[work.model]())
    at = len(parts) - PARTS[work.part][1]
    frozen = nn.Sequential(*parts[:at]).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    top = nn.Sequential(*parts[at:-1], nn.Dropout(0.2), parts[-1]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(top.parameters(), RATE)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")

    def features(images: Any) -> Any:
        x = torch.from_numpy(images).permute(0, 3, 1, 2)  # a view in channels-last memory
        with torch.no_grad(), autocast:
            return frozen(x)

    def step(images: Any, labels: Any) -> None:
        x = features(images)
        with autocast:
            logits = top(x)
        loss = loss_of(logits.float(), torch.from_numpy(labels).argmax(1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    def run_epoch(epoch: int) -> None:
        _set_mode(top, True)
        for images, labels in train.epoch(epoch):
            step(images, labels)
        _set_mode(top, False)
        right = 0
        with torch.no_grad():
            for images, labels in val.epoch():
                with autocast:
                    logits = top(features(images))
                right += int((logits.argmax(1).numpy() == labels.argmax(1)).sum())

    _set_mode(top, True)
    for _ in range(2):
        step(*train.batch(0, 0))

    def measure() -> dict[str, float]:
        began = time.perf_counter()
        for epoch in range(measured):
            run_epoch(epoch)
        seconds = time.perf_counter() - began
        return {"value": seconds * work.epochs / measured, "seconds measured": seconds}

    return measure


def _set_mode(module: Any, training: bool) -> None:
    """Set training or evaluation mode, with BatchNorm in evaluation mode in both."""
    from torch import nn

    module.train(training)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()


def ours(precision: str, views: int, again: bool = False, **same: Any) -> Callable[[], dict[str, float]]:
    from keras_transfer import Phase, runtime, use_backend

    use_backend()
    from keras_transfer.config.resolved import settle_batch_norm
    from keras_transfer.data.loading.keras_dataset import Batches
    from keras_transfer.engine.features import FeatureSettings
    from keras_transfer.models.classifier import build_classifier
    from keras_transfer.training.phase_runner import PhaseRunner
    from keras_transfer.training.setup import TrainingSettings, TrainingSetup

    runtime.hide_progress_bars()
    device = runtime.device_in_use()
    chosen = runtime.choose_feature_precision("auto", precision, "float32", device).value
    work = Work(**same)
    train, val = loaders(work, bool(views))
    net = build_classifier(work.model, len(train.split.classes), image_size=work.size, weights="none")
    initial = net.get_weights()
    folder = Path(tempfile.mkdtemp(prefix="keras_transfer_benchmark_"))
    settings = FeatureSettings("disk", 50 * 1024**3, chosen, views, folder=folder)
    phase = Phase(
        work.part,
        epochs=work.epochs,
        train=PARTS[work.part][0],
        learning_rate=RATE,
        schedule="constant",
    )
    phases = settle_batch_norm([phase], "imagenet")
    training = TrainingSettings(work.model, phases, label_smoothing=0.1, features=settings)
    setup = TrainingSetup(net, Batches(train), Batches(val), training)

    def measure() -> dict[str, float]:
        if not again:
            shutil.rmtree(folder, ignore_errors=True)
        net.set_weights(initial)
        began = time.perf_counter()
        result = PhaseRunner(setup, verbose=False).run()
        seconds = time.perf_counter() - began
        return {"value": seconds, "seconds training": result.phases[0]["seconds"]}

    if again:
        measure()
    return measure
