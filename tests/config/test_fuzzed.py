"""Configurations that fuzzing found."""

from __future__ import annotations

import pytest

from keras_transfer.config.load import load_config
from keras_transfer.errors import UserError


@pytest.mark.parametrize("text", ["phases:&a [{x: 1}]\n", "data: {path: ., 'a[b]': 1}\n", "'function-after[x]': 1\n"])
def test_keys_that_look_like_marks_of_the_validation(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match="unknown key"):
        load_config(tmp_path / "x.yaml")
