"""Which pictures are suggested for labelling, and the page."""

from __future__ import annotations

import html
import re
import shutil

import numpy as np
import pytest

from keras_transfer.errors import UserError
from keras_transfer.revise.badge import badge
from tests.conftest import make_photos


def test_copies_are_taken_last_and_certain_pictures_rarely():
    rng = np.random.default_rng(0)
    features, shares = rng.normal(size=(30, 8)), np.full((30, 3), 1 / 3)
    features[20:] = features[19]
    shares[:10] = [1 - 2e-6, 1e-6, 1e-6]  # certain: nothing to learn
    found = badge(features, shares, 10)
    assert len(set(found.tolist())) == 10
    # Those that are certain have no gradient, which is one point, and so are copies.
    assert sum(i < 10 for i in found) <= 1 and sum(i >= 19 for i in found) <= 1
    assert sorted(badge(features, shares, 99).tolist()) == list(range(30))


def test_distances_are_those_of_the_gradients():
    """Products of products, against the gradients themselves: the same draws."""
    rng = np.random.default_rng(1)
    features, shares = rng.normal(size=(40, 5)), rng.dirichlet(np.ones(4), 40)
    errors = shares - np.eye(4)[shares.argmax(axis=1)]
    gradients = np.einsum("nc,nd->ncd", errors, features).reshape(40, -1)
    draws = np.random.default_rng(3)
    chosen = [int(np.square(gradients).sum(axis=1).argmax())]
    while len(chosen) < 12:
        nearest = np.min([np.square(gradients - gradients[i]).sum(axis=1) for i in chosen], axis=0)
        nearest[chosen] = 0
        chosen.append(int(draws.choice(40, p=nearest / nearest.sum())))
    assert badge(features, shares, 12, seed=3).tolist() == chosen


@pytest.mark.parametrize(("shape", "count"), [((3, 2), 0), ((4, 2), 1)])
def test_wrong_arguments(shape, count):
    with pytest.raises(UserError, match="expected"):
        badge(np.zeros((3, 5)), np.full(shape, 0.5), count)


@pytest.mark.backend
def test_the_page_lists_new_pictures_whose_lines_a_list_reads(tmp_path):
    import keras_transfer as kt
    from keras_transfer.data.sources.list_file import read_list
    from keras_transfer.revise.suggest import suggest

    clf = kt.Classifier("tiny", ["big apple", "<b>"], image_size=32, weights="none")
    clf.save(tmp_path / "model.keras")
    photos = make_photos(tmp_path / "new photos", {"x": 6})
    shutil.copy(photos / "x" / "000.png", photos / "copy.png")
    (photos / "bad.png").write_bytes(b"no")
    said = []
    found = suggest(tmp_path / "model.keras", [str(photos)], count=4, output=tmp_path / "page.html", say=said.append)
    assert len({one.path for one in found}) == 4 and "left out: 2 pictures" in said[0]
    assert "keras-transfer retrain RUN --add labels.txt" in said[-1], "a model file alone has no run to retrain"
    page = (tmp_path / "page.html").read_text()
    paths, labels = (
        [html.unescape(one) for one in re.findall(f'data-{key}="([^"]*)"', page)] for key in ("path", "label")
    )
    (tmp_path / "labels.txt").write_text(f"{paths[0]} {labels[0]}\n{paths[1]} {labels[1]}\n")
    assert read_list(tmp_path / "labels.txt")[:2] == ([found[0].path, found[1].path], ["big apple", "<b>"])
    with pytest.raises(UserError, match="none of the 1 pictures"):
        suggest(tmp_path / "model.keras", [str(photos / "bad.png")], output=tmp_path / "page.html", say=said.append)
