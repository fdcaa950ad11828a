"""The learning-rate range test leaves no trace, and finds what can be found."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from PIL import Image

import keras_transfer as kt
from keras_transfer.errors import Interrupted, UserError
from keras_transfer.training import phase_runner, range_test
from keras_transfer.training.range_test import LOWEST, Sweep, _judge
from keras_transfer.training.train import train
from tests.training.small import PHASES, StopAt, assert_same, resume, settings

pytestmark = pytest.mark.backend
FIND = {"augment": ["horizontal_flip"], "batch_size": 16, "verbose": False}


@pytest.fixture
def data(photos):
    return kt.data.folder(photos, image_size=32)


@pytest.fixture
def clf(data):
    return kt.Classifier("tiny", data.classes, image_size=32, weights="none")


def everything(model: keras.Model) -> list[np.ndarray]:
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v) for v in variables]


@pytest.mark.slow
def test_every_byte_stays_as_it_was(clf, data):
    """After a fit there are an optimizer with slots, moved BatchNorm statistics and a dropout that has drawn."""
    clf.fit(data, [kt.Phase("all", epochs=1)], batch_size=16, verbose=False)
    model, optimizer = clf.model, clf.model.optimizer
    model.get_layer("logits").trainable = False
    before, flags = everything(model), [layer.trainable for layer in model.layers]
    found = clf.lr_find(data, [kt.Phase("head"), kt.Phase("all", optimizer="sgd")], steps=20, **FIND)
    assert [one.phase for one in found] == ["head", "all"]
    assert any("seed_generator" in v.path for v in model.variables) and any(
        "moving_mean" in v.path for v in model.variables
    )
    assert model.optimizer is optimizer
    for old, new in zip(before, everything(model), strict=True):
        assert old.dtype == new.dtype and old.tobytes() == new.tobytes()
    assert [layer.trainable for layer in model.layers] == flags


def test_a_loss_that_breaks_away_ends_the_sweep(clf, data, tmp_path, monkeypatch):
    monkeypatch.setattr(range_test, "HIGHEST", 1e5)  # no head of so few weights bears that
    [found] = clf.lr_find(data, [kt.Phase("head")], plot=tmp_path / "rates.png", **FIND)
    assert found.diverged and found.losses[-1] > found.losses[0] and len(found.losses) < 100
    assert LOWEST < found.suggestion < found.rates[-1] / 5
    assert np.isfinite(found.losses).all()
    with Image.open(tmp_path / "rates.png") as image:
        assert image.format == "PNG"


@pytest.mark.slow
def test_the_scale_of_sample_weights_is_no_sign_of_learning():
    """Sample weights of 1/64 make every loss so small; Adam does not care, so that the rate is the same."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (32, 32, 32, 3), np.uint8), np.repeat(np.arange(4), 8)
    found = []
    for weights in (None, np.full(32, 1 / 64)):
        data = kt.data.arrays(images, labels, weights=weights, image_size=32)
        clf = kt.Classifier("tiny", data.classes, image_size=32, weights="none")
        found += clf.lr_find(data, [kt.Phase("head", optimizer="adam")], steps=40, **{**FIND, "augment": []})
    plain, weighted = found
    assert weighted.losses[0] == pytest.approx(plain.losses[0] / 64, rel=1e-3)
    assert weighted.suggestion == pytest.approx(plain.suggestion, rel=0.5)


def sweep_of(losses) -> Sweep:
    """Judge the losses of a classifier of ten classes."""
    return _judge("head", np.geomspace(1e-6, 10, 100)[: len(losses)], np.array(losses, float), False, math.log(10))


def test_a_new_head_gets_a_rate_between_the_fastest_fall_and_the_lowest_loss():
    x = np.linspace(-6, 1, 100)  # log10 of the rate
    losses = 1 + 2 / (1 + np.exp(4 * (x + 3))) + np.exp(6 * x)  # falls around 1e-3, rises from 1e-1 on
    lowest = 10 ** x[losses.argmin()]
    found = sweep_of(losses[losses < 4])
    assert "falls fastest" in found.why
    assert found.suggestion == pytest.approx(max(np.sqrt(1e-3 * lowest), lowest / 3), rel=0.2)


@pytest.mark.parametrize("dip", [0, 0.1])
def test_a_model_that_has_learnt_gets_a_rate_below_the_one_that_undoes_it(dip):
    """Whether the loss rises a little before, as that of a head that fits too well does, or falls a little, is no matter."""
    x = np.linspace(-6, 1, 100)
    noise = np.random.default_rng(0).normal(0, 0.01, 100)
    small = 0.1 / (1 + np.exp(-4 * (x + 4))) - dip * np.exp(-((x + 4.5) ** 2))
    losses = 0.2 + noise + small + 2 / (1 + np.exp(-8 * (x + 2.5)))  # half of the way to guessing, 2.3, at 10**-2.5
    found = sweep_of(losses)
    assert "what was learnt lasts up to" in found.why
    assert found.suggestion == pytest.approx(10**-2.5 / 3, rel=0.3)


def test_a_loss_that_stays_as_it_is_gets_a_rate_below_its_first_rise():
    """Of a model that has learnt nothing, and does not begin to."""
    x = np.linspace(-6, 1, 100)
    noise = np.random.default_rng(0).normal(0, 0.01, 100)
    found = sweep_of(2.4 + noise + np.exp(6 * (x + 1)))
    assert 10**-2 / 3 < found.suggestion < 10**-1 / 3
    assert "the loss neither falls nor rises" in found.why and "learnt" not in found.why


def test_a_loss_that_is_no_number_is_told():
    with pytest.raises(UserError, match="phase head: the loss is not a number"):
        sweep_of([2.3])


AUTO = [{**phase, "learning_rate": "auto"} for phase in PHASES]


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_run_chooses_its_rates_and_keeps_them_over_a_resume(photos, tmp_path, monkeypatch):
    said = []
    whole = train(settings(photos, tmp_path / "whole", phases=AUTO), say=said.append)
    rates = [phase.learning_rate for phase in whole.read_config().phases]
    assert [line for line in said if line.startswith("chosen: phase")] and all(0 < rate < 10 for rate in rates)
    chosen = whole.read_json(whole.manifest)["chosen"]
    found = [row for row in chosen if row["reason"] == "by a range test"]
    assert [(row["key"], row["value"]) for row in found] == [
        (f"phases.{number}.learning_rate", rate) for number, rate in enumerate(rates)
    ]
    assert whole.read_json(whole.manifest)["config"]["phases"][1]["learning_rate"] == rates[1]
    # The sweep leaves no trace: the run is that of somebody who knew the rates.
    known = [{**phase, "learning_rate": rate} for phase, rate in zip(PHASES, rates)]
    assert_same(whole, train(settings(photos, tmp_path / "known", phases=known), say=lambda _: None))
    with pytest.raises(Interrupted):
        train(settings(photos, tmp_path / "cut", "1 step", phases=AUTO), callbacks=[StopAt(2)], say=lambda _: None)
    monkeypatch.setattr(phase_runner, "sweep", None)  # a resumed phase asks no more
    assert_same(whole, resume(tmp_path / "cut"))
    with pytest.raises(Interrupted):
        train(
            settings(photos, tmp_path / "between", "1 epoch", phases=known), callbacks=[StopAt(3)], say=lambda _: None
        )
    assert_same(whole, resume(tmp_path / "between", "phases.1.learning_rate=auto"))
