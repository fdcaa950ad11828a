"""Features of a frozen prefix, computed once and served to ``model.fit`` in the order the images would have had."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transfer import runtime
from keras_transfer.data import rng
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.data.loading.loader import Loader
from keras_transfer.engine.extractors import BATCH_SIZE, Extractor, choose_extractor
from keras_transfer.engine.feature_cache import CannotStore, FeatureStore, gib
from keras_transfer.engine.keys import features_key, prefix_digest
from keras_transfer.engine.numbers import STORED, pack, unpack
from keras_transfer.engine.prefix import Cut, find_cut

MEMORY_LIMIT = 2 * 1024**3  # bytes of features kept in memory for one phase
EVERY_EPOCH = "frozen layers are computed in every epoch"

Tell = Callable[[str], None]


@dataclass(frozen=True)
class FeatureSettings:
    """How frozen features are computed and kept.

    Attributes:
        cache: ``"auto"`` (disk, else memory), ``"off"``, ``"memory"`` or ``"disk"``.
        limit: bytes that all features on disk may take.
        precision: ``"float32"`` or ``"bfloat16"``.
        views: augmented views an image; 0: augmented images are never cached.
        native: whether the backend, where it computes them, may use fused torch operations.
        folder: where they are kept on disk; None: in the user's cache folder.
    """

    cache: str = "memory"
    limit: int = 0
    precision: str = "float32"
    views: int = 0
    native: bool = True
    folder: Path | None = None


class FeatureBatches(Batches):
    """Batches of features in place of images, with the labels, weights, order and size of a loader's batches.

    Args:
        features: a view each, as they are kept: (samples, …) in the order of the loader's split.
        loader: of the images.
    """

    def __init__(self, features: Sequence[np.ndarray], loader: Loader):
        super().__init__(loader)
        self.features = list(features)
        self._drawn: tuple[int, np.ndarray] | None = None

    def batch(self, number: int) -> tuple[np.ndarray, ...]:
        """Batch `number` of the whole epoch."""
        positions = self.loader.positions(self.epoch, number)
        return (unpack(self._gather(positions)), *self.loader.targets(positions))

    def _gather(self, positions: np.ndarray) -> np.ndarray:
        if len(self.features) == 1:
            return self.features[0][positions]
        if self._drawn is None or self._drawn[0] != self.epoch:
            self._drawn = (
                self.epoch,
                draw_views(len(self.loader.split), len(self.features), self.loader.seed, self.epoch),
            )
        views = self._drawn[1][positions]
        rows = np.empty((len(positions), *self.features[0].shape[1:]), self.features[0].dtype)
        for view in np.unique(views):
            rows[views == view] = self.features[view][positions[views == view]]
        return rows


def draw_views(samples: int, views: int, seed: int, epoch: int) -> np.ndarray:
    """Draw the view that each sample shows in an epoch, int64 (samples,).

    Epochs come in rounds of as many as there are views; in a round a sample shows each of its views once, beginning
    with one that is drawn anew for each round.
    """
    turn, place = divmod(epoch, views)
    start = rng.generator(seed, rng.VIEW, turn).bit_generator.random_raw(samples) >> np.uint64(11)  # type: ignore[attr-defined]
    return ((start.astype(np.int64) + place) % views).astype(np.int64)


@dataclass(frozen=True)
class UpperPart:
    """What trains in a phase, and the features that it trains on.

    Attributes:
        model: from the cut to the logits; its layers are the whole model's own.
        train: training batches of features.
        val: validation batches of features.
    """

    model: keras.Model
    train: FeatureBatches
    val: FeatureBatches


def upper_part(
    model: keras.Model,
    train: Batches,
    val: Batches,
    epochs: int,
    settings: FeatureSettings,
    tell: Tell,
    against: str = "",
) -> UpperPart | None:
    """Compute the frozen part of a phase once, where that saves work; arguments as for :func:`cut_for_phase`.

    Returns:
        What is left to train, or ``None`` if the whole model has to be.
    """
    cut = cut_for_phase(model, train, val, epochs, settings, tell, against)
    if cut is None:
        return None
    frozen = FrozenFeatures(cut, settings, tell)
    try:
        return UpperPart(cut.suffix, frozen.batches(train.loader), frozen.batches(val.loader))
    except CannotStore as problem:
        tell(f"{EVERY_EPOCH}: {problem}")
        return None


def cut_for_phase(
    model: keras.Model,
    train: Batches,
    val: Batches,
    epochs: int,
    settings: FeatureSettings,
    tell: Tell,
    against: str = "",
) -> Cut | None:
    """Cut ``model`` where that saves work: several epochs over images, or views of them, that stay the same.

    Args:
        model: ``trainable`` set as for the phase.
        train: training batches.
        val: validation batches.
        epochs: of the phase.
        settings: how features are kept.
        tell: is told why frozen layers are computed in every epoch, where they are.
        against: a reason of the caller's not to cut.
    """
    if epochs < 2 or settings.cache == "off":
        return None
    cut = find_cut(model)
    if cut is None:
        return None
    augments = train.loader.augments
    views = settings.views if augments else 1
    reason = against or (_reason_against(train.loader, epochs, views) if augments else "")
    size = (views * len(train.loader.split) + len(val.loader.split)) * _row_bytes(cut, settings.precision)
    limit = MEMORY_LIMIT if settings.cache == "memory" else max(settings.limit, MEMORY_LIMIT)
    if not reason and size > limit:
        reason = f"their features would take {gib(size)}, more than {gib(limit)}"
    if reason:
        tell(f"{EVERY_EPOCH}: {reason}")
        return None
    return cut


def _reason_against(loader: Loader, epochs: int, views: int) -> str:
    if loader.mixes:
        return "images are mixed with each other (mixup, cutmix)"
    if views == 0:
        return "images are augmented anew each time (data.views: 4 would keep four views of each, and be faster)"
    return f"{views} views are not fewer than {epochs} epochs" if views >= epochs else ""


def _row_bytes(cut: Cut, precision: str) -> int:
    return int(np.prod(cut.shape)) * STORED[precision].itemsize


class FrozenFeatures:
    """The features of one prefix: found again, or computed and kept.

    Args:
        cut: the model's halves.
        settings: how they are computed and kept.
        tell: is told what happens.
    """

    def __init__(self, cut: Cut, settings: FeatureSettings, tell: Tell):
        self.cut, self.settings, self.tell = cut, settings, tell
        self.store: FeatureStore | None = None
        self._memory = 0
        if settings.cache in ("auto", "disk"):
            self.store = FeatureStore(settings.folder or runtime.cache_dir() / "features", settings.limit)

    @cached_property
    def extractor(self) -> Extractor:
        """The engine."""
        return choose_extractor(self.cut.prefix, self.settings.precision, self.settings.native, self.tell)

    @cached_property
    def digest(self) -> str:
        """Identity of the prefix."""
        return prefix_digest(self.cut.prefix)

    def batches(self, loader: Loader) -> FeatureBatches:
        """Return what takes the place of the loader's batches: one set of features, or one a view."""
        views: Sequence[int | None] = range(self.settings.views) if loader.augments else [None]
        return FeatureBatches([self.of(loader, view) for view in views], loader)

    def of(self, loader: Loader, view: int | None = None) -> np.ndarray:
        """Return the features of every image of the loader's split, as they are kept: (samples, …).

        Args:
            loader: of the images.
            view: number of the augmented view; None: not augmented.

        Raises:
            CannotStore: there is room for them neither on disk nor in memory.
        """
        shape, dtype = (len(loader.split), *self.cut.shape), STORED[self.extractor.precision]
        what = f"frozen features of {len(loader.split)} {loader.split.name} images"
        if view is not None:
            what += f", view {view + 1} of {self.settings.views}"
        if self.store is None:
            return self._in_memory(loader, view, shape, what)
        key = features_key(self.digest, loader, view, f"{self.extractor.name} {self.extractor.precision}")
        found = self.store.find(key, shape, dtype)
        if found is not None:
            self.tell(f"{what}: found in {self.store.folder}")
            return found
        try:
            with self.store.writer(key, shape, dtype) as writer:
                self._compute(loader, view, writer.write, what)
            found = self.store.find(key, shape, dtype)
            if found is None:
                raise CannotStore("the file is gone again")
            return found
        except CannotStore as problem:
            self.tell(f"{what} cannot be kept on disk: {problem}")
        return self._in_memory(loader, view, shape, what)

    def _in_memory(self, loader: Loader, view: int | None, shape: tuple[int, ...], what: str) -> np.ndarray:
        dtype = STORED[self.extractor.precision]
        self._memory += int(np.prod(shape)) * dtype.itemsize
        if self._memory > MEMORY_LIMIT:
            raise CannotStore(f"their features would take more than {gib(MEMORY_LIMIT)} of memory")
        kept = np.empty(shape, dtype)

        def write(start: int, rows: np.ndarray) -> None:
            kept[start : start + len(rows)] = rows

        self._compute(loader, view, write, what)
        return kept

    def _compute(self, loader: Loader, view: int | None, write: Callable[[int, np.ndarray], Any], what: str) -> None:
        began = time.perf_counter()
        engine = self.extractor
        with loader.in_order(BATCH_SIZE, view) as images:
            for number, rows in engine.compute(_batches(images)):
                write(number * BATCH_SIZE, pack(rows, engine.precision))
        seconds = max(time.perf_counter() - began, 1e-9)
        rate = len(loader.split) / seconds
        self.tell(f"{what}: {seconds:.1f} s, {rate:.0f} images/s, by {engine.name}, {engine.precision}")


def _batches(loader: Loader) -> Iterator[np.ndarray]:
    for batch in loader.epoch():
        yield np.asarray(batch)
