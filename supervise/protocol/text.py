"""Messages of the programs on standard error: one printable line, whatever is in it.

supervise: fatal: cannot lock status/app/lock: held by pid 4711
"""

from __future__ import annotations

import posix as os

from supervise.protocol.filenames import basename


def one_line(text: str) -> str:
    """Replace what could end a line or disturb a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shown_name(name: str) -> str:
    """Show a name so that no other is shown alike: what cannot be seen is escaped, and so is a backslash."""
    text = one_line(name.replace("\\", "\\\\"))
    bare = text.strip(" ")
    if bare == text:
        return text
    before = len(text) - len(text.lstrip(" "))
    return "\\x20" * before + bare + "\\x20" * (len(text) - len(bare) - (before if bare else len(text)))


def say(program: str, severity: str, text: str) -> None:
    """Write a message to standard error, `PROGRAM: SEVERITY: TEXT`; nothing where that is closed."""
    try:
        os.write(2, f"{program}: {severity}: {one_line(text)}\n".encode("utf-8", "backslashreplace"))
    except OSError:
        pass


def origin(why: BaseException) -> str:
    """Describe an exception and the line it came from, in one line."""
    trace = why.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" at {basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}" if trace else ""
    return f"{type(why).__name__}: {why}{place}"
