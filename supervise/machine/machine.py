"""The state machine: what supervise does when something happens.

What lives here: the machine, and one table that gives an answer to every event in every state.  The answers are in
on_command.py, on_process.py and on_liveness.py, the names in states.py.  What does not: processes, files,
clocks, chance.  Events come in, with the monotonic time in seconds; actions go out, as a list that the loop carries
out in order.  Three results of actions come back as events: of START (`started`, `failed`), of SCRIPT (`script_done`)
and of KILL_LEFTOVERS (`cleared`).

Theory of operation
-------------------

Rule 1.  There is one service process or none: START is only asked for in a state without one, and leads to
         SPAWNING, in which it is not asked for again.
Rule 2.  `want` says what is to become of the service: up, down, or once (run, but do not restart).  Letters
         change it in every state; what follows from it is decided where a process ends.
Rule 3.  Two starts are at least MIN_GAP seconds apart, and after exits that nobody asked for as far as policy.py
         says.  A start that would be earlier waits in DELAY for its `deadline`.
Rule 4.  An exit in STOPPING, or after `x`, was asked for: planned.  One with an expected exit code is no reason
         for anything.  Every other is counted and may raise an alarm or be the last (policy.py), unless alarms are off.
Rule 5.  A start that fails is an exit like any other.
Rule 6.  After an exit that is to be followed by a restart, START comes before anything else in the list: the
         next process first, then the log and the alarm.  The record needs no action: it is `visible`, which
         the loop compares with what it last wrote.
Rule 7.  ENDED is final.  A supervise that has given up never starts anything again.
Rule 8.  There is one `deadline`; what it is for, the state says, and in RUNNING the phase: to be ready, to give a sign
         of life, to end.  The loop says `timer` when it is past.
Rule 9.  A service that hangs, or does not get ready, is told to end in ABORTING, for which it has a limited time.  That
         exit is not planned, and bears the fault.
"""

from __future__ import annotations

from supervise.machine import on_command, on_liveness, on_process
from supervise.machine.policy import MIN_GAP, Window, delay
from supervise.protocol.record import DOWN as WANT_DOWN
from supervise.protocol.record import UP as WANT_UP
from supervise.protocol.severities import NOTICE
from supervise.protocol.states import (
    COMMAND,
    DELAY,
    ENDED,
    IDLE,
    KILL,
    READY,
    RELOADING,
    RUNNING,
    SCRIPT,
    SCRIPT_RUN,
    SPAWNING,
    START,
    STATES,
    STOPPING,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from supervise.config.config import Config
    from supervise.protocol.exitstatus import ExitStatus

    Action = tuple[Any, ...]
    Handler = Callable[["Machine", str, float, Any], None]


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
        "quick_exits",
        "totals",
        "phase",
        "status_text",
        "watchdog",
        "fault",
        "ready_unknown",
        "will_restart",
        "restart_delay",
        "exited_main",
        "killed",
        "counted",
        "script",
        "script_reset",
        "exit_with_service",
        "jitter",
        "_actions",
    )

    def __init__(
        self,
        config: Config,
        script: bool = False,
        script_reset: float | None = None,
        exit_with_service: bool = False,
        jitter: Callable[[], float] | None = None,
    ) -> None:
        """`script`: a restart script is to be run; its count starts again after `script_reset` seconds.

        `exit_with_service`: end when the service has ended for good.  `jitter` gives numbers from 0 to 1, for chance.
        """
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
        self.quick_exits = 0  # in a row, of a service that had not been up for startsecs
        # Since the service was first supervised here; `crashes`: neither planned, expected nor failures.
        self.totals = dict.fromkeys(
            ("starts", "exits", "crashes", "cores", "failures", "planned", "expected", "hangs"), 0
        )
        # Of the process that runs.
        self.phase: str | None = None
        self.status_text: str | None = None
        self.watchdog = 0.0  # seconds from one sign of life to the next, 0 if it need not give any
        self.fault: str | None = None  # why it is being ended
        self.ready_unknown = False  # it was starting while no supervise was there to hear that it is ready
        # Of the one that has ended.
        self.will_restart = True  # it is to be started again
        self.restart_delay = MIN_GAP  # seconds from its start to the next
        self.exited_main: tuple[ExitStatus, int, float] | None = None  # in SUCCESSION: how, pid, uptime
        self.killed = False  # in CLEANUP: what is left was sent KILL
        self.counted = False  # its exit was one for the window
        self.script = script
        self.script_reset = script_reset
        self.exit_with_service = exit_with_service
        self.jitter = jitter or (lambda: 0.0)
        self._actions: list[Action] = []

    def inherit(self, fields: dict[str, Any], resume: bool) -> None:
        """Carry on where the supervise that wrote this state (state.py) ended.

        `resume`: with what was wanted, too; without it a new supervise means up.
        """
        self.totals.update((name, fields["totals"][name]) for name in self.totals)
        if resume:
            self.want, self.alarms = fields["wanted"], fields["alarms"]
            self.will_restart = fields["machine"] != IDLE  # it had ended and was not to be restarted
        if fields["machine"] == ENDED:
            return  # it ended as asked, or gave up: what it counted is over
        self.exits, self.exited_at = fields["script_exits"], fields["exited_at"]
        self.quick_exits = fields["quick_exits"]
        window = fields["window"]
        self.window.opened, self.window.exits, self.window.cores = window["opened_at"], window["exits"], window["cores"]

    def carry_on(self, fields: dict[str, Any], now: float) -> None:
        """Be what the machine that wrote this state was, in the same process."""
        self.inherit(fields, True)
        self.state, self.paused, self.leaving = fields["machine"], fields["paused"], fields["leaving"]
        self.started_at, self.deadline = fields["started_at"], fields["deadline_at"]
        self.phase, self.status_text = fields["phase"], fields["status_text"]
        self.watchdog, self.fault = fields["watchdog"] or 0.0, fields["fault"]
        self.ready_unknown = fields["unheard"]
        self.pid = fields["service"]["pid"] if fields["service"] else 0
        self.restart_delay = self.delay()
        if self.state == DELAY and self.deadline is None:
            self.deadline = (self.started_at or 0.0) + MIN_GAP  # an older release did not write it
        if self.state == RUNNING and self.deadline is None:
            on_liveness.watch(self, now)

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
        if self.state != RUNNING or self.want != WANT_UP or self.leaving or self.script or self.started_at is None:
            return None
        config = self.config
        if config.autorestart != "always" or config.killasgroup:
            return None
        if config.pidfile or config.notify or config.notification_fd or config.watchdog_secs:
            return None  # its end may be that of one main process among several; or the start needs more
        if self.phase or self.watchdog:
            return None
        if self.alarms and self.window.may_give_up(config):
            return None
        grows = config.restart_delay_max > config.restart_delay
        return self.started_at + max(config.restart_delay, config.startsecs if grows else 0)

    @property
    def passes_signals(self) -> bool:
        """Whether a letter that passes a signal on is answered with just that, first of all; as with `eager_from`."""
        return self.state in (RUNNING, STOPPING)

    @property
    def healthy(self) -> bool:
        """Whether the service is one that a health check may ask."""
        return self.state == RUNNING and self.phase in (None, READY, RELOADING) and not self.paused

    def handle(self, event: str, now: float, value: Any = None) -> list[Action]:
        """Answer one event.  `value` is as the event says, for letters as letters.py says; `now` is monotonic."""
        self._actions = []
        _ANSWERS[event, self.state](self, event, now, value)
        return self._actions

    # Small words for the answers.

    def do(self, *action: Any) -> None:
        """Ask for an action."""
        self._actions.append(action)

    def obeyed(self, letter: str, text: str, *args: Any) -> None:
        """Say what a letter leads to."""
        self.do(NOTICE, COMMAND + text, letter, *args)

    def signal(self, name: str, group: bool) -> None:
        """Send the service a signal, or its process group."""
        self.do(KILL, name, group)

    def kill(self) -> None:
        """End a service that did not when it was told."""
        self.signal("KILL", bool(self.config.killasgroup) or self.config.stopasgroup)
        self.deadline = None

    def delay(self) -> float:
        """Seconds from the last start to the next, after the exits that there were in a row."""
        return delay(self.config, self.quick_exits, self.jitter())

    def start(self) -> None:
        """Rule 1."""
        self.state = SPAWNING
        self.deadline = None
        self.do(START)

    def start_when_due(self, now: float) -> None:
        """Rule 3."""
        due = now if self.started_at is None else self.started_at + self.restart_delay
        if now >= due:
            self.start()
        else:
            self.state, self.deadline = DELAY, due

    def rest(self) -> None:
        """The service stays down."""
        self.state, self.deadline = IDLE, None
        if self.exit_with_service:
            self.end()

    def end(self) -> None:
        """Rule 7."""
        self.state, self.deadline, self.pid, self.paused = ENDED, None, 0, False

    def proceed(self, now: float) -> None:
        """Nothing is left of the service: what follows?"""
        self.deadline = None
        if self.gave_up or self.leaving:
            self.end()
        elif self.want == WANT_DOWN or not self.will_restart:
            self.rest()
        elif self.script:
            self.state = SCRIPT_RUN
            self.do(SCRIPT, self.exits)
        else:
            self.start_when_due(now)


# What answers which event in which state: functions of the three modules; `-` is nothing.
_TABLE = """
    event       idle      spawning   running    stopping   aborting   cleanup    succession delay      script     ended

    u           up        up         up         up         up         up_again   up         hurry      up         -
    o           once      once       once       once       once       once_again once       hurry_once once       -
    d           down      down       stop       stop       stop       down       abandon    no_restart end_script -
    R           up        up         restart    restart    restart    up_again   start_anew hurry      up         -
    x           exit      exit_later exit_later exit_later exit_later exit_later exit_later exit       exit       -
    p           absent    absent     pause      pause      no_pause   absent     absent     absent     absent     -
    c           absent    absent     resume     resume     resume     absent     absent     absent     absent     -
    signal      absent    absent     pass_on    pass_on    pass_on    absent     absent     absent     absent     -
    s           silence   silence    silence    silence    silence    silence    silence    silence    silence    -
    n           sound     sound      sound      sound      sound      sound      sound      sound      sound      -
    r           reload    reload     reload     reload     reload     reload     reload     reload     reload     -
    e           upgrade   stray      upgrade    upgrade    upgrade    upgrade    upgrade    upgrade    upgrade    -

    begin       begin     -          -          -          -          -          -          -          -          -
    adopted     adopted   stray      stray      stray      stray      stray      stray      stray      stray      stray
    started     stray     started    stray      stray      stray      stray      stray      stray      stray      stray
    failed      stray     failed     stray      stray      stray      stray      stray      stray      stray      stray
    exited      stray     stray      exited     exited     exited     stray      stray      stray      stray      stray
    main_exited stray     stray      main_exited exited    exited     stray      stray      stray      stray      stray
    no_successor -        -          -          -          -          -          give_up_waiting -     -          -
    main        -         -          new_main   main_stops main_ends  -          succeeded  -          -          -
    cleared     -         -          -          -          -          cleared    -          -          -          -
    timer       -         -          overdue    stop_late  abort_late left_over  give_up_waiting due        -          -
    amended     amended   amended    amended    amended    amended    amended    amended    amended    amended    -
    spared      -         -          -          spared     -          -          -          -          -          -
    script_done stray     stray      stray      stray      stray      stray      stray      stray      over       stray
    config      configure configure  configure  configure  configure  configure  configure  configure  configure  -

    ready       -         -          is_ready   -          -          -          got_ready  -          -          -
    reloading   -         -          reloading  -          -          -          -          -          -          -
    stopping    -         -          is_ending  -          -          -          -          -          -          -
    text        -         -          says       says       says       -          says       -          -          -
    kick        -         -          kicked     -          -          -          -          -          -          -
    trigger     -         -          triggered  -          -          -          -          -          -          -
    watchdog    -         -          interval   -          -          -          interval   -          -          -
    extend      -         -          extended   extended   -          -          -          -          -          -
    unhealthy   -         -          unhealthy  -          -          -          -          -          -          -
"""


def _nothing(machine: Machine, event: str, now: float, value: Any) -> None:
    """Defined: nothing follows from this event in this state."""


def _read_table(text: str) -> dict[str, tuple[Handler, ...]]:
    head, *rows = (line.split() for line in text.splitlines() if line.strip())
    assert tuple(head[1:]) == STATES
    found: dict[str, Handler] = {"-": _nothing}
    for module in (on_command, on_process, on_liveness):
        found.update(vars(module))
    return {event: tuple(found[name] for name in names) for event, *names in rows}


TABLE = _read_table(_TABLE)
EVENTS = tuple(TABLE)
_ANSWERS = {(event, state): row[column] for event, row in TABLE.items() for column, state in enumerate(STATES)}
