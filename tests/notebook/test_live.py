"""Progress and curves in a real Jupyter kernel, and what happens without one."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import ClassVar

import pytest

from tests.conftest import ROOT
from tests.html_page import Page

pytestmark = [pytest.mark.backend, pytest.mark.slow]

PHASE = "<script>alert(1)</script>"
START = """
import numpy as np
import keras_transfer as kt
y = np.arange(60) % 3
x = (np.random.default_rng(0).integers(0, 120, (60, 32, 32, 3)) + (y * 60)[:, None, None, None]).astype(np.uint8)
data = kt.data.arrays(x, y, 32)
clf = kt.Classifier("tiny", classes=data.classes, image_size=32, weights="none")
"""
FIT = f"""
print("before")
result = clf.fit(data, [kt.Phase("head", epochs=3), kt.Phase({PHASE!r}, train="all", epochs=3)], batch_size=8)
print("after")
result
"""
TRAIN = """
said = []
config = kt.load_config("quickstart", ["data.limit=60", "data.limit_test=20", "data.image_size=32", "model.backbone=tiny",
    "model.weights=none", "phases=[{name: head, epochs: 2}]", "output.dir=run", "output.plots=false", "output.report=false"])
kt.train(config, say=said.append)
assert [line for line in said if line.startswith("phase head")], "the caller's own is told all the same"
"""


class Cell:
    """What a cell showed: its outputs as they are at the end, and the messages that made them so."""

    def __init__(self, outputs, messages):
        self.outputs, self.messages = outputs, messages

    def kinds(self):
        return [output.get("name", output["output_type"]) for output in self.outputs]

    def html(self):
        return [output["data"]["text/html"] for output in self.outputs if "text/html" in output.get("data", {})]

    def displays(self, kind):
        return [m["content"]["transient"]["display_id"] for m in self.messages if m["msg_type"] == kind]


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    folder = tmp_path_factory.mktemp("kernel")

    class Listening(nbclient.NotebookClient):
        heard: ClassVar[dict[int, list]] = {}

        def process_message(self, msg, cell, cell_index):
            self.heard.setdefault(cell_index, []).append(msg)
            return super().process_message(msg, cell, cell_index)

    sources = [START, FIT, "result", "clf.fit(data, [kt.Phase('head', epochs=1)], verbose=False);", TRAIN]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    place = {"metadata": {"path": str(folder)}}
    client = Listening(notebook, timeout=600, startup_timeout=300, resources=place)
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    return [Cell(cell["outputs"], client.heard[k]) for k, cell in enumerate(notebook["cells"])]


def test_progress_and_curves_have_a_place_each_and_change_in_it(cells):
    fit = cells[1]
    assert fit.kinds() == ["stdout", "display_data", "display_data", "stdout", "execute_result"]
    line, curves = fit.displays("display_data")
    updates = fit.displays("update_display_data")
    assert set(updates) == {line, curves}
    assert updates.count(line) >= 6, "after every epoch at least"
    assert 2 <= updates.count(curves) <= 6, "at the end of a phase, and after an epoch where that is not too often"


def test_the_line_shows_epoch_speed_and_time_left_while_it_trains(cells):
    shown = [
        " ".join(text for _, text in Page(message["content"]["data"]["text/html"]).all("div"))
        for message in cells[1].messages
        if message["msg_type"] == "update_display_data"
    ]
    moving = [text for text in shown if "epoch 2 of 3" in text]
    assert moving and all("images/s" in text and "phase ETA" in text for text in moving)
    assert any("val_accuracy" in text for text in moving)


def test_at_the_end_there_are_all_epochs_and_the_result(cells):
    line, curves, result = cells[1].html()
    text = Page(line).all("div")[0][1]
    assert "6 epochs in" in text and "the best: epoch" in text and "epoch 3 of 3" not in text
    assert f"phase {PHASE}: " in text, "what the run says of its phases stands there too"
    page = Page(curves)
    assert not page.all("script")
    (label,) = [a["aria-label"] for a, _ in page.all("svg") if a.get("class") == "plot"]
    assert label.startswith("Loss and accuracy of 6 epochs")
    names = [text for _, text in page.all("text")]
    assert names.count("head") == 2 and names.count(PHASE) == 2, "the phases are marked in both"
    assert {"Loss", "Accuracy", "train"} <= set(names)
    assert len(curves) < 200_000 and Page(result)


def test_the_same_cell_does_not_show_the_curves_twice(cells):
    *_, result = cells[1].html()
    (later,) = cells[2].html()
    assert not Page(result).all("svg") and Page(later).all("svg")
    assert cells[1].outputs[-1]["data"]["text/plain"].startswith("FitResult(6 epochs in")


def test_without_verbose_nothing_is_shown(cells):
    assert cells[3].kinds() == []


def test_a_whole_run_shows_it_too(cells):
    line, curves = cells[4].html()
    assert "2 epochs in" in line and Page(curves).all("svg")


def test_without_a_notebook_ipython_is_neither_imported_nor_mistaken_for_one():
    code = (
        "import sys; from keras_transfer.ipython import current_cell, in_notebook\n"
        "assert not in_notebook() and current_cell() is None and 'IPython' not in sys.modules\n"
        "from keras_transfer.training.core_callbacks import _progress\n"
        "assert type(_progress()).__name__ == 'Progress'\n"  # Keras has imported IPython by now, if it is installed
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "InteractiveShell.instance()\n"
        "assert not in_notebook() and current_cell() is not None, 'the shell of a terminal'"
    )
    pytest.importorskip("IPython")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)})
