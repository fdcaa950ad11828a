"""Images without labels that a head may learn from beside those with labels (:mod:`keras_transfer.solved.self_training`)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from keras_transfer.data.archive import is_archive, unpack
from keras_transfer.data.checks.verify import drop_bad
from keras_transfer.data.dataset import Dataset, Split
from keras_transfer.data.samples import DecodingStore, FileStore, make_samples
from keras_transfer.errors import UserError
from keras_transfer.evaluation.predict import find_images

NAME = "unlabelled"
MOST = 4000
"""Images that are used: more would cost time and hardly help, and are left out at random."""


def with_unlabelled(
    data: Dataset, folder: str, on_bad_image: Literal["error", "skip"] = "error", workers: int | str = "auto"
) -> Dataset:
    """Return the data with the images of a folder that they do not have.

    An image that the data have already, in whatever split and under whatever name, is left out, recognized by the content of its file:
    test images must not be trained on, not even without their labels. So are copies.

    Args:
        data: images with labels.
        folder: folder of images, which may be in folders of their own, whose names mean nothing; or a zip or tar archive of it.
        on_bad_image: ``"error"`` refuses images that cannot be read and lists them, ``"skip"`` leaves them out.
        workers: threads that check the images.

    Raises:
        UserError: no such folder, no images in it, images that cannot be read, none that is new.
    """
    path = Path(folder)
    if path.is_file() and is_archive(path):
        path = unpack(path)
    if not path.is_dir():
        what = "is a file, not a folder of images" if path.exists() else "no such folder"
        raise UserError(f"data.unlabelled: {folder!r}: {what}")
    try:
        names = [str(Path(name).absolute()) for name in find_images([str(path)])]
        store = FileStore(names, None, data.depth)
        table, checked = drop_bad(
            make_samples(data.classes, store, np.zeros(len(names), np.int64), [NAME] * len(names)),
            on_bad_image,
            workers,
        )
    except UserError as error:
        raise UserError(f"data.unlabelled: {error}") from error
    assert isinstance(table.images, DecodingStore) and table.images.content is not None
    new, left = _new(list(map(bytes, table.images.content)), _known(data))
    if not new:
        raise UserError(
            f"data.unlabelled: all {len(table)} images of {folder!r} are among the data already; expected images without labels"
        )
    left |= {"unreadable": len(checked.bad)} if checked.bad else {}
    if len(new) > MOST:
        left["chosen at random"] = len(new) - MOST
        new = sorted(np.random.default_rng(0).permutation(new)[:MOST].tolist())
    shown = ", ".join(f"{count} {what}" for what, count in left.items() if count)
    note = f"{len(new)} images without labels from {folder}" + (f" (left out: {shown})" if shown else "")
    table = replace(table.take(np.array(new, np.int64)), source=str(folder), notes=(note,))
    return replace(data, unlabelled=Split(NAME, table, np.arange(len(table))))


def _known(data: Dataset) -> set[bytes]:
    content = data.content
    return set() if content is None else set(map(bytes, content))


def _new(content: list[bytes], known: set[bytes]) -> tuple[list[int], dict[str, int]]:
    """Return the places of contents that are not known, each once, and how many others there are of each kind."""
    seen: set[bytes] = set()
    new, left = [], {"that the data have": 0, "copies": 0}
    for place, one in enumerate(content):
        if one in known:
            left["that the data have"] += 1
        elif one in seen:
            left["copies"] += 1
        else:
            seen.add(one)
            new.append(place)
    return new, left
