"""``report.html``: everything about a run in one file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from keras_transfer import __version__
from keras_transfer.files import write_text
from keras_transfer.report import words
from keras_transfer.report.material import Evidence, Material
from keras_transfer.report.plots.fonts import printable
from keras_transfer.report.sections import SECTIONS
from keras_transfer.report.sections.result import verdict
from keras_transfer.runs import RunDirectory

if TYPE_CHECKING:
    from keras_transfer.data.dataset import Dataset


def write_report(
    run: RunDirectory,
    data: Dataset | None = None,
    model: Any = None,
    logits: dict[str, np.ndarray] | None = None,
    missing: str = "",
) -> None:
    """Write the report of a finished run.

    Nothing is predicted but Grad-CAM of a few pictures: the figures are those of the run.

    Args:
        run: the run.
        data: its pictures; without them, the report has none.
        model: its model.
        logits: float32 (n, C) for each of ``"val"`` and ``"test"`` that has pictures, in the order of the split.
        missing: why there are no pictures, for the reader.

    Raises:
        UserError: the run did not finish, or the file cannot be written.
    """
    evidence = None if data is None or logits is None else Evidence(data, model, logits)
    write_text(run.report, render(Material(run, evidence, missing)))


def render(material: Material) -> str:
    """Return the page; the same for the same run."""
    sections = [(name, title, make(material)) for name, (title, make) in SECTIONS.items()]
    style, script = _page("report.css"), _page("report.js")
    return _environment().get_template("report.html").render(
        sections=[section for section in sections if section[2] is not None],
        verdict=verdict(material),
        material=material,
        style=Markup(style),  # noqa: S704 - files of this package
        script=Markup(script),  # noqa: S704
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=__version__,
    )  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("keras_transfer.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    environment.filters |= {"share": words.share, "seconds": words.seconds, "pictures": words.pictures}
    return environment


def _clean(value: Any) -> Any:
    """Text without control characters and broken ones, which file names may have in them."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _page(name: str) -> str:
    return (files("keras_transfer.report") / "page" / name).read_text(encoding="utf-8")
