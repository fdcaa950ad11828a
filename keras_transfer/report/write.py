"""Write ``report.html``, a self-contained file with everything about a run."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from keras_transfer import __version__
from keras_transfer.console import progress
from keras_transfer.evaluation.judged import judged
from keras_transfer.files import write_text
from keras_transfer.html.templates import environment, page_file
from keras_transfer.report.run_view import Evidence, RunView
from keras_transfer.report.sections import FIGURES, ONE_LABEL, SECTIONS
from keras_transfer.report.sections.result import verdict
from keras_transfer.runs import RunDirectory

if TYPE_CHECKING:
    from keras_transfer.data.dataset import Dataset

PACKAGE = "keras_transfer.report"


def write_report(
    run: RunDirectory,
    data: Dataset | None = None,
    model: Any = None,
    logits: dict[str, np.ndarray] | None = None,
    missing: str = "",
) -> None:
    """Write the report of a finished run.

    Only Grad-CAM of a few images is computed: the metrics are those of the run.

    Args:
        run: the run.
        data: its images; None omits them.
        model: its model.
        logits: float32 (n, C) by name, in the order of the split: ``"val"`` and ``"test"``, as far as there are such
            images, and ``"out_of_fold"`` for the training images. Without validation images, ``"val"`` is the same as
            ``"out_of_fold"``.
        missing: why there are no images, shown in the report.

    Raises:
        UserError: the run did not finish, or the file cannot be written.
    """
    evidence = None if data is None or logits is None else Evidence(data, model, judged(data, logits))
    write_text(run.report, render(RunView(run, evidence, missing)))


def render(view: RunView) -> str:
    """Return the page, deterministically."""
    sections = []
    with progress("writing the report", len(SECTIONS)) as advance:
        for name, (title, make) in SECTIONS.items():
            sections.append((name, title, None if view.is_multi and name in ONE_LABEL else make(view)))
            advance(1)
    style, script = page_file(PACKAGE, "report.css"), page_file(PACKAGE, "report.js")
    return environment(PACKAGE).get_template("report.html").render(
        sections=[section for section in sections if section[2] is not None],
        figures=FIGURES,
        verdict=verdict(view),
        view=view,
        style=Markup(style),  # noqa: S704 - files of this package
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=__version__,
    )  # fmt: skip
