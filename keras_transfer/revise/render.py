"""The page of a comparison: the verdict, what got better and worse, by picture and by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from keras_transfer import __version__
from keras_transfer.data.dataset import Split
from keras_transfer.html.templates import environment, page_file
from keras_transfer.html.thumbnails import of_sample
from keras_transfer.revise.regression import Answer, Regression

MOST = 60
"""Pictures of each kind that are shown; the figures name all of them."""


def render(found: Regression, split: Split, old: str, new: str, kind: str, notes: Sequence[str]) -> str:
    """Return the page, self-contained.

    Args:
        found: the comparison.
        split: the pictures that it names.
        old, new: the runs.
        kind: of the pictures.
        notes: what was done to the data.
    """
    places = {split.image_name(i): i for i in range(len(split))}
    kinds = (
        ("better", "Better", found.better),
        ("worse", "Worse", found.worse),
        ("others", "Wrong in another way", found.others),
    )
    parts = [
        {
            "id": name,
            "title": title,
            "count": len(answers),
            "cards": [_card(one, split, places) for one in answers[:MOST]],
        }
        for name, title, answers in kinds
    ]
    style = page_file("keras_transfer.report", "report.css")
    return environment("keras_transfer.revise").get_template("regression.html").render(
        found=found,
        parts=parts,
        rows=[*((row, False) for row in found.by_class), *((row, True) for row in found.added)],
        old=old,
        new=new,
        kind={"test": "test", "val": "validation"}.get(kind, "training"),
        out_of_fold=kind not in ("test", "val"),
        notes=notes,
        style=Markup(style),  # noqa: S704 - a file of this package
        version=__version__,
    )  # fmt: skip


def _card(one: Answer, split: Split, places: dict[str, int]) -> dict[str, Any]:
    return {"answer": one, "image": of_sample(split, places[one.picture])}
