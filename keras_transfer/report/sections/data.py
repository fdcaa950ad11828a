"""The data at a glance: how many pictures, of which sizes, and what augmentation makes of them."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from keras_transfer.data.dataset import Dataset
from keras_transfer.data.store import BadImage, EncodedPicture
from keras_transfer.report.material import Evidence, Material
from keras_transfer.report.thumbnails import of_pixels, of_sample

SAMPLED = 200
"""Training pictures whose sizes are looked at."""
SHOWN, EPOCHS = 6, 3


def make(material: Material) -> dict[str, Any]:
    """The variables of ``data.html``."""
    facts, evidence = material.manifest["data"], material.evidence
    found: dict[str, Any] = {
        "source": facts["source"],
        "images": facts["images"],
        "skipped": facts["skipped"],
        "fingerprint": facts["fingerprint"],
        "counts": _counts(material),
        "augment": material.config.data.augment,
        "augmented_phases": [phase.name for phase in material.config.phases if phase.augment],  # type: ignore[union-attr]
    }
    if evidence is not None:
        found |= {"notes": evidence.data.manifest.notes, "sizes": sizes_of(evidence.data)}
        found["samples"] = _samples(material, evidence)
    return found


def _counts(material: Material) -> dict[str, Any]:
    """Pictures of each class in each split that is known, and the largest sum, for the bars."""
    columns: dict[str, list[int]] = {}
    if material.evidence is not None:
        columns["train"] = material.evidence.data.train.counts().tolist()
    for name in ("val", "test"):
        if name in material.metrics:
            columns[name] = np.array(material.metrics[name]["confusion"]).sum(axis=1).tolist()
    rows = list(zip(material.classes, zip(*columns.values())))
    return {"splits": list(columns), "rows": rows, "most": max(max(sum(row) for _, row in rows), 1)}


def sizes_of(data: Dataset) -> dict[str, Any] | None:
    """Sizes and formats of training pictures, evenly spread over the data, from their headers."""
    images, indices = data.manifest.images, data.train.indices
    sides, formats = [], Counter[str]()
    for i in indices[np.unique(np.linspace(0, len(indices) - 1, SAMPLED).astype(int))].tolist():
        try:
            picture = images.open(i)
        except BadImage:
            continue
        sides.append((picture.width, picture.height))
        formats[picture.format if isinstance(picture, EncodedPicture) else "in memory"] += 1
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


def _samples(material: Material, evidence: Evidence) -> list[dict[str, Any]]:
    """Training pictures as they are, and as the first epochs show them."""
    from keras_transfer.data.augment import transforms
    from keras_transfer.data.loader import Loader
    from keras_transfer.training.parts import size_of

    settings, train = material.config.data, evidence.data.train
    firsts = np.unique(train.labels, return_index=True)[1]
    chosen = train.take(firsts[np.unique(np.linspace(0, len(firsts) - 1, SHOWN).astype(int))])
    transform, mix = transforms(settings.augment, size_of(material.config), settings.resize, settings.color)
    augments = transform.random or mix is not None
    options: dict[str, Any] = {"augment": True, "seed": material.config.seed, "workers": 0, "batch_transform": mix}
    with Loader(chosen, transform, len(chosen), **options) as loader:
        views = [loader.batch(epoch, 0)[0] for epoch in range(EPOCHS if augments else 1)]
    return [
        {
            "name": chosen.image_name(i),
            "label": material.classes[chosen.labels[i]],
            "picture": of_sample(chosen, i),
            "views": [of_pixels(view[i]) for view in views],
        }
        for i in range(len(chosen))
    ]
