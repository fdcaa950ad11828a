"""Progress in a notebook: a line and curves that are updated in place."""

from __future__ import annotations

import time
from typing import Any

from keras_transfer import text
from keras_transfer.html.drawing import curves
from keras_transfer.html.templates import environment, render_view
from keras_transfer.ipython import current_cell
from keras_transfer.training.progress import Progress
from keras_transfer.typing import Say

REST = 10
"""The curves are drawn again after this multiple of the time that drawing them took, so they cost a tenth of it."""


class LiveProgress(Progress):
    """Show progress and curves in the cell that trains.

    There are two outputs: the line is updated several times a second, the curves after an epoch. Separate, so that the
    curves do not flicker.
    """

    every = 0.3

    def __init__(self) -> None:
        super().__init__()
        self.live = True
        self.notes: list[str] = []
        self._line, self._curves = _Output(), _Output()
        self._figures: dict[str, Any] = {}
        self._next = 0.0
        self._drawn_rows = 0

    def tell(self, line: str, say: Say) -> None:
        """Add a note; a ``say`` other than ``print`` gets it too."""
        if say not in (print, text.say):
            say(line)
        self._write(line)

    def finish(self, result: Any) -> None:
        """Show the result in place of the line."""
        self._draw_curves(final=True)
        self._figures = {"result": str(result)}
        self._show()
        result.drawn_in = current_cell()

    def _move(self, batches: tuple[int, int], figures: list[str]) -> None:
        self._figures |= {"title": self._title(), "batches": batches, "figures": figures}
        self._show()

    def _end(self, figures: list[str]) -> None:
        done = next(
            k for k, part in enumerate(figures) if part.endswith(" s")
        )  # metrics, then seconds, speed and times left
        self._figures = {
            "title": self._title(), "batches": (1, 1), "figures": figures[done + 1 :], "epoch": figures[:done],
        }  # fmt: skip
        self._show()
        self._draw_curves(final=self._epoch + 1 == self.epochs)

    def _write(self, line: str) -> None:
        self.notes.append(line.strip())
        self._show()

    def _title(self) -> str:
        return f"{self.phase}, epoch {self._epoch + 1} of {self.epochs}"

    def _show(self) -> None:
        made = environment().get_template("progress.html").render(notes=self.notes, **self._figures)
        words = [self._figures.get("result") or self._figures.get("title", ""), *self._figures.get("figures", [])]
        self._line.show(made, "  ".join(words))

    def _draw_curves(self, final: bool) -> None:
        began = time.perf_counter()
        if len(self.rows) == self._drawn_rows or (began < self._next and not final):
            return
        self._curves.show(render_view("curves.html", curves=curves(self.rows)), f"curves of {len(self.rows)} epochs")
        self._drawn_rows = len(self.rows)
        now = time.perf_counter()
        self._next = now + REST * (now - began)


class _Output:
    """An output of a cell that can be updated."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, made: str, words: str) -> None:
        """Show HTML; `words` are for a front end that cannot."""
        from IPython.display import display

        bundle = {"text/html": made, "text/plain": words}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
