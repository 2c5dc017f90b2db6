"""Spawning by fork what posix_spawn(3) cannot: as another user, in another directory, with another umask, limited.

Theory of operation
-------------------

Rule 1.  A fork; its child makes the changes one after the other and executes the program.  What it could not do it
         says in a pipe that the exec closes: its end tells the parent that the program runs, or why it does not,
         when posix_spawn would.
Rule 2.  The child never gets into the code of the loop.  No handler of a signal runs in it (it would write into the
         pipe that wakes the parent): all are blocked from before the fork until they are at their defaults.
         No exception leaves it, and nothing that is buffered is written.
Rule 3.  What may take long, a directory on another machine or a user whom a name service knows, is looked up by the
         child.  So the parent never waits longer than PATIENCE, keeps nothing of the name service in its memory, and
         sees a changed entry at the next start.
Rule 4.  The user comes before the directory, and both before the program: what it could not find itself later is not
         found for it.
Rule 5.  The files of the user's choice that it prints to are opened by the child, for they may be on another machine,
         and before it becomes another user.
Rule 6.  Of its limits, what only root may set comes before the user, and what would limit the child itself last.
"""

from __future__ import annotations

import errno
import posix as os
import select
import time

from supervise.protocol.filenames import fsencode, join
from supervise.protocol.text import quoted, shown_name
from supervise.runtime.polling import pause
from supervise.system.credentials import Refused, become, ids
from supervise.system.descriptors import close
from supervise.system.errors import lost_directory
from supervise.system.spawn import HANDLED, HELPER, HELPERS, search_path, send, why_not
from supervise.system.trust import Untrusted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Mapping, Sequence

    from supervise.config.config import Config
    from supervise.system.spawn import Descriptor

    Output = tuple[int, str, str]  # its descriptor, the key and the path
else:
    import _signal  # see spawn.py

PATIENCE = 30.0  # seconds
_AGAIN = 0.01  # seconds until what the kernel refused is tried again
_LONGEST = 4000  # bytes of a message: less than PIPE_BUF, so it is written at once and read at once


def spawn_as(
    config: Config,
    argv: list[str],
    env: Mapping[bytes, bytes],
    ignored: Sequence[int],
    descriptors: Sequence[Descriptor],
    session: bool = False,
    terminal: bool = False,
    files: Sequence[int] = (),
    outputs: Sequence[Output] = (),
) -> int | str:
    """Spawn a program with the user, directory, umask and limits of a configuration: its pid, or the problem.

    The program is looked for with the PATH of `env`, which is given HOME, USER and LOGNAME of the user where the
    configuration does not set them.  Of descriptors only those that are inherited, in this order.  `terminal`: there
    may be a controlling terminal.  `files`: those of its descriptors that are given to its user; `outputs`: the files
    of the user's choice that it prints to.  The pid, or what went wrong.
    """
    try:
        reading, writing = os.pipe2(os.O_CLOEXEC)
    except OSError as why:
        return f"cannot make a pipe: {why.strerror}"
    blocked = _signal.pthread_sigmask(_signal.SIG_SETMASK, _signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            try:
                signals = (*HANDLED, *ignored)
                _child(writing, config, argv, dict(env), signals, descriptors, session, terminal, files, outputs)
            finally:
                os._exit(127)
    except OSError as why:
        close(reading)
        return f"cannot fork: {why.strerror}"
    finally:
        close(writing)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, blocked)
    problem = _outcome(reading, pid)
    if problem:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass
    elif session:
        HELPERS[pid] = env.get(HELPER, b"")
    return problem or pid


def _outcome(reading: int, pid: int) -> str:
    """What the child has to say; nothing, if it has become the program (or was killed, as the program may be).

    Never raises: there is a process, and its pid must not be lost.
    """
    end = time.monotonic() + PATIENCE
    try:
        while True:
            left = end - time.monotonic()
            try:
                poll = select.poll()
                poll.register(reading, select.POLLIN)
                if poll.poll(max(left, 0) * 1000):
                    return os.read(reading, _LONGEST).decode("utf-8", "surrogateescape")
            except (OSError, MemoryError):
                pause(_AGAIN)  # not knowing is neither yes nor no: it is asked again
            if left <= 0:
                break
    finally:
        close(reading)
    while send(pid, "KILL", False):
        pause(_AGAIN)
    return f"not executed within {PATIENCE:.0f} seconds: its directory, or what knows its user, does not answer"


def _child(
    report: int,
    config: Config,
    argv: list[str],
    env: dict[bytes, bytes],
    signals: Sequence[int],
    descriptors: Sequence[Descriptor],
    session: bool,
    terminal: bool,
    files: Sequence[int],
    outputs: Sequence[Output],
) -> None:
    """Become the program.  If this returns, the reason has been written to `report`."""
    if any(its == report for _, _, its in descriptors):
        report = os.dup(report)
    try:
        if session:
            os.setsid()
        else:
            os.setpgid(0, 0)
        for number in signals:
            _signal.signal(number, _signal.SIG_DFL)
        for _, ours, its in descriptors:
            place(ours, its)
        if outputs:
            place_outputs(outputs, config)
        if config.umask is not None:
            os.umask(config.umask)
        if config.limited:
            from supervise.service import limits  # it has been imported (launcher.py)

            limits.set_privileged(config)
        if config.user or config.group:
            said = {name for name, _ in config.environment}
            for name, value in become(config.user, config.group, terminal and not session, files):
                if name not in said:
                    env.pop(name.encode(), None)
                    if value is not None:
                        env[name.encode()] = fsencode(value)
        if config.directory:
            change_to(config.directory)
        if config.limited:
            limits.set_rlimits(config)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
        problem = execute(argv, env)
    except Refused as why:
        problem = str(why)
    except OSError as why:
        problem = f"cannot prepare its process: {why.strerror}"
    except Exception as why:  # a bug, or no memory
        problem = f"cannot prepare its process: {type(why).__name__}: {why}"
    os.write(report, problem.encode("utf-8", "surrogateescape")[:_LONGEST])


def place(ours: int, its: int) -> None:
    """Move our descriptor `ours` to the number `its` that the program gets.  Raises Refused."""
    try:
        os.dup2(ours, its)
    except OSError as why:
        raise Refused(f"cannot give it descriptor {its}: {why.strerror}") from None


def place_outputs(outputs: Sequence[Output], config: Config) -> None:
    """Open the files of the user's choice in the place of what the program prints to.  Raises Refused."""
    from supervise.system import output_file  # it has been imported (launcher.py)

    uid, gid = ids(config.user, config.group)
    opened: dict[str, int] = {}
    for number, key, path in outputs:
        if path not in opened:
            try:
                fd = output_file.open_output(path, uid, gid)
            except (Untrusted, OSError) as why:
                said = why.strerror if isinstance(why, OSError) else why
                raise Refused(f"cannot open {key} {shown_name(path)}: {said}") from None
            place(fd, number)
            close(fd)
            opened[path] = number
        else:
            place(opened[path], number)


def change_to(directory: str) -> None:
    """Change to a directory, as parser.py has read it.  Raises Refused."""
    try:
        os.chdir(directory.encode("utf-8", "surrogateescape"))
    except OSError as why:
        text = f"cannot change to directory {shown_name(directory)}: {why.strerror}{lost_directory(directory)}"
        raise Refused(text) from None


def execute(argv: list[str], env: Mapping[bytes, bytes]) -> str:
    """Execute a program as posix_spawnp(3) does, but with the program's search path; returns only a problem."""
    program = fsencode(argv[0])
    paths = [program]
    if b"/" not in program:
        paths = [join(directory, program) for directory in search_path(env)]
    reason = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for path in paths:
        try:
            os.execve(path, argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as why:
            reason = why  # unless another directory has it
        except OSError as why:
            reason = why
            break
        except ValueError as why:  # a NUL somewhere
            return f"{quoted(argv[0])}: {why}"
    return why_not(argv[0], reason, env)
