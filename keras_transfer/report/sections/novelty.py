"""What a model that rejects makes of images of its classes: the histogram of their novelty, and those it rejects."""

from __future__ import annotations

from typing import Any

from keras_transfer import plots
from keras_transfer.evaluation.judged import Judged
from keras_transfer.formatting import share
from keras_transfer.html.drawing import drawing
from keras_transfer.html.thumbnails import of_sample
from keras_transfer.report.run_view import RunView


def make(view: RunView) -> dict[str, Any] | None:
    """The variables of ``novelty.html``."""
    name = next((name for name in ("test", "val") if "novelty" in view.measured.get(name, {})), None)
    if name is None:
        return None
    found = view.measured[name]["novelty"]
    label = f"Histogram of novelty: {share(found['rejected'])} of the images are above 0 and rejected."
    judged = None if view.evidence is None else view.evidence.judged.get(name)
    cards = [] if judged is None else [_card(view, judged, int(i), value) for i, value in found["highest"]]
    return {
        **found,
        "kind": {"test": "test", "val": "validation"}[name],
        "n": view.measured[name]["n"],
        "plot": drawing(lambda out: plots.novelty_histogram(found, out), label, "novelty"),
        "cards": cards,
    }


def _card(view: RunView, judged: Judged, i: int, novelty: float) -> dict[str, Any]:
    split, best = judged.split, int(judged.logits[i].argmax())
    return {
        "name": split.image_name(i),
        "image": of_sample(split, i),
        "label": view.classes[split.labels[i]],
        "taken_for": "" if best == split.labels[i] else view.classes[best],
        "novelty": novelty,
    }
