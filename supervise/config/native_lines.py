"""The lines of a supervise.conf, as sections.py has them, for who does not read all of them.

What lives here: what is a header and what a key.  What does not: what follows where a line is neither.
"""

from __future__ import annotations

from supervise.config.sections import LINE_LIMIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from supervise.config.sources import Section


def title_of(line: str) -> str | None:
    """The title that a header has, as sections.py has it; None if it is none."""
    line = line.rstrip()
    title = line[1:-1]
    if not line.endswith("]") or not title or title != title.strip() or "]" in title or len(line) > LINE_LIMIT:
        return None
    return title


def key_and_text(line: str) -> tuple[str, str | None]:
    """The key of a line, or its first word; and the text behind the sign, None if there is none."""
    colon, equals = line.find(":"), line.find("=")
    end = min(colon, equals) if colon >= 0 and equals >= 0 else max(colon, equals)
    return (line[:end].rstrip(), line[end + 1 :].strip()) if end >= 0 else (line.split(None, 1)[0], None)


def entries(section: Section) -> Iterator[tuple[int, str, str, str | None]]:
    """The lines of a section that say something: number, line, key, text; the key is empty where none can count."""
    for number, whole in section.lines():
        line = whole.rstrip()
        if not line or line.lstrip()[0] in "#;" or (line[0] == "[" and number == section.line):
            continue
        if line[0] in " \t" or "\0" in line:
            yield number, whole, "", None
        else:
            yield number, whole, *key_and_text(line)
