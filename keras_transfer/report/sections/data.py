"""Summary of the data: counts, image sizes, and examples of augmentation."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from keras_transfer.data.dataset import Dataset
from keras_transfer.data.images.store import BadImage, EncodedImage
from keras_transfer.evaluation.confusion import Cells
from keras_transfer.html.thumbnails import of_pixels, of_sample
from keras_transfer.report.run_view import Evidence, RunView

SAMPLED = 200
"""Maximum number of training images whose size is read."""
SHOWN, EPOCHS = 6, 3
LISTED = 500
"""Maximum number of classes in the table; of more, those with the most and the fewest images."""


def make(view: RunView) -> dict[str, Any]:
    """The variables of ``data.html``."""
    recorded, evidence = view.manifest["data"], view.evidence
    found: dict[str, Any] = {
        "source": recorded["source"],
        "images": {split: count for split, count in recorded["images"].items() if count},
        "skipped": recorded["skipped"],
        "fingerprint": recorded["fingerprint"],
        "counts": _counts(view),
        "augment": view.config.data.augment,
        "augmented_phases": [phase.name for phase in view.config.phases if phase.augment],
    }
    if evidence is not None:
        found |= {"notes": evidence.data.samples.notes, "sizes": sizes_of(evidence.data)}
        found["samples"] = _samples(view, evidence)
    return found


def _counts(view: RunView) -> dict[str, Any]:
    """Return the images of each class in each known split, and the largest total, for the bars."""
    columns: dict[str, list[int]] = {}
    if view.evidence is not None:
        columns["train"] = view.evidence.data.train.counts().tolist()
    for name in ("val", "test"):
        if name in view.measured:
            measured = view.measured[name]
            if "confusion" not in measured:  # several labels per image
                columns[name] = [row["support"] for row in measured["per_class"].values()]
                continue
            columns[name] = Cells.read(view.measured[name]["confusion"]).totals().astype(int).tolist()
    rows = list(zip(view.classes, zip(*columns.values())))
    most = max((sum(row) for _, row in rows), default=0) or 1
    return {"splits": list(columns), "rows": _ends(rows), "most": most, "of": len(rows)}


def _ends(rows: list[tuple[str, tuple[int, ...]]]) -> list[tuple[str, tuple[int, ...]]]:
    """Return all rows, or of many classes the largest and the smallest."""
    if len(rows) <= LISTED:
        return rows
    by_size = sorted(rows, key=lambda row: -sum(row[1]))
    return by_size[: LISTED // 2] + by_size[-LISTED // 2 :]


def sizes_of(data: Dataset) -> dict[str, Any] | None:
    """Return sizes and formats of evenly spaced training images, from their headers."""
    images, indices = data.samples.images, data.train.indices
    sides, formats = [], Counter[str]()
    for i in indices[np.unique(np.linspace(0, len(indices) - 1, SAMPLED).astype(int))].tolist():
        try:
            image = images.open(i)
        except BadImage:
            continue
        sides.append((image.width, image.height))
        formats[image.format if isinstance(image, EncodedImage) else "in memory"] += 1
    if not sides:
        return None
    widths, heights = np.transpose(sides)
    return {
        "of": len(sides),
        "least": (int(widths.min()), int(heights.min())),
        "median": (round(float(np.median(widths))), round(float(np.median(heights)))),
        "most": (int(widths.max()), int(heights.max())),
        "formats": formats.most_common(),
    }


def _samples(view: RunView, evidence: Evidence) -> list[dict[str, Any]]:
    """Return training images in their original form and as augmented in the first epochs."""
    from keras_transfer.data.augment import transforms
    from keras_transfer.data.loading.loader import Loader

    settings, train = view.config.data, evidence.data.train
    if train.is_multi:
        firsts = np.unique(train.labels[:, train.counts() > 0].argmax(axis=0))
    else:
        firsts = np.unique(train.labels, return_index=True)[1]
    chosen = train.take(firsts[np.unique(np.linspace(0, len(firsts) - 1, SHOWN).astype(int))])
    transform, mix = transforms(settings.augment, settings.size, settings.resize, settings.color)
    augments = transform.random or mix is not None
    options: dict[str, Any] = {"augment": True, "seed": view.config.seed, "workers": 0, "batch_transform": mix}
    with Loader(chosen, transform, len(chosen), **options) as loader:
        views = [loader.batch(epoch, 0)[0] for epoch in range(EPOCHS if augments else 1)]
    return [
        {
            "name": chosen.image_name(i),
            "label": ", ".join(chosen.names_of(i)) or "no label",
            "image": of_sample(chosen, i),
            "views": [of_pixels(view[i]) for view in views],
        }
        for i in range(len(chosen))
    ]
