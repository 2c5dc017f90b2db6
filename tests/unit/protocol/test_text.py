"""Names as people are shown them (supervise/protocol/text.py)."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervise.protocol.text import shown_name

names = st.binary(max_size=8).map(os.fsdecode) | st.text(st.sampled_from("ab \\nx20\n\t\u202e\xa0\udcff"), max_size=6)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("web", "web"),
        ("\u8ba2\u5355", "\u8ba2\u5355"),
        ("a b", "a b"),
        ("a\nb", "a\\nb"),
        ("a\\nb", "a\\\\nb"),
        (" web  ", "\\x20web\\x20\\x20"),
        ("  ", "\\x20\\x20"),
        ("\udcb6\udca9", "\\udcb6\\udca9"),
    ],
)
def test_what_is_shown(name: str, shown: str) -> None:
    assert shown_name(name) == shown


@given(names, names)
@example("\\x20a", " a")
@example("a\\", "a\\\\")
def test_no_two_names_are_shown_alike(first: str, second: str) -> None:
    assert (shown_name(first) == shown_name(second)) == (first == second)
    assert shown_name(first).isprintable()
