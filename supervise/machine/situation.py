"""What the machine knows, and the small words in which its answers change that (machine.py has the rules)."""

from __future__ import annotations

from supervise.machine.policy import MIN_DELAY, Window, delay
from supervise.protocol.record import DOWN as WANT_DOWN
from supervise.protocol.record import UP as WANT_UP
from supervise.protocol.severities import NOTICE
from supervise.protocol.states import (
    COMMAND,
    DELAY,
    ENDED,
    IDLE,
    SCRIPT,
    SCRIPT_RUN,
    SIGNAL,
    SPAWNING,
    START,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from supervise.config.config import Config
    from supervise.protocol.exitstatus import ExitStatus, Fault
    from supervise.protocol.record import Want

    Action = tuple[Any, ...]
    Handler = Callable[["Situation", str, float, Any], None]


class Situation:
    """The state of one supervise."""

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
        self.want: Want = WANT_UP
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
        self.fault: Fault | None = None  # why it is being ended
        self.ready_unknown = False  # it was starting while no supervise was there to hear that it is ready
        # Of the one that has ended.
        self.will_restart = True  # it is to be started again
        self.restart_delay = MIN_DELAY  # seconds from its start to the next
        self.exited_main: tuple[ExitStatus, int, float] | None = None  # in SUCCESSION: how, pid, uptime
        self.killed = False  # in CLEANUP: what is left was sent KILL
        self.counted = False  # its exit was one for the window
        self.script = script
        self.script_reset = script_reset
        self.exit_with_service = exit_with_service
        self.jitter = jitter or (lambda: 0.0)
        self._actions: list[Action] = []

    @property
    def visible(self) -> tuple[bool, Want, bool, int]:
        """What the status record shows: paused, want, alarms, pid."""
        return self.paused, self.want, self.alarms, self.pid

    # Small words for the answers: what they do, and the states that they lead to.

    def do(self, *action: Any) -> None:
        """Add an action to the answer."""
        self._actions.append(action)

    def obeyed(self, letter: str, text: str, *args: Any) -> None:
        """Log what a letter leads to."""
        self.do(NOTICE, COMMAND + text, letter, *args)

    def signal(self, name: str, group: bool) -> None:
        """Ask for a signal to the service, or to its process group."""
        self.do(SIGNAL, name, group)

    def kill(self) -> None:
        """Ask for KILL, for the service did not end when it was told."""
        self.signal("KILL", bool(self.config.killasgroup) or self.config.stopasgroup)
        self.deadline = None

    def delay(self) -> float:
        """Seconds from the last start to the next: the backoff after quick exits."""
        config = self.config
        grows = config.restart_delay_max > config.restart_delay  # else chance were a system call for nothing
        return delay(config, self.quick_exits, self.jitter() if grows else 0.0)

    def start(self) -> None:
        """Ask for START (rule 1)."""
        self.state = SPAWNING
        self.deadline = None
        self.do(START)

    def start_when_due(self, now: float) -> bool:
        """Start, now or when the delay is over (rule 3: `spawning*` of the table); whether that was at once."""
        due = now if self.started_at is None else self.started_at + self.restart_delay
        if now >= due:
            self.start()
            return True
        self.state, self.deadline = DELAY, due
        return False

    def rest(self) -> None:
        """Stay down, or end supervise: `idle*` of the table."""
        self.state, self.deadline = IDLE, None
        if self.exit_with_service:
            self.end()

    def end(self) -> None:
        """End supervise (rule 7)."""
        self.state, self.deadline, self.pid, self.paused = ENDED, None, 0, False

    def after_exit(self, now: float) -> None:
        """Choose the next state when nothing is left of the service: `*NEXT` of the table."""
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
