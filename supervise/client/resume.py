"""Starting a supervise where none runs any more, which goes on as the last one did; and saying what starts one.

`supervise -p STATUS_DIR --resume` reads in the state what that was, and believes it only if no other user can have
written it (programs/resumption.py).
"""

from __future__ import annotations

import os
import sys

from supervise.client.errors import ClientError, NotAStatusDir, NotRunning, SystemRefused, cannot, typed
from supervise.protocol.names import CONTROL, STATUS
from supervise.protocol.text import shown_name
from supervise.system.installed import PACKAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.client.service import Service

_FATAL = "supervise: fatal: "


def gone(service: Service, what: str) -> ClientError:
    """The exception for a verb that needs a supervise where none runs; it says what starts one.

    Where none has ever run, that is what is wrong.
    """
    places = [f"{service.path}/{name}" for name in (CONTROL, STATUS)]
    if not any(os.path.lexists(place) and not os.path.isdir(place) for place in places):
        return NotAStatusDir(f"{cannot(what, service.path)}: not a status directory")
    return NotRunning(f"{_gone(service, what)}; {_way(service, *service.recorded_state())}")


def _gone(service: Service, what: str) -> str:
    return f"{cannot(what, service.path)}: supervise not running"


def _way(service: Service, state: dict[str, Any] | None, damaged: str) -> str:
    """What starts a supervise here."""
    options = state["options"] if state else None
    if options and options["foreground"]:
        return "it was started with --foreground: start it again as that was done"
    if options:
        return f"to start one: svc start {typed(service.path)}"
    return f"{damaged and f'{damaged}; '}to start one: supervise -p {typed(service.path)} -f COMMAND"


def resume(service: Service) -> list[str]:
    """Start a supervise that goes on as the last one here did, and wants what that wanted; the lines that it said.

    It waits until the program of the service has been executed, if that is wanted up, and no longer.  Raises NotRunning
    where it cannot be known what is to be started, or is for somebody else to do, and SystemRefused.
    """
    state, damaged = service.recorded_state()
    options = state["options"] if state else None
    if not options or options["foreground"]:
        raise NotRunning(f"{_gone(service, 'start')}; {_way(service, state, damaged)}")
    import subprocess

    # As __main__.py is to be called: by this Python, which has the package, and without the caller's PYTHON* variables.
    words = [_python(), "-I", "-S", os.path.join(PACKAGE, "__main__.py"), "-p", os.path.abspath(service.path)]
    unable = f"{_gone(service, 'start')}, and cannot be started: "
    try:
        done = subprocess.run(
            [*words, "--resume"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
    except OSError as why:
        raise SystemRefused(f"{unable}cannot execute {shown_name(words[0])}: {why.strerror}") from None
    lines = done.stderr.decode("utf-8", "backslashreplace").splitlines()
    fatal = lines.pop() if done.returncode and lines else f"it ended with {done.returncode}"
    if done.returncode and not service.supervised():  # else another was faster
        raise SystemRefused(f"{unable}{fatal.replace(_FATAL, '', 1)}")
    return lines


def _python() -> str:
    """The path of Python's interpreter; where a program has it built in, sys.executable is that program."""
    name = os.path.basename(sys.executable or "")
    return sys.executable if name.startswith(("python", "pypy")) else os.path.join(sys.exec_prefix, "bin", "python3")
