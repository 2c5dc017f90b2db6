"""What stands in for the rooms around one: each keeps a journal of what it is asked for, and answers what it was told.

They have only what those under test use of them.  A loop without processes is in simulated.py, a supervise without a
service in pretended.py.
"""

from __future__ import annotations

import time
from typing import Any

from supervise.config.config import Config
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.severities import FATAL, NOTICE, WARNING
from supervise.protocol.states import CLEARED, RUNNING, STARTED

PID = 4711  # of the service


class FakeLog:
    """`lines`: severity and text of each."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def add(self, severity: str, text: str, *values: object) -> None:
        self.lines.append((severity, text % values if values else text))

    def configure(self, config: object) -> None:
        pass

    def of(self, severity: str) -> list[str]:
        return [text for kind, text in self.lines if kind == severity]

    @property
    def notices(self) -> list[str]:
        return self.of(NOTICE)

    @property
    def warnings(self) -> list[str]:
        return self.of(WARNING)

    @property
    def errors(self) -> list[str]:
        return self.of(FATAL)


class FakeMachine:
    """`answers`: the actions that an event leads to; `events`: what came, with its value."""

    def __init__(self) -> None:
        self.state = RUNNING
        self.want = "up"
        self.pid = PID
        self.paused = False
        self.passes_signals = True
        self.totals = {"starts": 1}
        self.watchdog = 0.0
        self.config = Config()
        self.events: list[tuple[str, Any]] = []
        self.answers: dict[str, list[tuple[Any, ...]]] = {}

    def handle(self, event: str, now: float, value: Any = None) -> list[tuple[Any, ...]]:
        self.events.append((event, value))
        return self.answers.get(event, [])


class FakeProcess:
    """`sent`: the signals that reached it; `problem`: why none does."""

    def __init__(self, pid: int = PID, child: bool = True) -> None:
        self.pid = pid
        self.child = child
        self.fd = -1
        self.group = self.session = pid
        self.sent: list[tuple[str, bool]] = []
        self.problem: str | None = None

    def send(self, name: str, group: bool) -> str | None:
        if self.problem is None:
            self.sent.append((name, group))
        return self.problem

    def alive(self) -> bool:
        return True


class FakeLeftovers:
    """`unsignalled`: somebody could not be sent the signal."""

    unsignalled = False


class FakeService:
    """`starts`, `cleared`, `reports`: what it was asked for; `left`: nobody is told of them to be gone."""

    def __init__(self) -> None:
        self.process: FakeProcess | None = FakeProcess()
        self.leftovers = FakeLeftovers()
        self.check_output = b""
        self.starts = 0
        self.reports = 0
        self.cleared: list[str] = []
        self.left = True
        self.problem: Exception | None = None

    def start(self) -> tuple[str, Any]:
        self.starts += 1
        self._fail()
        return STARTED, PID

    def clear(self, signal: str) -> list[tuple[str, Any]]:
        self.cleared.append(signal)
        return [] if self.left else [(CLEARED, None)]

    def report_left(self) -> list[tuple[str, Any]]:
        self._fail()
        self.reports += 1
        return []

    def _fail(self) -> None:
        if self.problem:
            raise self.problem


class FakeLauncher:
    """`answer`: the pid of a script, or why there is none."""

    def __init__(self) -> None:
        self.answer: int | str = 815
        self.scripts: list[int] = []

    def script(self, code: int) -> int | str:
        self.scripts.append(code)
        return self.answer


class FakeStatusWriter:
    """`exits`: the ends of the service that are to be written down."""

    def started_under(self, config: Config) -> None:
        pass

    def __init__(self) -> None:
        self.conf: Any = None
        self.not_in_force: list[str] = []
        self.control_obeyed = 0
        self.notify_address: str | None = None
        self.formers: list[dict[str, Any]] = []
        self.loggers: list[dict[str, Any]] | None = None
        self.remains: dict[str, Any] | None = None
        self.amendments: list[ExitStatus] = []
        self.foretold = 0
        self.exits: list[tuple[Any, ...]] = []

    def foretell(self) -> None:
        self.foretold += 1

    def amended(self, how: ExitStatus) -> None:
        self.amendments.append(how)

    def exited(self, *values: Any) -> None:
        self.exits.append(values)


class FakeAlarms:
    """`given`: the alarms that are to be sent."""

    def __init__(self) -> None:
        self.due: float | None = None
        self.given: list[tuple[Any, ...]] = []

    def give(self, machine: Any, output: bytes, *values: Any) -> None:
        self.given.append(values)


class FakeFollower:
    """`config`: what the file says."""

    def __init__(self) -> None:
        self.config = Config()

    def read(self) -> Config:
        return self.config


class FakeUpgrader:
    """`attempts`: how often another version was to take its place."""

    def __init__(self) -> None:
        self.attempts = 0

    def attempt(self) -> None:
        self.attempts += 1


class FakeWakeup:
    """`names`: the signals that have come."""

    def __init__(self) -> None:
        self.names: list[str] = []


class FakeTime:
    """A module `time` whose monotonic clock stands still until the test moves it: `now`."""

    def __init__(self) -> None:
        self.now = time.monotonic()

    def monotonic(self) -> float:
        return self.now

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


class FakeReplaceable:
    """`kept`: what it would keep open, None where it cannot be replaced now; what it was told otherwise."""

    def __init__(self, options: Any) -> None:
        self.options = options
        self.kept: list[int] | None = []
        self.handovers: list[tuple[bool, dict[str, Any]]] = []
        self.refusals = 0
        self.signals: list[str] | None = None

    def handover(self, trial: bool, more: Any = None) -> Any:
        self.handovers.append((trial, dict(more or {})))
        return self.options

    def prepare(self) -> list[int] | None:
        return self.kept

    def refused(self) -> None:
        self.refusals += 1

    def superseded(self) -> bool:
        return False

    def go_on(self, signals: list[str]) -> None:
        self.signals = signals


class FakeNotifying:
    """Of a service, the name of its socket: whether it is `named`, and the `moves` that it was told of."""

    def __init__(self) -> None:
        self.named = True
        self.moves: list[int | None] = []

    def is_named(self) -> bool:
        return self.named

    def moved(self, old: int | None = None) -> None:
        self.moves.append(old)
        self.named = True
