"""The exceptions of supervise.client.

Those that hold a status, DamagedState, DidNotStayUp and TimeLimit, are beside that, in status.py.

Each message is one whole sentence part, such as `cannot read status/app: Permission denied`, to stand after
`svc: fatal: `.  Each class has the `exit_code` of a program that ends because of it: 100 for what the caller got
wrong, 111 for what the system refuses, 99 for a time limit, 1 for what the service or its configuration got wrong.
"""

from __future__ import annotations

import errno

from supervise.protocol.exitcodes import FAILED, SYSTEM, USAGE
from supervise.protocol.text import shell_word, shown_name


class ClientError(Exception):
    """Any error of supervise.client."""

    exit_code = SYSTEM


class UnknownService(ClientError):
    """There is no service by that name or path; `names` are those that exist."""

    exit_code = USAGE

    def __init__(self, message: str, names: list[str]) -> None:
        super().__init__(message)
        self.names = names


class NotAStatusDir(ClientError):
    """Not a directory, or one in which no supervise has ever run."""

    exit_code = USAGE


class DamagedRecord(ClientError):
    """`status` is not what a supervise writes; `missing`: there is none (yet, if a supervise is just starting)."""

    def __init__(self, message: str, missing: bool = False) -> None:
        super().__init__(message)
        self.missing = missing


class BadLetters(ClientError, ValueError):
    """Letters that mean nothing, or cannot be meant: they spell a word, or contradict each other."""

    exit_code = USAGE


class NoPermission(ClientError):
    """The directory, or a file in it, is somebody else's."""


class NotRunning(ClientError):
    """No supervise runs that could obey."""


class SystemRefused(ClientError):
    """Any other answer of the system, such as too many open files, or no inotify watch left."""


class CannotComeTrue(ClientError):
    """A condition needs a supervise, which has given up or ended: `why`, the end of the message."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")
        self.why = why


class ConfigurationProblem(ClientError):
    """A configuration was read, and something in it does not count."""

    exit_code = FAILED


def cannot(what: str, path: str) -> str:
    """The beginning of a message: the verb `what`, as svc has it, could not be done to the service at `path`."""
    verb, _, detail = what.partition(" ")
    shown = shown_name(path)
    if verb == "once":
        return f"cannot run {shown} once"
    if verb == "signal":
        return f"cannot send {detail} to {shown}"
    if verb == "alarm":
        return f"cannot switch alarms {detail} for {shown}"
    return f"cannot {what} {shown}"


def typed(path: str) -> str:
    """A path as a shell takes it for one, where a message names a command line that would help."""
    return shell_word(path if path[:1] != "-" else f"./{path}")


def refused(what: str, why: OSError) -> ClientError:
    """The exception for an answer of the system; `what` could not be done."""
    kind = NoPermission if why.errno in (errno.EACCES, errno.EPERM) else SystemRefused
    return kind(f"cannot {what}: {why.strerror}")
