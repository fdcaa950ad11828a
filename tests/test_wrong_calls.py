"""Each wrong call from Python is refused with one line, and the docs say which."""

from __future__ import annotations

import pytest

from tests import wrong_calls


@pytest.fixture(scope="module")
def variables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("calls")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield wrong_calls.prepared(folder)


@pytest.mark.parametrize("call", wrong_calls.CALLS)
def test_a_wrong_call_says_what_to_do(call, variables):
    said = wrong_calls.answer(call, variables)
    assert said == said.strip() and "\n" not in said
    assert wrong_calls.row(call, said) in wrong_calls.PAGE.read_text("utf-8")
