"""The manager: carries a command of svall out, as the process from which the supervises are forked.

It reads the configuration, loads everything (nursery.py), and then does what the plan says: prepare and fork
supervises, write letters, look what becomes of them.  When the command is carried out it ends, and every supervise goes
on; nothing that happens to it touches them.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time

from supervise.client.errors import ClientError, refused
from supervise.fleet.changes import Running, changes
from supervise.fleet.job import (
    FAILED,
    FINAL,
    GONE,
    LEAVING,
    REFUSED,
    RESTART,
    RUNNING,
    SAY,
    SKIPPED,
    START,
    STARTED,
    STARTS,
    STOP,
    STOPPING,
    UP,
    UPDATE,
    ServiceFacts,
)
from supervise.fleet.loaded import Loaded
from supervise.fleet.lookout import Lookout
from supervise.fleet.plan import Plan
from supervise.fleet.task import PROGRAM, Task
from supervise.protocol.exitcodes import FAILED as SOME_FAILED
from supervise.protocol.exitcodes import SYSTEM, USAGE
from supervise.protocol.exitstatus import signal_name
from supervise.protocol.options import Options
from supervise.protocol.text import one_line, say, shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from supervise.config.definition import Definition
    from supervise.fleet.nursery import Copy
    from supervise.fleet.nursery_process import NurseryProcess

_AT_A_TIME = 1000  # supervises that are being started
# Seconds.  What a supervise takes itself is its own affair: these are for one that does nothing any more.
_SLACK = 30.0
_START_WITHIN = 60.0
_UNLIMITED = 300.0  # where a service has no limit of its own
_AGAIN, _AGAIN_MAX = 1.0, 60.0  # from one start of a supervise that dies to the next
_FATAL = "supervise: fatal: "


class Manager:
    """Carries commands out, one after the other: of `svall up` one, of `svall run` all until it is told to end."""

    def __init__(
        self,
        task: Task,
        loaded: Loaded,
        nursery: Callable[[], NurseryProcess],
        lookout: Lookout,
        env: dict[bytes, bytes],
        signals: Signals | None = None,
        running: Running | None = None,
    ) -> None:
        """`nursery`: where supervises are forked; `running`: who supervises services already; `signals`: those that
        this process stays for, of `svall run`.
        """
        self._task = task
        self._loaded = loaded
        self._nursery = nursery
        self._lookout = lookout
        self._env = env
        self._plan = Plan(_AT_A_TIME)
        self._copies: dict[int, tuple[str, Copy]] = {}  # where one reports: its name, and what is known of it
        self._starting: set[str] = set()  # the names of these
        self._to_stop: set[str] = set()  # those of them that are started to stop what a supervise before has left
        self._signals = signals
        self._others = {*running.others} if running else set()  # which somebody else has started
        self._unknown = dict(running.unknown) if running else {}  # nothing is done with what may be somebody else's
        self._told = ""  # systemd
        self._wanted: set[str] = set()  # what is to be up, for that
        # Supervises that have died: when each is to be started again, and in how many seconds if it dies again.
        self._due: dict[str, float] = {}
        self._delays: dict[str, tuple[float, float]] = {}

    def facts(self, definition: Definition) -> ServiceFacts:
        """What the plan has to know of a service."""
        config = self._loaded.config(definition.name)
        readiness = bool(config.notify or config.notification_fd)
        stop_within = config.stopwaitsecs + _SLACK if config.stopwaitsecs else _UNLIMITED
        start_within = config.startsecs + _START_WITHIN
        if readiness:
            start_within += config.starttimeoutsecs + stop_within if config.starttimeoutsecs else _UNLIMITED
        return ServiceFacts(
            definition.name,
            start_within=start_within,
            stop_within=stop_within,
            depends_on=definition.depends_on,
            depends_restart=definition.depends_restart,
            priority=definition.priority,
            readiness=readiness,
            presence=self._presence(definition.name),
        )

    def _presence(self, name: str) -> str:
        presence = self._lookout.presence(name)
        return UP if presence == RUNNING and name in self._others else presence  # which is not waited for

    def carry_out(self, goals: dict[str, str]) -> int:
        """Carry out goals by name, and for `run` all that comes after that; the exit code.  Raises ClientError."""
        self._begin(goals)
        if self._signals:
            self._lookout.also(self._signals.fd)
            self._tell()
            while not self._plan.ended:
                self._turn()
            return 0 if self._plan.successful else SOME_FAILED
        while not self._plan.finished:
            self._turn()
        return 0 if self._plan.successful else SOME_FAILED

    def _begin(self, goals: dict[str, str]) -> None:
        for name, goal in goals.items():
            if goal in STARTS:
                self._wanted.add(name)
            else:
                self._wanted.discard(name)
        names = [*self._loaded.services, *(name for name in goals if name not in self._loaded.services)]
        for name in names:
            self._lookout.add(name, self._loaded.path(name))
        services = [self.facts(definition) for definition in self._loaded.services.values()]
        for name in names[len(services) :]:
            presence = self._lookout.presence(name)
            services.append(ServiceFacts(name, start_within=_START_WITHIN, stop_within=_UNLIMITED, presence=presence))
        self._do(self._plan.carry_out(goals, time.monotonic(), services))

    def _update(self) -> None:
        """Read the configuration again, and carry out what has changed; one that is broken changes nothing."""
        loaded = _load(self._task, self._env, "warning")
        if loaded is None:
            say(PROGRAM, "warning", f"{shown_name(self._task.conf)} is not used as long as it is so")
            return
        try:
            compared = changes(loaded)
        except ClientError as why:
            say(PROGRAM, "warning", f"cannot update: {why}")
            return
        for line in (*compared.alone, *compared.unknown.values()):
            say(PROGRAM, "warning", line)
        self._loaded = loaded
        self._unknown = {}
        self._begin({change.name: change.goal for change in compared.found})

    def _turn(self) -> None:
        due = [at for at in (self._plan.deadline, self._lookout.due, *self._due.values()) if at is not None]
        seconds = max(min(due) - time.monotonic(), 0.0) if due else None
        names, readable = self._lookout.wait(seconds)
        for fd in readable:
            if fd in self._copies:
                self._reported(fd)
        if self._signals and self._signals.fd in readable:
            self._signalled(self._signals)
        for name in names:
            self._look(name)
        now = time.monotonic()
        if self._plan.deadline is not None and now >= self._plan.deadline:
            self._do(self._plan.tick(now))
        self._revive(now)
        self._go_on()
        self._tell()

    def _signalled(self, signals: Signals) -> None:
        for name in signals.take():
            now = time.monotonic()
            if name in ("TERM", "INT"):
                self._due.clear()
                self._wanted.clear()
                self._do(self._plan.down(now))
            elif name == "HUP":
                self._do(self._plan.update(now))
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if not pid:
                break

    def _do(self, actions: list[tuple[object, ...]]) -> None:
        """Carry out what the plan says, and what follows from that."""
        starts = []
        for kind, *args in actions:
            if kind == SAY:
                say(PROGRAM, str(args[0]).lower(), str(args[1]))
            elif kind == START:
                starts.append(str(args[0]))
            elif kind == STOP:
                self._stop(str(args[0]))
            elif kind == RESTART:
                # Reading the configuration first, which may have been written just now.
                self._command(str(args[0]), "rR", again=True)
            elif kind == UPDATE:
                self._update()
        if starts:
            self._start(starts)

    def _handle(self, event: str, name: str, value: object = None) -> None:
        self._do(self._plan.handle(event, name, time.monotonic(), value))

    def _stop(self, name: str) -> None:
        """Stop a service and its supervise; where it has none any more, one is started that can."""
        if not self._barred(name) and name in self._loaded.services and self._outlived(name):
            self._to_stop.add(name)
            self._start([name])
        else:
            self._command(name, "dx")

    def _outlived(self, name: str) -> bool:
        try:
            return not self._lookout.supervised(name) and self._lookout.outlived(name)
        except ClientError:
            return False  # to command it meets the same

    def _barred(self, name: str) -> str:
        """Why nothing is done with a service, as long as it may be somebody else's; empty if it is known not to be."""
        if name not in self._unknown:
            return ""
        now = Running(self._loaded, [name])
        why = now.unknown.get(name) or now.others.get(name, "")
        if not why:
            del self._unknown[name]
        return why

    def _command(self, name: str, letters: str, again: bool = False) -> None:
        barred = self._barred(name)
        if barred:
            self._handle(REFUSED, name, barred)
            return
        try:
            self._lookout.commanded(name, again)
            self._lookout.send(name, letters)
        except ClientError as why:
            self._handle(REFUSED, name, str(why))
            return
        self._look(name)

    def _look(self, name: str) -> None:
        if name in self._starting:  # what is there now is what the supervise before has left
            return
        for event, its, value in self._lookout.events(name):
            if event == GONE and self._is_being_stopped(name) and self._outlived(name):
                self._stop(name)  # its supervise has died of something else
                continue
            self._handle(event, its, value)
            if event == GONE and self._signals and not self._plan.ending:
                self._has_ended(name)

    def _is_being_stopped(self, name: str) -> bool:
        return self._plan.state(name)[0] in (STOPPING, LEAVING) if self._plan.knows(name) else False

    def _has_ended(self, name: str) -> None:
        """A supervise has ended: start another, if it was not told to and has not given up."""
        if self._is_settled(name) and self._lookout.died(name):
            self._again(name)
            say(PROGRAM, "warning", f"the supervise of {shown_name(name)} has died: another is started")

    def _again(self, name: str) -> None:
        now = time.monotonic()
        before, delay = self._delays.get(name, (0.0, 0.0))
        if now - before > _AGAIN_MAX:
            delay = 0.0
        self._due[name] = now + delay
        self._delays[name] = now + delay, min(max(2 * delay, _AGAIN), _AGAIN_MAX)

    def _revive(self, now: float) -> None:
        """Start the supervises again that have died, as far as nobody else has."""
        names = [name for name, at in self._due.items() if at <= now]
        for name in names:
            del self._due[name]
        names = [name for name in names if self._is_settled(name) and self._lookout.died(name)]
        if names:
            self._start(names)

    def _is_settled(self, name: str) -> bool:
        """Whether a service is defined, and nothing is being done about it."""
        return name in self._loaded.services and self._plan.knows(name) and self._plan.state(name)[0] in FINAL

    def _go_on(self) -> None:
        """Start what was skipped, when that for which it was has come up after all; of what stays."""
        if not self._signals or not self._plan.finished or self._plan.ending or self._plan.successful:
            return
        results = self._plan.results
        late = [name for name, (state, _) in results.items() if state == FAILED and self._plan.state(name)[1] == UP]
        skipped = [name for name, (state, _) in results.items() if state == SKIPPED and name in self._loaded.services]
        if late and all(name in self._wanted for name in late):
            for name in late:
                say(PROGRAM, "notice", f"{shown_name(name)} has come up after all")
            self._begin({name: START for name in results if name in (*late, *skipped)})

    def _start(self, names: list[str]) -> None:
        """Start supervises: all are prepared before the first is forked, for they share what was written until then."""
        prepared = []
        for name in names:
            definition = self._loaded.services[name]
            barred = self._barred(name)
            if barred:
                self._refused(name, barred)
                continue
            try:
                if self._lookout.supervised(name):
                    self._command(name, "u")
                    continue
                self._lookout.commanded(name)
            except ClientError as why:
                self._refused(name, str(why))
                continue
            path = self._loaded.path(name)
            options = Options(path, definition.command, self._loaded.conf, conf_named=True, defined=True)
            reason = self._nursery().prepare(options)
            if reason:
                self._refused(name, reason)
            else:
                prepared.append(name)
        for name, copy in zip(prepared, self._nursery().fork(len(prepared)) if prepared else ()):
            if isinstance(copy, OSError):
                self._refused(name, f"cannot fork: {copy.strerror}")
                continue
            self._copies[copy.report] = name, copy
            self._starting.add(name)
            self._lookout.also(copy.report)

    def _refused(self, name: str, reason: str) -> None:
        """A supervise could not be started, or its service."""
        self._to_stop.discard(name)
        if self._signals and self._is_settled(name):
            say(PROGRAM, "warning", f"cannot start the supervise of {shown_name(name)} again: {reason}")
            self._again(name)
        else:
            self._handle(REFUSED, name, reason)
            if self._signals and not self._plan.ending:
                self._has_ended(name)  # it may have died before it could tell

    def _reported(self, fd: int) -> None:
        name, copy = self._copies.pop(fd)
        self._starting.discard(name)
        code = os.read(fd, 1)
        self._lookout.no_more(fd)
        os.close(fd)
        said = b""
        while part := os.read(copy.said, 65536):
            said += part
        os.close(copy.said)
        lines = said.decode("utf-8", "backslashreplace").splitlines()
        fatal = next((line for line in lines if line.startswith(_FATAL)), "")
        for line in lines:
            if line != fatal:
                sys.stderr.write(f"{one_line(line)}\n")
        if code != b"\0":
            self._refused(name, fatal[len(_FATAL) :] or "its supervise has ended")
        elif name in self._to_stop:
            self._to_stop.discard(name)
            self._command(name, "dx")
        else:
            self._handle(STARTED, name)
            self._look(name)

    def _tell(self) -> None:
        """Tell systemd how far everything is (sd_notify(3)), where it asks."""
        address = self._env.get(b"NOTIFY_SOCKET")
        if not self._signals or not address:
            return
        if self._plan.ending:
            told = "STOPPING=1\nSTATUS=stopping\n"
        else:
            up = sum(self._plan.knows(name) and self._plan.state(name)[1] == UP for name in self._wanted)
            _, _, under_way = self._plan.progress
            waiting = f", waiting for {', '.join(map(shown_name, under_way[:3]))}" if under_way else ""
            told = f"STATUS={up} of {len(self._wanted)} up{waiting}\n"
            told += "READY=1\n" if self._plan.finished else ""
        if told != self._told:
            self._told = told
            notify(address, told)


class Signals:
    """TERM, INT, HUP and CHLD, as names that `fd` is readable for."""

    def __init__(self) -> None:
        """Raises OSError."""
        self.fd, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._names: list[str] = []
        for number in (*_HELD_BACK, signal.SIGCHLD):
            signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)

    def _note(self, number: int, frame: object) -> None:
        self._names.append(signal_name(number))

    def take(self) -> list[str]:
        """The names that came, in order; CHLD says that a child may have ended."""
        try:
            os.read(self.fd, 4096)
        except BlockingIOError:
            pass
        names, self._names = self._names, []
        return names


_HELD_BACK = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # begin.py


def notify(address: bytes, text: str) -> None:
    """Send a notification, if somebody listens."""
    import socket

    where = b"\0" + address[1:] if address.startswith(b"@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sending:
        try:
            sending.sendto(text.encode(), where)
        except OSError:
            pass


def _load(task: Task, env: dict[bytes, bytes], severity: str = "fatal") -> Loaded | None:
    """What the file defines; None if it is broken, which was said."""
    loaded = Loaded(task.conf, task.root, env)
    for line in loaded.warnings:
        say(PROGRAM, "warning", line)
    for line in loaded.errors:
        say(PROGRAM, severity, line)
    return None if loaded.errors else loaded


def run(task: Task, nursery: Callable[[], NurseryProcess], env: dict[bytes, bytes]) -> int:
    """Carry a task out; the exit code."""
    loaded = _load(task, env)
    if loaded is None:
        return USAGE
    names, errors = loaded.select(task.words)
    for line in errors:
        say(PROGRAM, "fatal", line)
    if errors:
        return USAGE
    try:
        goals, running, code = _goals(task, loaded, names)
        _make_room(loaded, goals)
        signals = Signals() if task.verb == "run" else None
        lookout = Lookout(loaded.root)
        try:
            return max(code, Manager(task, loaded, nursery, lookout, env, signals, running).carry_out(goals))
        finally:
            lookout.close()
    except ClientError as why:
        say(PROGRAM, "fatal", str(why))
        return why.exit_code
    except OSError as why:
        say(PROGRAM, "fatal", why.strerror or str(why))
        return SYSTEM


def _make_room(loaded: Loaded, goals: dict[str, str]) -> None:
    """Have a directory for the services that are to be started.  Raises ClientError."""
    new = [name for name, goal in goals.items() if goal in STARTS and not os.path.lexists(loaded.path(name))]
    if not new:
        return
    try:
        os.makedirs(loaded.root, 0o700, exist_ok=True)
        if not os.access(loaded.root, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as why:
        raise refused(f"make directories in {shown_name(loaded.root)}", why) from None


def _goals(task: Task, loaded: Loaded, names: list[str]) -> tuple[dict[str, str], Running, int]:
    """What is wanted of which service; who supervises them now; and an exit code.  Raises ClientError.

    Those that are left alone are said.
    """
    if task.verb == "update":
        compared = changes(loaded)
        unknown = [line for name, line in compared.unknown.items() if not task.words or name in names]
        for line in (*compared.alone, *unknown):
            say(PROGRAM, "warning", line)
        found = [change for change in compared.found if not task.words or change.name in names]
        return {change.name: change.goal for change in found}, Running(loaded), SOME_FAILED if unknown else 0
    goal = {"down": STOP, "restart": RESTART}.get(task.verb, START)
    if goal == START and task.words:
        names = loaded.order.with_dependencies(names)
    running = Running(loaded, names)
    for line in running.others.values():
        say(PROGRAM, "warning", line)
    wanted = [name for name in names if name not in running.others]
    if goal != STOP and not task.words:  # one that is not to be started by itself may run, and be restarted
        again = running.ours if goal == RESTART else ()
        wanted = [name for name in wanted if loaded.services[name].autostart or name in again]
    return dict.fromkeys(wanted, goal), running, 0
