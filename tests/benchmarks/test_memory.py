"""What training and predicting leave behind in memory."""

from __future__ import annotations

import pytest

from benchmarks import memory
from benchmarks.harness import Options, run_case
from keras_transfer.runtime import choose_backend

pytestmark = pytest.mark.backend


@pytest.mark.exhaustive
@pytest.mark.parametrize("work", [0, 1], ids=["training", "prediction"])
def test_what_is_measured(work):
    case = memory.cases(Options(epochs=4, images=8, backends=(choose_backend().value,)))[work]
    result = run_case(case, 1, 600, lambda _: None)["rivals"][0]
    assert result["status"] == "ok", result["reason"]
    figures = result["figures"]
    assert 0 < figures["start MB"] <= figures["warm MB"]
    assert result["median"] == pytest.approx(figures["end MB"] - figures["warm MB"])


@pytest.mark.exhaustive
@pytest.mark.parametrize("work", [0, 1], ids=["200 epochs", "10,000 predictions"])
def test_memory_stays_flat(work):
    case = memory.cases(Options(backends=(choose_backend().value,)))[work]
    result = run_case(case, 1, 3600, lambda _: None)["rivals"][0]
    assert result["status"] == "ok", result["reason"]
    assert result["reached"], result
