"""How many columns of a terminal a text takes, and texts cut to that.

What lives here: widths as Unicode's tables have them, for what is printable (text.one_line sees to that).
"""

from __future__ import annotations

import unicodedata

GAP = "..."  # what stands for what was cut; one character for it (U+2026) is two columns wide on some terminals


def columns(text: str) -> int:
    """How many columns of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_width, text))


def _width(char: str) -> int:
    if char.isascii():
        return 1
    if unicodedata.category(char) in ("Mn", "Me") or "\u1160" <= char <= "\u11ff" or "\ud7b0" <= char <= "\ud7fb":
        return 0  # is drawn with the one before it; so are the vowels and finals of Hangul
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def index(text: str, width: int) -> int:
    """How many characters fit in so many columns."""
    if text.isascii():
        return max(min(width, len(text)), 0)
    for at, char in enumerate(text):
        width -= _width(char)
        if width < 0:
            return at
    return len(text)


def cut(text: str, width: int) -> str:
    """As much of a text as fits in so many columns."""
    return text[: index(text, width)]


def shortened(text: str, width: int) -> str:
    """A text that fits in so many columns, with a sign that there was more."""
    if columns(text) <= width:
        return text
    return cut(text, width - len(GAP)) + GAP if width > len(GAP) else GAP[: max(width, 0)]


def shortened_within(text: str, width: int) -> str:
    """The same, with its beginning and its end: names differ in either."""
    if columns(text) <= width:
        return text
    room = width - len(GAP)
    if room < 1:
        return GAP[: max(width, 0)]
    tail = room // 2
    return cut(text, room - tail) + GAP + cut(text[::-1], tail)[::-1]


def padded(text: str, width: int, right: bool = False) -> str:
    """A text with blanks behind it, or before it where it is to stand at the `right`, for a column of that width."""
    blanks = " " * (width - columns(text))
    return blanks + text if right else text + blanks
