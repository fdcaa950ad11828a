"""Jinja2 as every page of the project uses it: all text is escaped, and a variable that is missing is an error."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from keras_transfer import formatting
from keras_transfer.plots.fonts import printable

REPORT = "keras_transfer.report"


@cache
def environment(package: str = REPORT) -> Environment:
    """Templates in the folder ``page`` of a package, and behind them those of the report."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(name, "page") for name in dict.fromkeys((package, REPORT))]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_clean,
    )
    made.filters |= {"share": formatting.share, "seconds": formatting.seconds, "images": formatting.images}
    return made


@cache
def page_file(package: str, name: str) -> str:
    """The text of a file in the folder ``page`` of a package."""
    return (files(package) / "page" / name).read_text(encoding="utf-8")


def _clean(value: Any) -> Any:
    """Text without control characters and broken ones, which file names may have in them."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
