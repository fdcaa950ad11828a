"""Wrong calls from Python, and what wrong calls and command lines are answered with: `python -m tests.wrong_calls` writes docs/wrong_lines.md."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import tempfile
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, make_photos

PAGE = ROOT / "docs" / "wrong_lines.md"
HEADING = "## Wrong calls from Python\n"
INTRODUCTION = """
Each raises `kt.UserError` with one line, before anything is trained. A test runs all of them and compares the answers. `data` is
`kt.data.folder("photos/", image_size=32)`, and `clf` is `kt.Classifier("tiny", data.classes, image_size=32, weights="none")`.

| call | `UserError: …` |
|---|---|
"""
CALLS = (
    'kt.Phase("head", lr=1e-3)',
    'kt.Phase("head", epochs=0)',
    'kt.Phase("head", epochs=2.5)',
    'kt.Phase("head", learning_rate=-1)',
    'kt.Phase("head", learning_rate="fast")',
    'kt.Phase("head", optimizer="adamm")',
    'kt.Phase("head", schedule="cosin")',
    'kt.Phase("head", optimizer="adam", nesterov=True)',
    'kt.Phase("head", batch_norm="freeze")',
    'kt.Phase("top")',
    'kt.Phase("top", train=[])',
    'kt.Phase("head", solver="exact", epochs=3)',
    'kt.data.folder("photoz/")',
    'kt.data.folder("photos/", image_size="big")',
    'kt.data.folder("photos/", image_size=0)',
    'kt.data.folder("photos/", color="gray")',
    'kt.data.folder("photos/", resize="stretch")',
    'kt.data.folder("photos/", val_fraction=1.5)',
    'kt.data.folder("photos/", seed=-1)',
    "kt.data.arrays(np.zeros((4, 8, 8, 3)), [0, 1, 0, 1])",
    "kt.data.arrays(np.zeros((4, 8, 8, 3), np.uint8), [0, 1])",
    "kt.data.arrays(np.zeros((4, 8, 8, 3), np.uint8), [0, 1, 0, 1], classes=['a'])",
    'kt.Classifier("mobilnet_v2", ["a", "b"])',
    'kt.Classifier("tiny", ["a", "a"], weights="none")',
    'kt.Classifier("tiny", ["a"], weights="none")',
    'kt.Classifier("tiny", "ab", weights="none")',
    'kt.Classifier("tiny", ["a", "b"], weights="none", dropout=1)',
    'kt.Classifier("tiny", ["a", "b"], weights="none", pooling="mean")',
    'kt.Classifier("tiny", ["a", "b"], weights="nowhere.h5")',
    "clf.fit(data, label_smoothing=3)",
    'clf.fit(data, class_weights="balance")',
    'clf.fit(data, class_weights={"aple": 2.0})',
    'clf.fit(data, class_weights={"apple": -1})',
    "clf.fit(data, epochs=0)",
    'clf.fit(data, phases=["head"])',
    "clf.fit(data, phases=[])",
    'clf.fit(data, phases=[kt.Phase("last 99 groups", epochs=1)])',
    'clf.fit(kt.data.folder("other/", image_size=32))',
    'clf.predict("missing.jpg")',
    "clf.predict(None)",
    "clf.predict(np.zeros((3, 8, 8), np.uint8))",
    'clf.predict("photos/", top=0)',
    "clf.evaluate([1, 2, 3])",
    'clf.save("model.zip")',
    'kt.load("photos/")',
    'kt.load("notes.txt")',
    'kt.fine_tune("photos/", effort="fastest")',
    'kt.use_backend("pytorch")',
)


def prepared(folder: Path) -> dict[str, Any]:
    """Write what the calls name into the working folder, and return their variables."""
    import numpy as np

    import keras_transfer as kt

    make_photos(folder / "photos", {"apple": 6, "berry": 6})
    make_photos(folder / "other", {"cherry": 6, "plum": 6})
    (folder / "notes.txt").write_text("no model")
    data = kt.data.folder("photos/", image_size=32)
    return {"kt": kt, "np": np, "data": data, "clf": kt.Classifier("tiny", data.classes, image_size=32, weights="none")}


def answer(call: str, variables: dict[str, Any]) -> str:
    """Run a wrong call and return its message; what else it raises is raised, and nothing is an error too."""
    try:
        eval(call, dict(variables))
    except variables["kt"].UserError as error:
        return str(error)
    raise AssertionError(f"{call} is not refused")


def line_answer(line: str) -> str:
    """Run a wrong command line in the working folder, and return its message without `error: `."""
    from keras_transfer.cli import main

    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main(shlex.split(line))
    return next(text for text in said.getvalue().splitlines() if text.startswith("error: ")).removeprefix("error: ")


def prepare_lines(folder: Path) -> None:
    """Write what the command lines name."""
    make_photos(folder / "photos", {"apple": 4, "berry": 4})
    (folder / "empty").mkdir()
    (folder / "model.keras").write_bytes(b"no model")


def row(call: str, said: str) -> str:
    """Return a row of the table."""
    said = said.replace(f"{Path.cwd()}{os.sep}", "")
    return "| {} | {} |".format(*(f"`{call}`".replace("|", "\\|"), said.replace("|", "\\|")))


def main() -> None:
    """Write the tables of the page."""
    from tests.cli.test_wrong_lines import WRONG

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
        os.chdir(other)
        prepare_lines(Path(other))
        lines = [row(line, line_answer(line)) for line, _ in WRONG]
        os.chdir(folder)
        variables = prepared(Path(folder))
        rows = [row(call, answer(call, variables)) for call in CALLS]
    before = re.split(r"(?<=\|---\|---\|\n)", PAGE.read_text("utf-8"))[0]
    text = f"{before}{chr(10).join(lines)}\n\n{HEADING}{INTRODUCTION}{chr(10).join(rows)}\n"
    PAGE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
