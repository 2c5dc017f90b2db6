"""Start-up: from the first instruction of the process that stays until its service runs.

It is told what to do on its standard input (options.py); what arguments it has are for people with ps(1), and hold
no command (handoff.py).

A fresh interpreter, without site-packages, rather than a fork of the one that read the command line: what docopt
and its imports take would stay in memory as long as the service runs.  Until the service runs, 2 is still the
caller's standard error, and 1 is where one byte, the exit code, tells the caller how it went.
"""

from __future__ import annotations

import errno
import fcntl
import posix as os
import sys

from supervise.protocol.exitcodes import SYSTEM
from supervise.protocol.filenames import DEVNULL, fsencode
from supervise.protocol.lockfile import path_of
from supervise.protocol.names import LOCK, LOG_WF, STATE, STATUS
from supervise.protocol.options import Options, environment, set_apart
from supervise.protocol.severities import FATAL, NOTICE, WARNING
from supervise.protocol.text import origin, say, shown_name
from supervise.runtime.event_log import Log
from supervise.runtime.polling import pause
from supervise.service.launcher import StartError
from supervise.supervisor.build import absolute, build_supervisor, conf_file, recorded_config, rename_process
from supervise.supervisor.predecessor import Predecessor
from supervise.system.descriptors import HeldDescriptors, close
from supervise.system.procfs import boot_id
from supervise.system.retry import retried
from supervise.system.spawn import ignored_signals
from supervise.system.statusdir import LockHeld, StatusDir, StatusDirError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from types import ModuleType
    from typing import Any, Callable

    from supervise.config.file import ConfFile
    from supervise.supervisor.loop import Course, Supervisor
else:
    import _signal  # see spawn.py


def settle_descriptors(reporting: bool) -> int:
    """0 reads nothing, 1 and 2 exist, and of the rest only one is left: where to report to, -1 if nowhere.

    What the caller left open (the write end of a pipe, a lock of its own) must not stay open for months.
    """
    null = os.open(DEVNULL, os.O_RDWR)
    while null < 3:  # the caller had closed one of the three: this is it now, and another is needed
        os.set_inheritable(null, True)
        null = os.open(DEVNULL, os.O_RDWR)
    report = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3) if reporting else -1
    os.dup2(null, 0)
    if reporting:
        os.dup2(null, 1)
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        names = [str(fd) for fd in range(3, 1024)]
    for name in names:
        if int(name) > 2 and int(name) != report:
            try:
                os.close(int(name))
            except OSError:
                pass  # the one that listdir read
    return report


def main() -> int:
    """Supervise one service until the end; the exit code."""
    if _signal.getsignal(_signal.SIGINT) == _signal.default_int_handler:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)  # a traceback is no answer to a caller's ^C
    try:
        told = read_to_end(0)
    except OSError as why:
        say("supervise", "fatal", f"cannot read what to supervise: {why.strerror}")
        return SYSTEM
    if not told:
        return 0  # the command line was wrong, or asked for something else
    options = Options.decode(told)
    env, apart = set_apart(environment())
    options.variables = {**apart, **options.variables}
    env.update(options.variables)
    os.environ.update(options.variables)  # for %(ENV_x)s in the configuration
    if options.foreground:  # in the background of a terminal that stops who writes to it (stty tostop)
        _signal.signal(_signal.SIGTTOU, _signal.SIG_IGN)
    ignored = ignored_signals()
    if options.trial:
        from supervise.supervisor.trial import run_trial

        return run_trial(options, env, ignored)
    if options.handover:
        from supervise.supervisor.upgraded import build_upgraded

        return build_upgraded(options, env, ignored).run()
    try:
        report = settle_descriptors(not options.foreground)
        if not options.foreground:
            os.setsid()
    except OSError as why:
        say("supervise", "fatal", f"cannot supervise {shown_name(options.path)}: {why.strerror}")
        return SYSTEM
    rename_process()
    supervisor = launch(options, env, ignored)
    code = 0 if supervisor else SYSTEM
    if report >= 0:
        if supervisor:
            insist(lambda: os.dup2(0, 2))
        insist(lambda: os.write(report, bytes((code,))))
        close(report)
    return supervisor.run() if supervisor else code


def insist(act: Callable[[], object]) -> None:
    """Do what nothing but a fault that passes can keep from being done; for a second, then without."""
    for _ in range(100):
        try:
            act()
            return
        except BrokenPipeError:
            return  # the caller does not wait for it
        except OSError:
            pause(0.01)


def read_to_end(fd: int) -> bytes:
    """Read a descriptor to its end; nothing, where it is not open.  Raises OSError."""
    parts: list[bytes] = []
    try:
        while True:
            part = os.read(fd, 65536)
            if not part:
                return b"".join(parts)
            parts.append(part)
    except OSError as why:
        if why.errno == errno.EBADF:
            return b""
        raise


def launch(options: Options, env: dict[bytes, bytes], ignored: list[int]) -> Supervisor | None:
    """Directory, lock, configuration, service taken over or started; None, with the reason said, if it failed."""
    startup = Startup(options, env, ignored)
    return startup.start() if startup.prepare() else None


class Startup:
    """The start of one supervise in two halves: what any process can prepare, and what is the supervise's own."""

    def __init__(self, options: Options, env: dict[bytes, bytes], ignored: list[int]) -> None:
        """`env` is the service's, and is changed; `ignored` as spawn.py says."""
        self._options = options
        self._env = env
        self._ignored = ignored
        self._directory: StatusDir | None = None
        self._lock = -1
        self._supervisor: Supervisor | None = None
        self._log: Log | None = None
        self._predecessor = Predecessor()
        self.reason = ""  # why it failed

    def prepare(self, unsaid: bool = False) -> bool:
        """Lock the directory, read the configuration, see what is left; False, with the reason said, if it failed.

        `unsaid`: that is left to the caller.  A copy of this process may go on from here: nothing of it tells one
        process from another.
        """
        try:
            self.go_on(claim(*self.lock()))
        except Exception as why:
            self.fail(why, unsaid)
            return False
        return True

    def lock(self) -> tuple[StatusDir, int]:
        """The first step of `prepare`: the directory, and the lock of it.  Raises StatusDirError and OSError."""
        self._directory = directory = retried(StatusDir, self._options.path)
        self._lock = retried(directory.lock)
        return directory, self._lock

    def do_ahead(self) -> None:
        """Do what can be done before a copy of this process makes the start."""
        self._try_ahead(lambda supervisor: supervisor.do_ahead(self._predecessor))

    def await_watches(self, end: float) -> None:
        """After `do_ahead`, and until then at most (monotonic): wait for the watches on files."""
        self._try_ahead(lambda supervisor: supervisor.await_watches(end))

    def _try_ahead(self, do: Callable[[Supervisor], None]) -> None:
        if self._supervisor and not self._predecessor.process:
            try:
                do(self._supervisor)
            except Exception:
                pass  # the start meets it again, and says so

    def rehearse(self, course: Course) -> None:
        """After `do_ahead`: have `course` called in the loop, with the pid of the service."""
        assert self._supervisor
        self._supervisor.rehearse(course)

    def start(self, unsaid: bool = False) -> Supervisor | None:
        """Take the service over, or start it, after `prepare`; None, with the reason said unless `unsaid`, if that has
        failed.
        """
        assert self._supervisor and self._log and self._directory
        try:
            self._supervisor.start(self._predecessor)
            self._log.create()
            self._directory.keep()
        except Exception as why:
            self.fail(why, unsaid)
            return None
        return self._supervisor

    def go_on(self, warnings: list[str]) -> None:
        """The rest of `prepare`, with what `claim` says of the lock.  Raises StatusDirError, StartError and OSError."""
        options, directory = self._options, self._directory
        assert directory
        boot = known_boot()
        kept = HeldDescriptors(self._lock, *retried(directory.open_fifos))
        conf = conf_file(options)
        config, problems = conf.read()
        self._predecessor = predecessor = left_behind(directory, boot, config.user)
        if predecessor.process and predecessor.fields:
            config, problems = conf.read(recorded_config(predecessor.fields))  # what was in force may stay
        if config.blocked and not predecessor.process:
            raise StartError(f"cannot start the service: {config.blocked}")
        if conf.silent and predecessor.restrictions and not predecessor.process:
            raise StartError(f"cannot start the service: {gone(conf, predecessor.restrictions)}")
        self._supervisor, self._log = supervisor, log = build_supervisor(
            options, directory, kept, self._env, self._ignored, boot, conf, config, problems
        )
        if predecessor.leftover_group and not supervisor.machine.config.killasgroup:
            predecessor.warnings.append(predecessor.leftover_line)
        for problem in log.probe():
            if not options.foreground:
                say("supervise", "warning", problem)
        for line in predecessor.notices:
            log.add(NOTICE, "%s", line)
        advice, options.advice = options.advice, []  # it is said once, and not to the next version
        for problem in advice + problems + directory.replaced + warnings + predecessor.warnings:
            if not options.foreground:  # there the log is copied to standard error anyway
                say("supervise", "warning", problem)
            log.add(WARNING, "%s", problem)

    def fail(self, why: Exception, unsaid: bool = False) -> None:
        """Say why, also in a log that there is already, and leave nothing behind."""
        options, directory = self._options, self._directory
        if isinstance(why, (StatusDirError, StartError)):
            text = str(why)
            if directory and isinstance(why, LockHeld):
                from supervise.supervisor.lock_conflict import what_else

                text += what_else(directory, options.command)
        elif isinstance(why, OSError) and why.strerror:
            text = f"cannot supervise {shown_name(options.path)}: {why.strerror}"
        elif isinstance(why, MemoryError):
            text = f"cannot supervise {shown_name(options.path)}: not enough memory"
        else:
            text = f"cannot supervise {shown_name(options.path)}: {origin(why)}"
        self.reason = text
        if not unsaid:
            say("supervise", "fatal", text)
        if directory and self._lock < 0:
            directory.withdraw()
        elif directory:
            if has_log(directory):
                record = Log(directory)
                if self._supervisor:
                    record.configure(self._supervisor.machine.config)
                record.add(FATAL, "%s", text)
                record.flush()
            directory.undo()


def claim(directory: StatusDir, lock: int) -> list[str]:
    """Write into the lock which path it is held for; the warnings.

    Raises StatusDirError if another supervise has this path, whose directory was moved away or removed.  Where the lock
    says so already, this is the directory that the path led to before, and nobody else can have it.
    """
    place = absolute(fsencode(directory.path))
    if path_of(lock) == place:
        return []
    from supervise.supervisor import path_conflict

    warning = path_conflict.look(directory, lock, place)
    forget(path_conflict)
    return write_claim(directory, lock, place, warning)


def forget(module: ModuleType) -> None:
    """Have a module that is not needed again out of memory; its functions must not refer to it, nor it to them."""
    del sys.modules[module.__name__]
    delattr(sys.modules[module.__package__ or ""], module.__name__.rpartition(".")[2])
    vars(module).clear()


def write_claim(directory: StatusDir, lock: int, place: bytes, warning: str | None) -> list[str]:
    """Write into the lock which path it is held for; the warnings, with one that there is already."""
    try:
        directory.claim(lock, place)
    except OSError as why:
        warning = f"cannot write {directory.shown_path}/{LOCK}: {why.strerror}"
    return [warning] if warning else []


def has_log(directory: StatusDir) -> bool:
    """Whether a log exists, which a start that fails does not make."""
    try:
        return directory.has(LOG_WF)
    except StatusDirError:
        return False


def known_boot() -> str:
    """The boot id, "" where the kernel has none.  Raises StatusDirError: what is left cannot be told without it."""
    try:
        boot: str = retried(boot_id)
    except OSError as why:
        raise StatusDirError(f"cannot read this system's boot id: {why.strerror}") from None
    return boot


def left_behind(directory: StatusDir, boot: str, user: str) -> Predecessor:
    """Find what another supervise has left in the directory; without a state, nothing that could be taken over.

    `user`: whom the service runs as, if that is configured.  Raises StatusDirError: it could not be told.
    """
    if not retried(directory.has, STATE):
        if retried(directory.has, STATUS):
            retried(load_takeover).look_without_state(directory)
        return Predecessor()
    predecessor: Predecessor = retried(load_takeover).look(directory, boot, user)
    return predecessor


def load_takeover() -> Any:
    """Import takeover.py.  Raises StatusDirError."""
    try:
        from supervise.supervisor import takeover
    except (ImportError, OSError) as why:  # no descriptor was left, perhaps
        raise StatusDirError(f"cannot tell what is left of another supervise: {why}", transient=True) from None
    return takeover


def gone(conf: ConfFile, restrictions: dict[str, Any]) -> str:
    """Why nothing is started where the configuration that has restricted the service does not say so any more."""
    had = ", ".join(f"{key} {text}" for key, text in restrictions.items())
    now = "is empty" if conf.present else "does not exist"
    return (
        f"{conf.shown_path} {now}, and the last supervise here had in force: {had}"
        " (a configuration that does not say so lifts that, if it has as much as a comment)"
    )
