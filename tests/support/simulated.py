"""A loop without processes: it carries out what the state machine asks for, and time is what the test says it is.

It refuses what no machine may ask for: a second service, a start before its time, a signal to nobody, a service that is
wanted down, a start beside what is left of the last one and was to end first.  So every test that drives it tests
these, too.
"""

from __future__ import annotations

from typing import Any

from supervise.config.config import Config
from supervise.machine.machine import Machine
from supervise.machine.on_liveness import GRACE
from supervise.machine.policy import MIN_DELAY
from supervise.protocol import states
from supervise.protocol.exitstatus import SIGNAL_NAMES, ExitStatus
from supervise.protocol.letters import Reader
from supervise.protocol.record import DOWN

CRASH = ExitStatus(code=1)
CLEAN = ExitStatus(code=0)
KILLED = ExitStatus(signal=9)
CORE = ExitStatus(signal=11, core=True)
UNKNOWN = ExitStatus()
NOT_FOUND = ExitStatus(failure="no such program")
Action = tuple[Any, ...]
LOG = (states.NOTICE, states.WARNING, states.FATAL)
NEVER = "never"  # for `left`: no signal ends it


def policy(**values: Any) -> Config:
    """A configuration with some of its keys."""
    config = Config()
    for key, value in values.items():
        setattr(config, key, value)
    return config


def again(how: ExitStatus) -> ExitStatus:
    """Another one like it: the machine adds the fault, so each exit needs its own."""
    return ExitStatus(how.code, how.signal, how.core, how.failure)


def _counted(found: Machine) -> tuple[float | None, int, int]:
    return found.window.opened, found.window.exits, found.window.cores


class Loop:
    """One machine and the world around it.  `did` is what the last event led to, all that followed included."""

    def __init__(
        self,
        config: Config | None = None,
        script: bool = False,
        reset: float | None = None,
        exit_with_service: bool = False,
    ) -> None:
        self.chance = 0.0  # what there is by chance, from 0 to 1
        self.machine = Machine(config or Config(), script, reset, exit_with_service, lambda: self.chance)
        self.now = 1000.0
        self.pid = 0  # the main process that lives
        self.pids = 100  # the last one given out
        self.ends_on: tuple[str, ...] = ()  # the signals that end it at once
        self.killed = 0  # the last pid that was sent KILL
        self.leaves: str | None = None  # what its end leaves behind, as `left`
        self.left: str | None = None  # what is left of its process group: the signal that ends it, or NEVER
        self.spawning = False  # a start was asked for, and its result is still to come
        self.hold = False  # leave it so until `spawned` is called
        self.broken = False  # starts fail
        self.starts: list[float] = []  # when each was asked for
        self.tried_at: float | None = None  # when the last of them was over
        self.script_runs = False
        self.scripts: list[int] = []  # what each run of the restart script was told
        self.did: list[Action] = []
        self._quick = 0  # exits in a row before startsecs
        self._not_before: float | None = None  # when a start that nobody asked for is due
        self._to_clear = False  # what is left is to end before the next start
        self._killed_at: float | None = None  # when it was sent KILL

    def event(self, event: str, value: Any = None) -> list[Action]:
        """One event and all that follows from it at once."""
        self.did = []
        self._event(event, value)
        return self.did

    def _event(self, event: str, value: Any) -> None:
        self._somebody_asked(event)
        starting, config = self.machine.phase == states.STARTING, self.machine.config
        window, hidden = _counted(self.machine), not self.machine.alarms
        actions = self.machine.handle(event, self.now, value)
        self.did += actions
        for action in actions:
            if action[0] == states.GONE:
                self._gone(action, actions, config, starting)
                if hidden or action[3]:
                    assert _counted(self.machine) == window, "an exit that is counted, and should not be"
                    assert not [other for other in actions if other[0] in (states.ALARM, states.FATAL)]
        results = [result for action in actions for result in self._carry_out(*action)]
        for result, its_value in results:
            if result == states.EXITED:
                self.pid, self.left = 0, self.leaves
            self._event(result, its_value)
        if (states.START,) in actions and not self.hold:
            self._spawned()

    def _somebody_asked(self, event: str) -> None:
        """A start that somebody has asked for waits for no more than MIN_DELAY, and what was before is forgiven."""
        if event in ("u", "R", "o") and not self.pid and not self.spawning and self.state != states.SUCCESSION:
            self._not_before = None
            if event != "o":
                self._quick = 0

    def _gone(self, gone: Action, actions: list[Action], config: Config, starting: bool) -> None:
        """When the next start may be, worked out in another way than the machine does."""
        how, uptime, planned = gone[1:]
        quick = bool(how.failure) or starting or uptime < config.startsecs
        self._quick = self._quick + 1 if quick and not planned else 0
        self._not_before = None
        if not planned:
            longest = max(config.restart_delay, config.restart_delay_max)
            seconds = float(config.restart_delay)
            for _ in range(self._quick - 1):
                seconds = min(seconds * 2, longest)
            assert self.tried_at is not None
            self._not_before = self.tried_at + max(config.restart_delay, seconds * 0.75)
        cleared = [action for action in actions if action[0] == states.KILL_LEFTOVERS]
        reported = (states.REPORT_LEFTOVERS,) in actions
        assert how.failure or bool(cleared) != reported, "what is left is either ended or reported"
        assert not (config.killasgroup and not how.failure) or cleared, "killasgroup, and nothing is told to end"
        self._to_clear, self._killed_at = bool(cleared), None

    def _carry_out(self, kind: str, *args: Any) -> list[tuple[str, Any]]:
        """Carry out an action; what comes of it at once."""
        if kind == states.START:
            assert not self.pid and not self.spawning, "two services"
            assert not self.script_runs, "a start beside the restart script"
            assert self.machine.want != DOWN, "a start of what is wanted down"
            assert self.tried_at is None or self.now >= self.tried_at + MIN_DELAY, "a start before its second"
            assert self._not_before is None or self.now >= self._not_before, "a start before its delay"
            if self._to_clear and self.left:
                given_up = self._killed_at is not None and self.now >= self._killed_at + GRACE
                assert given_up, "a start beside what is left"
            self.left, self._to_clear = None, False
            self.spawning = True
            self.starts.append(self.now)
        elif kind == states.SIGNAL:
            assert self.pid, "a signal to nobody"
            if args[0] == "KILL":
                self.killed = self.pid
            if args[0] in self.ends_on:
                return [(states.EXITED, ExitStatus(signal=SIGNAL_NAMES.index(args[0]) + 1))]
        elif kind == states.KILL_LEFTOVERS:
            assert not self.pid and not self.spawning, "what is left is ended beside a service"
            assert self.state == states.CLEANUP
            self._to_clear = True
            if args[0] == "KILL":
                self._killed_at = self.now
            if self.left == args[0] or (args[0] == "KILL" and self.left != NEVER):
                self.left = None
            return [] if self.left else [(states.CLEARED, None)]
        elif kind == states.REPORT_LEFTOVERS:
            assert not self.pid, "what is left beside a service"
        elif kind == states.SCRIPT:
            assert not self.script_runs and not self.pid and not self.spawning, "a script beside something else"
            self.script_runs = True
            self.scripts.append(args[0])
        elif kind == states.END_SCRIPT:
            assert self.script_runs, "a signal to no script"
        elif kind in LOG:
            assert args[0] % args[1:]
        return []

    def _spawned(self) -> None:
        self.spawning, self.tried_at = False, self.now
        if self.broken:
            self._event(states.FAILED, again(NOT_FOUND))
        else:
            self.pids += 1
            self.pid = self.pids
            self._event(states.STARTED, self.pid)

    # What a test can make happen.

    def begin(self, left: str | None = None) -> Loop:
        """supervise is ready.  `left`: the service has ended before, and this was left of it."""
        self.left = left or self.left
        self.event(states.BEGIN, left is not None)
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
        self.pid, self.left = 0, self.leaves
        return self.event(states.EXITED, again(how))

    def orphan(self, how: ExitStatus = CLEAN, left: str = "TERM") -> list[Action]:
        """The main process ends and leaves others, one of which may take its place."""
        assert self.pid
        self.pid, self.left = 0, left
        return self.event(states.MAIN_EXITED, again(how))

    def main(self) -> list[Action]:
        """Another process of the service becomes its main process."""
        assert self.pid or self.left
        self.pids += 1
        self.pid = self.pids
        return self.event(states.MAIN, self.pid)

    def nobody_left(self) -> list[Action]:
        """What was left of the service has ended by itself."""
        assert self.left
        self.left = None
        return self.event(states.CLEARED if self.state == states.CLEANUP else states.NO_SUCCESSOR)

    def script_done(self, problem: str | None = None) -> list[Action]:
        """The restart script ends."""
        assert self.script_runs
        self.script_runs = False
        return self.event(states.SCRIPT_DONE, problem)

    def wait(self, seconds: float) -> list[Action]:
        """Let time pass; what is due happens on time."""
        return self._until(self.now + seconds)

    def due(self) -> list[Action]:
        """Let time pass until what is due next has happened."""
        assert self.machine.deadline is not None
        return self._until(self.machine.deadline)

    def _until(self, end: float) -> list[Action]:
        did: list[Action] = []
        while self.machine.deadline is not None and self.machine.deadline <= end:
            self.now = max(self.now, self.machine.deadline)
            did += self.event(states.TIMER)
            later = self.machine.deadline
            assert later is None or later > self.now, "a deadline that is met and stays"
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
        return [(action[1], action[2]) for action in self.did if action[0] == states.SIGNAL]

    @property
    def clears(self) -> list[str]:
        """The signals that the last event sent to what is left of the process group."""
        return [action[1] for action in self.did if action[0] == states.KILL_LEFTOVERS]

    @property
    def alarms(self) -> list[Action]:
        """The alarms that the last event raised: how it ended (in words), uptime, restarts, whether it was the last."""
        return [(str(action[1]), *action[2:]) for action in self.did if action[0] == states.ALARM]

    @property
    def ends(self) -> list[str]:
        """How the service ended during the last event, in words."""
        return [str(action[1]) for action in self.did if action[0] == states.GONE]

    @property
    def kinds(self) -> list[str]:
        """The kinds of action that the last event led to, log lines aside."""
        return [action[0] for action in self.did if action[0] not in LOG]

    def said(self, kind: str) -> list[str]:
        """The lines that the last event left for the log."""
        return [action[1] % action[2:] for action in self.did if action[0] == kind]


def running(
    config: Config | None = None,
    script: bool = False,
    reset: float | None = None,
    exit_with_service: bool = False,
) -> Loop:
    """A service that has been started just now."""
    return Loop(config, script, reset, exit_with_service).begin()


def in_state(state: str, group: bool = False, config: Config | None = None) -> Loop:
    """A machine that was led to a state in the shortest way."""
    if state == states.CLEANUP and config is None:
        config = policy(killasgroup=True)
    loop = Loop(config, script=state == states.SCRIPT_RUN)
    loop.hold = state == states.SPAWNING
    loop.leaves = NEVER if state == states.CLEANUP else None
    if state == states.ENDED:
        loop.event("x", group)
    elif state != states.IDLE:
        loop.begin()
    if state == states.STOPPING:
        loop.event("R", group)
    elif state == states.ABORTING:
        loop.event(states.TRIGGER)
    elif state == states.SUCCESSION:
        loop.orphan()
    elif state in (states.DELAY, states.SCRIPT_RUN, states.CLEANUP):
        loop.exit()
    assert loop.state == state
    return loop


def in_phase(phase: str | None, config: Config | None = None) -> Loop:
    """A service that runs and is so far: what it has to say for that is said."""
    config = config or Config()
    config.notify = phase is not None
    loop = running(config)
    if phase in (states.READY, states.RELOADING):
        loop.event(states.SAYS_READY)
    if phase == states.RELOADING:
        loop.event(states.SAYS_RELOADING)
    if phase == states.ENDING:
        loop.event(states.SAYS_STOPPING)
    assert (loop.state, loop.machine.phase) == (states.RUNNING, phase)
    return loop
