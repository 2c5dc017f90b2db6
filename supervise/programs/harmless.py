"""What services print, as a terminal can bear it: no escape sequence, nothing that moves the cursor or turns the text.

A control character is shown as less(1) shows it, ESC as ^[; others in the notation of Python: \\x9b, \\u202e.  What
is not text in the terminal's encoding is shown byte by byte.  Newlines and tabs go through.
"""

from __future__ import annotations

import codecs
import re

# C0 but tab and newline, DEL, C1, and what changes the direction of a text or ends a line of it.
_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
)


class Harmless:
    """The text of one service, piece by piece: a character, or a return and its newline, may come in two."""

    def __init__(self, encoding: str) -> None:
        """`encoding`: the terminal's."""
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("backslashreplace")
        self._return = ""

    def shown(self, data: bytes, final: bool = False) -> bytes:
        """The next piece, as it may be written to a terminal; `final`: there is no more."""
        text = self._return + self._decoder.decode(data, final)
        self._return = ""
        if text.endswith("\r") and not final:
            text, self._return = text[:-1], "\r"
        text = _HARMFUL.sub(_named, text.replace("\r\n", "\n"))
        return text.encode(self._encoding, "backslashreplace")

    def end(self) -> bytes:
        """What is left of a piece that never came."""
        return self.shown(b"", final=True)


def _named(found: re.Match[str]) -> str:
    char = found[0]
    if char < " " or char == "\x7f":
        return f"^{chr(ord(char) ^ 0x40)}"
    return char.encode("unicode_escape").decode()
