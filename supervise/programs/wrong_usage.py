"""What is wrong with a command line: which word it is, and what was probably meant.  One line, for people.

What lives here: the words.  What does not: reading a command line that is right, which is docopt's.  docopt says no
more than that one does not match, and each release of it says that in another way; so the words are looked at here, by
the options that a usage text lists.
"""

from __future__ import annotations

import re

from supervise.protocol.text import quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_OPTIONS = re.compile(r"^ {2,8}(-.*?)(?: {2,}|$)", re.MULTILINE)  # `-t SECONDS` of `  -t SECONDS  at most so long`
_NEAR = 0.6


class Words:
    """A command line, taken apart as docopt does: the `options` given, the other `words`, and the first `problem`."""

    def __init__(self, usage: str, argv: list[str], options_first: bool = False) -> None:
        self.options: list[str] = []
        self.words: list[str] = []
        self.problem = ""
        self._values: dict[str, str] = {}  # option -> the name of its value; empty: it takes none
        self._names: dict[str, str] = {}  # option -> its longest name
        for listed in _OPTIONS.findall(usage.partition("Options:")[2]):
            names = [name.partition(" ") for name in listed.split(", ")]
            for name, _, value in names:
                self._values[name], self._names[name] = value, names[-1][0]
        self._left = list(argv)
        while self._left and not self.problem:
            word = self._left.pop(0)
            if word.startswith("--") and word != "--":
                self._long(word)
            elif word.startswith("-") and word not in ("-", "--"):
                self._short(word)
            elif word == "--" or options_first:
                self.words += self._left if word == "--" else [word, *self._left]
                break
            else:
                self.words.append(word)

    def _long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        found = [name] if name in self._values else [known for known in self._values if known.startswith(name)]
        if len(found) > 1:
            self.problem = f"{name} may be {listing(found)}"
        elif not found:
            short = f"-{name[2:3]}"
            near = hint(name, self._values) or (f", the nearest is {short}" if short in self._values else "")
            self.problem = f"there is no option {name}{near}"
        elif equals and not self._values[found[0]]:
            self.problem = f"{found[0]} takes no value, such as {quoted(value)}"
        else:
            self._given(found[0], [value] if equals else [])

    def _short(self, word: str) -> None:
        for at, letter in enumerate(word[1:], 2):
            option = f"-{letter}"
            if option not in self._values:
                self.problem = f"there is no option {option if len(word) == 2 else word}"
                self.problem += hint(f"-{word}" if len(word) > 2 else option.swapcase(), self._values)
                return
            rest = [word[at:]] if word[at:] else []
            self._given(option, rest)
            if self.problem or self._values[option]:
                return

    def _given(self, option: str, value: list[str]) -> None:
        if self._values[option] and not value:
            if not self._left:
                self.problem = f"{option} takes a value, {self._values[option]}"
                return
            self._left.pop(0)
        option = self._names[option]
        if option in self.options:
            self.problem = f"{option} is there twice"
        self.options.append(option)

    def given(self, among: Iterable[str]) -> list[str]:
        """Those of these options that were given."""
        return [option for option in among if option in self.options]

    def wrong(self, one_of: Iterable[str] = (), needed: bool = False, services: tuple[int, int] = (0, 0)) -> str:
        """What is wrong; empty where nothing was found.

        `one_of`: options of which no two go together, and one is `needed`.  `services`: how many words there are to be
        at least and at most (0: any number).
        """
        found = self.given(one_of)
        least, most = services
        if self.problem:
            return self.problem
        if len(found) > 1:
            return f"{found[0]} and {found[1]} exclude each other"
        if needed and not found:
            return f"one of {' '.join(one_of)} is missing"
        if len(self.words) < least:
            return "no service is named"
        if most and len(self.words) > most:
            return f"{quoted(self.words[most])} is one word too many"
        return ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The one of the known words that was probably meant; empty where none is near."""
    import difflib

    known = list(known)
    by_case = {one.lower(): one for one in reversed(known)}
    if word in known:
        return word
    found = difflib.get_close_matches(word.lower(), by_case, 1, _NEAR)
    # Two letters that changed places are half of a word of two.
    found = found or [one for one in by_case if sorted(one) == sorted(word.lower())]
    return by_case[found[0]] if found else ""


def hint(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that names it, such as `, the nearest is 'stop'`; empty where none is near."""
    found = nearest(word, known)
    if not found:
        return ""
    return f", the nearest is {found}" if found.startswith("-") else f", the nearest is {quoted(found)}"


def listing(words: Iterable[str]) -> str:
    """Some words as a person lists them: `a, b or c`."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last
