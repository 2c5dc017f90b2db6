"""What may have been meant for a key that restricts, but does not count: misspelt, or out of its place.

What lives here: words.  What does not: where they stand and what follows (reading.py).
"""

from __future__ import annotations

from supervise.values import RESTRICTING

# Of the bytes in a text, those that words are made of; anything beyond ASCII is part of a word.
_WORDS = bytes(n if chr(n).isalnum() or n == 95 or n > 127 else 32 for n in range(256))
_LONGEST = max(map(len, RESTRICTING)) + 1
_BRACKETS = "[\uff3b\u3010"  # the second and third are those of Chinese and Japanese keyboards


def one_off(word: str, meant: str) -> bool:
    """Whether two words are the same but for one letter that is missing, added or another, or two that are swapped."""
    start = 0
    while start < min(len(word), len(meant)) and word[start] == meant[start]:
        start += 1
    word, meant = word[start:], meant[start:]
    swapped = word[:2] == meant[1::-1] and word[2:] == meant[2:]
    return word == meant or word[1:] == meant[1:] or word[1:] == meant or word == meant[1:] or swapped


def restricting(word: str) -> str:
    """The key that restricts which a word is, or is one typing error away from, in any case; empty if there is none."""
    if len(word) > _LONGEST:
        return ""
    word = word.lower()
    return next((key for key in RESTRICTING if abs(len(word) - len(key)) < 2 and one_off(word, key)), "")


def first_word(text: str) -> str:
    """The word that a line begins with: quotes, signs and what cannot be seen before it do not matter."""
    start = 0
    while start < len(text) and not (text[start].isalnum() or text[start] == "_"):
        start += 1
    end = start
    while end < len(text) and (text[end].isalnum() or text[end] in "_.-"):
        end += 1
    return text[start:end].rstrip(".-")


def mentioned(data: bytes) -> str:
    """A key that restricts, if a word anywhere in this is one or may be; or empty."""
    found = (restricting(word.decode("latin-1")) for word in set(data.translate(_WORDS).split()))
    return next(filter(None, found), "")


def lost_header(line: str) -> str | None:
    """The name in what may have been meant for a section header; empty if it is not known, None if it is no header."""
    at = next((at for at, char in enumerate(line) if char.isalnum() or char in _BRACKETS), -1)
    if at < 0 or line[at] not in _BRACKETS:
        return None
    name, closed, more = line[at + 1 :].partition("]")
    return name.strip() if closed and not more.strip() else ""


def misplaced(title: str, name: str) -> str:
    """The section that the one with that title may have been meant to be, for the service `name`; or empty."""
    low = title.lower()
    if low in (name.lower(), f"program:{name.lower()}"):
        return name
    return "global" if one_off(low, "global") else ""
