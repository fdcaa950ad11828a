"""Generate ``docs/configuration.md`` from the schema: ``python -m keras_transfer.config.reference``."""

from __future__ import annotations

import typing
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from keras_transfer.arguments.problems import section_of
from keras_transfer.config.schema import RunConfig

TITLE = """# Configuration

A configuration is a YAML file. Every key has a default, so a file contains only what differs. `--set KEY=VALUE` overrides
one key, with dots between levels and numbers for list items: `--set phases.0.epochs=3`. `auto` values are chosen from the
data when the run starts, printed, and replaced by the chosen value in the run's `config.yaml`. Unknown keys are errors.

This page is generated from `keras_transfer/config/schema.py`.
"""


def reference() -> str:
    """Return the text of ``docs/configuration.md``."""
    return "\n".join([TITLE, *_tables(RunConfig, "")])


def _tables(section: type[BaseModel], prefix: str) -> list[str]:
    heading = f"## `{prefix}`" if prefix else "## Top level"
    lines = [
        heading,
        "",
        (section.__doc__ or "").split("\n")[0],
        "",
        "| key | type | default | meaning |",
        "|---|---|---|---|",
    ]
    below: list[str] = []
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            below += _tables(inner, f"{prefix}{'.' if prefix else ''}{name}{'.N' if name == 'phases' else ''}")
        lines.append(f"| `{name}` | {_type(field.annotation)} | {_default(field)} | {field.description} |")
    return [*lines, "", *below]


def _type(annotation: Any) -> str:
    if section_of(annotation) is not None and isinstance(annotation, type):
        return "section"
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is list:
        return "list of " + _plural(arguments[0])
    if origin is tuple and arguments[-1] is Ellipsis:
        return "list of " + _plural(arguments[0])
    if origin is tuple:
        return "[" + ", ".join(_type(argument) for argument in arguments) + "]"
    if origin is dict:
        return "parameters"
    if arguments:
        return " or ".join(_type(argument) for argument in arguments)
    return {
        "NoneType": "`null`",
        "int": "integer",
        "float": "number",
        "str": "string",
        "bool": "boolean",
        "Any": "name or parameters",
    }.get(annotation.__name__, "section")


def _plural(annotation: Any) -> str:
    return _type(annotation).replace("string", "strings").replace("section", "sections")


def _default(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "see below" if field.default_factory is not None else "required"
    return (
        "`null`"
        if field.default is None
        else f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"
    )


if __name__ == "__main__":
    print(reference(), end="")
