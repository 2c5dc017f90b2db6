"""The nursery: the process whose copies are the supervises of many services.

Theory of operation
-------------------

Rule 1.  It is a daemon (daemon.py) that has loaded all that a supervise needs, and supervises nothing.  What it never
         writes again stays shared with all its copies, also after it has ended, as long as two of them live.
Rule 2.  A page is written by as little as a reference to an object on it that comes and goes.  So what can be done
         before the fork is done before (`prepare`): the pages that this writes are shared.  And before the first, one
         start is rehearsed, so that what the interpreter notes in the code and in its caches has been noted.
Rule 3.  A copy is what one started by hand would be: a session of its own, a subreaper, with its own title and its
         own descriptors and no other's.  Nobody has more of it than the pid, and what it says until its service runs.

What lives here: the fork.  What does not: what a supervise does first (supervisor/startup.py), and which services are
to be started when (plan.py).
"""

from __future__ import annotations

import fcntl
import gc
import posix as os
import stat
import sys
import time

from supervise.config.defined import share
from supervise.fleet.batch import Descriptors, Prepared, prepare
from supervise.fleet.gathering import Executed
from supervise.fleet.title import Title
from supervise.protocol.exitcodes import SYSTEM
from supervise.protocol.filenames import DEVNULL, fsdecode, fsencode, join
from supervise.protocol.options import NO_ORPHANS, Options
from supervise.protocol.text import origin, say, shown_name
from supervise.runtime import inotify_lease
from supervise.supervisor.build import rename_process
from supervise.supervisor.handoff import DAEMON, title
from supervise.supervisor.startup import Startup, write_claim
from supervise.system import subreaper
from supervise.system.descriptors import close
from supervise.system.spawn import HANDLED

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Sequence

    from supervise.machine.machine import Machine
else:
    import _signal  # see spawn.py

_REHEARSALS = 10  # at least: a function that was called eight times is specialised (PEP 659)
_FAR = 1000  # from the last descriptor to one that is certainly closed
_SOON, _LONG = 0.001, 3600.0  # seconds
_WATCHES = 2.0  # seconds to wait for the watches of all
_COMMAND = [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]
_CONFIGURATION = b"[rehearsal]\ncommand : sleep 60\n"
_INTERPRETER = sys.executable, "-I", "-S"


class Copy:
    """A supervise that was forked: its `pid`, and where it says (`said`) what becomes of its start (`report`).

    What it says to its standard error can be read from `said`, and from `report` one byte, the exit code, when the
    service runs or cannot be started; nothing, if it has ended without.  They end then, and are the reader's to close.
    """

    def __init__(self, pid: int, report: int, said: int) -> None:
        self.pid = pid
        self.report = report
        self.said = said


class _Birth:
    """What is to be known of a copy when it is forked.

    `report` and `said`: pipes; `others`: the ranges of descriptors that are not its own; `leads`: a session of its own.
    """

    leads = True

    def __init__(self, prepared: Prepared, title_of: Title) -> None:
        """Raises OSError."""
        self.prepared = prepared
        self.pid = -1
        self.failure: OSError | None = None
        self.others: list[tuple[int, int]] = []
        typed = ["-p", prepared.options.path, "-F", prepared.options.conf]
        self.argv = [DAEMON, *typed]
        self.shown = title_of.of([*_INTERPRETER, DAEMON, *title(typed)])
        self.report = os.pipe2(os.O_CLOEXEC)
        try:
            self.said = os.pipe2(os.O_CLOEXEC)
        except OSError:
            for fd in self.report:
                close(fd)
            raise

    @property
    def apart(self) -> tuple[int, ...]:
        """Where it says what becomes of its start, if that is not 2, which its service has."""
        return (self.said[1],) if self.prepared.options.inherits else ()

    def close(self) -> None:
        for fd in (*self.report, *self.said):
            close(fd)


class Nursery:
    """Forks supervises."""

    def __init__(self, env: dict[bytes, bytes], ignored: list[int]) -> None:
        """`env` is what all services are given; `ignored` as spawn.py says."""
        self._env = env
        self._ignored = ignored
        self._title = Title()
        self._scattered: list[object] = []  # see Executed.gather
        self._limits: tuple[int, int] | None = None  # of descriptors, which a copy is to have again
        self._limit: Callable[[tuple[int, int]], None] = lambda limits: None
        self.descriptors = 1024  # that this process may have
        self.orphans = True  # whether the copies are subreapers
        self.reason = ""  # why the last start could not be prepared

    def warm(self) -> None:
        """Load everything.  Raises ImportError and OSError."""
        # What the loop imports when its first start is made, or a start when it needs it (loop.py, startup.py).
        from supervise.alarms import alarm  # noqa: F401
        from supervise.config import defined, definitions, fingerprint, native, parser  # noqa: F401
        from supervise.service import spawn_as  # noqa: F401
        from supervise.supervisor import conf_follower, preloaded, statusdir_watch  # noqa: F401

        try:
            subreaper.load()
        except Exception:
            self.orphans = False
        preloaded.strip()
        preloaded.preload()
        inotify_lease.Watch.server = inotify_lease.Server(self._env, self._ignored)

    def rehearse(self, needed: Callable[[], bool] = lambda: True) -> str | None:
        """Do what copies do, so often that the interpreter has nothing more to note; why that failed, or None.

        To be called before anything else is a child of this process.  It is given up when it is not `needed` any more.
        """
        executed = Executed()
        why = self._rehearse(executed)
        self._scattered += executed.gather(
            module for name, module in sys.modules.items() if name.startswith("supervise.")
        )
        for _ in range(_REHEARSALS):
            if not needed():
                break
            why = why or self._rehearse(Executed(noting=False))
        return why

    def _rehearse(self, executed: Executed) -> str | None:
        """Supervise a service that is told to end at once, in a folder of its own."""
        handlers = {number: _signal.getsignal(number) for number in HANDLED}
        opened, folder, home = None, "", -1
        kept = _Kept(self._title)
        try:
            opened = Descriptors()
            kept.keep()
            home = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            folder = _new_folder()
            os.chdir(folder)
            conf = f"{folder}/supervise.conf"
            fd = os.open(conf, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.write(fd, _CONFIGURATION)
            os.close(fd)
            options = Options(f"{folder}/status/rehearsal", _COMMAND, conf, True, defined=True)
            startup = Startup(options, dict(self._env), self._ignored)
            # No other can have a path that was made just now: it is not looked for (startup.claim).
            held = startup.lock()
            startup.go_on(write_claim(*held, fsencode(options.path), None))
            startup.do_ahead()
            startup.await_watches(time.monotonic() + _WATCHES)
            startup.rehearse(_Course(f"{options.path}/control"))
            birth = _Birth(Prepared(options, startup), self._title)
            birth.leads = False
            birth.others = [(opened.end + _FAR, opened.end + _FAR + 1)] * 2
            with executed:
                failed = self._supervise(birth)
            if failed:
                return "it could not be started"
            return None
        except Exception as why:
            return origin(why)
        finally:
            gc.disable()
            _signal.set_wakeup_fd(-1)
            for number, handler in handlers.items():
                _signal.signal(number, handler)
            kept.restore()
            if self._limits:
                self.widen()
            if home >= 0:
                os.fchdir(home)
            if opened:
                opened.close(opened.of(frozenset()))
            if folder:
                _remove(folder)

    def freeze(self) -> None:
        """Have what there is never gone through by a garbage collection of a copy."""
        gc.collect()
        gc.freeze()

    def widen(self) -> None:
        """Have as many descriptors as the system allows, for the starts that are prepared at the same time."""
        from resource import RLIMIT_NOFILE, getrlimit, setrlimit

        limits = getrlimit(RLIMIT_NOFILE)
        if limits[0] != limits[1]:
            setrlimit(RLIMIT_NOFILE, (limits[1], limits[1]))
            self._limits = limits
            self._limit = lambda limits: setrlimit(RLIMIT_NOFILE, limits)
        self.descriptors = limits[1]

    def prepare(self, options: Options, unsaid: bool = False) -> Prepared | None:
        """Prepare the start of a service; None if that failed: `reason` has why, which was said unless `unsaid`."""
        (made,) = self.prepare_all([options], unsaid)
        self.reason = made.reason
        return None if made.reason else made

    def prepare_all(self, starts: Sequence[Options], unsaid: bool = False) -> list[Prepared]:
        """Prepare the starts of services; the `reason` of each that failed was said unless `unsaid`."""
        made = [
            Prepared(options, Startup(options, {**self._env, **options.variables}, self._ignored)) for options in starts
        ]
        try:
            descriptors = Descriptors()
            for options in starts:
                if options.defined:
                    share(options.conf)
        except OSError as why:  # the system has no descriptor left
            for one in made:
                one.reason = f"cannot supervise {shown_name(one.options.path)}: {why.strerror}"
                if not unsaid:
                    say("supervise", "fatal", one.reason)
        else:
            prepare(made, descriptors, unsaid)
        return made

    def withdraw(self, prepared: Prepared) -> None:
        """Let go of what a start has that could not be forked."""
        for fd in prepared.fds:
            close(fd)

    def fork(self, starts: Sequence[Prepared]) -> list[Copy | OSError]:
        """Fork the supervises of services, and close their descriptors here; or why that failed, and they are open.

        All at once, for what is written here between two forks has been shared with no other copy than the first.
        """
        births = []
        made: list[Copy | OSError] = []
        try:
            descriptors = Descriptors()
            end = time.monotonic() + _WATCHES
            for prepared in starts:  # the helper is at work for all of them
                prepared.startup.await_watches(end)
                prepared.fds = descriptors.of(prepared.fds)
            for prepared in starts:
                births.append(_Birth(prepared, self._title))
            descriptors.of(frozenset())
            for birth in births:
                birth.others = _gaps({0, 1, 2, birth.report[1], *birth.apart, *birth.prepared.fds}, descriptors.end)
        except OSError as why:
            for birth in births:
                birth.close()
            return [why] * len(starts)
        self._fork(births)
        for birth in births:
            if birth.failure:
                birth.close()
                made.append(birth.failure)
            else:
                for fd in (birth.report[1], birth.said[1], *birth.prepared.fds):
                    close(fd)
                made.append(Copy(birth.pid, birth.report[0], birth.said[0]))
        return made

    def _fork(self, births: Sequence[_Birth]) -> None:
        """What is to be so in a copy is so before, and put back here afterwards: so a copy writes nothing for that."""
        argv, server = sys.argv, inotify_lease.Watch.server
        served = server is not None and server.open
        if server:
            server.open = False
        for birth in births:
            sys.argv = birth.argv
            try:
                birth.pid = os.fork()
            except OSError as why:
                birth.failure = why
                continue
            if not birth.pid:
                code = SYSTEM
                try:
                    code = self._supervise(birth)
                finally:
                    os._exit(code)
        sys.argv = argv
        if server:
            server.open = served

    def _supervise(self, birth: _Birth) -> int:
        """Be the supervise of a service until the end, in the copy; the exit code."""
        if birth.leads:
            os.setsid()
        inherits = birth.prepared.options.inherits
        null = os.open(DEVNULL, os.O_RDWR)
        os.dup2(null, 0)
        if not inherits:
            os.dup2(birth.said[1], 2)
            os.dup2(null, 1)
        for first, last in birth.others:
            os.closerange(first, last)
        if self._limits:
            self._limit(self._limits)
        self._title.show(birth.shown)
        rename_process()
        if not self.orphans or subreaper.become():
            sys._xoptions[NO_ORPHANS] = True
        supervisor = birth.prepared.startup.start(unsaid=inherits)
        code = 0 if supervisor else SYSTEM
        if inherits:
            self._say_apart(birth, "" if supervisor else birth.prepared.startup.reason)
        elif supervisor:
            os.dup2(0, 2)
        try:
            os.write(birth.report[1], bytes((code,)))
        except OSError:
            pass  # nobody waits for it any more
        os.close(birth.report[1])
        return supervisor.run() if supervisor else code

    @staticmethod
    def _say_apart(birth: _Birth, reason: str) -> None:
        try:
            if reason:
                os.write(birth.said[1], f"supervise: fatal: {reason}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            pass
        close(birth.said[1])


class _Course:
    """What a rehearsal has a supervise do: restart its service, and then end with it; a part of its loop."""

    def __init__(self, control: str) -> None:
        self.machine: Machine | None = None
        self.due: float | None = 0.0
        self._control = control
        self._letters = [b"hR", b"dx"]
        self._pid = 0

    def on_time(self, now: float) -> None:
        """Write the next letters, if there is another process.  Raises OSError."""
        self.due = now + _SOON
        pid = self.machine.pid if self.machine else 0
        if pid in (0, self._pid) or not self._letters:
            return
        self._pid = pid
        if self.machine and self.machine.started_at is not None:
            self.machine.started_at -= _LONG  # else there would be a pause before the next start
        fd = os.open(self._control, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.write(fd, self._letters.pop(0))
        os.close(fd)


class _Kept:
    """What a rehearsal changes of this process, and puts back: 0, 1, 2, name and title, and whether it has orphans."""

    def __init__(self, title_of: Title) -> None:
        self._title = title_of
        self._standard: list[int] = []
        self._name = b""

    def keep(self) -> None:
        """Raises OSError."""
        self._name = _own_name()
        for number in range(3):
            self._standard.append(fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3))

    def restore(self) -> None:
        """Never raises."""
        for number, fd in enumerate(self._standard):
            os.dup2(fd, number)
            os.close(fd)
        if len(self._standard) < 3:  # nothing has been changed
            return
        self._title.show(self._title.own)
        rename_process(self._name)
        subreaper.resign()


def _own_name() -> bytes:
    """What ps(1) calls this process.  Raises OSError."""
    fd = os.open("/proc/self/comm", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 64).rstrip(b"\n")
    finally:
        os.close(fd)


def _new_folder() -> str:
    """Make a folder that only this user may enter.  Raises OSError."""
    where = os.environ.get(b"TMPDIR", b"/tmp")
    path = join(fsdecode(where), f"supervise-{os.urandom(8).hex()}")
    os.mkdir(path, 0o700)
    return path


def _remove(folder: str) -> None:
    """Remove a folder and what is in it."""
    for name in os.listdir(folder):
        path = join(folder, name)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            _remove(path)
        else:
            os.unlink(path)
    os.rmdir(folder)


def _gaps(kept: set[int], highest: int) -> list[tuple[int, int]]:
    """The ranges of descriptors that close all but some, up to the highest, and the one that is opened next."""
    numbers = sorted(kept)
    firsts = [number + 1 for number in numbers]
    lasts = [*numbers[1:], max(highest + 2, numbers[-1] + 2)]
    return [(first, last) for first, last in zip(firsts, lasts) if first < last]
