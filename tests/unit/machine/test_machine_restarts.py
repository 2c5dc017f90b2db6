"""The state machine and restarts: when the service is started again, and what the restart script is told."""

from __future__ import annotations

import pytest
from simulated import CLEAN, CORE, CRASH, KILLED, UNKNOWN, in_state, policy, running

from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.states import DELAY, RUNNING, SCRIPT_RUN


@pytest.mark.parametrize("how", [CLEAN, CRASH, KILLED, CORE, UNKNOWN], ids=str)
def test_a_service_that_ran_for_a_second_is_restarted_as_soon_as_it_exits(how: ExitStatus) -> None:
    loop = running()
    loop.crash_after(1, how)
    assert loop.did[0] == (states.START,)
    assert loop.starts == [1000.0, 1001.0]


@pytest.mark.parametrize("uptime", [0, 0.25, 0.5, 0.999])
def test_one_that_ran_for_less_is_restarted_at_the_end_of_that_second(uptime: float) -> None:
    loop = running()
    loop.crash_after(uptime)
    assert states.START not in loop.kinds
    assert loop.machine.deadline == 1001.0
    loop.wait(5)
    assert loop.starts == [1000.0, 1001.0]


def test_a_timer_that_comes_too_soon_starts_nothing() -> None:
    loop = in_state(DELAY)
    loop.event(states.TIMER)
    assert loop.state == DELAY
    assert len(loop.starts) == 1


def test_a_service_that_always_crashes_at_once_is_started_once_a_second() -> None:
    loop = running()
    for _ in range(100):
        loop.exit()
        loop.wait(1)
    assert loop.starts == [1000.0 + number for number in range(101)]


def test_a_restart_that_fails_is_an_exit_and_the_next_try_follows_by_the_same_rules() -> None:
    loop = running()
    loop.broken = True
    loop.crash_after(5)
    assert loop.state == DELAY
    assert loop.said(states.WARNING) == ["service could not be started: no such program"]
    loop.wait(3)
    loop.broken = False
    loop.wait(1)
    assert loop.starts == [1000.0, 1005.0, 1006.0, 1007.0, 1008.0, 1009.0]
    assert loop.state == RUNNING


def test_the_next_process_comes_before_the_log_and_the_alarm() -> None:
    loop = running(policy(alarm_interval=60))
    assert loop.crash_after(5)[0] == (states.START,)
    assert loop.kinds.index(states.START) < loop.kinds.index(states.ALARM)


def test_the_log_says_how_the_service_ended() -> None:
    loop = running()
    loop.crash_after(2.5, CORE)
    assert loop.said(states.NOTICE)[0] == (
        "service was killed by signal 11 (SEGV), core dumped (pid 101, up 2.5 seconds)"
    )
    loop.letters("d")
    loop.crash_after(1, CLEAN)
    assert loop.said(states.NOTICE) == ["service exited with status 0 (pid 102, up 1.0 seconds, as asked)"]


# The restart script.


def test_the_script_runs_before_each_restart_and_is_told_how_many_exits_there_were() -> None:
    loop = running(script=True)
    for exits in (1, 2, 3):
        loop.crash_after(5)
        assert loop.kinds[0] == states.SCRIPT
        assert states.START not in loop.kinds
        loop.script_done()
        assert loop.state == RUNNING
        assert loop.scripts[-1] == exits
    assert loop.scripts == [1, 2, 3]


def test_the_restart_waits_for_the_script_however_long_it_takes() -> None:
    loop = running(script=True)
    loop.crash_after(5)
    loop.wait(10_000)
    assert len(loop.starts) == 1
    loop.script_done()
    assert len(loop.starts) == 2


def test_a_quick_script_does_not_make_a_restart_come_before_its_second() -> None:
    loop = running(script=True)
    loop.crash_after(0.25)
    loop.wait(0.25)
    loop.script_done()
    assert loop.state == DELAY
    loop.wait(5)
    assert loop.starts == [1000.0, 1001.0]


def test_a_script_that_fails_is_a_warning_and_the_restart_follows() -> None:
    loop = running(script=True)
    loop.crash_after(5)
    loop.script_done("restart script exited with status 1")
    assert loop.said(states.WARNING) == ["restart script exited with status 1"]
    assert loop.state == RUNNING


def test_no_script_runs_where_no_restart_follows() -> None:
    for letters in ("d", "o", "x", "dx"):
        loop = running(script=True)
        loop.letters(letters)
        loop.crash_after(5)
        assert loop.scripts == []


def test_the_script_counts_planned_exits_and_failed_starts_too() -> None:
    loop = running(script=True)
    loop.letters("R")
    loop.crash_after(5)
    loop.broken = True
    loop.script_done()
    assert loop.state == SCRIPT_RUN
    assert loop.scripts == [1, 2]


def test_the_count_starts_again_when_the_last_exit_is_long_enough_ago() -> None:
    loop = running(script=True, reset=60)
    for uptime in (1, 59.9, 60, 59, 1000):
        loop.crash_after(uptime)
        loop.script_done()
    assert loop.scripts == [1, 2, 1, 2, 1]


def test_u_after_d_starts_what_the_script_was_ended_for() -> None:
    loop = in_state(SCRIPT_RUN)
    loop.letters("du")
    loop.wait(5)
    loop.script_done()
    assert loop.state == RUNNING
