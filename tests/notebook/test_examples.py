"""The notebooks of the gallery run as they stand, and are kept without outputs."""

from __future__ import annotations

import json
import os
import re

import pytest

from tests.conftest import ROOT

GALLERY = ROOT / "docs" / "examples"
OURS = r"(Classifier|Dataset|Evaluation|FitResult|Prediction|Split|Sweep)\("
NOTEBOOKS = sorted(GALLERY.glob("*.ipynb"))


def parameters() -> list:
    """All notebooks, of which one runs in every test run: each takes half a minute or more."""
    marks = {path: pytest.mark.slow if path.stem == "first_model" else pytest.mark.exhaustive for path in NOTEBOOKS}
    return [pytest.param(path, marks=marks[path], id=path.stem) for path in NOTEBOOKS]


@pytest.mark.no_cover
@pytest.mark.backend
@pytest.mark.parametrize("path", parameters())
def test_it_runs(path, tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    place = {"metadata": {"path": str(tmp_path)}}
    client = nbclient.NotebookClient(notebook, timeout=900, startup_timeout=300, resources=place)
    client.execute(env={**os.environ, "PYTHONPATH": str(ROOT)})
    shown = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert not [output for output in shown if output["output_type"] == "error"]
    assert [output for output in shown if "data" in output], "there is something to look at"
    for output in shown:
        words, html = (output.get("data", {}).get(f"text/{kind}", "") for kind in ("plain", "html"))
        assert bool(re.match(OURS, words)) == ("kt-view" in html) or "svg" in html, (
            "objects of the package are shown as HTML"
        )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs_and_its_links_lead_somewhere(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, "clear the outputs before committing"
        else:
            for target in re.findall(r"\]\((?!\w+:)([^)#]+)[^)]*\)", "".join(cell["source"])):
                assert (GALLERY / target).exists(), target


def test_every_notebook_is_in_the_index():
    listed = re.findall(r"\]\((\w+\.ipynb)\)", (GALLERY / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == [path.name for path in NOTEBOOKS] and len(listed) >= 6
