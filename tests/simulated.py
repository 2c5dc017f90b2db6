"""A loop without processes: it carries out what the state machine asks for, and time is what the test says it is.

It refuses what no machine may ask for: a second service, a start before its second, a signal to nobody, a service
that is wanted down.  So every test that drives it tests these, too.
"""

from __future__ import annotations

from typing import Any

from supervise import machine
from supervise.config import Config
from supervise.exitstatus import ExitStatus
from supervise.letters import Reader
from supervise.machine import Machine
from supervise.record import DOWN

CRASH = ExitStatus(code=1)
CLEAN = ExitStatus(code=0)
KILLED = ExitStatus(signal=9)
CORE = ExitStatus(signal=11, core=True)
UNKNOWN = ExitStatus()
NOT_FOUND = ExitStatus(failure="no such program")
Action = tuple[Any, ...]
LOG = (machine.NOTICE, machine.WARNING, machine.FATAL)


def policy(**values: int) -> Config:
    """A configuration with some of its keys."""
    config = Config()
    for key, value in values.items():
        setattr(config, key, value)
    return config


class Loop:
    """One machine and the world around it.  `did` is what the last event led to, all that followed included."""

    def __init__(self, config: Config | None = None, script: bool = False, reset: float | None = None) -> None:
        self.machine = Machine(config or Config(), script, reset)
        self.now = 1000.0
        self.pid = 0  # the process that lives
        self.pids = 100  # the last one given out
        self.spawning = False  # a start was asked for, and its result is still to come
        self.hold = False  # leave it so until `spawned` is called
        self.broken = False  # starts fail
        self.starts: list[float] = []  # when each was asked for
        self.tried_at: float | None = None  # when the last of them was over
        self.script_runs = False
        self.scripts: list[int] = []  # what each run of the restart script was told
        self.did: list[Action] = []

    def event(self, event: str, value: Any = None) -> list[Action]:
        """One event and all that follows from it at once."""
        self.did = []
        self._event(event, value)
        return self.did

    def _event(self, event: str, value: Any) -> None:
        actions = self.machine.handle(event, self.now, value)
        self.did += actions
        for action in actions:
            self._carry_out(*action)
        if (machine.START,) in actions and not self.hold:
            self._spawned()

    def _carry_out(self, kind: str, *args: Any) -> None:
        if kind == machine.START:
            assert not self.pid and not self.spawning, "two services"
            assert not self.script_runs, "a start beside the restart script"
            assert self.machine.want != DOWN, "a start of what is wanted down"
            assert self.tried_at is None or self.now >= self.tried_at + machine.MIN_GAP, "a start before its second"
            self.spawning = True
            self.starts.append(self.now)
        elif kind == machine.KILL:
            assert self.pid, "a signal to nobody"
        elif kind == machine.SCRIPT:
            assert not self.script_runs and not self.pid and not self.spawning, "a script beside something else"
            self.script_runs = True
            self.scripts.append(args[0])
        elif kind == machine.END_SCRIPT:
            assert self.script_runs, "a signal to no script"
        elif kind in LOG:
            assert args[0] % args[1:]

    def _spawned(self) -> None:
        self.spawning, self.tried_at = False, self.now
        if self.broken:
            self._event(machine.FAILED, NOT_FOUND)
        else:
            self.pids += 1
            self.pid = self.pids
            self._event(machine.STARTED, self.pid)

    # What a test can make happen.

    def begin(self) -> Loop:
        self.event(machine.BEGIN)
        return self

    def spawned(self) -> list[Action]:
        """The start that was held is over."""
        self.did = []
        self._spawned()
        return self.did

    def letters(self, text: str) -> list[Action]:
        """Write to the control FIFO."""
        commands, unknown = Reader().feed(text.encode())
        assert not unknown
        did: list[Action] = []
        for event, value in commands:
            did += self.event(event, value)
        self.did = did
        return did

    def exit(self, how: ExitStatus = CRASH) -> list[Action]:
        """The service ends."""
        assert self.pid
        self.pid = 0
        return self.event(machine.EXITED, how)

    def script_done(self, problem: str | None = None) -> list[Action]:
        """The restart script ends."""
        assert self.script_runs
        self.script_runs = False
        return self.event(machine.SCRIPT_DONE, problem)

    def wait(self, seconds: float) -> list[Action]:
        """Let time pass; what is due happens on time."""
        end = self.now + seconds
        did: list[Action] = []
        while self.machine.deadline is not None and self.machine.deadline <= end:
            self.now = max(self.now, self.machine.deadline)
            did += self.event(machine.TIMER)
        self.now = end
        self.did = did
        return did

    def crash_after(self, seconds: float, how: ExitStatus = CRASH) -> list[Action]:
        """The service runs so long, and ends."""
        self.wait(seconds)
        return self.exit(how)

    # What a test can look at.

    @property
    def state(self) -> str:
        return self.machine.state

    @property
    def signals(self) -> list[tuple[str, bool]]:
        """The signals that the last event sent: name, and whether to the group."""
        return [(action[1], action[2]) for action in self.did if action[0] == machine.KILL]

    @property
    def alarms(self) -> list[Action]:
        """The alarms that the last event raised: how it ended, uptime, restarts, whether supervise gives up."""
        return [action[1:] for action in self.did if action[0] == machine.ALARM]

    @property
    def kinds(self) -> list[str]:
        """The kinds of action that the last event led to, log lines aside."""
        return [action[0] for action in self.did if action[0] not in LOG]

    def said(self, kind: str) -> list[str]:
        """The lines that the last event left for the log."""
        return [action[1] % action[2:] for action in self.did if action[0] == kind]


def running(config: Config | None = None, script: bool = False, reset: float | None = None) -> Loop:
    """A service that has been started just now."""
    return Loop(config, script, reset).begin()


def in_state(state: str, group: bool = False) -> Loop:
    """A machine that was led to a state in the shortest way."""
    loop = Loop(script=state == machine.SCRIPT_RUN)
    if state == machine.SPAWNING:
        loop.hold = True
    if state == machine.ENDED:
        loop.event("x", group)
    elif state != machine.IDLE:
        loop.begin()
    if state == machine.STOPPING:
        loop.event("R", group)
    elif state in (machine.DELAY, machine.SCRIPT_RUN):
        loop.exit()
    assert loop.state == state
    return loop
