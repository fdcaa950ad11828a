"""The columns of a Hugging Face data set."""

from __future__ import annotations

from typing import Any

from keras_transfer.data.objects.gathering import IMAGE_COLUMNS, LABEL_COLUMNS, column_of


def columns_of(data: Any, what: str) -> tuple[Any, str, str | None, tuple[str, ...] | None]:
    """Return a `datasets.Dataset` or `IterableDataset` whose images are encoded files, so that the pixels are those of a folder; the names
    of its columns of images and of labels, if there are any; and the class names, if it has them.

    Raises:
        UserError: no column of images.
    """
    features = data.features or {}
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    image = next((name for name, kind in kinds.items() if kind == "Image"), None)
    names = list(features) or list(next(iter(data.take(1)), {})) if hasattr(data, "take") else list(features)
    image = image or column_of(names, IMAGE_COLUMNS, what)
    label = next((name for name, kind in kinds.items() if kind == "ClassLabel"), None)
    label = label or next((name for name in LABEL_COLUMNS if name in names), None)
    classes = tuple(features[label].names) if label and kinds.get(label) == "ClassLabel" else None
    data = data.with_format(None)  # torch, numpy or a transform would hide the files
    if kinds.get(image) == "Image":
        import datasets

        data = data.cast_column(image, datasets.Image(decode=False))
    return data, image, label, classes
