"""How often the state is saved, as text."""

from __future__ import annotations

import pytest

from keras_transfer.config.interval import Interval
from keras_transfer.config.load import validate
from keras_transfer.errors import UserError


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("90 seconds", 90, "seconds"),
        ("1 second", 1, "seconds"),
        ("2 minutes", 120, "seconds"),
        ("0.5 minute", 30, "seconds"),
        ("100 steps", 100, "steps"),
        (" 1 Step ", 1, "steps"),
        ("1 epochs", 1, "epochs"),
        ("3epochs", 3, "epochs"),
        (15, 15, "seconds"),
        (15.5, 15.5, "seconds"),
        (0, 0, "seconds"),
        ("7", 7, "seconds"),
        (1e-3, 0.001, "seconds"),
    ],
)
def test_forms(text, amount, unit):
    found = Interval.parse(text)
    assert (found.amount, found.unit) == (amount, unit)
    assert found.seconds == (amount if unit == "seconds" else 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "often",
        "-1",
        "-1 seconds",
        "0 steps",
        "0 epochs",
        "1.5 steps",
        "1.2.3",
        "nan",
        "1e999",
        "2 hours",
        "1 2",
        True,
        None,
    ],
)
def test_everything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"expected e\.g\. '90 seconds'"):
        Interval.parse(text)


def test_it_is_over_when_its_unit_has_passed():
    passed = {"seconds": 30, "steps": 10, "epochs": 1}
    for text, over in (("30", True), ("31", False), ("10 steps", True), ("11 steps", False), ("1 epoch", True),
                       ("2 epochs", False)):  # fmt: skip
        assert Interval.parse(text).is_over(**passed) is over


def test_the_configuration_keeps_the_text_and_says_what_is_wrong():
    assert validate({"output": {"save_every": 30}}).output.save_every == "30"
    with pytest.raises(UserError, match=r"^output.save_every: expected e.g. '90 seconds'.*, got 'often'$"):
        validate({"output": {"save_every": "often"}})
