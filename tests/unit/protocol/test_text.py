"""Names as people are shown them (supervise/protocol/text.py)."""

from __future__ import annotations

import os
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervise.protocol.text import one_line, quoted, shown_name

LETTERS = "ab \\nx20\n\t\u202e\xa0\x85\udc85\udcff"
names = st.binary(max_size=8).map(os.fsdecode) | st.text(st.sampled_from(LETTERS), max_size=6)


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
        ("\udcb6\udca9", "\\xb6\\xa9"),
        ("\\xb6", "\\\\xb6"),
        ("\x85\xa0\xe9", "\\u0085\\u00a0\xe9"),
    ],
)
def test_what_is_shown(name: str, shown: str) -> None:
    assert shown_name(name) == shown


@given(names, names)
@example("\\x20a", " a")
@example("a\\", "a\\\\")
@example("\x85", "\udc85")
def test_no_two_names_are_shown_alike(first: str, second: str) -> None:
    assert (shown_name(first) == shown_name(second)) == (first == second)
    assert shown_name(first).isprintable()


@given(names)
@example("'\udcff")
def test_a_shell_reads_the_very_bytes(name: str) -> None:
    """In $'...', that is."""

    def read(found: re.Match[str]) -> str:
        escape = found[0]
        if escape.startswith("\\x"):
            return os.fsdecode(bytes.fromhex(escape[2:]))
        return escape.encode().decode("unicode_escape")

    assert re.sub(r"\\(x..|u....|U.{8}|.)", read, shown_name(name)) == name


@given(names)
def test_what_was_shown_is_shown_as_it_is(name: str) -> None:
    """A message has names as they are shown, and is made one line as a whole."""
    assert one_line(shown_name(name)) == shown_name(name)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "''"),
        ("web", "'web'"),
        (" a ", "' a '"),
        ("it's", '"it\'s"'),
        ("a'b\"c", "'a\\'b\"c'"),
        ("caf\udce9\n", "'caf\\xe9\\n'"),
        ("a\\b", "'a\\\\b'"),
    ],
)
def test_in_quotes(text: str, said: str) -> None:
    assert quoted(text) == said
