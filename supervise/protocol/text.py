"""Messages of the programs on standard error: one printable line, whatever is in it.

supervise: fatal: cannot lock status/app/lock: held by pid 4711
"""

from __future__ import annotations

import posix as os

from supervise.protocol.filenames import basename


def one_line(text: str) -> str:
    """Replace what could end a line or disturb a terminal, each as `$'...'` of a shell has it.

    A byte that is no text where the locale's encoding is read, as names may hold, is `\\xff`; a character is never so.
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def _visible(char: str) -> str:
    if char.isprintable():
        return char
    if "\udc80" <= char <= "\udcff":
        return f"\\x{ord(char) - 0xDC00:02x}"
    return f"\\u{ord(char):04x}" if "\x80" <= char <= "\xff" else char.encode("unicode_escape").decode()


def shown_name(name: str) -> str:
    """Show a name, or a path, so that no other is shown alike: what cannot be seen is escaped, and a backslash."""
    text = one_line(name.replace("\\", "\\\\"))
    bare = text.strip(" ")
    if bare == text:
        return text
    before = len(text) - len(text.lstrip(" "))
    return "\\x20" * before + bare + "\\x20" * (len(text) - len(bare) - (before if bare else len(text)))


def quoted(text: str) -> str:
    """The same in quotes, for what was typed or stands in a file: any blanks in it are seen."""
    shown = one_line(text.replace("\\", "\\\\"))
    if "'" not in shown:
        return f"'{shown}'"
    return f'"{shown}"' if '"' not in shown else "'" + shown.replace("'", "\\'") + "'"


def shell_word(path: str) -> str:
    """A path as a shell takes it, for a command that a message names."""
    from shlex import quote  # which few messages need

    return quote(path) if path.isprintable() else "$'" + shown_name(path).replace("'", "\\'") + "'"


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
