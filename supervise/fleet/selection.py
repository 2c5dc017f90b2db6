"""Which services the words of a command line name.

Rule 1.  A word is the name of a service; or a shell pattern for names; or GROUP:NAME, where GROUP, NAME or both may be
         patterns, for services of a group.  A name counts before anything else that it could be.
Rule 2.  What is found comes in the order of the file, once, however often it was named.
Rule 3.  A word that names nothing is an error, that of a pattern as well.
"""

from __future__ import annotations

from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_PATTERN = "*?["  # what makes a word a pattern


def select(
    words: Iterable[str], names: Iterable[str], groups: Mapping[str, Collection[str]]
) -> tuple[list[str], list[str]]:
    """The services that `words` name, and an error for each word that names none.

    `names`: of all services, in the order of the file; `groups`: their names by the group's.
    """
    places = {name: place for place, name in enumerate(names)}
    found: set[str] = set()
    errors = []
    for word in dict.fromkeys(words):
        named = {word} if word in places else {*_matching(word, places, pattern_only=True), *_of_groups(word, groups)}
        named &= places.keys()
        found |= named
        if not named:
            errors.append(_unknown(word, groups))
    return sorted(found, key=places.__getitem__), errors


def _of_groups(word: str, groups: Mapping[str, Collection[str]]) -> list[str]:
    """What GROUP:NAME stands for.  Each colon may be the one: names may have some, too."""
    found = []
    at = word.find(":")
    while at >= 0:
        for group in _matching(word[:at], groups):
            found += _matching(word[at + 1 :], groups[group])
        at = word.find(":", at + 1)
    return found


def _matching(word: str, names: Collection[str], pattern_only: bool = False) -> list[str]:
    """The names that are this one, or else match it; `pattern_only`: none where it is no pattern."""
    if not pattern_only and word in names:
        return [word]
    if not any(char in word for char in _PATTERN):
        return []
    from fnmatch import fnmatchcase  # rarely needed

    return [name for name in names if fnmatchcase(name, word)]


def _unknown(word: str, groups: Mapping[str, Collection[str]]) -> str:
    """Why a word names nothing."""
    shown = shown_name(word) or "''"
    group, colon, rest = word.partition(":")
    if colon and group in groups:
        verb = "matches" if any(char in rest for char in _PATTERN) else "is named"
        return f"no service of the group {shown_name(group)} {verb} {shown_name(rest)}"
    if any(char in word for char in _PATTERN):
        return f"no service matches {shown}"
    if colon:
        return f"no group is named {shown_name(group)}"
    if word in groups:
        return f"no service is named {shown}; the services of that group are {shown}:*"
    return f"no service is named {shown}"
