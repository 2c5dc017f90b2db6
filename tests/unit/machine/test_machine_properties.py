"""The state machine under events in any order: what holds whatever happens."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from conftest import THOROUGH, rounds
from grid import NAMES, may_follow
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from machines import (
    CONFIGS,
    ENDS,
    EVENTS,
    PHASES,
    VALUES,
    check_eager,
    check_followers,
    check_shape,
    fingerprint,
    fresh,
    twin,
)
from simulated import (
    CORE,
    KILLED,
    LOG,
    NEVER,
    Loop,
    again,
    in_phase,
    in_state,
    policy,
)

from supervise.config.config import Config
from supervise.machine.machine import Machine
from supervise.machine.on_liveness import GRACE
from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.letters import SIGNALS
from supervise.protocol.record import DOWN, ONCE, UP
from supervise.protocol.states import (
    ABORTING,
    CLEANUP,
    DELAY,
    ENDED,
    ENDING,
    IDLE,
    RUNNING,
    SCRIPT_RUN,
    SPAWNING,
    STARTING,
    STATES,
    STOPPING,
    SUCCESSION,
)

NOISY = [HealthCheck.too_slow, HealthCheck.filter_too_much]

LETTERS = "udoxRpcsnre"
ends = st.sampled_from(ENDS)
leftovers = st.sampled_from([None, None, "TERM", "KILL", NEVER])
configs = st.builds(
    policy,
    alarm_interval=st.sampled_from([0, 60, 60, 600]),
    max_tries=st.sampled_from([0, 0, 0, 1, 2, 5]),
    max_tries_if_coredumped=st.sampled_from([0, 0, 1, 2]),
    autorestart=st.sampled_from(["always", "always", "unexpected", "never"]),
    exitcodes=st.sampled_from([(0,), (), (0, 1), (3,)]),
    restart_delay=st.sampled_from([1, 1, 2, 30]),
    restart_delay_max=st.sampled_from([0, 1, 8, 600]),
    startsecs=st.sampled_from([0, 1, 1, 10]),
    stopsignal=st.sampled_from(["TERM", "INT"]),
    stopwaitsecs=st.sampled_from([0, 0, 3, 60]),
    stopasgroup=st.booleans(),
    killasgroup=st.sampled_from([False, True, "all"]),
    notify=st.booleans(),
    notification_fd=st.sampled_from([0, 0, 3]),
    starttimeoutsecs=st.sampled_from([0, 0, 2, 30]),
    watchdog_secs=st.sampled_from([0, 0, 1, 10]),
    watchdog_signal=st.sampled_from(["ABRT", "KILL"]),
    pidfile=st.sampled_from(["", "", "app.pid"]),
)
pauses = st.sampled_from([0, 0.001, 0.3, 0.999, 1, 1.001, 2, 5, 10, 59, 60, 1000])

events = st.sampled_from(EVENTS).flatmap(
    lambda event: st.tuples(st.just(event), st.sampled_from(VALUES.get(event, [False, True, None])))
)


class AnyOrder(RuleBasedStateMachine):
    """Everything that a loop can be told, at any time; simulated.py refuses what must never be asked for."""

    @initialize(
        config=configs,
        script=st.booleans(),
        reset=st.sampled_from([None, 0, 60]),
        ends=st.booleans(),
        begin=st.booleans(),
        steady=st.booleans(),
    )
    def first(
        self, config: Config, script: bool, reset: float | None, ends: bool, begin: bool, steady: bool
    ) -> None:
        self.loop = Loop(config, script, reset, ends)
        self.over = False
        self.steady = steady  # the configuration never changes
        if begin:
            self.loop.begin()

    # Letters.

    @rule(letter=st.sampled_from(LETTERS), plus=st.sampled_from(["", "+"]))
    def command(self, letter: str, plus: str) -> None:
        want = self.loop.machine.want
        self.loop.letters(plus + letter)
        if not self.over:
            assert self.loop.machine.want == {"u": UP, "R": UP, "d": DOWN, "o": ONCE}.get(letter, want)

    @rule(letter=st.sampled_from(sorted(SIGNALS)), plus=st.sampled_from(["", "+"]))
    def signal(self, letter: str, plus: str) -> None:
        before, pid = fingerprint(self.loop.machine), self.loop.pid
        actions = self.loop.letters(plus + letter)
        assert bool(self.loop.signals) == (pid != 0)
        if pid:
            assert actions[0] == (states.SIGNAL, SIGNALS[letter], plus == "+")
        if self.loop.pid == pid:
            assert fingerprint(self.loop.machine) == before

    # Processes.

    @precondition(lambda self: self.loop.pid)
    @rule(how=ends, leaves=leftovers)
    def service_ends(self, how: ExitStatus, leaves: str | None) -> None:
        self.loop.leaves = leaves
        self.loop.exit(how)

    @precondition(lambda self: self.loop.pid)
    @rule(how=ends, left=leftovers)
    def main_process_ends(self, how: ExitStatus, left: str | None) -> None:
        self.loop.orphan(how, left or "TERM")

    @precondition(lambda self: self.loop.pid or self.loop.state == SUCCESSION)
    @rule()
    def main_process_changes(self) -> None:
        self.loop.main()

    @precondition(lambda self: self.loop.left and self.loop.state in (CLEANUP, SUCCESSION))
    @rule()
    def what_is_left_ends(self) -> None:
        self.loop.nobody_left()

    @precondition(lambda self: self.loop.script_runs)
    @rule(problem=st.sampled_from([None, "failed"]))
    def script_ends(self, problem: str | None) -> None:
        self.loop.script_done(problem)

    @precondition(lambda self: self.loop.spawning)
    @rule()
    def start_is_over(self) -> None:
        self.loop.spawned()

    @rule(broken=st.booleans(), hold=st.booleans(), kill=st.booleans(), chance=st.floats(0, 1))
    def world_changes(self, broken: bool, hold: bool, kill: bool, chance: float) -> None:
        """Whether starts fail, whether anything can happen while they last, whether KILL works at once."""
        self.loop.broken, self.loop.hold = broken, hold
        self.loop.ends_on = ("KILL",) if kill else ()
        self.loop.chance = chance

    @rule()
    def it_turns_out_how_it_ended(self) -> None:
        self.loop.event(states.AMENDED, (again(CORE), 81))

    # What the service says, and what is found out about it.

    @rule(
        event=st.sampled_from(
            [states.SAYS_READY, states.SAYS_READY, states.SAYS_RELOADING, states.SAYS_STOPPING, states.KICK]
        )
    )
    def service_says(self, event: str) -> None:
        self.loop.event(event)
        assert self.loop.kinds == []

    @rule(text=st.sampled_from(["", "loading", "100 % loaded"]))
    def service_has_text(self, text: str) -> None:
        self.loop.event(states.SAYS_TEXT, text)
        assert self.loop.did == []

    @rule(event=st.sampled_from([states.WATCHDOG, states.EXTEND]), seconds=st.sampled_from([0.0, 0.5, 3.0, 100.0]))
    def service_wants_time(self, event: str, seconds: float) -> None:
        self.loop.event(event, seconds)
        assert self.loop.did == []

    @rule(event=st.sampled_from([states.TRIGGER, states.UNHEALTHY]))
    def service_hangs(self, event: str) -> None:
        obeyed = self.loop.machine.healthy if event == states.UNHEALTHY else self.loop.state == RUNNING
        hangs = self.loop.machine.totals["hangs"]
        self.loop.event(event, "unhealthy: so it is")
        assert self.loop.machine.totals["hangs"] == hangs + obeyed
        assert obeyed or not self.loop.signals

    # Time, and everything else.

    @rule(seconds=pauses)
    def time_passes(self, seconds: float) -> None:
        self.loop.wait(seconds)

    @rule()
    def timer_that_is_early_or_late(self) -> None:
        self.loop.event(states.TIMER)

    @precondition(lambda self: not self.steady)
    @rule(config=configs)
    def configuration_changes(self, config: Config) -> None:
        before = fingerprint(self.loop.machine)
        self.loop.event(states.CONFIG, config)
        assert self.loop.did == []
        assert fingerprint(self.loop.machine) == before

    @precondition(lambda self: not self.loop.starts)
    @rule()
    def begins_again(self) -> None:
        self.loop.begin()

    @rule(
        event=st.sampled_from([states.STARTED, states.FAILED, states.EXITED, states.MAIN_EXITED, states.SCRIPT_DONE])
    )
    def result_of_nothing(self, event: str) -> None:
        """A result that was not asked for is said, and changes nothing."""
        asked_for = {
            states.STARTED: self.loop.spawning,
            states.FAILED: self.loop.spawning,
            states.EXITED: self.loop.pid,
            states.MAIN_EXITED: self.loop.pid,
            states.SCRIPT_DONE: self.loop.state == SCRIPT_RUN,
        }
        if not asked_for[event]:
            before = fingerprint(self.loop.machine)
            actions = self.loop.event(event, fresh(VALUES[event][0]))
            assert [action[0] for action in actions] == [states.WARNING]
            assert fingerprint(self.loop.machine) == before

    # What holds between any two of them.

    @invariant()
    def what_the_record_shows_is_what_runs(self) -> None:
        check_shape(self.loop.machine)
        assert self.loop.machine.pid == self.loop.pid
        assert (self.loop.state == SPAWNING) == self.loop.spawning

    @invariant()
    def what_is_wanted_down_is_down_or_on_its_way(self) -> None:
        if self.loop.machine.want == DOWN:
            assert self.loop.state in (IDLE, SPAWNING, STOPPING, CLEANUP, SCRIPT_RUN, ENDED)

    @invariant()
    def the_end_is_final(self) -> None:
        if self.over:
            assert self.loop.kinds == []
            assert self.loop.state == ENDED
        self.loop.did = []
        self.over = self.loop.state == ENDED

    @invariant()
    def something_is_due_exactly_where_something_limits_it(self) -> None:
        found, config = self.loop.machine, self.loop.machine.config
        killed = self.loop.killed == self.loop.pid
        if found.state == ABORTING:
            assert found.deadline is not None or killed
        elif found.state == STOPPING and self.steady:
            assert found.deadline is not None or killed or not config.stopwaitsecs
        elif found.state == RUNNING and self.steady and not killed and not found.paused:
            limits = {STARTING: config.starttimeoutsecs, ENDING: config.stopwaitsecs}
            assert (found.deadline is not None) == (limits.get(found.phase or "", found.watchdog) > 0)

    @invariant()
    def what_has_to_end_ends_in_bounded_time(self) -> None:
        if self.loop.state not in (ABORTING, CLEANUP):
            return
        later = copy.deepcopy(self.loop, {id(self.loop.machine.config): self.loop.machine.config})
        later.ends_on = ("KILL",)
        if later.machine.deadline is None:
            later.exit(KILLED)  # it was sent KILL already
        else:
            later.wait(max(later.machine.deadline - later.now, 0))
        if later.state == CLEANUP:
            later.wait((later.machine.deadline or later.now) - later.now + GRACE)
        # What has been started then may have come to its own end.
        assert later.state != CLEANUP or len(later.starts) > len(self.loop.starts)
        assert not self.loop.pid or later.pid != self.loop.pid

    @invariant()
    def an_early_successor_is_asked_for(self) -> None:
        check_eager(self.loop.machine, self.loop.now, ENDS)

    @invariant()
    def the_next_version_carries_on_and_the_next_supervise_takes_over(self) -> None:
        check_followers(self.loop.machine, self.loop.now)

    @invariant()
    def somebody_will_wake_what_is_wanted(self) -> None:
        """A service that is wanted up and does not run is waiting for something that will come, or has had its end."""
        found = self.loop.machine
        if found.state == IDLE and self.loop.starts:
            stays = not found.will_restart and found.config.autorestart != "always"
            assert found.want != UP or stays or not self.steady
            assert not found.exit_with_service


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=rounds(30, 250), stateful_step_count=50, deadline=None, suppress_health_check=NOISY
)


# Every event in every state, and in every phase of a service that runs.

LATER = (0, 0.5, 1, 10_000) if THOROUGH else (0.5, 10_000)  # seconds from what was before to the event


def check_answers(loop: Loop, event: str) -> None:
    """What it answers to each value that the event may have, soon and late."""
    for value in VALUES.get(event, [False, True, None]):
        for seconds in LATER:
            check_answer(twin(loop.machine), loop.now + seconds, event, value)


def check_answer(found: Machine, now: float, event: str, value: Any) -> None:
    state = found.state
    actions = found.handle(event, now, fresh(value))
    check_shape(found)
    check_eager(found, now, ENDS)
    check_followers(found, now)
    assert [action for action in actions if action[0] == states.START] in ([], [(states.START,)])
    assert all(action[1] % action[2:] for action in actions if action[0] in LOG)
    if state == ENDED:
        assert found.state == ENDED
        assert all(action[0] == states.WARNING for action in actions)


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_in_every_state_has_an_answer(event: str) -> None:
    for state in STATES:
        for config in CONFIGS:
            if state == CLEANUP:
                config = copy.copy(config)
                config.killasgroup = True
            if state in (DELAY, SCRIPT_RUN) and (config.autorestart == "never" or config.killasgroup):
                continue  # it cannot be led there by an exit
            check_answers(in_state(state, config=config), event)


@pytest.mark.parametrize("event", EVENTS)
def test_every_event_in_every_phase_has_an_answer(event: str) -> None:
    for phase in PHASES:
        for config in CONFIGS:
            check_answers(in_phase(phase, copy.copy(config)), event)


@settings(max_examples=rounds(60, 400), deadline=None, suppress_health_check=NOISY)
@given(
    st.lists(st.tuples(events, pauses), max_size=60),
    configs,
    st.booleans(),
    st.sampled_from([None, 60]),
    st.booleans(),
)
def test_events_without_sense_or_order_do_no_harm(
    steps: list[tuple[tuple[str, Any], float]], config: Config, script: bool, reset: float | None, ends: bool
) -> None:
    """Whatever a loop with a bug reports, nothing raises, and there is no start where there is a service."""
    found = Machine(config, script, reset, ends, lambda: 0.5)
    now = 1000.0
    for (event, value), seconds in steps:
        before, pid, over = found.state, found.pid, found.state == ENDED
        follow = may_follow(before, found.phase, event) | ({before} if event == states.TIMER else set())
        actions = found.handle(event, now, fresh(value))
        assert found.state in follow or (found.state == RUNNING and NAMES[found.phase] in follow)
        check_shape(found)
        check_eager(found, now, ENDS)
        starts = [action for action in actions if action[0] == states.START]
        assert len(starts) <= 1
        if starts:
            assert found.state == SPAWNING and before != SPAWNING
            assert found.want != DOWN
            assert not pid or event in (states.EXITED, states.MAIN_EXITED)
        if over:
            assert found.state == ENDED
            assert all(action[0] == states.WARNING for action in actions)
        now += seconds
