"""Which services the words of a command line name: those of svall, and of the programs that look at what is there.

What lives here: words, names and groups.  What does not: where names and groups come from.

Rule 1.  A word is the name of a service; or a shell pattern for names; or GROUP:NAME, where GROUP, NAME or both may be
         patterns, for services of a group.  A name counts before anything else that it could be.
Rule 2.  A pattern is `*`, `?` and `[...]`, as the shell has them: a dot at the beginning of a name is matched by a dot
         only.  But `GROUP:*` is the whole group.
Rule 3.  A word that names nothing is an error, that of a pattern as well.
"""

from __future__ import annotations

from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

_EMPTY = "''"
_PATTERN = "*?["  # what makes a word a pattern


def select(
    words: Iterable[str], names: Iterable[str], groups: Mapping[str, Collection[str]]
) -> tuple[list[str], list[str]]:
    """The services that `words` name, each once, in the order of `names`, and an error for each word that names none.

    `names`: of all services, in the order of the file; `groups`: their names by the group's.
    """
    places = {name: place for place, name in enumerate(names)}
    found: set[str] = set()
    errors = []
    for word in dict.fromkeys(words):
        named = places.keys() & selected(word, places, groups)
        found |= named
        if not named:
            errors.append(unknown(word, groups))
    return sorted(found, key=places.__getitem__), errors


def selected(word: str, names: Collection[str], groups: Mapping[str, Collection[str]]) -> list[str]:
    """The services that one word names: those of groups in the order of these, then others in the order of `names`."""
    if word in names:
        return [word]
    found = [
        name
        for group_word, member in splits(word)
        for group in matching(group_word, groups)
        for name in (groups[group] if member == "*" else matching(member, groups[group]))
    ]
    return list(dict.fromkeys([*found, *(matching(word, names) if is_pattern(word) else ())]))


def splits(word: str) -> list[tuple[str, str]]:
    """A word as GROUP and NAME.  Each colon may be the one between them: names may have some, too."""
    return [(word[:at], word[at + 1 :]) for at, char in enumerate(word) if char == ":"]


def is_pattern(word: str) -> bool:
    """Whether a word that is no name may match some."""
    return any(char in word for char in _PATTERN)


def matching(word: str, names: Collection[str]) -> list[str]:
    """The names that are this one, or else match it, in their order."""
    if word in names:
        return [word]
    if not is_pattern(word):
        return []
    from fnmatch import fnmatchcase  # rarely needed

    hidden = word[:1] == "."
    return [name for name in names if (hidden or name[:1] != ".") and fnmatchcase(name, word)]


def unknown(word: str, groups: Collection[str]) -> str:
    """Why a word names nothing."""
    shown = shown_name(word) or _EMPTY
    group, colon, rest = word.partition(":")
    if colon and group in groups:
        verb = "matches" if is_pattern(rest) else "is named"
        return f"no service of the group {shown_name(group)} {verb} {shown_name(rest) or _EMPTY}"
    if is_pattern(word):
        return f"no service matches {shown}"
    if colon:
        return f"no group is named {shown_name(group) or _EMPTY}"
    if word in groups:
        return f"no service is named {shown}; the services of that group are {shown}:*"
    return f"no service is named {shown}"
