"""`supervise -p STATUS_DIR --resume`, with no command: what was supervised there before, as its state has it.

A command is run that a file names.  So the state must be one that only this user and root can have written, in a
directory that others cannot change (trust.py), and of this very directory.
"""

from __future__ import annotations

import os

from supervise.config.from_descriptor import descriptor
from supervise.protocol.names import STATE
from supervise.protocol.options import Options
from supervise.protocol.state_reader import StateError, decode
from supervise.protocol.text import shown_name
from supervise.system.errors import lost_directory
from supervise.system.statusdir import StatusDir, StatusDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class NotResumable(Exception):
    """There is nothing that could be resumed; the message says why, and what to type."""


def resumed(path: str, conf: str | None) -> tuple[Options, str]:
    """The options of the supervise that was at `path`, a status directory, and its working directory.

    `conf`: the configuration that was typed, which takes the place of the recorded one.  What is relative of both is
    made absolute, if that directory is another than this process's.  Raises NotResumable: there is nothing that could
    be resumed; OSError: it may not be believed, or cannot be read.
    """
    fields = _state(path)
    shown = shown_name(path)
    said = fields["options"]
    if said is None:
        raise NotResumable(f"cannot resume {shown}: its state does not say how it was started; {_anew(path)}")
    place = said["directory"]
    if place is None:
        raise NotResumable(f"cannot resume {shown}: its state does not name a working directory; {_anew(path)}")
    if not all(isinstance(word, str) for word in said["script"]):
        raise NotResumable(f"cannot resume {shown}: its state is damaged: script; {_anew(path)}")
    recorded, named = said["conf"], said["conf_named"]
    if conf is None and descriptor(recorded) is not None:
        raise NotResumable(
            f"cannot resume {shown}: its configuration was {shown_name(recorded)}; name a file: {_again(path)} -F FILE"
        )
    if not _is_here(place):
        path = _absolute(path)
        conf = conf if conf is None or descriptor(conf) is not None else _absolute(conf)
    options = Options(
        path,
        fields["command"],
        conf=recorded if conf is None else conf,
        conf_named=named or conf is not None,
        script=said["script"],
        reset=said["reset"],
        resume=True,
        exit_with_service=said["exit_with_service"],
        defined=conf is None and said["defined"],
    )
    return options, place


def _absolute(path: str) -> str:
    """Raises OSError where it begins in a working directory that was removed."""
    if path.startswith("/"):
        return path
    try:
        return os.path.join(os.getcwd(), path)
    except FileNotFoundError as why:
        raise OSError(f"cannot resume: cannot use {shown_name(path)}: {why.strerror}{lost_directory(path)}") from None


def _again(path: str) -> str:
    from supervise.client.errors import typed  # which most resumptions can do without

    return f"supervise -p {typed(path)} --resume"


def _anew(path: str) -> str:
    from supervise.client.errors import typed  # which most resumptions can do without

    return f"give the command: supervise -p {typed(path)} -f COMMAND"


def _state(path: str) -> dict[str, Any]:
    shown = shown_name(path)
    if not os.path.lexists(f"{path}/{STATE}"):
        raise NotResumable(
            f"cannot resume {shown}: there is no {shown}/{STATE}{lost_directory(path)}; {_anew(path)}"
        )
    try:
        directory = StatusDir(path)
        try:
            data = directory.read(STATE)
            here = directory.identity()
        finally:
            os.close(directory.fd)
        if data is None:
            raise NotResumable(f"cannot resume {shown}: there is no {shown}/{STATE}; {_anew(path)}")
        fields = decode(data)
    except StatusDirError as why:
        raise OSError(f"cannot resume {shown}: {why}") from None
    except StateError as why:
        raise NotResumable(f"cannot resume {shown}: cannot use {shown}/{STATE}: {why}; {_anew(path)}") from None
    if fields["directory"] != here:
        raise NotResumable(f"cannot resume {shown}: {shown}/{STATE} is from another directory; {_anew(path)}")
    return fields


def enter(place: str, env: dict[bytes, bytes]) -> None:
    """Change to the working directory that a supervise had, and tell it so.  Raises OSError."""
    if _is_here(place):
        return
    try:
        os.chdir(place)
    except OSError as why:
        text = f"cannot change to {shown_name(place)}, where it was started: {why.strerror}"
        raise OSError(f"cannot resume: {text}") from None
    if b"PWD" in env:
        env[b"PWD"] = os.fsencode(place)


def _is_here(place: str) -> bool:
    try:
        return os.path.samefile(place, ".")
    except OSError:
        return False
