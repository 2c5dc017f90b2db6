"""Misspelt keys: what may have been meant for a key that restricts the service, but does not count as one.

And keys of supervisor's that are none here, with what there is in their place.

What lives here: words.  What does not: where they stand and what follows (parser.py).
"""

from __future__ import annotations

from supervise.config.config import RESTRICTING

# Of the bytes in a text, those that words are made of; anything beyond ASCII is part of a word.
_WORDS = bytes(n if chr(n).isalnum() or n == 95 or n > 127 else 32 for n in range(256))
_LONGEST = max(map(len, RESTRICTING)) + 1
_VERBS = ("set", "export", "setenv", "let", "declare", "env")
_BEGINNINGS = ("user", "group")  # with any letters behind
_LONGER = ("username", "userid", "usergroup", "groupname", "groupid")  # with `_` or `-` in them, too
_BRACKETS = "[\uff3b\u3010"  # the second and third are those of Chinese and Japanese keyboards


def one_off(word: str, meant: str) -> bool:
    """Whether two words differ by one typing error: a letter missing, added or another, or two swapped."""
    start = 0
    while start < min(len(word), len(meant)) and word[start] == meant[start]:
        start += 1
    word, meant = word[start:], meant[start:]
    swapped = word[:2] == meant[1::-1] and word[2:] == meant[2:]
    return word == meant or word[1:] == meant[1:] or word[1:] == meant or word == meant[1:] or swapped


def restricting(word: str) -> str:
    """The restricting key that a word is, or is one typing error away from, in any case; empty if there is none."""
    if len(word) > _LONGEST:
        return ""
    word = word.lower()
    if word in RESTRICTING:
        return word
    return next((key for key in RESTRICTING if abs(len(word) - len(key)) < 2 and one_off(word, key)), "")


def meant(line: str, variable: bool = False) -> str:
    """The restricting key that a line may have been meant to set; or empty.  `variable`: the line may set a variable.

    Blanks, signs and what cannot be seen count for nothing within a key, and letters beyond ASCII for any: `us er`.  It
    may have something before it, or letters behind it: `export user`, `app.user`, `username`.
    """
    found = restricting(first_word(line))
    if found or not line.strip():
        return found
    end = min((at for at in (line.find(":"), line.find("=")) if at >= 0), default=-1)
    said = "".join(map(_ascii, line[:end] if end >= 0 else line.split()[0])).lower().strip()
    letters = "".join(char for char in said if char.isalnum() or char == "_")
    found = restricting(letters) or _disguised(said)
    if found:
        return found
    words = "".join(char if char.isalnum() or char in "_-" else " " for char in said).split()
    if end < 0 and said in _VERBS:
        words = line.lower().split()[:2]
    if words and words[-1] in RESTRICTING:
        return words[-1]
    longer = said.isalpha() or letters.replace("_", "") in _LONGER
    return next((word for word in _BEGINNINGS if longer and not variable and said.startswith(word)), "")


def elsewhere(key: str) -> str:
    """What to do here instead of setting a key of supervisor's; empty where it is none, or not only supervisor's."""
    if key == "serverurl":
        return "there is no server, SUPERVISE_STATUS_DIR says where the service is commanded"
    stream, _, what = key.partition("_")
    if stream not in ("stdout", "stderr"):
        return ""
    if what == "syslog":
        return f"use {stream}_command : logger -t NAME"
    return "there are no events" if what in ("capture_maxbytes", "events_enabled") else ""


def _ascii(char: str) -> str:
    """A letter as it looks: those of full width as what they are, others beyond ASCII as `?`, what is none as none."""
    if "\uff01" <= char <= "\uff5e":
        return chr(ord(char) - 0xFEE0)
    return char if char.isascii() else "?" if char.isalpha() else ""


def _disguised(plain: str) -> str:
    """The key that restricts which a word is, if each `?` in it may be any letter, and not all are."""
    for key in RESTRICTING if "?" in plain.strip("?") else ():
        if len(key) == len(plain) and all(char in ("?", one) for char, one in zip(plain, key)):
            return key
    return ""


def value_mentions(text: str, exactly: bool = False) -> str:
    """The restricting key in a value, with a sign behind it, where a line break may be missing; or empty.

    `exactly`: as it is written, not in any case.
    """
    text = text if exactly else text.lower()
    for key in RESTRICTING:
        at = text.find(key)
        while at >= 0:
            before, behind = text[at - 1 : at], text[at + len(key) :].lstrip()[:1]
            if behind in (":", "=") and behind and not (before.isalnum() or before == "_"):
                return key
            at = text.find(key, at + 1)
    return ""


def first_word(text: str) -> str:
    """The first word of a line, without quotes, signs and invisible characters before it."""
    start = 0
    while start < len(text) and not (text[start].isalnum() or text[start] == "_"):
        start += 1
    end = start
    while end < len(text) and (text[end].isalnum() or text[end] in "_.-"):
        end += 1
    return text[start:end].rstrip(".-")


def mentioned(data: bytes) -> str:
    """The restricting key that some word in `data` is, or may be; or empty."""
    found = (restricting(word.decode("latin-1")) for word in set(data.translate(_WORDS).split()))
    return next(filter(None, found), "")


def lost_header(line: str) -> str | None:
    """The name in what may be a misspelt section header; empty if it has none, None if it is no header."""
    at = next((at for at, char in enumerate(line) if char.isalnum() or char in _BRACKETS), -1)
    if at < 0 or line[at] not in _BRACKETS:
        return None
    name, closed, more = line[at + 1 :].partition("]")
    return name.strip() if closed and not more.strip() else ""


def misplaced(title: str, name: str) -> str:
    """The section that a title may be a misspelling of, for the service `name`; or empty."""
    said, own = _bare(title), _bare(name)
    if title.lower() == name.lower() or (own and (said == own or _is_slip(said, own))):
        return name
    return "global" if one_off(said, "global") else ""


def _bare(title: str) -> str:
    """A name without a kind or a path before it (`program:`, `status/`), quotes, blanks, and what cannot be seen."""
    last = "".join(char for char in title.lower() if char.isalnum() or char in "_-.@+:/")
    return last.rstrip(":/").replace("/", ":").rpartition(":")[2]


def _is_slip(said: str, own: str) -> bool:
    """Whether one name is one typing error away from another; web1 is none of web2, nor is b one of a."""
    letters = ["".join(char for char in one if not char.isdigit()) for one in (said, own)]
    return min(len(said), len(own)) > 1 and len(own) > 2 and letters[0] != letters[1] and one_off(said, own)
