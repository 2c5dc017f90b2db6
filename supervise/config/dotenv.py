"""The file `.env` beside a Procfile: variables for all of its services, as honcho reads it.

What lives here: its syntax.  What does not: who gets the variables.

Rule 1.  `NAME=VALUE`, one a line; also `export NAME=VALUE`, unlike honcho.  Blanks outside of quotes
         do not count, a `#` outside of them begins a comment.  In single quotes everything is as it stands; in double
         quotes a backslash keeps `"` and itself, outside of quotes any character.  `\\n` and `\\t` that are left in a
         value are a line break and a tab.
Rule 2.  Any other line is ignored, with a warning unless it is blank or a comment; one with a quote that is not closed
         is an error.  What is said again counts, and so does an empty value, which honcho ignores.
Rule 3.  No message quotes a line, for that may be a password.
"""

from __future__ import annotations

from supervise.config.sources import Source, Unusable
from supervise.config.values import RESERVED
from supervise.protocol.filenames import dirname, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.config.sources import Report

NAME = ".env"
_EXPORT = "export"


def beside(path: str) -> str:
    """The file beside another, whether there is one or not."""
    return join(dirname(path), NAME)


def read_beside(main: Source, report: Report) -> tuple[dict[str, str], Source | None]:
    """The variables that the file beside `main` sets, and the file; nothing where there is none."""
    path = beside(main.path)
    try:
        source = Source.read(path)
    except Unusable as why:
        if not why.missing:
            report.error(path, 0, str(why))
        return {}, None
    found: dict[str, str] = {}
    for number, raw in enumerate(source.data.split(b"\n"), 1):
        line = raw.decode("utf-8", "surrogateescape").rstrip("\r")
        if not line.strip() or line.lstrip()[0] == "#":
            continue
        name, _, text = line.partition("=")
        name = name.strip()
        words = name.split(None, 1)
        name = words[1] if words[1:] and words[0] == _EXPORT else name
        if "=" not in line or not (name.isascii() and name.isidentifier()):
            report.warn(path, number, "not `NAME=VALUE`: ignored")
        elif name in RESERVED:
            report.warn(path, number, f"{name} is set by supervise: ignored")
        elif "\0" in line:
            report.error(path, number, f"{name}: holds a NUL byte")
        else:
            value = _value(text)
            if value is None:
                report.error(path, number, f"{name}: a quote is not closed, or a backslash has nothing behind it")
            else:
                found[name] = value
    return found, source


def _value(text: str) -> str | None:
    """The value that a text stands for (rule 1); None if a quote is not closed."""
    kept: list[str] = []
    quote = ""
    chars = iter(text)
    for char in chars:
        if char == "\\" and quote != "'":
            following = next(chars, "")
            if not following:
                return None
            kept.append(following if not quote or following in '"\\' else char + following)
        elif quote:
            if char == quote:
                quote = ""
            else:
                kept.append(char)
        elif char in "'\"":
            quote = char
        elif char == "#":
            break
        elif not char.isspace():
            kept.append(char)
    return None if quote else "".join(kept).replace("\\n", "\n").replace("\\t", "\t")
