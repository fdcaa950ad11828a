"""Features of a frozen prefix, computed once and served to ``model.fit`` in the order that the images would have."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_transfer import runtime
from keras_transfer.console import progress
from keras_transfer.data import rng
from keras_transfer.data.loading.keras_dataset import Batches
from keras_transfer.data.loading.loader import Loader
from keras_transfer.distribute import ALONE, Group
from keras_transfer.distribute.shard import Shard
from keras_transfer.engine.extractors import BATCH_SIZE, Extractor, choose_extractor
from keras_transfer.engine.feature_cache import CannotStore, FeatureStore, gib
from keras_transfer.engine.keys import features_key, prefix_digest
from keras_transfer.engine.numbers import STORED, pack, unpack
from keras_transfer.engine.prefix import Cut, find_cut
from keras_transfer.typing import Say

Write = Callable[[int, np.ndarray], object]
"""Takes rows, and the number of the first."""
Place = tuple[str, tuple[int, ...], np.dtype[Any]]
"""Key, shape and dtype of a stored array."""
MEMORY_LIMIT = 2 * 1024**3  # bytes of features kept in memory for one phase, where there is that much
EVERY_EPOCH = "frozen layers are computed in every epoch"


def memory_limit() -> int:
    """Return how many bytes of features may be kept in memory: at most a third of what the process may still take."""
    usable = runtime.usable_memory()
    return MEMORY_LIMIT if usable is None else min(MEMORY_LIMIT, usable // 3)


@dataclass(frozen=True)
class FeatureSettings:
    """How frozen features are computed and kept.

    Attributes:
        cache: ``"auto"`` (disk, else memory), ``"off"``, ``"memory"`` or ``"disk"``.
        limit: maximum size of all features on disk, in bytes.
        precision: ``"float32"`` or ``"bfloat16"``.
        views: augmented views per image; 0: augmented images are never cached.
        native: whether the backend, where it computes them, may use native operations.
        folder: folder for features on disk; None: in the user's cache folder.
        half: store them in bfloat16, whatever they are computed in.
        group: the processes that train together: each computes its part of the images, and process 0 stores all.
    """

    cache: str = "memory"
    limit: int = 0
    precision: str = "float32"
    views: int = 0
    native: bool = True
    folder: Path | None = None
    half: bool = False
    group: Group = ALONE


class FeatureBatches(Batches):
    """Batches of features in place of images, with the labels, weights, order and size of a loader's batches.

    Args:
        features: one stored array (samples, …) per view, in the order of the loader's split.
        loader: loader of the images.
    """

    def __init__(self, features: Sequence[np.ndarray], loader: Loader):
        super().__init__(loader)
        self.features = list(features)
        self._drawn: tuple[int, np.ndarray] | None = None

    def batch(self, number: int) -> tuple[np.ndarray, ...]:
        """Return batch ``number`` of the epoch."""
        positions = self.loader.share(self.epoch, number)
        return (unpack(self._gather(positions)), *self.loader.targets(positions))

    def only(self, positions: np.ndarray) -> FeatureBatches:
        """Return batches of the samples at these positions of the split, from the same features."""
        return FeatureBatches(self.features, self.loader.only(positions))

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
    """Draw which view of each sample an epoch uses, int64 (samples,).

    Epochs are grouped in rounds of ``views`` epochs. Within a round each sample goes through all its views once, from a
    starting view that is drawn per round.
    """
    turn, place = divmod(epoch, views)
    start = rng.generator(seed, rng.VIEW, turn).bit_generator.random_raw(samples) >> np.uint64(11)  # type: ignore[attr-defined]
    return ((start.astype(np.int64) + place) % views).astype(np.int64)


@dataclass(frozen=True)
class UpperPart:
    """The part of a model that a phase trains, and the features that it is trained on.

    Attributes:
        model: from the cut to the logits; shares its layers with the whole model.
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
    say: Say,
    against: str = "",
) -> UpperPart | None:
    """Compute the frozen part of a phase once, where that saves work; arguments as for :func:`cut_for_phase`.

    Returns:
        The part that is left to train, or ``None`` if the whole model has to be trained.
    """
    cut = cut_for_phase(model, train, val, epochs, settings, say, against)
    if cut is None:
        return None
    frozen = FrozenFeatures(cut, settings, say)
    try:
        return UpperPart(cut.suffix, frozen.batches(train.loader), frozen.batches(val.loader))
    except CannotStore as problem:
        say(f"{EVERY_EPOCH}: {problem}")
        return None


def cut_for_phase(
    model: keras.Model,
    train: Batches,
    val: Batches,
    epochs: int,
    settings: FeatureSettings,
    say: Say,
    against: str = "",
) -> Cut | None:
    """Cut ``model`` where that saves work: in several epochs over the same images, or the same views of them.

    Args:
        model: with ``trainable`` set for the phase.
        train: training batches.
        val: validation batches.
        epochs: number of epochs of the phase.
        settings: how features are kept.
        say: gets the reason why a cut that is possible is not made.
        against: a reason against a cut that only the caller knows; empty: none.
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
    limit = memory_limit() if settings.cache == "memory" else max(settings.limit, memory_limit())
    if not reason and size > limit:
        reason = f"their features would take {gib(size)}, more than {gib(limit)}"
    reason = settings.group.from_main(lambda: reason)  # the memory at hand may differ
    if reason:
        say(f"{EVERY_EPOCH}: {reason}")
        return None
    return cut


def _reason_against(loader: Loader, epochs: int, views: int) -> str:
    if loader.mixes:
        return "images are mixed with each other (mixup, cutmix)"
    if views == 0:
        return "every epoch augments the images anew (data.views: 4 would cache four views of each, which is faster)"
    return f"{views} views are not fewer than {epochs} epochs" if views >= epochs else ""


def _row_bytes(cut: Cut, precision: str) -> int:
    return int(np.prod(cut.shape)) * STORED[precision].itemsize


class FrozenFeatures:
    """The features of one prefix: read from the cache, or computed and cached.

    Args:
        cut: the two halves of the model.
        settings: how features are computed and kept.
        say: gets one line for each set of features.
    """

    def __init__(self, cut: Cut, settings: FeatureSettings, say: Say):
        self.cut, self.settings, self.say = cut, settings, say
        self.store: FeatureStore | None = None
        self._memory = 0
        if settings.cache in ("auto", "disk"):
            self.store = FeatureStore(settings.folder or runtime.cache_dir() / "features", settings.limit)

    @cached_property
    def extractor(self) -> Extractor:
        """The engine that computes them."""
        return choose_extractor(self.cut.prefix, self.settings.precision, self.settings.native, self.say)

    @property
    def stored(self) -> str:
        """The precision in which they are stored."""
        return "bfloat16" if self.settings.half else self.extractor.precision

    @property
    def _engine(self) -> str:
        kept = " stored in bfloat16" if self.stored != self.extractor.precision else ""
        return f"{self.extractor.name} {self.extractor.precision}{kept}"

    @cached_property
    def digest(self) -> str:
        """Digest of the prefix."""
        return prefix_digest(self.cut.prefix)

    def batches(self, loader: Loader) -> FeatureBatches:
        """Return batches that replace the loader's: of one set of features, or of one per view."""
        views: Sequence[int | None] = range(self.settings.views) if loader.augments else [None]
        return FeatureBatches([self.of(loader, view) for view in views], loader)

    def of(self, loader: Loader, view: int | None = None) -> np.ndarray:
        """Return the features of every image of the loader's split in their storage format, (samples, …).

        Args:
            loader: loader of the images.
            view: number of the augmented view; None: not augmented.

        Raises:
            CannotStore: they fit neither on disk nor in memory.
        """
        shape, dtype = (len(loader.split), *self.cut.shape), STORED[self.settings.precision]
        if not len(loader.split):
            return np.empty(shape, dtype)
        dtype = STORED[self.stored]
        what = f"frozen features of {len(loader.split)} {loader.split.name} images"
        if view is not None:
            what += f", view {view + 1} of {self.settings.views}"
        key = features_key(self.digest, loader, view, self._engine)
        if self.settings.group.size > 1:
            return self._together(loader, view, (key, shape, dtype), what)
        if self.store is None:
            return self._in_memory(loader, view, shape, what)
        found = self.store.find(key, shape, dtype)
        if found is not None:
            self.say(f"{what}: found in {self.store.folder}")
            return found
        try:
            with self.store.writer(key, shape, dtype) as writer:
                self._compute(loader, view, writer.write, what)
            found = self.store.find(key, shape, dtype)
            if found is None:
                raise CannotStore("the file was removed meanwhile")
            return found
        except CannotStore as problem:
            self.say(f"{what} cannot be kept on disk: {problem}")
        return self._in_memory(loader, view, shape, what)

    def keep(self, loader: Loader, rows: np.ndarray) -> None:
        """Store features that were computed elsewhere, float32 (samples, …), for :meth:`of`; where that is not possible, do nothing."""
        shape, dtype = (len(loader.split), *self.cut.shape), STORED[self.stored]
        if self.store is None or rows.shape != shape:
            return
        key = features_key(self.digest, loader, None, self._engine)
        with suppress(CannotStore), self.store.writer(key, shape, dtype) as writer:
            writer.write(0, pack(rows, self.stored))

    def _together(self, loader: Loader, view: int | None, place: Place, what: str) -> np.ndarray:
        """Return the features where several processes compute them: each its part, stored by process 0 where all find them."""
        group, store = self.settings.group, self.store
        found = store.find(*place) if store is not None else None
        if group.all(found is not None) and found is not None:
            self.say(f"{what}: found in {store.folder if store else ''}")
            return found
        first, end = Shard(group.rank, group.size).bounds(len(loader.split))
        part = np.empty((end - first, *place[1][1:]), place[2])
        if len(part):
            self._compute(loader, view, _into(part), what, np.arange(first, end))
        rows = group.gather(part)
        if store is not None:
            problem = group.from_main(lambda: _stored(store, place, rows))
            found = None if problem else store.find(*place)
            if group.all(found is not None) and found is not None:
                return found
            self.say(f"{what} cannot be kept on disk: {problem or 'the processes share no folder'}")
        group.from_main(lambda: self._take_memory(*place[1:]))
        return np.asarray(group.from_main(lambda: rows))

    def _take_memory(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._memory += int(np.prod(shape)) * dtype.itemsize
        if self._memory > (limit := memory_limit()):
            raise CannotStore(f"their features would take more than {gib(limit)} of memory")

    def _in_memory(self, loader: Loader, view: int | None, shape: tuple[int, ...], what: str) -> np.ndarray:
        dtype = STORED[self.stored]
        self._take_memory(shape, dtype)
        kept = np.empty(shape, dtype)
        self._compute(loader, view, _into(kept), what)
        return kept

    def _compute(
        self, loader: Loader, view: int | None, write: Write, what: str, only: np.ndarray | None = None
    ) -> None:
        began = time.perf_counter()
        engine, count = self.extractor, len(loader.split) if only is None else len(only)
        ordered = loader.in_order(BATCH_SIZE, view)
        ordered = ordered if only is None else ordered.only(only)
        with ordered as images, progress(what, count) as advance:
            for number, rows in engine.compute(_batches(images)):
                write(number * BATCH_SIZE, pack(rows, self.stored))
                advance(len(rows))
        seconds = max(time.perf_counter() - began, 1e-9)
        rate = count / seconds
        self.say(f"{what}: {seconds:.1f} s, {rate:.0f} images/s, by {engine.name}, {engine.precision}")


def _into(rows: np.ndarray) -> Write:
    """Return a function that writes into an array."""

    def write(start: int, more: np.ndarray) -> None:
        rows[start : start + len(more)] = more

    return write


def _stored(store: FeatureStore, place: Place, rows: np.ndarray | None) -> str:
    """Store an array, and return what was against it, if anything."""
    try:
        with store.writer(*place) as writer:
            writer.write(0, np.asarray(rows))
    except CannotStore as problem:
        return str(problem)
    return ""


def _batches(loader: Loader) -> Iterator[np.ndarray]:
    for batch in loader.epoch():
        yield np.asarray(batch)
