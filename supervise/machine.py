"""The state machine: what supervise does when something happens.

What lives here: the states, the events, and one table that gives an answer to every event in every state.
What does not: processes, files, clocks.  Events come in, with the monotonic time in seconds; actions go out,
as a list that the loop carries out in order.  Two results of actions come back as events: of START
(`started`, `failed`) and of SCRIPT (`script_done`).

Theory of operation
-------------------

Rule 1.  There is one service process or none: START is only asked for in a state without one, and leads to
         SPAWNING, in which it is not asked for again.
Rule 2.  `want` says what is to become of the service: up, down, or once (run, but do not restart).  Letters
         change it in every state; what follows from it is decided where a process ends.
Rule 3.  Two starts are at least MIN_GAP seconds apart.  A start that would be earlier waits in DELAY for its
         `deadline`; the loop says `timer` when that is past.
Rule 4.  An exit in STOPPING, or after `x`, was asked for: planned.  Every other is counted and may raise an
         alarm or be the last (policy.py), unless alarms are off.
Rule 5.  A start that fails is an exit like any other.
Rule 6.  After an exit that is to be followed by a restart, START comes before anything else in the list: the
         next process first, then the log and the alarm.  The record needs no action: it is `visible`, which
         the loop compares with what it last wrote.
Rule 7.  ENDED is final.  A supervise that has given up never starts anything again.
"""

from __future__ import annotations

from supervise.letters import SIGNAL
from supervise.policy import Window
from supervise.record import DOWN as WANT_DOWN
from supervise.record import ONCE as WANT_ONCE
from supervise.record import UP as WANT_UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from supervise.config import Config
    from supervise.exitstatus import ExitStatus

    Action = tuple[Any, ...]
    Handler = Callable[["Machine", str, float, Any], None]

MIN_GAP = 1.0  # seconds between two starts

# States.
IDLE = "idle"  # no process, none wanted
SPAWNING = "spawning"  # START was asked for; its result is the next thing to come
RUNNING = "running"
STOPPING = "stopping"  # the service runs and was told to end, by `d` or `R`
DELAY = "delay"  # no process; the next start waits for its second
SCRIPT_RUN = "script"  # no process; the restart script runs
ENDED = "ended"  # supervise is to exit
STATES = (IDLE, SPAWNING, RUNNING, STOPPING, DELAY, SCRIPT_RUN, ENDED)

# Events that are not letters.
BEGIN = "begin"  # supervise is ready: start the service
ADOPTED = "adopted"  # a service that still runs was taken over.  value: the pid, and the state it was found in
STARTED = "started"  # value: the pid
FAILED = "failed"  # value: an ExitStatus that says why
EXITED = "exited"  # value: an ExitStatus
AMENDED = "amended"  # how a service ended whose exit status was unknown.  value: an ExitStatus and its pid
TIMER = "timer"  # the deadline is past
SCRIPT_DONE = "script_done"  # value: what went wrong, or None
CONFIG = "config"  # value: a Config

# Actions.
START = "start"
KILL = "kill"  # a signal's name, and whether it goes to the process group
SCRIPT = "run_script"  # how many times the service has exited
END_SCRIPT = "end_script"
RELOAD = "reload"
UPGRADE = "upgrade"
GONE = "gone"  # for the state: an ExitStatus, uptime in seconds, whether it was planned
ALARM = "alarm"  # an ExitStatus, uptime in seconds, restarts in the window, whether supervise gives up
NOTICE, WARNING, FATAL = "NOTICE", "WARNING", "FATAL"  # a line for the log: a %-template and its values


class Machine:
    """The state of one supervise.  `handle` is the only way to change it."""

    __slots__ = (
        "state",
        "want",
        "pid",
        "paused",
        "alarms",
        "leaving",
        "gave_up",
        "config",
        "window",
        "deadline",
        "started_at",
        "exited_at",
        "exits",
        "totals",
        "_script",
        "_script_reset",
        "_counted",
        "_actions",
    )

    def __init__(self, config: Config, script: bool = False, script_reset: float | None = None) -> None:
        """`script`: a restart script is to be run; its count starts again after `script_reset` seconds."""
        self.state = IDLE
        self.want = WANT_UP
        self.pid = 0
        self.paused = False
        self.alarms = True
        self.leaving = False
        self.gave_up = False
        self.config = config
        self.window = Window()
        self.deadline: float | None = None
        self.started_at: float | None = None  # the last try to start, successful or not
        self.exited_at: float | None = None
        self.exits = 0  # what the restart script is told
        # Since the service was first supervised here; `crashes` were not planned and are no `failures` to start.
        self.totals = {"starts": 0, "exits": 0, "crashes": 0, "cores": 0, "failures": 0, "planned": 0}
        self._script = script
        self._script_reset = script_reset
        self._counted = False  # the last exit was one for the window
        self._actions: list[Action] = []

    def inherit(self, fields: dict[str, Any], resume: bool) -> None:
        """Carry on where the supervise that wrote this state (state.py) ended.

        `resume`: with what was wanted, too; without it a new supervise means up.
        """
        self.totals.update((name, fields["totals"][name]) for name in self.totals)
        if resume:
            self.want, self.alarms = fields["wanted"], fields["alarms"]
        if fields["machine"] == ENDED:
            return  # it ended as asked, or gave up: what it counted is over
        self.exits, self.exited_at = fields["script_exits"], fields["exited_at"]
        window = fields["window"]
        self.window.opened, self.window.exits, self.window.cores = window["opened_at"], window["exits"], window["cores"]

    def carry_on(self, fields: dict[str, Any]) -> None:
        """Be what the machine that wrote this state was, in the same process."""
        self.inherit(fields, True)
        self.state, self.paused, self.leaving = fields["machine"], fields["paused"], fields["leaving"]
        self.started_at, self.deadline = fields["started_at"], fields["deadline_at"]
        if self.state == DELAY and self.deadline is None:
            self.deadline = (self.started_at or 0.0) + MIN_GAP  # an older release did not write it
        self.pid = fields["service"]["pid"] if fields["service"] else 0

    @property
    def visible(self) -> tuple[bool, str, bool, int]:
        """What the status record shows: paused, want, alarms, pid."""
        return self.paused, self.want, self.alarms, self.pid

    @property
    def eager_from(self) -> float | None:
        """From this time on, any exit of the service, however it comes, is answered with START first of all.

        So the loop need not ask: it may start the successor before it knows how the service ended.  None: it
        depends on the exit, or the answer is another.
        """
        certain = self.state == RUNNING and self.want == WANT_UP and not self.leaving and not self._script
        if not certain or self.started_at is None or (self.alarms and self.window.may_give_up(self.config)):
            return None
        return self.started_at + MIN_GAP

    @property
    def passes_signals(self) -> bool:
        """Whether a letter that passes a signal on is answered with just that, first of all; as with `eager_from`."""
        return self.state in (RUNNING, STOPPING)

    def handle(self, event: str, now: float, value: Any = None) -> list[Action]:
        """Answer one event.  `value` is as the event says, for letters as letters.py says; `now` is monotonic."""
        self._actions = []
        _ANSWERS[event, self.state](self, event, now, value)
        return self._actions

    # Small words for the handlers below.

    def _do(self, *action: Any) -> None:
        self._actions.append(action)

    def _obeyed(self, letter: str, text: str, *args: Any) -> None:
        self._do(NOTICE, "command %s: " + text, letter, *args)

    def _start(self) -> None:
        self.state = SPAWNING
        self.deadline = None
        self._do(START)

    def _start_when_due(self, now: float) -> None:
        """Rule 3."""
        due = now if self.started_at is None else self.started_at + MIN_GAP
        if now >= due:
            self._start()
        else:
            self.state, self.deadline = DELAY, due

    def _end(self) -> None:
        self.state, self.deadline, self.pid, self.paused = ENDED, None, 0, False

    def _signal(self, name: str, group: bool) -> None:
        self._do(KILL, name, group)

    def _take_down(self, group: bool) -> None:
        self._signal("TERM", group)
        self._signal("CONT", group)
        self.state, self.paused = STOPPING, False

    # Letters.

    def _up(self, letter: str, now: float, value: Any) -> None:
        self.want = WANT_UP
        if self.state == IDLE:
            self._start_when_due(now)
        self._obeyed(letter, _UP_TEXT[self.state])

    def _once(self, letter: str, now: float, value: Any) -> None:
        self.want = WANT_ONCE
        if self.state == IDLE:
            self._start_when_due(now)
        self._obeyed(letter, "run the service once")

    def _down(self, letter: str, now: float, value: Any) -> None:
        self.want = WANT_DOWN
        self._obeyed(letter, "the service is down" if self.state == IDLE else "the service is to be down")

    def _down_running(self, letter: str, now: float, value: Any) -> None:
        self.want = WANT_DOWN
        self._take_down(value)
        self._obeyed(letter, "stop the service (pid %d)", self.pid)

    def _down_waiting(self, letter: str, now: float, value: Any) -> None:
        self.want, self.state, self.deadline = WANT_DOWN, IDLE, None
        self._obeyed(letter, "do not restart the service")

    def _down_script(self, letter: str, now: float, value: Any) -> None:
        self.want = WANT_DOWN
        self._do(END_SCRIPT)
        self._obeyed(letter, "do not restart the service, end the restart script")

    def _restart_running(self, letter: str, now: float, value: Any) -> None:
        self.want = WANT_UP
        self._take_down(value)
        self._obeyed(letter, "restart the service (pid %d)", self.pid)

    def _exit_down(self, letter: str, now: float, value: Any) -> None:
        if self.state == SCRIPT_RUN:
            self._do(END_SCRIPT)
        self._obeyed(letter, "exit")
        self._end()

    def _exit_running(self, letter: str, now: float, value: Any) -> None:
        self.leaving = True
        self._obeyed(letter, "exit when the service is down")

    def _pause(self, letter: str, now: float, value: Any) -> None:
        self._signal("STOP", value)
        self.paused = True
        self._obeyed(letter, "pause the service (pid %d)", self.pid)

    def _resume(self, letter: str, now: float, value: Any) -> None:
        self._signal("CONT", value)
        self.paused = False
        self._obeyed(letter, "continue the service (pid %d)", self.pid)

    def _pass_on(self, event: str, now: float, value: Any) -> None:
        letter, name, group = value
        self._do(KILL, name, group)
        target = "process group" if group else "pid"
        self._obeyed(letter, "send %s to the service (%s %d)", name, target, self.pid)

    def _no_service(self, event: str, now: float, value: Any) -> None:
        letter = value[0] if event == SIGNAL else event
        self._obeyed(letter, "the service is not running")

    def _alarms_off(self, letter: str, now: float, value: Any) -> None:
        self.alarms = False
        self._obeyed(letter, "alarms off")

    def _alarms_on(self, letter: str, now: float, value: Any) -> None:
        self.alarms = True
        self._obeyed(letter, "alarms on")

    def _reload(self, letter: str, now: float, value: Any) -> None:
        self._do(RELOAD)
        self._obeyed(letter, "read the configuration again")

    def _upgrade(self, letter: str, now: float, value: Any) -> None:
        self._do(UPGRADE)
        self._obeyed(letter, "replace this supervise by the installed version")

    # What happens to processes.

    def _begin(self, event: str, now: float, value: Any) -> None:
        if self.want == WANT_UP:
            self._start_when_due(now)

    def _adopted(self, event: str, now: float, value: Any) -> None:
        self.pid, fields = value
        self._do(NOTICE, "service taken over (pid %d)", self.pid)
        same = fields["service"] and fields["service"]["pid"] == self.pid
        # One that the state does not name was started just before its supervise was killed.
        self.started_at = fields["started_at"] if same else now
        self.paused = bool(same and fields["paused"])
        self.state = STOPPING if same and fields["machine"] == STOPPING else RUNNING
        if self.paused:
            # When its supervise is killed, the kernel has a stopped process go on (and sends it HUP).
            self._signal("STOP", False)
        if self.want == WANT_DOWN and self.state == RUNNING:
            self._take_down(False)

    def _started(self, event: str, now: float, value: Any) -> None:
        self.pid, self.started_at, self.state = value, now, RUNNING
        self.totals["starts"] += 1
        self._do(NOTICE, "service started (pid %d)", value)
        if self.want == WANT_DOWN:  # `d` came while it was being started
            self._take_down(False)

    def _failed(self, event: str, now: float, value: Any) -> None:
        self.started_at = now
        self._gone(value, now, planned=self.leaving or self.want == WANT_DOWN, uptime=0.0)

    def _exited(self, event: str, now: float, value: Any) -> None:
        planned = self.leaving or self.state == STOPPING
        uptime = now - self.started_at if self.started_at is not None else 0.0
        self._gone(value, now, planned, uptime)

    def _gone(self, how: ExitStatus, now: float, planned: bool, uptime: float) -> None:
        pid, self.pid, self.paused = self.pid, 0, False
        kind = "failures" if how.failure else "planned" if planned else "crashes"
        for total in ("exits", kind, "cores") if how.core else ("exits", kind):
            self.totals[total] += 1
        again = self._script_reset is not None and self.exited_at is not None
        if again and now - self.exited_at >= self._script_reset:  # type: ignore[operator]
            self.exits = 0
        self.exits += 1
        self.exited_at = now
        verdict = None
        if self.alarms and not planned:
            verdict = self.window.count(now, how.core, self.config)
        self._counted = verdict is not None
        if verdict and verdict.give_up:
            self.gave_up = True
            self._end()
        elif self.leaving:
            self._end()
        elif self.want != WANT_UP:
            self.state = IDLE
        elif self._script:
            self.state = SCRIPT_RUN
            self._do(SCRIPT, self.exits)
        else:
            self._start_when_due(now)
        self._do(GONE, how, uptime, planned)
        if pid:
            asked = ", as asked" if planned else ""
            self._do(NOTICE, "service %s (pid %d, up %.1f seconds%s)", how, pid, uptime, asked)
        else:
            self._do(WARNING, "service %s", how)
        if verdict and verdict.alarm:
            self._do(ALARM, how, uptime, verdict.restarts, verdict.give_up)
        if self.gave_up:
            tries, interval = verdict.restarts if verdict else 0, self.config.alarm_interval
            self._do(FATAL, "giving up after %d restarts within %d seconds", tries, interval)

    def _amended(self, event: str, now: float, value: Any) -> None:
        how, pid = value
        self._do(NOTICE, "service (pid %d, taken over) %s", pid, how)
        if how.core:
            self.totals["cores"] += 1
            self.window.cores += self._counted

    def _script_over(self, event: str, now: float, value: Any) -> None:
        if value is not None:
            self._do(WARNING, "%s", value)
        if self.want == WANT_DOWN:
            self.state = IDLE
        else:
            self._start_when_due(now)

    def _due(self, event: str, now: float, value: Any) -> None:
        if self.deadline is not None and now >= self.deadline:
            self._start()

    def _configure(self, event: str, now: float, value: Any) -> None:
        self.config = value

    def _nothing(self, event: str, now: float, value: Any) -> None:
        """Defined: nothing follows from this event in this state."""

    def _stray(self, event: str, now: float, value: Any) -> None:
        """The loop reports a result that was not asked for: nothing follows, but it is said."""
        self._do(WARNING, "unexpected in state %s: %s", self.state, event)


_UP_TEXT = {
    SPAWNING: "start the service",
    RUNNING: "keep the service up",
    STOPPING: "start the service again when it is down",
    DELAY: "start the service when its last start is a second ago",
    SCRIPT_RUN: "start the service after the restart script",
}

# What answers which event in which state: the names of the handlers above, without their underscore.
_TABLE = """
    event        idle        spawning      running         stopping        delay         script      ended

    u            up          up            up              up              up            up          nothing
    o            once        once          once            once            once          once        nothing
    d            down        down          down_running    down_running    down_waiting  down_script nothing
    R            up          up            restart_running restart_running up            up          nothing
    x            exit_down   exit_running  exit_running    exit_running    exit_down     exit_down   nothing
    p            no_service  no_service    pause           pause           no_service    no_service  nothing
    c            no_service  no_service    resume          resume          no_service    no_service  nothing
    signal       no_service  no_service    pass_on         pass_on         no_service    no_service  nothing
    s            alarms_off  alarms_off    alarms_off      alarms_off      alarms_off    alarms_off  nothing
    n            alarms_on   alarms_on     alarms_on       alarms_on       alarms_on     alarms_on   nothing
    r            reload      reload        reload          reload          reload        reload      nothing
    e            upgrade     stray         upgrade         upgrade         upgrade       upgrade     nothing

    begin        begin       nothing       nothing         nothing         nothing       nothing     nothing
    adopted      adopted     stray         stray           stray           stray         stray       stray
    started      stray       started       stray           stray           stray         stray       stray
    failed       stray       failed        stray           stray           stray         stray       stray
    exited       stray       stray         exited          exited          stray         stray       stray
    timer        nothing     nothing       nothing         nothing         due           nothing     nothing
    amended      amended     amended       amended         amended         amended       amended     nothing
    script_done  stray       stray         stray           stray           stray         script_over stray
    config       configure   configure     configure       configure       configure     configure   configure
"""


def _read_table(text: str) -> dict[str, tuple[Handler, ...]]:
    head, *rows = (line.split() for line in text.splitlines() if line.strip())
    assert tuple(head[1:]) == STATES
    return {event: tuple(getattr(Machine, f"_{name}") for name in names) for event, *names in rows}


TABLE = _read_table(_TABLE)
EVENTS = tuple(TABLE)
_ANSWERS = {(event, state): row[column] for event, row in TABLE.items() for column, state in enumerate(STATES)}
