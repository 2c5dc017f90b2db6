"""The manager: carries commands of svall out, as the process that has the nursery fork supervises.

It does what the plan says: has supervises started (starts.py), writes letters, looks what becomes of services
(lookout.py).  When the command of `svall up` is carried out it ends, and every supervise goes on; nothing that happens
to it touches them.  That of `svall run` stays, for signals (signals.py), and supervises that die (reviving.py).
"""

from __future__ import annotations

import resource
import time

from supervise.client.errors import ClientError
from supervise.fleet.changes import Running
from supervise.fleet.goals import changed, load
from supervise.fleet.job import (
    COMING,
    EXTEND,
    FAILED,
    FINAL,
    GONE,
    LEAVING,
    REFUSED,
    REMOVE,
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
from supervise.fleet.nursery_process import Held
from supervise.fleet.plan import Plan
from supervise.fleet.reviving import Revival
from supervise.fleet.rivals import Rivals
from supervise.fleet.signals import ended_children
from supervise.fleet.starts import Starts
from supervise.fleet.task import PROGRAM, Task
from supervise.fleet.telling import Telling
from supervise.protocol.exitcodes import FAILED as SOME_FAILED
from supervise.protocol.options import Options
from supervise.protocol.text import say, shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from supervise.config.definition import Definition
    from supervise.fleet.loaded import Loaded
    from supervise.fleet.lookout import Lookout
    from supervise.fleet.neighbours import Neighbours
    from supervise.fleet.output import Output
    from supervise.fleet.signals import Signals

_AT_A_TIME = 1000  # supervises that are being started
_EACH, _OTHERS = 2, 100  # descriptors of one of these, and beside them
# Seconds.  What a supervise takes itself is its own affair: these are for one that does nothing any more.
_SLACK = 30.0
_START_WITHIN = 60.0
_UNLIMITED = 300.0  # where a service has no limit of its own


class Manager:
    """Carries commands out, one after the other: of `svall up` one, of `svall run` all until it is told to end."""

    def __init__(
        self,
        task: Task,
        loaded: Loaded,
        starts: Starts,
        lookout: Lookout,
        env: dict[bytes, bytes],
        signals: Signals | None = None,
        running: Running | None = None,
        output: Output | None = None,
        neighbours: Neighbours | None = None,
    ) -> None:
        """`running`: who supervises services already; `signals`: those that this process stays for, of `svall run`;
        `output`: shows what services print; `neighbours`: others who stay for the same file.
        """
        self._task = task
        self._loaded = loaded
        self._starts = starts
        self._lookout = lookout
        self._env = env
        self._plan = Plan(_at_a_time())
        self._to_stop: set[str] = set()  # those that are started to stop what a supervise before has left
        self._signals = signals
        self._others = {*running.others} if running else set()  # which somebody else has started
        self._unknown = dict(running.unknown) if running else {}  # nothing is done with what may be somebody else's
        self._output = output
        self._neighbours = neighbours
        self._telling = Telling(env)
        self._wanted: set[str] = set()  # what is to be up
        self._about: set[str] = set()  # what a command was about
        self._removed: set[str] = set()  # what is being stopped, for it is not defined any more
        self._revival = Revival()
        self._rivals = Rivals(lookout.locked)
        self._inheriting: dict[str, str] = {}  # services that are to have this process's output, and the key for it

    def facts(self, definition: Definition) -> ServiceFacts:
        """What the plan has to know of a service."""
        config = self._loaded.config(definition.name)
        self._inheriting[definition.name] = config.inherited_key
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

    # Commands.

    def carry_out(self, goals: dict[str, str]) -> int:
        """Carry out goals by name, and for `run` all that comes after that; the exit code.

        Raises ClientError, and OSError: NurseryGone where that has died.
        """
        self._begin(goals)
        if self._signals:
            self._lookout.also(self._signals.fd)
            self._tell()
            while not self._plan.ended:
                self._turn()
        else:
            while not self._plan.finished:
                self._turn()
        return 0 if self._plan.successful else SOME_FAILED

    def _begin(self, goals: dict[str, str]) -> None:
        for name, goal in goals.items():
            if goal in STARTS:
                self._wanted.add(name)
            else:
                self._wanted.discard(name)
        self._about.update(goals)
        self._others.difference_update(goals)
        self._removed.update(name for name, goal in goals.items() if goal == REMOVE)
        self._follow_output()
        names = [*self._loaded.services, *(name for name in goals if name not in self._loaded.services)]
        for name in names:
            self._lookout.add(name, self._loaded.path(name))
        services = [self.facts(definition) for definition in self._loaded.services.values()]
        for name in names[len(services) :]:
            presence = self._lookout.presence(name)
            services.append(ServiceFacts(name, start_within=_START_WITHIN, stop_within=_UNLIMITED, presence=presence))
        self._do(self._plan.carry_out(goals, time.monotonic(), services))

    def _follow_output(self) -> None:
        """Follow what those print that this runs, or has yet to stop."""
        if not self._output:
            return
        names = [name for name in self._loaded.services if not self._task.words or name in self._about]
        names += [name for name in self._removed if name not in self._loaded.services]
        self._output.follow({name: self._loaded.logs(name) for name in names if name not in self._others})

    def _update(self) -> None:
        """Read the configuration again, and carry out what has changed; one that is broken changes nothing."""
        loaded = load(self._task, self._env, "warning")
        if loaded is None:
            say(PROGRAM, "warning", f"{shown_name(self._task.conf)} is not used as long as it is so")
            return
        names, errors = loaded.select(self._task.words)
        for line in errors:
            say(PROGRAM, "warning", line)
        try:
            named = {*loaded.order.with_dependencies(names)} if self._task.words else None
            goals, _ = changed(loaded, named, self._about)
        except ClientError as why:
            say(PROGRAM, "warning", f"cannot update: {why}")
            return
        self._loaded = loaded
        self._unknown = {}
        if self._neighbours:
            self._neighbours.look()
        self._begin(goals)

    def _down(self, now: float) -> None:
        """Take down what this has started, or found running from the same file; not what is somebody else's."""
        self._wanted.clear()
        settled = [name for name in self._loaded.services if self._is_settled(name)]
        for name in settled:
            if name in self._starts:  # again
                self._handle(STARTED, name)
            elif self._plan.state(name)[1] == GONE:
                self._look(name)  # somebody else may have started it, or its directory was moved
        self._revival.clear()
        running = Running(self._loaded, settled)
        self._unknown.update(running.unknown)
        spared = {*running.others}
        if self._task.words:
            spared.update(name for name in settled if name not in self._about)
        self._do(self._plan.down(now, spared))

    # The loop.

    def _turn(self) -> None:
        due = [self._plan.deadline, self._lookout.due, self._revival.due, self._rivals.due]
        if self._signals:
            due.append(self._telling.due)
        if self._output:
            due.append(self._output.due)
        first = min((at for at in due if at is not None), default=None)
        names, readable = self._lookout.wait(None if first is None else max(first - time.monotonic(), 0.0))
        for fd in readable:
            reported = self._starts.reported(fd)
            if reported:
                self._reported(*reported)
        if self._signals and self._signals.fd in readable:
            self._signalled(self._signals)
        for name in names:
            self._look(name)
        now = time.monotonic()
        if self._plan.deadline is not None and now >= self._plan.deadline:
            self._do(self._plan.tick(now))
        for name, reason in self._lookout.unheeded(now):
            self._handle(REFUSED, name, reason)
        for name in self._rivals.take(now):
            self._look_after_rival(name, now)
        self._revive(now)
        self._go_on()
        self._tell()
        if self._output:
            self._output.on_time(now)
        if self._removed and self._plan.finished:
            self._removed.clear()
            self._follow_output()

    def _tell(self) -> None:
        if self._signals:
            self._telling.tell(self._plan, self._wanted, time.monotonic())

    def _signalled(self, signals: Signals) -> None:
        for name in signals.take():
            now = time.monotonic()
            if name in ("TERM", "INT"):
                self._down(now)
            elif name == "HUP" and not self._plan.ending:
                self._telling.reloads()
                self._do(self._plan.update(now))
        for pid, status in ended_children():
            if self._output:
                self._output.ended(pid, status)

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

    # Commanding supervises, and what becomes of services.

    def _stop(self, name: str) -> None:
        """Stop a service and its supervise; where it has none any more, one is started that can."""
        if name in self._starts:
            self._to_stop.add(name)
        elif not self._barred(name) and name in self._loaded.services and self._outlived(name):
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
        if name in self._starts or name in self._rivals:  # what is there now is what the supervise before has left
            return
        for event, its, value in self._lookout.events(name):
            if event == GONE and self._is_being_stopped(name) and self._outlived(name):
                self._stop(name)  # its supervise has died of something else
                continue
            if event == EXTEND:
                self._extend(name, value)
                continue
            self._handle(event, its, value)
            if event == GONE and self._signals and not self._plan.ending:
                self._has_ended(name)

    def _extend(self, name: str, value: object) -> None:
        """A service has been given until then, or has asked for it; what follows has its time as well."""
        assert isinstance(value, tuple)
        until, stops = value
        if not self._plan.knows(name):
            return
        service = self._plan.service(name)
        more = _SLACK if stops else service.stop_within  # for it is stopped if it is late
        if stops and self._plan.state(name)[0] == COMING:  # a restart
            more += service.start_within
        self._handle(EXTEND, name, until + more)

    def _is_being_stopped(self, name: str) -> bool:
        return self._plan.state(name)[0] in (STOPPING, LEAVING) if self._plan.knows(name) else False

    def _is_settled(self, name: str) -> bool:
        """Whether a service is defined, and nothing is being done about it."""
        return name in self._loaded.services and self._plan.knows(name) and self._plan.state(name)[0] in FINAL

    # Supervises that have died, and what waited for them.

    def _has_ended(self, name: str) -> None:
        """A supervise has ended: start another, if it was not told to and has not given up."""
        if self._is_settled(name) and self._lookout.died(name):
            self._revival.again(name, time.monotonic())
            say(PROGRAM, "warning", f"the supervise of {shown_name(name)} has died: another is started")

    def _revive(self, now: float) -> None:
        """Start the supervises again that have died, as far as nobody else has."""
        names = [name for name in self._revival.take(now) if self._is_settled(name) and self._lookout.died(name)]
        if names:
            self._start(names)

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

    # Starting supervises.

    def _start(self, names: list[str]) -> None:
        """Start supervises; what follows from that comes when all have been."""
        wanted: dict[str, Options] = {}
        running: list[str] = []
        refused: list[tuple[str, str]] = []
        for name in names:
            barred = self._barred(name)
            if barred:
                refused.append((name, barred))
                continue
            try:
                if self._lookout.known(name):
                    running.append(name)
                    continue
                self._lookout.commanded(name)
                if self._lookout.supervised(name):
                    self._rivals.met(name, time.monotonic())
                    continue
            except ClientError as why:
                refused.append((name, str(why)))
                continue
            wanted[name] = self._options(name)
        for name, reason in self._starts.make(wanted):
            if isinstance(reason, Held):
                self._rivals.met(name, time.monotonic())
            else:
                refused.append((name, reason))
        for name in running:
            self._command(name, "u")
        for name, reason in refused:
            self._refused(name, reason)

    def _look_after_rival(self, name: str, now: float) -> None:
        """See what has come of a start that somebody else has made."""
        if not self._plan.knows(name) or self._plan.state(name)[0] == FAILED:
            return  # that was too late
        try:
            known = self._lookout.known(name)
        except ClientError as why:
            self._refused(name, str(why))
            return
        if known:
            found = Running(self._loaded, [name])
            self._reported(name, found.others.get(name) or found.unknown.get(name))
        elif not self._rivals.still(name, now):
            self._start([name])

    def _options(self, name: str) -> Options:
        """What a supervise is started with.  That one cannot have an output of this process, which ends, is said."""
        key = self._inheriting[name]
        inherits = bool(key and self._signals)
        if key and not inherits:
            where = self._loaded.where(name, key)
            say(PROGRAM, "warning", f"{where}: {key} : INHERIT needs svall run: {shown_name(name)} prints to its files")
        path, command = self._loaded.path(name), self._loaded.services[name].command
        return Options(path, command, self._loaded.conf, conf_named=True, defined=True, inherits=inherits)

    def _refused(self, name: str, reason: str) -> None:
        """A supervise could not be started, or its service."""
        self._to_stop.discard(name)
        if self._signals and self._is_settled(name):
            say(PROGRAM, "warning", f"cannot start the supervise of {shown_name(name)} again: {reason}")
            self._revival.again(name, time.monotonic())
        else:
            self._handle(REFUSED, name, reason)
            if self._signals and not self._plan.ending:
                self._has_ended(name)  # it may have died before it could tell

    def _reported(self, name: str, reason: str | None) -> None:
        """A supervise has told what has come of its start."""
        if reason is not None:
            self._refused(name, reason)
        elif name in self._to_stop:
            self._to_stop.discard(name)
            self._command(name, "dx")
        else:
            self._handle(STARTED, name)
            self._look(name)


def _at_a_time() -> int:
    """How many supervises may be being started, with as many descriptors as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(min(_AT_A_TIME, (hard - _OTHERS) // _EACH), 1)
