"""What services print, as a terminal can bear it."""

from __future__ import annotations

import pytest

from supervise.programs.harmless import Harmless

CASES = [
    (b"plain\ttext\n", b"plain\ttext\n"),
    (b"\033[31mred\033[0m\n", b"^[[31mred^[[0m\n"),
    (b"\033]0;title\7\n", b"^[]0;title^G\n"),
    (b"10%\r20%\r\n", b"10%^M20%\n"),
    (b"a\bb\0\x7f\v\f", b"a^Hb^@^?^K^L"),
    (b"\xc2\x9b31m", b"\\x9b31m"),  # CSI as one character
    (b"\x9b31m\xff", b"\\x9b31m\\xff"),  # and as one byte
    ("\u202e\u2066\u200f\u2028".encode(), rb"\u202e\u2066\u200f\u2028"),
    ("\u8ba2\u3000e\u0301 \U0001f468\u200d\U0001f469\u00a0".encode(), None),
    (b"\xed\xa0\x80", rb"\xed\xa0\x80"),
]


@pytest.mark.parametrize(("data", "shown"), CASES)
def test_nothing_that_disturbs_a_terminal_goes_through(data: bytes, shown: bytes | None) -> None:
    whole = Harmless("utf-8")
    assert whole.shown(data) + whole.end() == (data if shown is None else shown)
    pieces = Harmless("utf-8")
    parts = [pieces.shown(data[at : at + 1]) for at in range(len(data))]
    assert b"".join([*parts, pieces.end()]) == (data if shown is None else shown), "also byte by byte"


def test_what_never_ended_is_shown() -> None:
    made = Harmless("utf-8")
    assert made.shown(b"half\xe8\xae") == b"half"
    assert made.end() == rb"\xe8\xae"
    assert made.shown(b"50%\r") == b"50%"
    assert made.end() == b"^M"


def test_in_the_encoding_of_the_terminal() -> None:
    """In GBK a second byte may be one that is ESC's like elsewhere; and what it has no byte for is said."""
    text = "\u8ba2\u5355\n".encode("gbk")
    made = Harmless("gbk")
    assert made.shown(text[:1]) + made.shown(text[1:]) + made.end() == text
    assert Harmless("ascii").shown("\u8ba2\n".encode()) == rb"\xe8\xae\xa2" + b"\n"
    assert Harmless("iso8859-1").shown(b"\xe4\x9b") == b"\xe4" + rb"\x9b"
