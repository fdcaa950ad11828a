from __future__ import annotations

import json
import math

import pytest
from rich.cells import cell_len

from keras_transfer.errors import UserError
from keras_transfer.evaluation.leaderboard import Entry, Leaderboard, show

LONG = "efficientnet_lite2 with mobilenet_v2, blocks 4 and 6, logistic regression, λ = 0.3"
BOARD = Leaderboard(
    (
        Entry(LONG, 0.9225, 0.0134, 0.2341, 0.0321, 12.3, True, "the cheapest within one standard error of the best"),
        Entry("[red]" + 40 * "猫", 1.0, 0.0, 0.3, 0.02, 36456.0, False, "worse by more than one standard error"),
        Entry("one sample", 0.5, math.inf, math.nan, 0.1, math.nan),
    ),
    "out-of-fold predictions for 400 training images, 5 folds",
)


def test_it_survives_a_json_file():
    stored = json.loads(json.dumps(BOARD.as_json(), allow_nan=False))
    again = Leaderboard.read(stored)
    assert again.entries[:2] == BOARD.entries[:2] and again.evidence == BOARD.evidence
    assert math.isnan(again.entries[2].accuracy_error) and math.isnan(again.entries[2].log_loss)
    assert again.as_json() == BOARD.as_json()


def test_the_order_is_the_callers_and_one_is_chosen():
    entries = Leaderboard.read(BOARD.as_json()).entries[::-1]
    turned = Leaderboard(entries, "")
    assert [entry.candidate for entry in turned.entries][-1] == LONG == turned.chosen.candidate
    with pytest.raises(UserError, match="none of the 1 candidates"):
        _ = Leaderboard(entries[:1], "").chosen


def test_missing_fields_are_unknown():
    (entry,) = Leaderboard.read({"entries": [{"candidate": "a", "later": 1}]}).entries
    assert (entry.chosen, entry.reason) == (False, "") and math.isnan(entry.accuracy) and math.isnan(entry.seconds)
    assert str(Leaderboard((entry,), "")).count("–") >= 3


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (None, "expected a leaderboard with a list of entries, got None"),
        ({"entries": {}}, "expected a leaderboard with a list of entries"),
        ({"entries": []}, "at least one candidate"),
        ({"entries": [3]}, "candidate 1 of the leaderboard: expected its name and figures, got 3"),
        ({"entries": [{"accuracy": 0.5}]}, "candidate 1 of the leaderboard: it has no name"),
        ({"entries": [{"candidate": "a"}, {"candidate": 7}]}, "candidate 2 of the leaderboard: candidate must be text"),
        ({"entries": [{"candidate": "a", "accuracy": 93}]}, "accuracy must be a number from 0 to 1, got 93"),
        ({"entries": [{"candidate": "a", "log_loss": -1}]}, "log_loss must be a number of at least 0, got -1"),
        ({"entries": [{"candidate": "a", "seconds": "3 s"}]}, "seconds must be a number of at least 0, got '3 s'"),
        ({"entries": [{"candidate": "a", "seconds": True}]}, "seconds must be a number"),
        ({"entries": [{"candidate": "a", "chosen": "yes"}]}, "chosen must be true or false, got 'yes'"),
        ({"entries": [{"candidate": "a", "chosen": True}] * 2}, "one chosen candidate, got 2: a, a"),
        ({"entries": [{"candidate": "a"}], "evidence": 3}, "evidence must be text"),
    ],
)
def test_nonsense_is_one_clear_line(stored, message):
    with pytest.raises(UserError) as raised:
        Leaderboard.read(stored)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_the_table_fits_a_terminal():
    printed: list[str] = []
    show(BOARD, printed.append)
    (text,) = printed
    lines = text.splitlines()
    assert max(map(cell_len, lines)) <= 100
    assert lines[0] == "candidates, by out-of-fold predictions for 400 training images, 5 folds"
    (row,) = [line for line in lines if "✓ chosen" in line]
    assert row.strip().startswith("efficientnet_lit…") and "λ = 0.3" in row
    assert "92.2 ± 1.3\u00a0%" in row and "0.2341 ± 0.0321" in row and "12 s" in row
    assert "[red]猫" in text and "10 h 08 min" in text
    assert all(word in text for entry in BOARD.entries for word in entry.reason.split())


def test_control_characters_stay_out_of_the_terminal():
    text = str(Leaderboard((Entry("a\x1b[31m\nb", 0.5, 0.1, 0.5, 0.1, 1.0, False, "c\x07"),), "x\x1b"))
    assert "\x1b" not in text and "\x07" not in text and "a [31m b" in text
