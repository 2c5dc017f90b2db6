"""The state machine under events in any order: what holds whatever happens."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from simulated import CLEAN, CORE, CRASH, KILLED, LOG, NOT_FOUND, UNKNOWN, Loop, in_state, policy

from supervise import machine
from supervise.exitstatus import ExitStatus
from supervise.letters import SIGNAL, SIGNALS
from supervise.machine import DELAY, ENDED, EVENTS, IDLE, RUNNING, SCRIPT_RUN, STATES, STOPPING, Machine
from supervise.record import DOWN, ONCE, UP, Record, decode

NOISY = [HealthCheck.too_slow, HealthCheck.filter_too_much]

ENDS = (CRASH, CLEAN, KILLED, CORE, UNKNOWN)
LETTERS = "udoxRpcsnre"
ends = st.sampled_from(ENDS)
limits = st.sampled_from([0, 0, 1, 2, 5])
policies = st.builds(
    lambda interval, tries, cores: policy(alarm_interval=interval, max_tries=tries, max_tries_if_coredumped=cores),
    st.sampled_from([0, 60, 60, 600]),
    limits,
    limits,
)
pauses = st.sampled_from([0, 0.001, 0.3, 0.999, 1, 1.001, 2, 59, 60, 1000])


def found_state(machine_state: str, paused: bool, pid: int) -> dict[str, Any]:
    """What a supervise that was killed has left behind (state.py), as far as it matters here."""
    service = {"pid": pid, "start_ticks": 1, "pidfd_inode": None, "start_time": 0.0} if pid else None
    return {"machine": machine_state, "paused": paused, "leaving": False, "service": service, "started_at": 900.0}


# For each event some values that its comment in machine.py allows.
VALUES: dict[str, list[Any]] = {
    SIGNAL: [(letter, name, group) for letter, name in SIGNALS.items() for group in (False, True)],
    machine.BEGIN: [None],
    machine.ADOPTED: [
        (77, found_state(RUNNING, True, 77)),
        (78, found_state(STOPPING, False, 78)),
        (79, found_state(IDLE, False, 0)),
    ],
    machine.STARTED: [80, 4194304],
    machine.FAILED: [NOT_FOUND],
    machine.EXITED: list(ENDS),
    machine.AMENDED: [(CORE, 81), (CLEAN, 82)],
    machine.TIMER: [None],
    machine.SCRIPT_DONE: [None, "restart script exited with status 1"],
    machine.CONFIG: [policy(), policy(alarm_interval=60, max_tries=1, max_tries_if_coredumped=1)],
}
events = st.sampled_from(EVENTS).flatmap(
    lambda event: st.tuples(st.just(event), st.sampled_from(VALUES.get(event, [False, True, None])))
)


def check_shape(found: Machine) -> None:
    """What holds between any two events."""
    assert found.state in STATES
    assert (found.pid != 0) == (found.state in (RUNNING, STOPPING))
    assert found.pid or not found.paused
    assert (found.deadline is not None) == (found.state == DELAY)
    assert found.visible == (found.paused, found.want, found.alarms, found.pid)
    record = Record(0, *found.visible)
    assert decode(record.encode()) == record


def check_eager(found: Machine, now: float) -> None:
    """What the loop relies on when it starts the successor before it has asked."""
    if found.eager_from is None:
        return
    assert found.state == RUNNING
    for how in ENDS:
        for at in (found.eager_from, max(now, found.eager_from), now + found.eager_from):
            if at >= now:
                assert copy.deepcopy(found).handle(machine.EXITED, at, how)[0] == (machine.START,)


def fingerprint(found: Machine) -> tuple[Any, ...]:
    """Everything about a machine that an event can change."""
    window = (found.window.opened, found.window.exits, found.window.cores)
    names = [name for name in Machine.__slots__ if name not in ("window", "_actions", "totals")]
    return (*(getattr(found, name) for name in names), window, tuple(found.totals.items()))


class AnyOrder(RuleBasedStateMachine):
    """Everything that a loop can be told, at any time; simulated.py refuses what must never be asked for."""

    @initialize(config=policies, script=st.booleans(), reset=st.sampled_from([None, 0, 60]), begin=st.booleans())
    def first(self, config: Any, script: bool, reset: float | None, begin: bool) -> None:
        self.loop = Loop(config, script, reset)
        self.over = False
        if begin:
            self.loop.begin()

    @rule(letter=st.sampled_from(LETTERS), plus=st.sampled_from(["", "+"]))
    def command(self, letter: str, plus: str) -> None:
        want = self.loop.machine.want
        self.loop.letters(plus + letter)
        if not self.over:
            assert self.loop.machine.want == {"u": UP, "R": UP, "d": DOWN, "o": ONCE}.get(letter, want)

    @rule(letter=st.sampled_from(sorted(SIGNALS)), plus=st.sampled_from(["", "+"]))
    def signal(self, letter: str, plus: str) -> None:
        before = fingerprint(self.loop.machine)
        self.loop.letters(plus + letter)
        assert fingerprint(self.loop.machine) == before
        assert bool(self.loop.signals) == (self.loop.pid != 0)

    @precondition(lambda self: self.loop.pid)
    @rule(how=ends)
    def service_ends(self, how: ExitStatus) -> None:
        self.loop.exit(how)

    @precondition(lambda self: self.loop.script_runs)
    @rule(problem=st.sampled_from([None, "failed"]))
    def script_ends(self, problem: str | None) -> None:
        self.loop.script_done(problem)

    @precondition(lambda self: self.loop.spawning)
    @rule()
    def start_is_over(self) -> None:
        self.loop.spawned()

    @rule(seconds=pauses)
    def time_passes(self, seconds: float) -> None:
        self.loop.wait(seconds)

    @rule()
    def timer_that_is_early_or_late(self) -> None:
        self.loop.event(machine.TIMER)

    @rule(config=policies)
    def configuration_changes(self, config: Any) -> None:
        state = self.loop.state
        self.loop.event(machine.CONFIG, config)
        assert self.loop.kinds == []
        assert self.loop.state == state

    @rule(broken=st.booleans(), hold=st.booleans())
    def starts_change(self, broken: bool, hold: bool) -> None:
        """Whether they fail, and whether anything can happen while they last."""
        self.loop.broken, self.loop.hold = broken, hold

    @rule()
    def begins_again(self) -> None:
        self.loop.begin()

    @rule(event=st.sampled_from([machine.STARTED, machine.FAILED, machine.EXITED, machine.SCRIPT_DONE]))
    def result_of_nothing(self, event: str) -> None:
        """A result that was not asked for is said, and changes nothing."""
        state = self.loop.state
        asked_for = {
            machine.STARTED: self.loop.spawning,
            machine.FAILED: self.loop.spawning,
            machine.EXITED: state in (RUNNING, STOPPING),
            machine.SCRIPT_DONE: state == SCRIPT_RUN,
        }
        if not asked_for[event]:
            before = fingerprint(self.loop.machine)
            actions = self.loop.event(event, VALUES[event][0])
            assert [action[0] for action in actions] == [machine.WARNING]
            assert fingerprint(self.loop.machine) == before

    @invariant()
    def what_the_record_shows_is_what_runs(self) -> None:
        check_shape(self.loop.machine)
        assert self.loop.machine.pid == self.loop.pid
        assert (self.loop.state == machine.SPAWNING) == self.loop.spawning
        assert self.loop.machine.want != DOWN or self.loop.state not in (RUNNING, DELAY)

    @invariant()
    def the_end_is_final(self) -> None:
        if self.over:
            assert self.loop.kinds == []
            assert self.loop.state == ENDED
        self.loop.did = []
        assert not self.loop.machine.gave_up or self.loop.state == ENDED
        self.over = self.loop.state == ENDED

    @invariant()
    def an_early_successor_is_asked_for(self) -> None:
        check_eager(self.loop.machine, self.loop.now)

    @invariant()
    def somebody_will_wake_what_is_wanted(self) -> None:
        """A service that is wanted up and does not run is waiting for something that will come."""
        if self.loop.state == IDLE and self.loop.starts:
            assert self.loop.machine.want != UP


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=250, stateful_step_count=40, deadline=None, suppress_health_check=NOISY
)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("event", EVENTS)
def test_every_event_in_every_state_has_an_answer(event: str, state: str) -> None:
    for value in VALUES.get(event, [False, True, None]):
        loop = in_state(state)
        found = loop.machine
        actions = found.handle(event, loop.now + 0.5, value)
        check_shape(found)
        assert [action for action in actions if action[0] == machine.START] in ([], [(machine.START,)])
        assert all(action[1] % action[2:] for action in actions if action[0] in LOG)
        if state == ENDED:
            assert found.state == ENDED
            assert all(action[0] == machine.WARNING for action in actions)


@settings(max_examples=400, deadline=None, suppress_health_check=NOISY)
@given(
    st.lists(st.tuples(events, pauses), max_size=60),
    policies,
    st.booleans(),
    st.sampled_from([None, 60]),
)
def test_events_without_sense_or_order_do_no_harm(
    steps: list[tuple[tuple[str, Any], float]], config: Any, script: bool, reset: float | None
) -> None:
    """Whatever a loop with a bug reports, nothing raises, and there is no start where there is a service."""
    found = Machine(config, script, reset)
    now = 1000.0
    for (event, value), seconds in steps:
        before, pid, over = found.state, found.pid, found.state == ENDED
        actions = found.handle(event, now, value)
        check_shape(found)
        check_eager(found, now)
        starts = [action for action in actions if action[0] == machine.START]
        assert len(starts) <= 1
        if starts:
            assert found.state == machine.SPAWNING and before != machine.SPAWNING
            assert found.want != DOWN
            assert not pid or event == machine.EXITED
        if over:
            assert found.state == ENDED
            assert all(action[0] == machine.WARNING for action in actions)
        now += seconds
