"""The state machine and a service that is told to stop: how it is told, and what if it does not."""

from __future__ import annotations

import pytest
from simulated import KILLED, Loop, in_phase, policy, running

from supervise.protocol import states
from supervise.protocol.states import ENDING, READY, RUNNING, SPAWNING, STOPPING

# stopsignal, stopasgroup, stopwaitsecs.


@pytest.mark.parametrize("letter", "dR")
def test_a_service_is_told_to_stop_with_its_stopsignal(letter: str) -> None:
    loop = running(policy(stopsignal="QUIT"))
    loop.letters(letter)
    assert loop.signals == [("QUIT", False), ("CONT", False)]


@pytest.mark.parametrize("letters", ["d", "R", "+d", "=R"])
def test_with_stopasgroup_its_whole_group_is_told(letters: str) -> None:
    loop = running(policy(stopasgroup=True))
    loop.letters(letters)
    assert loop.signals == [("TERM", True), ("CONT", True)]


def test_by_default_a_stop_may_take_for_ever() -> None:
    loop = running()
    loop.letters("d")
    loop.wait(1_000_000)
    assert (loop.state, loop.signals) == (STOPPING, [])


@pytest.mark.parametrize("letters", ["d", "R", "dx", "xd"])
def test_a_service_that_does_not_stop_in_time_is_killed(letters: str) -> None:
    loop = running(policy(stopwaitsecs=10))
    loop.letters(letters)
    loop.wait(9.999)
    assert loop.signals == []
    loop.wait(0.001)
    assert loop.signals == [("KILL", False)]
    assert loop.said(states.WARNING) == ["service (pid 101) did not end in time after it was told to: sending KILL"]


def test_it_is_killed_once_and_its_end_was_asked_for() -> None:
    loop = running(policy(stopwaitsecs=10, alarm_interval=60))
    loop.letters("d")
    loop.wait(10)
    loop.wait(1_000_000)
    assert loop.signals == []
    loop.exit(KILLED)
    assert loop.alarms == []
    assert loop.machine.totals["planned"] == 1
    why = "did not end in time after it was told to"
    assert loop.ends == [f"was killed by signal 9 (KILL), ended by supervise: {why}"]


@pytest.mark.parametrize(
    "keys, group", [({}, False), ({"stopasgroup": True}, True), ({"killasgroup": True}, True)], ids=str
)
def test_what_was_told_or_is_to_be_killed_as_a_group_is_killed_as_one(keys: dict[str, bool], group: bool) -> None:
    loop = running(policy(stopwaitsecs=10, **keys))
    loop.letters("d")
    loop.wait(10)
    assert loop.signals == [("KILL", group)]


@pytest.mark.parametrize("letter", "dR")
def test_to_tell_it_once_more_gives_it_no_more_time(letter: str) -> None:
    loop = running(policy(stopwaitsecs=10))
    loop.letters("d")
    loop.wait(9)
    loop.letters(letter)
    assert loop.signals == [("TERM", False), ("CONT", False)]
    loop.wait(1)
    assert loop.signals == [("KILL", False)]


def test_to_tell_it_once_more_after_KILL_has_it_killed_once_more() -> None:
    loop = running(policy(stopwaitsecs=10))
    loop.letters("d")
    loop.wait(10)
    loop.letters("d")
    loop.wait(10)
    assert loop.signals == [("KILL", False)]


def test_u_does_not_take_the_stop_back() -> None:
    loop = running(policy(stopwaitsecs=10))
    loop.letters("du")
    loop.wait(10)
    assert loop.signals == [("KILL", False)]
    loop.exit(KILLED)
    assert loop.state == RUNNING
    assert loop.pid == 102


def test_one_that_is_stopping_may_ask_for_more_time() -> None:
    loop = running(policy(stopwaitsecs=10))
    loop.letters("d")
    loop.event(states.EXTEND, 60.0)
    loop.wait(59)
    assert loop.signals == []
    loop.wait(1)
    assert loop.signals == [("KILL", False)]


def test_what_limited_it_before_it_was_told_to_stop_limits_it_no_more() -> None:
    loop = in_phase(READY, policy(watchdog_secs=10))
    loop.wait(9)
    loop.letters("d")
    loop.wait(1_000_000)
    assert (loop.state, loop.signals) == (STOPPING, [])


def test_one_that_said_that_it_is_stopping_has_as_long_as_if_it_were_told() -> None:
    loop = in_phase(ENDING, policy(stopwaitsecs=10))
    loop.event(states.SAYS_STOPPING)
    loop.wait(9.999)
    assert loop.signals == []
    loop.wait(0.001)
    assert loop.signals == [("KILL", False)]
    assert loop.said(states.WARNING) == [
        "service (pid 101) did not end in time after it said that it was stopping: sending KILL"
    ]


def test_one_that_could_not_be_told_to_stop_and_is_spared_has_no_fault() -> None:
    loop = running(policy(stopwaitsecs=10))
    loop.letters("d")
    loop.wait(10)
    assert loop.machine.fault
    loop.letters("u")
    loop.event(states.SPARED)
    assert (loop.state, loop.machine.fault, loop.machine.deadline) == (RUNNING, None, None)


def test_d_while_it_is_being_started_gives_it_stopwaitsecs_too() -> None:
    loop = Loop(policy(stopwaitsecs=10, notify=True, starttimeoutsecs=5))
    loop.hold = True
    loop.begin()
    assert loop.state == SPAWNING
    loop.letters("d")
    loop.spawned()
    assert loop.state == STOPPING
    loop.wait(10)
    assert loop.signals == [("KILL", False)]
