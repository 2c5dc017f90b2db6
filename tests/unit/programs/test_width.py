"""How many columns texts take, and texts cut to that."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from wcwidth import wcwidth

from supervise.programs.width import columns, cut, padded, shortened, shortened_within


def test_texts_are_cut_to_columns() -> None:
    assert (columns("a\u4e2d"), cut("a\u4e2db", 2), cut("a\u4e2db", 3), cut("abc", -1)) == (3, "a", "a\u4e2d", "")
    assert (columns("e\u0301"), cut("e\u0301e", 1)) == (1, "e\u0301")
    assert (padded("\u4e2d", 4), padded("\u4e2d", 4, True)) == ("\u4e2d  ", "  \u4e2d")


TEXTS = ("worker-of-the-east-01", "\u8ba2\u5355\u5904\u7406\u670d\u52a1-01", "\u0301e" * 30, "")


@pytest.mark.parametrize("text", TEXTS, ids=["ascii", "wide", "combining", "empty"])
def test_shortened_texts_fit_and_say_so(text: str) -> None:
    for width in range(40):
        for made in (shortened(text, width), shortened_within(text, width)):
            assert columns(made) <= width
            assert made == text if columns(text) <= width else "..."[:width] in made


def test_names_keep_their_beginnings_and_ends() -> None:
    assert shortened_within("worker-of-the-east-01", 13) == "worke...st-01"


def test_widths_are_those_that_terminals_agree_on() -> None:
    """A library that many programs go by, character by character, but for some hundred, as its Unicode is another.

    And but for spacing marks (Mc), which terminals do not agree on.
    """
    others = []
    for number in range(0xA0, sys.maxunicode + 1):
        char = chr(number)
        if char.isprintable() and columns(char) != wcwidth(char) and unicodedata.category(char) != "Mc":
            others.append(number)
    assert len(others) < 300, [hex(number) for number in others[:40]]
