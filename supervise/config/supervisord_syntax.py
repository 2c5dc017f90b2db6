"""The syntax of a supervisord.conf: its sections, keys and values, with the lines that they stand in.

What lives here: text.  What does not: what the keys mean (supervisord.py).  The facts are those of supervisor 4, which
has Python's configparser read the file.

Rule 1.  `[title]`, with anything behind it; `key = value` or `key : value`, the key in any case.  A line that is
         indented further than the key above it goes on with its value, whatever it holds; blank lines do not end that.
Rule 2.  A `;` or `#` at the beginning of a line, or behind a blank, begins a comment.  There are no quotes that would
         keep it from that, not in a command either.
Rule 3.  What is said again counts, also in a section that comes again, in another file or not.  The keys of [DEFAULT]
         count in all sections that do not have them.
"""

from __future__ import annotations

from supervise.config.definition import Entry
from supervise.config.values import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from supervise.config.sources import Section, Source

_COMMENTS = ";#"


class Block:
    """A section: its title, the number of its header's line, its keys."""

    __slots__ = ("title", "source", "line", "keys")

    def __init__(self, title: str, source: Source, line: int) -> None:
        self.title = title
        self.source = source
        self.line = line
        self.keys: dict[str, Entry] = {}


def title_of(line: str) -> str | None:
    """The title that a header has; None if it is none."""
    line = _without_comment(line).strip()
    end = line.rfind("]")
    return line[1:end] if line[:1] == "[" and end > 1 else None


def blocks(section: Section, complain: Callable[[int, str], None]) -> list[Block]:
    """The sections that stand in what begins with a header and ends before the next that is not indented.

    Those are more than one only where headers are indented.  A line that is neither a header nor a key is complained
    about; so is one that stands before any header.
    """
    found: list[Block] = []
    indent = 0
    values: list[str] | None = None  # of the key that a line may go on with
    for number, line in section.lines():
        bare = _without_comment(line)
        text = bare.strip()
        if not text:
            if values is not None and bare == line:
                values.append("")
            continue
        at = len(line) - len(line.lstrip())
        if values is not None and at > indent:
            values.append(text)
            continue
        indent = at
        title = title_of(text) if text[0] == "[" else None
        if title is not None:
            found.append(Block(title, section.source, number))
            values = None
            continue
        key, value = _key_and_value(text)
        if not key:
            complain(number, f"neither `key = value` nor a section header: {show(text)}")
        elif not found:
            complain(number, f"outside of any section: {show(text)}")
        else:
            values = [value]
            found[-1].keys[key] = _Growing(values, section.source, number)
    for block in found:
        for entry in block.keys.values():
            assert isinstance(entry, _Growing)
            entry.text = "\n".join(entry.values).rstrip()
    return found


class _Growing(Entry):
    """An entry whose value goes on."""

    __slots__ = ("values",)

    def __init__(self, values: list[str], source: Source, line: int) -> None:
        super().__init__("", source, line)
        self.values = values


def _key_and_value(text: str) -> tuple[str, str]:
    colon, equals = text.find(":"), text.find("=")
    end = min(colon, equals) if colon >= 0 and equals >= 0 else max(colon, equals)
    return (text[:end].strip().lower(), text[end + 1 :].strip()) if end >= 0 else ("", "")


def _without_comment(line: str) -> str:
    if ";" not in line and "#" not in line:
        return line
    for at, char in enumerate(line):
        if char in _COMMENTS and (at == 0 or line[at - 1].isspace()):
            return line[:at]
    return line


def split_variables(text: str) -> Iterator[tuple[str, str]]:
    """Split `KEY="val",KEY2=val2`: each value is as it stands, or what is between two quotes.  Raises ValueError."""
    at, end = 0, len(text)
    while True:
        while at < end and (text[at].isspace() or text[at] == ","):
            at += 1
        if at == end:
            return
        sign = text.find("=", at)
        if sign < 0 or "," in text[at:sign]:
            raise ValueError("no = behind the name of a variable")
        name = text[at:sign].strip()
        at = sign + 1
        while at < end and text[at].isspace():
            at += 1
        quote = text[at : at + 1]
        if quote and quote in "'\"":
            close = text.find(quote, at + 1)
            if close < 0:
                raise ValueError(f"no closing {quote}")
            value, at = text[at + 1 : close], close + 1
            while at < end and text[at].isspace():
                at += 1
            if at < end and text[at] != ",":
                raise ValueError(f"no comma behind a closing {quote}")
        else:
            close = text.find(",", at)
            close = end if close < 0 else close
            value, at = text[at:close].strip(), close
        yield name, value
