"""supervise: start a program, keep it running, say what happened, obey.

Usage:
  supervise -p STATUS_DIR -f COMMAND [-F CONF] [-r SCRIPT] [-t SECONDS] [--resume] [--foreground]
            [--exit-with-service]
  supervise [-F CONF] [-r SCRIPT] [-t SECONDS] [--resume] [--foreground]
            [--exit-with-service] -u STATUS_DIR COMMAND [ARG ...]
  supervise --check [-F CONF] [NAME]
  supervise -h | --help | -v | --version

Options:
  -p STATUS_DIR  where the service's files live; the path must hold status/NAME
  -f COMMAND     the program and its arguments, split as a shell splits words
  -u STATUS_DIR  like -p, with the command as separate arguments, taken verbatim
  -F CONF        the configuration (default: supervise.conf in the current directory)
  -r SCRIPT      run SCRIPT N before each restart, N = how often the service has exited
  -t SECONDS     let N start again at 1 when the last exit is SECONDS or more ago
  --resume       want what the last supervise wanted: down stays down, alarms off stay off
  --foreground   do not become a daemon; may be process 1 of a container
  --exit-with-service  end when the service has ended and is not to be restarted, with its exit code, or 128 + N
                 after signal N
  --check        say what CONF means for the service NAME, and what is wrong with it
  -h, --help     this text
  -v, --version  the version

Exit codes: 0 the service's program has been executed; 100 wrong usage; 111 the system refused.
Commands go to STATUS_DIR/control, one letter each:
  u up    d down    o once    x exit when down    R planned restart    p pause    c continue
  t TERM  k KILL  h HUP  a ALRM  i INT  q QUIT  1 USR1  2 USR2  w WINCH
  + what follows goes to the process group    = to the service alone
  s alarms off    n alarms on    r read the configuration again    e upgrade supervise in place
Signals to supervise: TERM and INT do dx, HUP does r, QUIT ends it and leaves the service to the next supervise.
"""

from __future__ import annotations

import gc
import os
import sys
import time

from supervise import __version__
from supervise.config.shellwords import Unbalanced, split
from supervise.protocol.exitcodes import SYSTEM, USAGE
from supervise.protocol.options import Options, set_apart
from supervise.protocol.paths import BadPath, plain, service_name
from supervise.protocol.text import say
from supervise.supervisor.handoff import interpreter, told
from supervise.system import subreaper
from supervise.system.isolated import callers_environment, reach_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

DEFAULT_CONF = "supervise.conf"
_SAID = 65536  # bytes of what the daemon says that are passed on
_NO_DAEMON = ("-h", "--help", "-v", "--version", "--check")  # alone
_ITSELF = "--foreground"  # or so much of it that docopt knows it: this process is to become the supervise
_SIGKILL = 9
_WITH_A_VALUE = ("-p", "-f", "-u", "-F", "-r", "-t")
_ALONE = ("--resume", "--foreground", "--exit-with-service")
_READS, _PAUSE = 60, 0.05  # tries to hear what has come of the daemon, and seconds between them


class UsageError(Exception):
    """The command line asks for something that cannot be; the message says what."""


def main() -> int:
    """The program; the exit code."""
    gc.disable()  # it ends soon
    argv = sys.argv[1:]
    daemon = None
    env, apart = set_apart(callers_environment())
    try:
        # Its interpreter starts while docopt is imported here: half of the time until the service runs.
        daemon = Daemon(argv, env) if _may_need_a_daemon(argv) else None
        code = run(argv, env, apart, daemon)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except UsageError as why:
        say("supervise", "fatal", str(why))
        return USAGE
    except BrokenPipeError:  # who reads the help has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except OSError as why:
        say("supervise", "fatal", f"cannot start: {why.strerror}" if why.strerror else str(why))
        return SYSTEM
    except (ImportError, MemoryError) as why:  # a low limit
        say("supervise", "fatal", f"cannot start: {type(why).__name__}: {why}")
        return SYSTEM
    except KeyboardInterrupt:
        return 130
    finally:
        if daemon:
            daemon.dismiss()


def _may_need_a_daemon(argv: list[str]) -> bool:
    """Whether to start it before the command line is read: one that is not needed has to be waited for."""
    itself = any(len(arg) > 2 and _ITSELF.startswith(arg) for arg in argv)
    return bool(argv) and argv[0] not in _NO_DAEMON and not itself


def run(argv: list[str], env: dict[bytes, bytes], apart: dict[bytes, bytes], daemon: Daemon | None) -> int:
    """Do what the command line says; `env` and what is set `apart` are the caller's.  Raises UsageError and OSError."""
    args = parse(argv)
    if args["--help"]:
        print(__doc__, end="")
        return 0
    if args["--version"]:
        print(f"supervise {__version__}")
        return 0
    if args["--check"]:
        from supervise.programs.check import check

        os.environb.clear()
        os.environb.update({**env, **apart})
        return check(args["-F"] or DEFAULT_CONF, args["NAME"])
    options = read_options(args)
    options.variables = apart
    if options.foreground:
        if daemon:
            daemon.dismiss()
        execute(options, argv, env)
    return (daemon or Daemon(argv, env)).supervise(options)


def parse(argv: list[str]) -> dict[str, Any]:
    """The command line as docopt reads it.  Raises UsageError."""
    args = plain_command_line(argv)
    if args:
        return args
    reach_others()
    from docopt import DocoptExit, docopt

    try:
        read: dict[str, Any] = docopt(str(__doc__), argv, help=False, options_first=True)
        return read
    except DocoptExit as why:
        said = str(why).partition("\n")[0]
        detail = "" if said.startswith("Usage:") or not said else f": {said}"
        raise UsageError(f"wrong usage{detail}; see supervise --help") from None


def plain_command_line(argv: list[str]) -> dict[str, Any] | None:
    """The same without docopt, a third of the time of a start, where nothing can be mistaken; None: docopt is to say.

    That is: options by their full names, none twice, values apart, all that one of the first two forms asks for.
    """
    args: dict[str, Any] = dict.fromkeys((*_WITH_A_VALUE, "COMMAND", "NAME"))
    args.update(dict.fromkeys((*_ALONE, "--check", "--help", "--version"), False), ARG=[])
    at = 0
    while at < len(argv) and argv[at].startswith("-"):
        option = argv[at]
        if args.get(option, True):
            return None
        if option in _ALONE:
            args[option] = True
            at += 1
        elif option in _WITH_A_VALUE and at + 1 < len(argv) and argv[at + 1] not in ("", "--"):
            args[option] = argv[at + 1]
            at += 2
        else:
            return None
    command = argv[at:]
    if args["-u"] and command and not args["-p"] and not args["-f"]:
        args["COMMAND"], args["ARG"] = command[0], command[1:]
        return args
    return args if args["-p"] and args["-f"] and not args["-u"] and not command else None


def read_options(args: dict[str, Any]) -> Options:
    """Check what was typed.  Raises UsageError."""
    typed = args["-u"] if args["-p"] is None else args["-p"]
    path = plain(typed)
    try:
        service_name(path)
    except BadPath as why:
        raise UsageError(f"cannot use {typed or repr(typed)} as a status directory: {why}") from None
    command = words("-f", args["-f"]) if args["-p"] is not None else [args["COMMAND"], *args["ARG"]]
    if not command[0]:
        raise UsageError("the command is empty")
    return Options(
        path,
        command,
        conf=args["-F"] or DEFAULT_CONF,
        conf_named=bool(args["-F"]),
        script=words("-r", args["-r"]) if args["-r"] is not None else None,
        reset=seconds("-t", args["-t"]) if args["-t"] is not None else None,
        foreground=bool(args["--foreground"]),
        resume=bool(args["--resume"]),
        exit_with_service=bool(args["--exit-with-service"]),
    )


def words(option: str, text: str) -> list[str]:
    """Split as a shell would.  Raises UsageError."""
    try:
        found = split(text)
    except Unbalanced as why:
        raise UsageError(f"cannot split {option} {text!r} into words: {why}") from None
    if not found or not found[0]:
        raise UsageError(f"the command of {option} is empty")
    return found


def seconds(option: str, text: str) -> int:
    """A whole number of seconds.  Raises UsageError."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise UsageError(f"{option} takes a whole number of seconds, not {text!r}")
    return int(text)


def execute(options: Options, argv: list[str], env: dict[bytes, bytes]) -> NoReturn:
    """Become the supervise of the service.  Raises OSError."""
    os.dup2(told(options), 0)
    become(argv, env)


def become(argv: list[str], env: dict[bytes, bytes]) -> NoReturn:
    """Execute the interpreter that stays.  Raises OSError.

    It stays a subreaper through that, and what it takes to become one is not in its memory.
    """
    problem = subreaper.become()
    os.execve(sys.executable, interpreter(argv, orphans=not problem), env)


class Daemon:
    """The process that is to stay, from its start on; it waits to be told for which service."""

    def __init__(self, argv: list[str], env: dict[bytes, bytes]) -> None:
        """Raises OSError."""
        its_input, self._tell = os.pipe()
        self._report, its_output = os.pipe()
        # What it says is passed on: from an interpreter that cannot start it would be more than a line.
        self._said = os.memfd_create("said")
        try:  # under a limit of the size of files (RLIMIT_FSIZE) nothing could be said there
            os.ftruncate(self._said, _SAID)
            os.ftruncate(self._said, 0)
        except OSError:
            _close(self._said)
            self._said = -1
        self._pid = os.fork()
        if not self._pid:
            try:
                os.dup2(its_input, 0)
                os.dup2(its_output, 1)
                if self._said >= 0:
                    os.dup2(self._said, 2)
                os.set_inheritable(0, True)  # it may have been 0 before, where the caller had that closed
                become(argv, env)
            finally:
                os._exit(SYSTEM)
        _close(its_input)
        _close(its_output)

    def supervise(self, options: Options) -> int:
        """Have it supervise; the exit code, when the service has been started.  Raises OSError."""
        data = options.encode()
        try:
            while data:
                data = data[os.write(self._tell, data) :]
        except BrokenPipeError:
            pass  # its end is noticed below
        tell, self._tell = self._tell, -1
        _close(tell)
        code = self._reported()
        if not code:
            how = self._end()
            last = self._says().strip().rpartition(b"\n")[2].decode("utf-8", "backslashreplace")
            more = f": {last}" if last else ""
            raise ChildProcessError(f"cannot supervise {options.path}: the daemon ended {how}{more}")
        if code[0] == 0:
            self._pid = 0  # it stays
        try:
            os.write(2, self._says())
        except (OSError, MemoryError):
            pass  # nobody listens; and however it is, the code is known
        return code[0]

    def _reported(self) -> bytes:
        """The exit code as one byte, nothing where it has ended without.  Raises OSError: nobody knows."""
        for _ in range(_READS):
            try:
                return os.read(self._report, 1)
            except OSError:
                time.sleep(_PAUSE)  # it has been told, and goes on: what comes of it is to be known
        self._pid = 0
        return os.read(self._report, 1)

    def _says(self) -> bytes:
        """What it has said to its standard error."""
        return os.pread(self._said, _SAID, 0) if self._said >= 0 else b""

    def dismiss(self) -> None:
        """Wait for the end of one that was told nothing, or could not do it."""
        tell, self._tell = self._tell, -1
        if tell >= 0:
            _close(tell)
        if self._pid:
            if tell >= 0:
                try:
                    os.kill(self._pid, _SIGKILL)  # somebody else may have the other end open, and it would read on
                except OSError:
                    pass
            self._end()

    def _end(self) -> str:
        """Wait for its end; how it ended."""
        pid, self._pid = self._pid, 0
        try:
            return f"with wait status {os.waitpid(pid, 0)[1]}"
        except ChildProcessError:
            return "unobserved"  # the caller has SIGCHLD ignored, so the kernel reaps it


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:
        pass  # it is closed all the same
