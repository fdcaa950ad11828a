"""Jinja2 as every page of the project uses it: all text is escaped, and a missing variable is an error."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from keras_transfer import formatting

SHARED = __package__ or ""


@cache
def environment(package: str = SHARED) -> Environment:
    """Return the templates in the folder ``page`` of a package, with those of this one behind them."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader(name, "page") for name in dict.fromkeys((package, SHARED))]),
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
    """Return the text of a file in the folder ``page`` of a package."""
    return (files(package) / "page" / name).read_text(encoding="utf-8")


def render_view(name: str, package: str = SHARED, **variables: Any) -> str:
    """Render a notebook view: a template that uses the macro ``view``, which brings its style along."""
    style = Markup(page_file(SHARED, "view.css"))  # noqa: S704 - a file of this package
    return environment(package).get_template(name).render(style=style, **variables)


def _clean(value: Any) -> Any:
    """Replace control characters and lone surrogates in text, which file names may contain."""
    return formatting.printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
