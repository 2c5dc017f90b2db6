"""%-expansion, and the `KEY="val",KEY2='val 2'` of `environment`, in supervisord's syntax.

What lives here: text.  What does not: where the names that are expanded get their values from.

Rule 1.  `%(NAME)s` stands for what NAME stands for, `%%` for a %, and nothing else may follow a %.
Rule 2.  What was expanded is not looked at again: neither a % nor a quote nor a comma in it means anything.
         (supervisor expands first and splits then, so that a quote in a variable breaks the line.)
Rule 3.  In `environment`, blanks around names, signs and values do not count, nor do commas too many.  A value in
         quotes is taken as it is, but that in double quotes `\\"` stands for " and `\\\\` for \\.  A value without
         quotes goes on to the next comma, and may hold anything but blanks and quotes.
Rule 4.  No message quotes what it is about, for that may be a password; a name that could be one is told.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME_MARKS = "_.-"
_BLANKS = " \t"


class BadText(ValueError):
    """A text that cannot be expanded or split; the message says why."""


class Names:
    """The names that `%(NAME)s` can expand to.  An empty text is one that is not known."""

    __slots__ = ("here", "program", "host", "environ")

    def __init__(
        self, here: str = "", program: str = "", host: str = "", environ: Mapping[bytes, bytes] | None = None
    ) -> None:
        self.here = here
        self.program = program
        self.host = host
        self.environ: Mapping[bytes, bytes] = environ or {}

    def find(self, name: str) -> str:
        """The text that a name expands to.  Raises BadText."""
        if name == "program_name":
            return self.program
        if name == "here" and self.here:
            return self.here
        if name == "host_node_name" and self.host:
            return self.host
        if name.startswith("ENV_"):
            variable = name[len("ENV_") :]
            value = self.environ.get(variable.encode("utf-8", "surrogateescape"))
            if value is not None:
                return value.decode("utf-8", "surrogateescape")
            if usable(variable):
                raise BadText(f"no variable {variable} in supervise's environment")
        if name in ("here", "host_node_name"):
            raise BadText(f"{name} is not known")
        raise BadText("a name in %(...)s that is none of here, program_name, host_node_name, ENV_...")


def without_names(text: str) -> str:
    """A text that can be expanded, with a letter in place of every `%(NAME)s`: what of it stands there as it is."""
    found = []
    start = 0
    while (at := text.find("%", start)) >= 0:
        named = text[at + 1 : at + 2] == "("
        found += [text[start:at], "x" if named else "%"]
        start = text.find(")", at) + 2 if named else at + 2
        if start <= at:
            return "".join(found)
    return "".join(found) + text[start:]


def expand(text: str, names: Names) -> str:
    """Expand every `%(NAME)s` in a text (rules 1 and 2).  Raises BadText."""
    found = []
    start = 0
    while (at := text.find("%", start)) >= 0:
        found.append(text[start:at])
        following = text[at + 1 : at + 2]
        if following == "%":
            found.append("%")
            start = at + 2
        elif following == "(":
            end = text.find(")", at)
            if end < 0:
                raise BadText("no ) behind %(")
            if text[end + 1 : end + 2] != "s":
                raise BadText("no s behind %(...)")
            found.append(names.find(text[at + 2 : end]))
            start = end + 2
        else:
            raise BadText("a % that is neither %% nor the beginning of %(...)s")
    return "".join(found) + text[start:]


def usable(name: str) -> bool:
    """Whether a name is one for an environment variable: letters, digits, `_`, `.` and `-`.

    The kernel would take anything without a `=`, but what else is found there is a quote that went astray.
    """
    return bool(name) and all((char.isascii() and char.isalnum()) or char in _NAME_MARKS for char in name)


def split_environment(text: str) -> list[tuple[str, str]]:
    """Split the value of `environment`: names, whatever they are, and unexpanded values (rule 3).  Raises BadText."""
    found: list[tuple[str, str]] = []
    at = _skip(text, 0, _BLANKS + ",")
    while at < len(text):
        sign, comma = text.find("=", at), text.find(",", at)
        if sign < 0 or 0 <= comma < sign:
            raise BadText(f"no = in the {_ordinal(len(found) + 1)} pair")
        name = text[at:sign].strip(_BLANKS)
        where = name if usable(name) else f"the {_ordinal(len(found) + 1)} pair"
        at = _skip(text, sign + 1, _BLANKS)
        quote = text[at : at + 1]
        if quote and quote in "'\"":
            value, at = _quoted(text, at, where)
            at = _skip(text, at, _BLANKS)
            if text[at : at + 1] not in ("", ","):
                raise BadText(f"{where}: no comma behind the closing {quote}")
        else:
            end = text.find(",", at)
            value, at = (text[at:], len(text)) if end < 0 else (text[at:end], end)
            value = value.rstrip(_BLANKS)
            if any(char in _BLANKS or char in "'\"" for char in value):
                raise BadText(f"{where}: a value with a blank or a quote in it must be in quotes")
        found.append((name, value))
        at = _skip(text, at, _BLANKS + ",")
    return found


def _quoted(text: str, at: int, where: str) -> tuple[str, int]:
    """The value whose opening quote is there, and what is the first place behind its closing one."""
    quote, at = text[at], at + 1
    kept: list[str] = []
    while at < len(text):
        char = text[at]
        if char == quote:
            return "".join(kept), at + 1
        if char == "\\" and quote == '"' and text[at + 1 : at + 2] in ('"', "\\"):
            at += 1
            char = text[at]
        kept.append(char)
        at += 1
    raise BadText(f"{where}: no closing {quote}")





def _skip(text: str, at: int, chars: str) -> int:
    while at < len(text) and text[at] in chars:
        at += 1
    return at


def _ordinal(number: int) -> str:
    return ("first", "second", "third")[number - 1] if number <= 3 else f"{number}th"
