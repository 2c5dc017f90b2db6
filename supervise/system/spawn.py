"""Children of supervise: spawning, signalling and reaping them.

Spawning is posix_spawn(3), which in glibc is clone with vfork semantics: the interpreter's page tables are
never copied (with a plain fork a restart takes half as long again), and the call returns when the program
has been executed or has failed to be.
"""

from __future__ import annotations

import posix as os
import stat

from supervise.protocol.exitstatus import SIGNAL_NAMES, ExitStatus, from_wait_status
from supervise.protocol.filenames import DEFPATH, fsdecode, join
from supervise.protocol.text import quoted, shown_name
from supervise.system.errors import lost_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping, Sequence
    from typing import Any

    Descriptor = tuple[Any, ...]
else:
    import _signal  # without the enums of `signal`, which cost every supervise 0.8 MB

# What the loop handles, and an upgrade keeps waiting meanwhile.
HANDLED = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGHUP, _signal.SIGQUIT, _signal.SIGCHLD)

# The programs that supervise runs beside the service and has not reaped yet: the pid, which is that of a session, too,
# and the variable HELPER that what has come from it bears, where it was given one.
HELPERS: dict[int, bytes] = {}
HELPER = b"SUPERVISE_HELPER"

NUMBERS = {name: getattr(_signal, "SIG" + name) for name in SIGNAL_NAMES if hasattr(_signal, "SIG" + name)}


def inherit(ours: int, its: int) -> Descriptor:
    """Give the program our descriptor `ours` as its descriptor `its`."""
    return (os.POSIX_SPAWN_DUP2, ours, its)


def append_to(path: str, flags: int, mode: int, its: int) -> Descriptor:
    """Give the program a file as its descriptor `its`, opened when it is spawned."""
    return (os.POSIX_SPAWN_OPEN, its, path, flags, mode)


def spawn(
    argv: list[str],
    env: Mapping[bytes, bytes],
    ignored: Sequence[int],
    descriptors: Sequence[Descriptor],
    session: bool = False,
) -> int:
    """Spawn a program, found as execvp(3) finds it; its pid.

    It gets 0, 1 and 2 as they are here but for the `descriptors`, and no other; its own process group (its own
    session if `session`, and a place among HELPERS); no blocked signals, and the signals that are `ignored` here at
    their defaults; those that are handled here the kernel resets.  Raises OSError if a file cannot be opened or the
    program executed.
    """
    if session:
        pid = os.posix_spawnp(
            argv[0], argv, env, file_actions=descriptors, setsid=True, setsigdef=ignored, setsigmask=()
        )
        HELPERS[pid] = env.get(HELPER, b"")
        return pid
    return os.posix_spawnp(argv[0], argv, env, file_actions=descriptors, setpgroup=0, setsigdef=ignored, setsigmask=())


def ignored_signals() -> list[int]:
    """The signals that this process ignores, by Python's choice or its caller's."""
    return [number for number in _signal.valid_signals() if _signal.getsignal(number) == _signal.SIG_IGN]


def reap(child: int = -1) -> tuple[int, ExitStatus] | None:
    """Reap a child that has ended (any, or this one): its pid and exit status, or None.  Never waits."""
    try:
        pid, status = os.waitpid(child, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, from_wait_status(status)) if pid else None


def send(pid: int, name: str, group: bool) -> str | None:
    """Send a signal to a child that has not been reaped, or to its process group; the problem, or None."""
    try:
        if group:
            os.killpg(pid, NUMBERS[name])
        else:
            os.kill(pid, NUMBERS[name])
    except OSError as why:
        return f"cannot send {name} to pid {pid}: {why.strerror}"
    return None


def search_path(env: Mapping[bytes, bytes]) -> list[bytes]:
    """The folders in which execvp(3) looks for a program, with this environment."""
    return [place or b"." for place in env.get(b"PATH", DEFPATH.encode()).split(b":")]


def _is_closed(path: str) -> bool:
    """Whether nobody here can know whether there is such a file."""
    try:
        os.stat(path)
    except PermissionError:
        return True
    except OSError:
        pass
    return False


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def why_not(program: str, error: OSError, env: Mapping[bytes, bytes]) -> str:
    """Explain why a program cannot be executed; looks at it once more for that.

    `env` is the program's; what is relative is looked for from the current directory.
    """
    found = program
    if "/" not in program:
        paths = [join(fsdecode(place), program) for place in search_path(env)]
        found = next((path for path in paths if _is_file(path)), "")
        if not found:
            closed = isinstance(error, PermissionError) and next(filter(_is_closed, paths), "")
            more = f", as far as that may be searched: {shown_name(closed)}: {error.strerror}" if closed else ""
            return f"{shown_name(program)}: not found in PATH{more}"
    shown = shown_name(found)
    try:
        mode = os.stat(found).st_mode
        if stat.S_ISDIR(mode):
            return f"{shown}: is a directory"
        if isinstance(error, FileNotFoundError):
            with open(found, "rb") as script:
                head = script.readline(256)
            if head.startswith(b"#!"):
                interpreter = head[2:].strip(b" \t\n").decode("utf-8", "surrogateescape")
                more = " (its lines end in CR LF)" if interpreter.endswith("\r") else ""
                more += lost_directory(interpreter)
                return f"{shown}: its interpreter does not exist: {quoted(interpreter)}{more}"
            return f"{shown}: its loader does not exist"
        if isinstance(error, PermissionError) and not mode & 0o111:
            return f"{shown}: not executable"
        if error.errno == 8:
            return f"{shown}: not a program: neither a binary for this machine nor a script with a #! line"
    except OSError as why:
        return f"{shown}: {why.strerror}{lost_directory(found)}"
    return f"{shown}: {error.strerror}"
