"""The state machine and a service that hangs: how that is noticed, and what is done about it."""

from __future__ import annotations

import pytest
from simulated import CORE, KILLED, Loop, in_phase, in_state, policy, running

from supervise.protocol import states
from supervise.protocol.letters import SIGNALS
from supervise.protocol.record import DOWN, ONCE
from supervise.protocol.states import (
    ABORTING,
    CLEANUP,
    ENDED,
    ENDING,
    IDLE,
    READY,
    RELOADING,
    RUNNING,
    STARTING,
    STATES,
    STOPPING,
)

SICK = "unhealthy: check_command exited with status 1"


def watched(seconds: int = 10, **keys: object) -> Loop:
    """A service with a watchdog, that is ready since just now."""
    return in_phase(READY, policy(watchdog_secs=seconds, **keys))


# watchdog_secs: a sign of life every so often.


def test_a_service_that_gives_its_signs_of_life_is_left_alone() -> None:
    loop = watched(10)
    for _ in range(100):
        loop.wait(9.999)
        assert loop.event(states.KICK) == []
    assert loop.state == RUNNING


def test_one_that_gives_none_for_so_long_hangs() -> None:
    loop = watched(10)
    loop.wait(7)
    loop.event(states.KICK)
    loop.wait(10)
    assert loop.state == ABORTING
    assert loop.machine.fault == "hung: no WATCHDOG=1 for 10 seconds"
    assert loop.signals == [("ABRT", False), ("CONT", False)]
    assert loop.said(states.WARNING) == ["service (pid 101) hung: no WATCHDOG=1 for 10 seconds: sending ABRT"]


def test_it_gets_the_signal_that_is_configured_and_itself_alone() -> None:
    loop = watched(10, watchdog_signal="USR2", stopasgroup=True)
    loop.wait(10)
    assert loop.signals == [("USR2", False), ("CONT", False)]


@pytest.mark.parametrize("stopwaitsecs", [0, 1, 60])
def test_one_that_hangs_is_killed_after_five_seconds_however_long_a_stop_may_take(stopwaitsecs: int) -> None:
    loop = watched(10, stopwaitsecs=stopwaitsecs)
    loop.wait(10)
    loop.wait(4.999)
    assert loop.signals == []
    loop.wait(0.001)
    assert loop.signals == [("KILL", False)]
    loop.wait(1_000_000)
    assert loop.signals == []


@pytest.mark.parametrize("keys", [{"killasgroup": True}, {"stopasgroup": True}])
def test_it_is_killed_with_its_group_if_the_service_is_a_group(keys: dict[str, bool]) -> None:
    loop = watched(10, **keys)
    loop.wait(10)
    loop.wait(5)
    assert loop.signals == [("KILL", True)]


def test_a_hang_is_counted_and_alarmed_with_its_fault() -> None:
    loop = watched(10, alarm_interval=60, max_tries=1)
    loop.wait(10)
    loop.exit(CORE)
    how = "was killed by signal 11 (SEGV), core dumped, ended by supervise: hung: no WATCHDOG=1 for 10 seconds"
    assert loop.alarms == [(how, 10.0, 0, False)]
    assert loop.said(states.NOTICE)[0] == f"service {how} (pid 101, up 10.0 seconds)"
    totals = loop.machine.totals
    assert (totals["hangs"], totals["crashes"], totals["cores"], totals["planned"]) == (1, 1, 1, 0)
    loop.event(states.SAYS_READY)
    loop.wait(10)
    loop.exit(KILLED)
    assert loop.machine.gave_up


def test_the_fault_is_that_of_one_exit() -> None:
    loop = watched(10)
    loop.wait(10)
    loop.exit(KILLED)
    loop.crash_after(5)
    assert loop.ends == ["exited with status 1"]


def test_the_next_process_is_watched_from_when_it_is_ready() -> None:
    loop = watched(10)
    loop.wait(10)
    loop.exit(KILLED)
    loop.wait(1000)
    assert (loop.state, loop.machine.phase) == (RUNNING, STARTING)
    loop.event(states.SAYS_READY)
    loop.wait(10)
    assert loop.state == ABORTING


def test_one_that_need_not_say_that_it_is_ready_is_watched_from_its_start() -> None:
    loop = running(policy(watchdog_secs=10))
    loop.wait(10)
    assert loop.state == ABORTING


def test_a_service_is_watched_while_it_reloads() -> None:
    loop = in_phase(RELOADING, policy(watchdog_secs=10))
    loop.wait(9)
    loop.event(states.KICK)
    loop.wait(10)
    assert loop.state == ABORTING


@pytest.mark.parametrize("phase", [STARTING, ENDING])
def test_signs_of_life_are_not_awaited_while_it_starts_or_ends(phase: str) -> None:
    loop = in_phase(phase, policy(watchdog_secs=10))
    loop.wait(5)
    loop.event(states.KICK)
    loop.wait(1_000_000)
    assert loop.state == RUNNING


def test_a_sign_of_life_does_not_stand_for_being_ready() -> None:
    loop = in_phase(STARTING, policy(starttimeoutsecs=30, watchdog_secs=10))
    loop.wait(29)
    loop.event(states.KICK)
    loop.wait(1)
    assert loop.machine.fault == "not ready within 30 seconds"


def test_a_sign_of_life_without_a_watchdog_means_nothing() -> None:
    loop = in_phase(READY)
    loop.event(states.KICK)
    assert loop.machine.deadline is None


def test_the_service_sets_its_own_interval() -> None:
    loop = watched(10)
    loop.event(states.WATCHDOG, 2.5)
    loop.wait(2.4)
    loop.event(states.KICK)
    loop.wait(2.4)
    assert loop.state == RUNNING
    loop.wait(0.1)
    assert loop.machine.fault == "hung: no WATCHDOG=1 for 2.5 seconds"


def test_it_may_ask_to_be_watched_where_nothing_is_configured() -> None:
    loop = in_phase(READY)
    loop.event(states.WATCHDOG, 3.0)
    loop.wait(3)
    assert loop.state == ABORTING


def test_an_interval_of_0_ends_the_watch() -> None:
    loop = watched(10)
    loop.wait(5)
    loop.event(states.WATCHDOG, 0.0)
    loop.wait(1_000_000)
    assert loop.state == RUNNING


def test_an_interval_said_before_it_is_ready_holds_from_then_on() -> None:
    loop = in_phase(STARTING, policy(starttimeoutsecs=30))
    loop.event(states.WATCHDOG, 3.0)
    loop.wait(29)
    assert loop.state == RUNNING
    loop.event(states.SAYS_READY)
    loop.wait(3)
    assert loop.machine.fault == "hung: no WATCHDOG=1 for 3 seconds"


def test_its_own_interval_is_for_one_process() -> None:
    loop = watched(10)
    loop.event(states.WATCHDOG, 3.0)
    loop.crash_after(2)
    assert loop.machine.watchdog == 10


def test_it_may_ask_for_more_time_until_the_next_sign_of_life() -> None:
    loop = watched(10)
    loop.event(states.EXTEND, 60.0)
    loop.wait(59)
    assert loop.state == RUNNING
    loop.event(states.KICK)
    loop.wait(10)
    assert loop.state == ABORTING


def test_it_may_find_out_itself_that_it_hangs() -> None:
    loop = in_phase(READY)
    loop.event(states.TRIGGER)
    assert loop.state == ABORTING
    assert loop.signals == [("ABRT", False), ("CONT", False)]
    loop.exit(CORE)
    assert loop.ends[0].endswith("ended by supervise: hung: it sent WATCHDOG=trigger")
    assert loop.machine.totals["hangs"] == 1


# check_command: somebody else finds out.


@pytest.mark.parametrize("phase", [None, READY, RELOADING])
def test_a_service_that_a_check_finds_sick_is_ended_as_one_that_hangs(phase: str | None) -> None:
    loop = in_phase(phase, policy(alarm_interval=60))
    loop.wait(100)
    assert loop.machine.healthy
    loop.event(states.UNHEALTHY, SICK)
    assert loop.signals == [("ABRT", False), ("CONT", False)]
    loop.wait(5)
    assert loop.signals == [("KILL", False)]
    loop.exit(KILLED)
    assert loop.alarms == [(f"was killed by signal 9 (KILL), ended by supervise: {SICK}", 105.0, 0, False)]
    assert loop.machine.totals["hangs"] == 1


@pytest.mark.parametrize("phase", [STARTING, ENDING])
def test_one_that_starts_or_ends_is_not_asked_and_an_answer_comes_too_late(phase: str) -> None:
    loop = in_phase(phase)
    assert not loop.machine.healthy
    assert loop.event(states.UNHEALTHY, SICK) == []


def test_one_that_is_paused_is_not_asked_and_an_answer_comes_too_late() -> None:
    loop = running()
    loop.letters("p")
    assert not loop.machine.healthy
    assert loop.event(states.UNHEALTHY, SICK) == []
    loop.letters("c")
    assert loop.machine.healthy


@pytest.mark.parametrize("state", [state for state in STATES if state != RUNNING])
def test_one_that_does_not_run_is_not_asked_and_an_answer_comes_too_late(state: str) -> None:
    loop = in_state(state)
    assert not loop.machine.healthy
    assert loop.event(states.UNHEALTHY, SICK) == []


# p and c: one that is paused can neither get ready nor give a sign of life.


def test_a_pause_ends_the_watch_and_it_begins_anew_when_the_service_goes_on() -> None:
    loop = watched(10)
    loop.wait(9)
    loop.letters("p")
    loop.wait(1_000_000)
    assert loop.state == RUNNING
    loop.letters("c")
    loop.wait(9.9)
    assert loop.state == RUNNING
    loop.wait(0.1)
    assert loop.state == ABORTING


def test_a_pause_stops_the_time_that_it_has_to_get_ready() -> None:
    loop = in_phase(STARTING, policy(starttimeoutsecs=30))
    loop.wait(29)
    loop.letters("p")
    loop.wait(1_000_000)
    assert loop.state == RUNNING
    loop.letters("c")
    loop.wait(30)
    assert loop.machine.fault == "not ready within 30 seconds"


@pytest.mark.parametrize("event", [states.KICK, states.SAYS_READY])
def test_what_it_said_before_the_pause_does_not_end_it(event: str) -> None:
    loop = in_phase(STARTING, policy(starttimeoutsecs=30, watchdog_secs=10))
    loop.letters("p")
    loop.event(event)
    loop.wait(1_000_000)
    assert loop.state == RUNNING
    assert loop.machine.paused


def test_c_to_one_that_is_not_paused_gives_it_no_more_time() -> None:
    loop = watched(10)
    loop.wait(9)
    loop.letters("c")
    loop.wait(1)
    assert loop.state == ABORTING


def test_one_that_is_being_ended_is_not_paused() -> None:
    loop = in_state(ABORTING)
    loop.letters("p")
    assert loop.signals == []
    assert loop.said(states.NOTICE) == ["command p: the service (pid 101) is being ended"]
    loop.wait(5)
    assert loop.signals == [("KILL", False)]


def test_one_that_is_paused_on_its_way_down_is_killed_in_time() -> None:
    loop = running(policy(stopwaitsecs=10))
    loop.letters("d")
    loop.wait(5)
    loop.letters("p")
    loop.wait(5)
    assert loop.signals == [("KILL", False)]


def test_a_paused_service_that_finds_out_that_it_hangs_is_continued() -> None:
    loop = watched(10)
    loop.letters("p")
    loop.event(states.TRIGGER)
    assert loop.signals == [("ABRT", False), ("CONT", False)]
    assert not loop.machine.paused


# Letters to one that is being ended because of a fault.


@pytest.mark.parametrize("letter", "dR")
def test_one_that_hangs_and_is_told_to_stop_has_no_more_time_than_it_had(letter: str) -> None:
    loop = watched(10, stopwaitsecs=60)
    loop.wait(10)
    loop.letters(letter)
    assert loop.state == STOPPING
    assert loop.signals == [("TERM", False), ("CONT", False)]
    loop.wait(4.999)
    assert loop.signals == []
    loop.wait(0.001)
    assert loop.signals == [("KILL", False)]


def test_its_end_was_asked_for_then() -> None:
    loop = watched(10, alarm_interval=60)
    loop.wait(10)
    loop.letters("d")
    loop.exit(KILLED)
    assert loop.alarms == []
    assert loop.ends == ["was killed by signal 9 (KILL)"]
    assert (loop.state, loop.machine.want) == (IDLE, DOWN)


def test_o_lets_it_not_be_started_again() -> None:
    loop = in_state(ABORTING)
    loop.letters("o")
    loop.exit(KILLED)
    assert (loop.state, loop.machine.want) == (IDLE, ONCE)


def test_u_says_what_follows() -> None:
    loop = in_state(ABORTING)
    loop.letters("ou")
    assert loop.said(states.NOTICE)[-1] == "command u: start the service again when it is down"
    loop.wait(5)
    loop.exit(KILLED)
    assert loop.state == RUNNING


def test_x_ends_supervise_with_it() -> None:
    loop = in_state(ABORTING)
    loop.letters("x")
    loop.wait(5)
    assert loop.signals == [("KILL", False)]
    loop.exit(KILLED)
    assert loop.state == ENDED


def test_an_end_after_x_was_asked_for() -> None:
    loop = in_state(ABORTING, config=policy(alarm_interval=60))
    loop.letters("x")
    loop.exit(KILLED)
    assert loop.ends == ["was killed by signal 9 (KILL), ended by supervise: hung: it sent WATCHDOG=trigger"]
    assert loop.alarms == []


def test_c_continues_it() -> None:
    loop = in_state(ABORTING)
    loop.letters("c")
    assert loop.signals == [("CONT", False)]
    assert loop.state == ABORTING


@pytest.mark.parametrize("letter", SIGNALS)
def test_signals_are_passed_on_to_it(letter: str) -> None:
    loop = in_state(ABORTING)
    loop.letters("+" + letter)
    assert loop.signals == [(SIGNALS[letter], True)]
    assert loop.state == ABORTING


@pytest.mark.parametrize("event", [states.TRIGGER, states.EXTEND, states.WATCHDOG])
def test_what_it_says_does_not_change_its_end(event: str) -> None:
    loop = in_state(ABORTING)
    assert loop.event(event, 1000.0) == []
    loop.wait(5)
    assert loop.signals == [("KILL", False)]


# One that hangs may be one that is not restarted, or leaves something behind.


def test_one_that_hangs_is_not_restarted_where_nothing_is() -> None:
    loop = watched(10, autorestart="never")
    loop.wait(10)
    loop.exit(KILLED)
    assert loop.state == IDLE


def test_what_one_that_hung_has_left_is_ended_before_the_next() -> None:
    loop = watched(10, killasgroup=True)
    loop.leaves = "KILL"
    loop.wait(10)
    loop.exit(KILLED)
    assert loop.state == CLEANUP
    loop.wait(5)
    assert loop.clears == ["KILL"]
    assert loop.state == RUNNING
