"""Class names and probabilities for image files, with one bad file never stopping the others."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_transfer import files
from keras_transfer.console import progress
from keras_transfer.errors import UserError
from keras_transfer.evaluation.decision import decisions
from keras_transfer.evaluation.evaluate import logits_of_batch
from keras_transfer.evaluation.metrics import require_finite
from keras_transfer.evaluation.novelty import apart, scored
from keras_transfer.evaluation.tasks import is_multi, probabilities, thresholds_of
from keras_transfer.runtime import usable_cores
from keras_transfer.text import one_line

if TYPE_CHECKING:
    from keras_transfer.data.augment import Transform
    from keras_transfer.data.images.store import Image

__all__ = [
    "Opened",
    "Prediction",
    "find_images",
    "open_images",
    "outputs",
    "predict_files",
    "predict_images",
    "predict_opened",
    "predicted",
    "write_csv",
    "write_json",
]


NONE_OF_THESE = "none of these"
"""What is shown for an image that a model rejects."""


@dataclass(frozen=True, repr=False)
class Prediction:
    """The prediction for an image.

    Attributes:
        path: the file, or the name of the image.
        classes: the K most probable classes, in descending order; empty if the file cannot be read.
        probabilities: their probabilities in 0..1, which sum to 1 only if K is the number of classes.
        error: why the file cannot be read, or None.
        labels: of a model for several labels per image: those that the image has, the most probable first, by the model's thresholds; may
            be empty. None for other models.
        novelty: how unlike the training images it is; above 0 it is taken for none of the classes. None if the model does not say.
        decision: the class with the lowest expected cost, of a model with costs of mistakes; None otherwise.
    """

    path: str
    classes: tuple[str, ...] = ()
    probabilities: tuple[float, ...] = ()
    error: str | None = None
    labels: tuple[str, ...] | None = None
    novelty: float | None = None
    decision: str | None = None

    @property
    def rejected(self) -> bool:
        """Whether the image is taken for none of the classes."""
        return self.novelty is not None and self.novelty > 0

    def __repr__(self) -> str:
        if self.labels is not None and not self.error:
            return f"Prediction({one_line(self.path)}: {self.labelled()})"
        found = f"{NONE_OF_THESE}; " if self.rejected else ""
        found += ", ".join(f"{one_line(name)} {share:.4f}" for name, share in zip(self.classes, self.probabilities))
        return f"Prediction({one_line(self.path)}: {one_line(self.error) if self.error else found})"

    def labelled(self) -> str:
        """Return the labels that the image has, with their probabilities, in one line; without any, the most probable one."""
        known = dict(zip(self.classes, self.probabilities))
        found = [
            f"{one_line(name)} {known[name]:.3f}" if name in known else one_line(name) for name in self.labels or ()
        ]
        if found or not self.classes:
            return "  ".join(found) or "no label"
        return f"no label (most probable: {one_line(self.classes[0])} {self.probabilities[0]:.3f})"


@dataclass(frozen=True)
class Opened:
    """Images to predict.

    Attributes:
        names: of the images.
        open: returns image i, or raises BadImage.
        single: whether it was one image that was given, not a list of one.
    """

    names: Sequence[str]
    open: Callable[[int], Image]
    single: bool = False


def predict_files(
    model: Any,
    metadata: Mapping[str, Any],
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    top: int = 5,
    batch_size: int = 32,
    workers: int | None = None,
) -> list[Prediction]:
    """Classify image files, all images in folders, and images at web addresses.

    Args:
        model: a `keras.Model` from raw images to logits.
        metadata: the metadata in the model file; `classes`, `image_size`, `color` and `resize` are used.
        paths: files, folders and web addresses (http, https; at most 64 MiB); see `find_images` for the order.
        top: number of classes per image, limited by the number of classes.
        batch_size: images per forward pass.
        workers: number of decoding threads; None: the number of processors, at most 8.

    Returns:
        A prediction for each file; unreadable files have an `error`.

    Raises:
        UserError: no file can be read, a folder without images, or `top` is below 1.
    """
    from keras_transfer.data.images.depth import parse as parse_depth
    from keras_transfer.data.samples import FileStore

    found = find_images(paths)
    store = FileStore(found, None, parse_depth(metadata.get("depth")))
    return predict_opened(model, metadata, Opened([str(path) for path in found], store.open), top, batch_size, workers)


def predict_images(
    model: Any,
    metadata: Mapping[str, Any],
    images: Any,
    names: Sequence[str] | None = None,
    top: int = 5,
    batch_size: int = 32,
) -> list[Prediction]:
    """Classify images in memory, or in an object that holds images.

    Args:
        model: as in `predict_files`.
        metadata: as in `predict_files`.
        images: arrays or tensors (h, w) or (h, w, 1) grey, (h, w, 3) RGB or (h, w, 4) RGB with alpha, of any sizes, 0..255 or 0..1;
            PIL pictures; or a data set object, see :func:`keras_transfer.data.open`, whose labels are left out.
        names: the names in `Prediction.path`; by default the indices.
        top: number of classes per image.
        batch_size: images per forward pass.

    Raises:
        UserError: an object of another kind, no image that can be read, or `top` is below 1.
    """
    from keras_transfer.data.images.depth import parse as parse_depth
    from keras_transfer.data.objects import images_in

    store, own = images_in(images)
    store = store.with_depth(parse_depth(metadata.get("depth")))
    return (
        predict_opened(model, metadata, Opened(own if names is None else names, store.open), top, batch_size)
        if own
        else []
    )


def find_images(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path | str]:
    """Return the files in `paths`, without duplicates.

    A folder yields all images in and below it, sorted by path, except hidden ones. Other paths are kept regardless of
    name and existence, so that missing files are reported like unreadable ones, and so are web addresses, as `str`.

    Raises:
        UserError: a folder without images, no paths, or no path that exists.
    """
    from keras_transfer.data.images.fetch import has_password, is_address

    given = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    if not given:
        raise UserError("nothing to predict: expected at least one file or folder")
    if any(is_address(path) and has_password(str(path)) for path in given):
        raise UserError(
            "web addresses with a user or password in them are not fetched: they would be printed and stored"
        )
    if not any(is_address(path) or os.path.lexists(path) for path in given):
        odd = any(re.match(r"[a-z][a-z0-9+.-]+:(//|image/)", str(path), re.IGNORECASE) for path in given)
        raise UserError(
            f"no such file or folder: {', '.join(one_line(path) for path in given[:5])}{' …' if len(given) > 5 else ''}"
            + ("; of addresses, only http:// and https:// are read" if odd else "")
        )
    found: dict[Path | str, None] = {}
    for item in given:
        path = Path(item)
        is_folder = os.path.isdir(path)  # noqa: PTH112 - never raises
        whole: list[Any] = [str(item)] if is_address(item) else _images_below(path) if is_folder else [path]
        found.update(dict.fromkeys(whole))
    return list(found)


def write_json(predictions: Iterable[Prediction], path: str | os.PathLike[str]) -> None:
    """Write `[{"path", "predictions": [{"class", "probability"}], "error"}]`, atomically; with `labels` if an image may have several, and of
    a model that rejects, with `novelty` and `none_of_these`."""
    rows = [
        {
            "path": p.path,
            **({} if p.labels is None else {"labels": list(p.labels)}),
            "predictions": [{"class": c, "probability": v} for c, v in zip(p.classes, p.probabilities)],
            "error": p.error,
            **({} if p.decision is None else {"decision": p.decision}),
            **({} if p.novelty is None else {"novelty": p.novelty, "none_of_these": p.rejected}),
        }
        for p in predictions
    ]
    files.write_json(path, rows)


def write_csv(predictions: Sequence[Prediction], path: str | os.PathLike[str]) -> None:
    """Write rows of `path, class_1, probability_1, class_2 …, error` in UTF-8, atomically; of a model that rejects, with `novelty` and
    `none_of_these` (yes or no) before `error`."""
    places = range(max((len(p.classes) for p in predictions), default=0))
    several = any(p.labels is not None for p in predictions)
    fields = ["path", *(["labels"] if several else [])]
    fields += [f"{kind}_{k + 1}" for k in places for kind in ("class", "probability")]
    fields += ["decision"] if any(p.decision is not None for p in predictions) else []
    fields += ["novelty", "none_of_these"] if any(p.novelty is not None for p in predictions) else []
    fields.append("error")
    rows = []
    for p in predictions:
        row: dict[str, Any] = {"path": p.path, "error": p.error}
        if several:
            row["labels"] = ";".join(p.labels or ())
        for k, (name, probability) in enumerate(zip(p.classes, p.probabilities)):
            row[f"class_{k + 1}"], row[f"probability_{k + 1}"] = name, f"{probability:.6g}"
        if p.decision is not None:
            row["decision"] = p.decision
        if p.novelty is not None:
            row["novelty"], row["none_of_these"] = f"{p.novelty:.6g}", "yes" if p.rejected else "no"
        rows.append(row)
    files.write_csv(path, rows, fields)


def open_images(images: Any, depth: Sequence[int] | None = None) -> Opened:
    """Open whatever images somebody holds.

    Args:
        images: a path, a folder, a web address, a list of these; or what :func:`predict_images` takes.
        depth: values of 16-bit images that become 0 and 255: those of the model.

    Raises:
        UserError: nothing that exists, or an object of another kind.
    """
    from keras_transfer.data.images.depth import parse as parse_depth
    from keras_transfer.data.images.given import path_text
    from keras_transfer.data.objects import images_in, is_single
    from keras_transfer.data.samples import FileStore

    span = parse_depth(depth)
    if isinstance(images, (str, os.PathLike)):
        single, given = not os.path.isdir(path_text(images)), [images]  # noqa: PTH112 - never raises
    else:
        single = is_single(images)
        given = [images] if single else images
    if isinstance(given, Iterator):
        given = list(given)
    if isinstance(given, (list, tuple)) and given and all(isinstance(item, (str, os.PathLike)) for item in given):
        found = find_images([path_text(item) for item in given])
        return Opened([str(path) for path in found], FileStore(found, None, span).open, single)
    store, names = images_in(given)
    return Opened(names, store.with_depth(span).open, single)


def outputs(
    model: Any, metadata: Mapping[str, Any], images: Opened, batch_size: int, workers: int | None = None
) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yield the name of each image, and what the model computes for it, float32 (d,), or why the image cannot be read.

    Raises:
        UserError: none of the images can be read.
        NotFinite: what the model computes is not a number.
    """
    transform = _evaluation_transform(metadata)
    names, failed = images.names, []
    if not names:
        return
    size = min(batch_size, len(names))
    # The next batch is decoded while the model processes this one; memory holds no more than the two.
    with progress(f"predicting {len(names)} images", len(names) if len(names) > size else 0) as advance:
        for start, batch in _ahead(lambda i: _input_of(images.open, transform, i), len(names), size, workers):
            good = [image for image in batch if isinstance(image, np.ndarray)]
            found = logits_of_batch(model, np.stack(good), size) if good else np.zeros((0, 1), np.float32)
            require_finite(found)
            computed = iter(found)
            for name, image in zip(names[start : start + size], batch):
                if isinstance(image, str):
                    failed.append((name, image))
                yield name, next(computed) if isinstance(image, np.ndarray) else image
            advance(len(batch))
    if len(failed) == len(names):
        lines = "".join(f"\n  {one_line(name)}: {one_line(reason)}" for name, reason in failed[:20])
        raise UserError(f"none of the {len(names)} files could be read:{lines}")


def predict_opened(
    model: Any, metadata: Mapping[str, Any], images: Opened, top: int, batch_size: int, workers: int | None = None
) -> list[Prediction]:
    """Classify images that :func:`open_images` opened; see :func:`predict_files`."""
    return list(predicted(model, metadata, images, top, batch_size, workers))


def predicted(
    model: Any, metadata: Mapping[str, Any], images: Opened, top: int, batch_size: int, workers: int | None = None
) -> Iterator[Prediction]:
    """Yield what :func:`predict_opened` returns, as it is computed; if none can be read, the error comes after all of them."""
    if top < 1:
        raise UserError(f"top must be at least 1, got {top}")
    classes = [str(c) for c in metadata["classes"]]
    limits = thresholds_of(metadata) if is_multi(metadata) else None
    for name, one in outputs(scored(model, metadata), metadata, images, batch_size, workers):
        yield _prediction(name, one, classes, top, limits, metadata.get("costs"))


def _prediction(
    name: str, row: np.ndarray | str, classes: Sequence[str], top: int, limits: np.ndarray | None, costs: Any
) -> Prediction:
    """Return the prediction from what the model computed, float32 (C,) or (C + 1,), or from why it did not.

    ``limits`` are the thresholds of several labels, ``costs`` those of mistakes.
    """
    if isinstance(row, str):
        return Prediction(name, error=row)
    logits, novelty = apart(row, len(classes))
    shares = probabilities(logits, limits is not None)
    order = np.argsort(-shares, kind="stable")  # among equals the first class wins, as in accuracy
    best = order[:top]
    return Prediction(
        name,
        tuple(classes[k] for k in best),
        tuple(float(shares[k]) for k in best),
        labels=None if limits is None else tuple(classes[k] for k in order if shares[k] >= limits[k]),
        novelty=None if novelty is None else float(novelty),
        decision=classes[int(decisions(logits[None], costs)[0])] if costs else None,
    )


def _ahead(
    make: Callable[[int], np.ndarray | str], count: int, size: int, workers: int | None
) -> Iterator[tuple[int, list[np.ndarray | str]]]:
    """Yield `(start, [make(start), …])` for each run of `size` indices, with the next run already started."""
    pool = ThreadPoolExecutor(workers or min(8, usable_cores()))
    try:
        starts = range(0, count, size)
        runs = ([pool.submit(make, i) for i in range(start, min(start + size, count))] for start in starts)
        current = next(runs)
        for start in starts:
            following = next(runs, [])
            yield start, [job.result() for job in current]
            current = following
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _input_of(open_image: Callable[[int], Image], transform: Transform, i: int) -> np.ndarray | str:
    """Return the model's input, or the error message."""
    try:
        return transform(open_image(i), None)
    except (UserError, OSError) as error:
        return str(getattr(error, "reason", None) or error)


def _evaluation_transform(metadata: Mapping[str, Any]) -> Transform:
    from keras_transfer.data.augment import Transform

    height, width = metadata["image_size"]
    return Transform((int(height), int(width)), [], metadata["resize"], metadata["color"])


def _images_below(folder: Path) -> list[Path]:
    from keras_transfer.data.images.heif import reads_suffix
    from keras_transfer.data.leftovers import is_leftover, suffix_of
    from keras_transfer.data.samples import IMAGE_SUFFIXES

    def _is_image(name: str) -> bool:
        return suffix_of(name) in IMAGE_SUFFIXES or reads_suffix(suffix_of(name))

    seen: set[str] = set()
    found: list[Path] = []
    unread: list[Path] = []
    # A folder that cannot be listed stays among the files, whose reader then says why.
    for root, folders, names in os.walk(
        folder, followlinks=True, onerror=lambda error: unread.append(Path(error.filename))
    ):
        real = os.path.realpath(root)
        # A link to a parent folder would be a cycle.
        folders[:] = [] if real in seen else [f for f in folders if not is_leftover(f)]
        if real in seen:
            continue
        seen.add(real)
        found += [Path(root, n) for n in names if not is_leftover(n) and _is_image(n)]
    found += unread
    if not found:
        raise UserError(f"no images in {str(folder)!r}: expected files ending in {' '.join(sorted(IMAGE_SUFFIXES))}")
    return sorted(found)
