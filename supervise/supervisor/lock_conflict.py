"""A start where another supervise has the lock: whether that one supervises something else, and what to do then.

For a message, and for nothing else; imported by a start that is refused.
"""

from __future__ import annotations

import shlex

from supervise.protocol.names import STATE
from supervise.protocol.state_reader import StateError, decode
from supervise.protocol.text import one_line, shell_word
from supervise.system.statusdir import NotBelieved, StatusDir, StatusDirError

_LONGEST = 200  # characters of a command


def what_else(directory: StatusDir, command: list[str]) -> str:
    """The end of the message, where the command is another; empty where it is the same, or nobody knows."""
    try:
        data = directory.read(STATE)
    except NotBelieved as why:
        data = why.data
    except StatusDirError:
        data = None
    try:
        fields = decode(data or b"")
    except StateError:
        return ""
    if fields["command"] == command or fields["machine"] == "ended":
        return ""
    shown = shlex.join(fields["command"])
    shown = shown if len(shown) <= _LONGEST else shown[: _LONGEST - 3] + "..."
    exit_it = f"svc exit {shell_word(directory.path)}"
    return f", which supervises: {one_line(shown)}; to run another command, end that first: {exit_it}"
