"""The page of all keys is what the schema says."""

from __future__ import annotations

from keras_transfer.config.reference import reference
from tests.conftest import ROOT


def test_the_page_is_up_to_date():
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m keras_transfer.config.reference > docs/configuration.md"
