"""Names of services: which are usable, how many a section makes, and what `%(...)s` stands for in what it says.

What lives here: text, the same for all dialects.  What does not: where a dialect has its keys.

Rule 1.  `%(NAME)s` stands for what NAME stands for, a number also as `%(NAME)02d` and the like, as Python formats it;
         `%%` is a %, and nothing else may follow one.  What was put in is not looked at again.
Rule 2.  A section makes `numprocs` services, with the numbers from `numprocs_start` on: `%(process_num)d`.  Each is
         named by `process_name`, in which that number must be where there are several.
Rule 3.  A name is a directory's, and a word on a command line: it has no `/`, no blank, no control character, none of
         what stands for several names there (`* ? [ ] : ,`), and does not begin with `.` or `-`.
"""

from __future__ import annotations

import posix as os

from supervise.config.expand import BadText, usable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Union

    Value = Union[str, int]

LONGEST = 255  # bytes of a name, as file systems have it
MOST = 10_000  # services that one section makes
LARGEST = 999_999_999  # any other number
_NO_NAMES = ("global",)  # sections that are no service's
_FORBIDDEN = "/:,*?[]"
_FLAGS, _KINDS = "-+ 0#", "sdiuxXo"
_WIDEST = 3  # digits of a width


class Known:
    """What the names in `%(...)s` stand for; `ENV_X` for the variable X of `environ`, if `variables` has it not."""

    __slots__ = ("names", "environ", "variables")

    def __init__(
        self,
        names: Mapping[str, Value],
        environ: Mapping[bytes, bytes] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.names = names
        self.environ = os.environ if environ is None else environ
        self.variables = variables or {}

    def find(self, name: str) -> Value | None:
        """What a name stands for; None if it is not known."""
        if name in self.names:
            return self.names[name]
        if not name.startswith("ENV_"):
            return None
        name = name[len("ENV_") :]
        if name in self.variables:
            return self.variables[name]
        found = self.environ.get(name.encode("utf-8", "surrogateescape"))
        return None if found is None else found.decode("utf-8", "surrogateescape")


def expand_all(text: str, known: Known) -> str:
    """Expand all of a text (rule 1).  Raises BadText, whose message does not quote the text."""
    return _expanded(text, known, None)


def expand_some(text: str, known: Known, escaped: Callable[[str], str]) -> str:
    """Expand what is known, `escaped`, and leave anything else as it is, for whoever expands the rest."""
    return _expanded(text, known, escaped)


def _expanded(text: str, known: Known, escaped: Callable[[str], str] | None) -> str:
    found: list[str] = []
    start = 0
    while (at := text.find("%", start)) >= 0:
        found.append(text[start:at])
        try:
            value, start = _one(text, at, known)
            if escaped:
                value = text[at:start] if text[at:start] == "%%" else escaped(value)
        except BadText:
            if not escaped:
                raise
            value, start = "%", at + 1
        found.append(value)
    return "".join(found) + text[start:]


def _one(text: str, at: int, known: Known) -> tuple[str, int]:
    """What the `%` that is there begins stands for, and where the text goes on.  Raises BadText."""
    if text[at + 1 : at + 2] == "%":
        return "%", at + 2
    if text[at + 1 : at + 2] != "(":
        raise BadText("a % that is neither %% nor the beginning of %(...)s")
    end = text.find(")", at)
    if end < 0:
        raise BadText("no ) behind %(")
    name, at = text[at + 2 : end], end + 1
    while text[at : at + 1] and text[at] in _FLAGS:
        at += 1
    for point in ("", "."):
        if point and text[at : at + 1] != point:
            continue
        start = at = at + len(point)
        while text[at : at + 1].isascii() and text[at : at + 1].isdigit():
            at += 1
        if at - start > _WIDEST:
            raise BadText("too wide a %(...)")
    kind = text[at : at + 1]
    if not kind or kind not in _KINDS:
        raise BadText("no s or d behind %(...)")
    value = known.find(name)
    if value is None:
        if name.startswith("ENV_") and usable(name[len("ENV_") :]):
            raise BadText(f"no variable {name[len('ENV_') :]} in the environment")
        raise BadText("a name in %(...)s that is none of " + ", ".join((*known.names, "ENV_...")))
    if kind != "s" and isinstance(value, str):
        raise BadText(f"{name} is no number, and has a {kind} behind it")
    return ("%" + text[end + 1 : at + 1]) % value, at + 1


def bad_name(name: str) -> str:
    """Why a text is no usable name of a service or a group (rule 3); empty if it is."""
    if not name:
        return "is empty"
    if len(name.encode("utf-8", "surrogateescape")) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    if name[0] in ".-":
        return f"begins with {name[0]!r}"
    if name in _NO_NAMES:
        return "is what the defaults of all are called"
    for char in name:
        if char.isspace():
            return "has a blank in it"
        if char < " " or "\x7f" <= char < "\xa0":
            return "has a control character in it"
        if char in _FORBIDDEN:
            return f"has a {char!r} in it"
    return ""


def whole_number(text: str, most: int = LARGEST) -> int:
    """A number with an optional sign.  Raises BadText."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if not (digits.isascii() and digits.isdigit()):
        raise BadText("is not a whole number")
    digits = digits.lstrip("0") or "0"
    if len(digits) > len(str(most)) or int(digits) > most:
        raise BadText(f"is less than -{most}" if text[0] == "-" else f"is more than {most}")
    return -int(digits) if text[0] == "-" else int(digits)


def numbers(count: int, start: int, process_name: str) -> range:
    """The numbers of the services that a section makes (rule 2).  Raises BadText."""
    if count < 0 or start < 0:
        raise BadText("is less than 0")
    if count > MOST:
        raise BadText(f"is more than {MOST}")
    if count > 1 and "%(process_num)" not in process_name:
        raise BadText("takes a process_name with %(process_num)d in it, or all would have one name")
    return range(start, start + count)
