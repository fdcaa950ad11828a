"""Options that several modules share."""

import pytest

from keras_transfer.config.schema import Phase
from keras_transfer.errors import UserError
from keras_transfer.options import last_groups


@pytest.mark.parametrize(
    ("train", "number"),
    [("last 1 groups", 1), ("last 2 group", 2), (" last  12\tgroups ", 12), ("last 0 groups", 0)],
)
def test_last_groups(train, number):
    assert last_groups(train) == number
    assert Phase("p", train=train, epochs=1).train == train


@pytest.mark.parametrize(
    "train", ["head", "last groups", "last -1 groups", "last 1 groups of", "the last 1 groups", ""]
)
def test_other_texts(train):
    assert last_groups(train) is None
    if train not in ("head", ""):
        with pytest.raises((UserError, ValueError), match="last N groups"):
            Phase("p", train=train, epochs=1)
