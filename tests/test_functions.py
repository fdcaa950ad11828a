"""A function of more than 60 lines or 10 parameters has its reason written at it."""

from __future__ import annotations

import ast

from tests.conftest import ROOT

LINES, PARAMETERS = 60, 10


def long_functions(source: str) -> list[str]:
    """Names of the functions that are too long and have no comment on their first line or the one before it."""
    lines, found = source.splitlines(), []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        count = sum(argument.arg not in ("self", "cls") for argument in given)
        first = node.lineno - 1
        reason = "#" in lines[first] or lines[first - 1].lstrip().startswith("#")
        if ((node.end_lineno or 0) - first > LINES or count > PARAMETERS) and not reason:
            found.append(node.name)
    return found


def test_long_functions_say_why():
    found = {
        f"{file.relative_to(ROOT)}: {name}"
        for file in sorted((ROOT / "keras_transfer").rglob("*.py"))
        for name in long_functions(file.read_text(encoding="utf-8"))
    }
    assert not found


def test_a_long_function_is_noticed():
    many = f"def f({', '.join(f'a{i}' for i in range(11))}):\n    pass\n"
    long = "def g():\n" + "    x = 1\n" * 60
    assert long_functions(many + long) == ["f", "g"]
    assert long_functions(f"# It has a reason.\n{many}\n\n" + long.replace("g():", "g():  # So has this.")) == []
