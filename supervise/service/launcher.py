"""Spawning the service, its restart script and its health checks, with their environment and output files.

What a configuration means for a start is worked out when it comes, not on the way to a restart.
"""

from __future__ import annotations

import errno
import posix as os
import sys
import time

from supervise.config.config import INHERIT, NONE, PLACED, Config
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.filenames import DEVNULL, dirname, from_file, fsdecode, fsencode, in_file, join
from supervise.protocol.names import STDERR, STDOUT
from supervise.protocol.paths import plain
from supervise.protocol.severities import NOTICE, WARNING
from supervise.protocol.text import quoted
from supervise.system.descriptors import close, samestat
from supervise.system.errors import lost_directory
from supervise.system.spawn import HELPER, append_to, inherit, spawn, why_not
from supervise.system.statusdir import StatusDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Callable

    from supervise.protocol.options import Options
    from supervise.runtime.event_log import Log
    from supervise.service.spawn_as import Output
    from supervise.system.spawn import Descriptor
    from supervise.system.statusdir import StatusDir

_OURS = (b"SUPERVISE_SERVICE", b"SUPERVISE_STATUS_DIR")  # takeover.py finds the service by them
_NOTIFY_SOCKET, _WATCHDOG_USEC, _WATCHDOG_PID = b"NOTIFY_SOCKET", b"WATCHDOG_USEC", b"WATCHDOG_PID"

NOT_INHERITED = ": INHERIT needs --foreground: else supervise prints to nowhere itself"
_NOT_FROM_RUN = ": INHERIT needs a supervise that was started by svall run: else it prints to nowhere itself"
TO_FILES = "; the service prints to its files"
_NO_PIPE = "cannot open the pipe of its logger"
STREAMS = ("stdout", "stderr")
_NOT_LOADED = "another version of supervise is installed: upgrade this one (letter e) to use this configuration"


class StartError(Exception):
    """The service cannot be started; the message says why."""


class Launcher:
    """Starts the processes of one service.

    `config` is what governs the next start.  So are these, for a service that tells when it is ready: `notify_socket`,
    the address that it gets as NOTIFY_SOCKET, empty for none; `watchdog_usec`, then its WATCHDOG_USEC, 0 for none;
    `notification`, the end of a pipe that it gets as the descriptor `notification_fd` of the configuration, or -1.
    `pipes`, to which the service prints in place of a file: our descriptor for reading by its number; `guards`, what it
    gets beside them (logger.py).
    `blocked` says why nothing of the service is to be started; empty if it is.  `places`: where it will print to, as
    state.py has it (`outputs`).
    """

    def __init__(
        self,
        options: Options,
        directory: StatusDir,
        env: dict[bytes, bytes],
        ignored: list[int],
        log: Log,
        config: Config | None = None,
    ) -> None:
        """`env` is the service's but for what the configuration changes in it; `ignored` as spawn.py says."""
        self._options = options
        self._directory = directory
        self._env = env
        self._ignored = ignored
        self._log = log
        self._null = os.open(DEVNULL, os.O_RDWR | os.O_CLOEXEC)
        self._warned: set[str] = set()
        self.notify_socket = ""
        self.watchdog_usec = 0
        self.notification = -1
        self.pipes: dict[int, int] = {}
        self.guards: list[Descriptor] = []
        self.blocked = ""
        self.config = config or Config()

    @property
    def config(self) -> Config:
        """The configuration that governs the next start."""
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
        self._config = config
        # Back to the bytes that parser.py has read.
        pairs = (tuple(text.encode("utf-8", "surrogateescape") for text in pair) for pair in config.environment)
        said = {name: value for name, value in pairs if name not in _OURS}
        self._service_env = {**self._env, **said} if said else self._env
        self._files = output_files(config, self._has_output)
        self._paths = output_paths(config)
        self.places = self._places()
        self._outputs = []
        for name, number, stream in ((STDOUT, 1, "stdout"), (STDERR, 2, "stderr")):
            if name in self._files:
                self._outputs.append(append_to(*self._directory.output(name), number))
            elif number in self.pipes:
                self._outputs.append(append_to(_reopened(self.pipes[number]), os.O_WRONLY, 0, number))
            elif config.logfile_of(stream) == NONE:
                self._outputs.append(inherit(self._null, number))
        if config.redirect_stderr:
            self._outputs.append(inherit(1, 2))
        # posix_spawn cannot do these; and it looks for the program with the search path that supervise has.
        self._by_fork = self.needs_fork(config)
        self._home = self._home_of(config) if self._by_fork else ""

    def use_pipes(self, pipes: dict[int, int]) -> None:
        """Have the service print to these pipes from its next start on."""
        self.pipes = pipes
        self.config = self._config

    def govern(self, config: Config) -> None:
        """Use a configuration for the next start; `blocked`, if it blocks starts or what it needs cannot be had."""
        self.config = config
        self.blocked = config.blocked
        missing = (self._by_fork and not self.can_fork) or (config.limited and not self.can_limit)
        if not self.blocked and (missing or (self._paths and not self.can_open)):
            self.blocked = _NOT_LOADED

    @property
    def _has_output(self) -> bool:
        """Whether there is an output of supervise's own that the service may have."""
        return self._options.foreground or self._options.inherits

    @property
    def why_not_inherited(self) -> str:
        """What is to be said behind the name of that key."""
        return _NOT_FROM_RUN if self._options.defined else NOT_INHERITED

    @property
    def not_inherited(self) -> str:
        """The key that says of the output what cannot be; empty if it can."""
        return "" if self._has_output else self._config.inherited_key

    @staticmethod
    def needs_fork(config: Config, home: str = "") -> bool:
        """Whether a start under this configuration takes more than posix_spawn can do, which stays in `home`."""
        own_path = any(name == "PATH" for name, _ in config.environment)
        said = config.user or config.group or config.directory != home or config.umask is not None or own_path
        return bool(said or config.limited or output_paths(config))

    def _home_of(self, config: Config) -> str:
        """The directory, if that is all that takes a fork, and where the file is that defines the service.

        supervise looks there anyway for what the file says, so that it may look whether it is there itself.
        """
        if not self._options.defined or not config.directory or self.needs_fork(config, home=config.directory):
            return ""
        try:
            folder = dirname(plain(join(os.getcwd(), self._options.conf)))
        except OSError:
            return ""
        return config.directory if folder == config.directory else ""

    @property
    def can_fork(self) -> bool:
        """Whether spawn_as.py, which such a start needs, is imported."""
        return "supervise.service.spawn_as" in sys.modules

    def complete(self) -> None:
        """Import spawn_as.py if it is needed: later the installed files may be another version's."""
        from supervise.service import spawn_as  # noqa: F401

    @property
    def can_limit(self) -> bool:
        """Whether limits.py, which a start with limits needs beside that, is imported."""
        return "supervise.service.limits" in sys.modules

    def complete_limits(self) -> None:
        """Import limits.py, as `complete` does."""
        from supervise.service import limits  # noqa: F401

    @property
    def can_open(self) -> bool:
        """Whether output_file.py, which a file of the user's choice needs beside that, is imported."""
        return "supervise.system.output_file" in sys.modules

    def complete_outputs(self) -> None:
        """Import output_file.py, as `complete` does."""
        from supervise.system import output_file  # noqa: F401

    def _places(self) -> dict[str, str] | None:
        """None: to its files in the status directory, both."""
        places: dict[str, str] = {}
        for stream in STREAMS:
            said, path = self._config.logfile_of(stream), self._config.output_path(stream)
            if path:
                try:
                    said = from_file(join(in_file(os.getcwd()), path))
                except OSError:
                    said = from_file(path)  # which leads nobody there
            elif stream == "stderr" and self._config.redirect_stderr:
                said = places["stdout"]
            elif said == INHERIT and not self._has_output:
                said = ""
            places[stream] = said
        return places if any(places.values()) else None

    def check(self, where: Callable[[str], str]) -> None:
        """Check that the service can print to where it is to.  Raises StartError; later that is a warning only.

        It is already, where svall has started this: of many services none is kept down by where it prints.
        `where`: the place of a key, `FILE:LINE`.
        """
        key = self.not_inherited
        if key and self._options.defined:
            self._log.add(WARNING, "%s: %s %s%s", where(key), key, self.why_not_inherited, TO_FILES)
        elif key:
            raise StartError(f"cannot start the service: {where(key)}: {key} {self.why_not_inherited}")
        for name in self._files:
            try:
                close(self._directory.open_output(name))
            except StatusDirError as why:
                raise StartError(str(why)) from None

    # The service.

    def service(self) -> int | ExitStatus:
        """Spawn the service: its pid, or why not."""
        if self.blocked:
            return ExitStatus(failure=self.blocked)
        env = self._with_notification() if self.notify_socket else self._service_env
        if self.notification < 0:
            result = self._start_service(env, [])
        else:
            result = self._start_notifying(env, self.notification, self._config.notification_fd)
        if isinstance(result, str):
            return ExitStatus(failure=result)
        # Both of us are runnable now, perhaps on one processor: what is left to do here can wait.
        try:
            os.sched_yield()
        except OSError:
            pass  # there is a process now, whatever else fails
        return result

    def _start_notifying(self, env: Mapping[bytes, bytes], ours: int, its: int) -> int | str:
        # A descriptor that is made a duplicate of itself would be closed by the exec, but for newer C libraries.
        copy = -1
        try:
            if ours == its:
                ours = copy = os.dup(ours)
            return self._start_service(env, [inherit(ours, its)])
        except OSError as why:
            return f"cannot give it descriptor {its}: {why.strerror}"
        finally:
            if copy >= 0:
                close(copy)

    def _start_service(self, env: Mapping[bytes, bytes], more: list[Descriptor]) -> int | str:
        """`more` comes last: it may take the number of a descriptor that is needed on the way, the directory's too."""
        more = self.guards + more
        # In a directory of another user's, what it would be appended to is looked at first.
        can_spawn = not self._by_fork or (self._home and _is_here(self._home))
        if can_spawn and not self._directory.foreign:
            try:
                return spawn(self._options.command, env, self._ignored, self._outputs + more)
            except (OSError, ValueError):
                pass  # the program, or one of the files?
        return self._with_outputs(self._options.command, env, more)

    def _with_notification(self) -> dict[bytes, bytes]:
        env = {**self._service_env, _NOTIFY_SOCKET: fsencode(self.notify_socket)}
        env.pop(_WATCHDOG_PID, None)
        env.pop(_WATCHDOG_USEC, None)
        if self.watchdog_usec:
            env[_WATCHDOG_USEC] = b"%d" % self.watchdog_usec
        return env

    def note_lost_directory(self) -> None:
        """Say once that the working directory of a service that fails was removed: it may fail for that."""
        lost = "" if self._config.directory.startswith("/") else lost_directory()
        if lost and lost not in self._warned:
            self._warned.add(lost)
            self._log.add(WARNING, "%s: the service, which fails, is started there", lost.strip(" ()"))

    # The programs beside it.

    def script(self, exits: int) -> int | str:
        """Spawn the restart script, with the number of exits: its pid, or the problem.

        It is the administrator's, not the service's: nothing of `config` is for it.
        """
        env = {**self._env, HELPER: _unique()}
        pid = self._with_outputs([*self._options.script, str(exits)], env, [], script=True)
        if isinstance(pid, str):
            return f"cannot run the restart script: {pid}"
        self._log.add(NOTICE, "restart script started (pid %d), exits: %d", pid, exits)
        return pid

    def check_command(self, argv: tuple[str, ...], pid: int, output: int) -> int | str:
        """Spawn a health check of the service's process `pid`: its own pid, or the problem.

        It sees what the service sees, as the same user and in the same directory, and prints to the descriptor
        `output`; but it is not of the service's process group, nor of supervise's session, and cannot speak for it.
        """
        if self.blocked:
            return self.blocked
        env = {**self._service_env, b"SUPERVISE_PID": b"%d" % pid, HELPER: _unique()}
        for name in (_NOTIFY_SOCKET, _WATCHDOG_USEC, _WATCHDOG_PID):
            env.pop(name, None)
        words = [fsdecode(word.encode("utf-8", "surrogateescape")) for word in argv]
        descriptors = [inherit(self._null, 0), inherit(output, 1), inherit(output, 2)]
        return self._execute(words, env, descriptors, session=True, by_fork=self._by_fork)

    def logger(self, argv: tuple[str, ...], pipe: int) -> int | str:
        """Spawn a logger, which reads from a pipe: its pid, or the problem.

        Like the restart script it is the administrator's: supervise's user, environment and directory.  What it prints
        goes to the file of standard error, or with INHERIT to supervise's own: a file of the user's choice is opened by
        the child that becomes the service, and what is wrong with a logger is not for NONE to hide.
        """
        own = self._has_output and self._config.stderr_logfile == INHERIT
        output = 2 if own else self._output(STDERR)
        words = [fsdecode(word.encode("utf-8", "surrogateescape")) for word in argv]
        descriptors = [inherit(pipe, 0), inherit(output, 1), inherit(output, 2)]
        try:
            return self._execute(words, self._env, descriptors, session=True, by_fork=False)
        finally:
            if output not in (2, self._null):
                close(output)

    # Step by step.

    def _with_outputs(
        self, argv: list[str], env: Mapping[bytes, bytes], more: list[Descriptor], script: bool = False
    ) -> int | str:
        """What cannot be opened is replaced by nothing, what went wrong is told."""
        files = (STDOUT, STDERR) if script else self._files
        try:
            out = self._output(STDOUT) if STDOUT in files else self._other("stdout", 1)
        except OSError as why:
            return f"{_NO_PIPE}: {why.strerror}"
        try:
            if STDERR in files:
                err = self._output(STDERR)
            else:
                err = out if self._config.redirect_stderr else self._other("stderr", 2)
        except OSError as why:
            if out not in (1, self._null):
                close(out)
            return f"{_NO_PIPE}: {why.strerror}"
        # In a directory of another user's it can be a file of root's that he has moved there: that is not given away.
        keeps = script or self._directory.foreign
        own = () if keeps else tuple(number for number, fd in ((1, out), (2, err)) if fd > 2 and fd != self._null)
        descriptors = [inherit(out, 1), inherit(err, 2), *more]
        try:
            paths = () if script else self._paths
            return self._execute(argv, env, descriptors, script, self._by_fork and not script, own, paths)
        finally:
            for fd in {out, err} - {1, 2, self._null}:
                close(fd)

    def _execute(
        self,
        argv: list[str],
        env: Mapping[bytes, bytes],
        descriptors: list[Descriptor],
        session: bool,
        by_fork: bool,
        files: Sequence[int] = (),
        paths: Sequence[Output] = (),
    ) -> int | str:
        """Start a program in its own session, or else its own process group.

        `files` are given to its user; `paths` are opened for it.
        """
        if by_fork:
            from supervise.service.spawn_as import spawn_as

            terminal = self._options.foreground
            return spawn_as(self._config, argv, env, self._ignored, descriptors, session, terminal, files, paths)
        try:
            return spawn(argv, env, self._ignored, descriptors, session)
        except OSError as why:
            if why.errno == errno.EBADF:  # beyond the limit of open files
                return f"cannot give it descriptor {self._config.notification_fd}: {why.strerror}"
            return why_not(argv[0], why, env)
        except ValueError as why:
            return f"{quoted(argv[0])}: {why}"

    def _other(self, stream: str, number: int) -> int:
        """Where it prints to, if not to a file in the status directory; one of a path is opened later.  Raises OSError.

        Of a pipe that is an end of its own.
        """
        if number in self.pipes:
            return os.open(_reopened(self.pipes[number]), os.O_WRONLY | os.O_CLOEXEC)
        return number if self._config.logfile_of(stream) == INHERIT else self._null

    def _output(self, name: str) -> int:
        """Where a program prints to: the file, or nowhere, with one warning, while that cannot be opened."""
        try:
            fd = self._directory.open_output(name)
        except StatusDirError as why:
            if name not in self._warned:
                self._warned.add(name)
                self._log.add(WARNING, "%s; what the service prints there is lost", why)
            return self._null
        self._warned.discard(name)
        return fd


def _is_here(directory: str) -> bool:
    """Whether it is this process's own."""
    try:
        return samestat(os.stat(directory.encode("utf-8", "surrogateescape")), os.stat("."))
    except (OSError, ValueError):
        return False  # whoever has to go there says why he cannot


def output_files(config: Config, foreground: bool = True) -> tuple[str, ...]:
    """The files that a service prints to.

    None where that is a logger's pipe, or supervise's own output, which it has in the foreground.
    """
    own = ("",) if foreground else ("", INHERIT)
    files = [STDOUT] if not config.stdout_command and config.stdout_logfile in own else []
    if not config.redirect_stderr and not config.stderr_command and config.stderr_logfile in own:
        files.append(STDERR)
    return tuple(files)


def output_paths(config: Config) -> tuple[Output, ...]:
    """The files of the user's choice: for which descriptor, the key that says so, and the path."""
    found = []
    for number, stream, key in zip((1, 2), STREAMS, PLACED):
        path = config.output_path(stream)
        if path:
            found.append((number, key, from_file(path)))
    return tuple(found)


def _reopened(fd: int) -> str:
    """The path by which a child of ours opens what we have open anew: with modes and flags of its own."""
    return f"/proc/self/fd/{fd}"


def _unique() -> bytes:
    """What tells the processes of one helper from those of any other, and from the service's."""
    return b"%d" % time.monotonic_ns()
