"""The state machine and what a service leaves behind: reported, or ended before the next start."""

from __future__ import annotations

import pytest
from simulated import CLEAN, CORE, CRASH, KILLED, NEVER, Loop, in_state, policy, running

from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.letters import SIGNALS
from supervise.protocol.record import DOWN, ONCE, UP
from supervise.protocol.states import CLEANUP, DELAY, ENDED, IDLE, RUNNING, SCRIPT_RUN


def leaving(left: str | None, uptime: float = 5, how: ExitStatus = CRASH, **keys: object) -> Loop:
    """A service with `killasgroup : yes` that has just ended; `left` is what ends what it left."""
    loop = running(policy(killasgroup=True, **keys))
    loop.leaves = left
    loop.crash_after(uptime, how)
    return loop


# Without killasgroup.


@pytest.mark.parametrize("how", [CLEAN, CRASH, KILLED, CORE], ids=str)
def test_by_default_what_is_left_is_reported_and_lives_on(how: ExitStatus) -> None:
    loop = running()
    loop.leaves = NEVER
    loop.crash_after(5, how)
    assert loop.kinds == [states.START, states.GONE, states.REPORT_LEFTOVERS]
    assert loop.state == RUNNING


@pytest.mark.parametrize("letter, state", [("d", IDLE), ("o", IDLE), ("x", ENDED), ("R", RUNNING)])
def test_it_is_reported_whatever_follows(letter: str, state: str) -> None:
    loop = running()
    loop.leaves = NEVER
    loop.wait(5)
    loop.letters(letter)
    loop.exit()
    assert states.REPORT_LEFTOVERS in loop.kinds
    assert loop.state == state


def test_a_start_that_failed_has_left_nothing() -> None:
    for config in (policy(), policy(killasgroup=True)):
        loop = running(config)
        loop.broken = True
        loop.crash_after(5)
        loop.wait(1)
        assert loop.kinds == [states.START, states.GONE]


# With it.


def test_with_killasgroup_what_is_left_is_told_to_end_before_the_next_start() -> None:
    loop = leaving(NEVER)
    assert loop.state == CLEANUP
    assert loop.kinds == [states.KILL_LEFTOVERS, states.GONE]
    assert loop.clears == ["TERM"]
    assert loop.starts == [1000.0]


def test_the_next_start_follows_as_soon_as_nothing_is_left() -> None:
    loop = leaving(NEVER)
    loop.wait(0.25)
    loop.nobody_left()
    assert loop.kinds == [states.START, states.REPORT_LEFTOVERS]
    assert loop.starts == [1000.0, 1005.25]


def test_that_is_at_once_if_there_is_nothing() -> None:
    loop = leaving(None)
    assert loop.kinds == [states.KILL_LEFTOVERS, states.GONE, states.START, states.REPORT_LEFTOVERS]
    assert loop.starts == [1000.0, 1005.0]


def test_the_service_is_down_meanwhile() -> None:
    loop = leaving(NEVER)
    assert loop.machine.visible == (False, UP, True, 0)


def test_it_is_told_with_the_stopsignal() -> None:
    assert leaving("INT", stopsignal="INT").clears == ["INT"]


@pytest.mark.parametrize("stopwaitsecs, seconds", [(0, 5), (3, 3), (60, 60)])
def test_it_has_stopwaitsecs_to_end_or_five_seconds_and_is_killed_then(stopwaitsecs: int, seconds: int) -> None:
    loop = leaving("KILL", stopwaitsecs=stopwaitsecs)
    loop.wait(seconds - 0.001)
    assert loop.clears == []
    loop.wait(0.001)
    assert loop.clears == ["KILL"]
    assert loop.state == RUNNING
    assert loop.starts == [1000.0, 1005.0 + seconds]


def test_what_KILL_does_not_end_is_reported_and_waited_for_no_longer() -> None:
    loop = leaving(NEVER)
    loop.wait(5)
    assert loop.clears == ["KILL"]
    loop.wait(4.999)
    assert loop.did == []
    loop.wait(0.001)
    assert loop.kinds == [states.REPORT_LEFTOVERS, states.START]
    assert loop.state == RUNNING


def test_a_timer_that_comes_too_soon_kills_nothing() -> None:
    loop = leaving(NEVER)
    loop.wait(2)
    assert loop.event(states.TIMER) == []


def test_the_time_it_takes_is_not_added_to_the_delay() -> None:
    loop = leaving("KILL", uptime=1, restart_delay=4)
    loop.wait(5)
    assert loop.starts == [1000.0, 1006.0]


def test_nor_does_it_take_any_away_from_it() -> None:
    loop = leaving("TERM", uptime=0.25)
    assert loop.state == DELAY
    loop.wait(1)
    assert loop.starts == [1000.0, 1001.0]


def test_the_restart_script_runs_when_nothing_is_left() -> None:
    loop = running(policy(killasgroup=True), script=True)
    loop.leaves = NEVER
    loop.crash_after(5)
    assert states.SCRIPT not in loop.kinds
    loop.nobody_left()
    assert loop.kinds == [states.SCRIPT, states.REPORT_LEFTOVERS]
    assert loop.state == SCRIPT_RUN


def test_the_exit_is_counted_and_alarmed_at_once() -> None:
    loop = leaving(NEVER, alarm_interval=60)
    assert loop.alarms == [("exited with status 1", 5.0, 0, False)]


def test_supervise_gives_up_when_nothing_is_left() -> None:
    loop = leaving("KILL", alarm_interval=60, max_tries=1)
    loop.wait(5)
    loop.crash_after(5)
    assert loop.said(states.FATAL) == ["giving up after 1 restarts within 60 seconds"]
    assert (loop.state, loop.machine.gave_up) == (CLEANUP, True)
    loop.letters("u")
    loop.wait(5)
    assert loop.clears == ["KILL"]
    assert loop.state == ENDED
    assert len(loop.starts) == 2


@pytest.mark.parametrize("letter, state", [("d", IDLE), ("o", IDLE), ("x", ENDED), ("dx", ENDED)])
def test_what_is_left_is_ended_whatever_follows(letter: str, state: str) -> None:
    loop = running(policy(killasgroup=True))
    loop.leaves = "KILL"
    loop.wait(5)
    loop.letters(letter)
    loop.exit()
    assert (loop.state, loop.clears) == (CLEANUP, ["TERM"])
    loop.wait(5)
    assert loop.clears == ["KILL"]
    assert loop.state == state


def test_also_where_nothing_is_restarted() -> None:
    loop = leaving("KILL", autorestart="never")
    assert loop.state == CLEANUP
    loop.wait(5)
    assert (loop.state, loop.machine.want) == (IDLE, UP)


def test_and_before_supervise_ends_with_the_service() -> None:
    loop = running(policy(killasgroup=True, autorestart="never"), exit_with_service=True)
    loop.leaves = "KILL"
    loop.crash_after(5)
    assert loop.state == CLEANUP
    loop.wait(5)
    assert loop.state == ENDED


def test_a_configuration_that_changes_is_for_the_next_exit() -> None:
    loop = leaving(NEVER)
    loop.event(states.CONFIG, policy())
    assert loop.state == CLEANUP
    loop.wait(5)
    assert loop.clears == ["KILL"]


def test_a_supervise_that_begins_ends_what_was_left_of_a_service_that_ended_meanwhile() -> None:
    loop = Loop(policy(killasgroup=True))
    loop.begin(left="KILL")
    assert (loop.state, loop.clears) == (CLEANUP, ["TERM"])
    assert states.GONE not in loop.kinds
    loop.wait(5)
    assert loop.clears == ["KILL"]
    assert loop.state == RUNNING


def test_unless_it_is_to_be_left() -> None:
    assert Loop(policy()).begin(left=NEVER).state == RUNNING


# Letters meanwhile.


def test_d_takes_the_next_start_back() -> None:
    loop = leaving("KILL")
    loop.letters("d")
    assert loop.said(states.NOTICE) == ["command d: the service is to be down"]
    loop.wait(5)
    assert (loop.state, loop.machine.want) == (IDLE, DOWN)
    assert loop.starts == [1000.0]


@pytest.mark.parametrize("letter", "uR")
def test_u_and_R_after_d_start_it_when_nothing_is_left(letter: str) -> None:
    loop = running(policy(killasgroup=True))
    loop.leaves = "KILL"
    loop.letters("d")
    loop.crash_after(5)
    loop.letters(letter)
    assert loop.said(states.NOTICE) == [f"command {letter}: start the service when nothing is left of it"]
    assert loop.state == CLEANUP
    loop.wait(5)
    assert (loop.state, loop.machine.want) == (RUNNING, UP)


@pytest.mark.parametrize("letter", "uRo")
def test_they_start_also_what_would_not_be_restarted(letter: str) -> None:
    loop = leaving("KILL", autorestart="never", restart_delay=600)
    loop.letters(letter)
    loop.wait(5)
    assert loop.state == RUNNING
    assert loop.machine.want == (ONCE if letter == "o" else UP)
    assert loop.starts == [1000.0, 1010.0]


def test_u_forgives_what_was_before() -> None:
    loop = leaving("TERM", uptime=0, restart_delay_max=600)
    for _ in range(5):
        loop.due()
        loop.exit()
    loop.due()
    loop.leaves = NEVER
    loop.exit()
    assert loop.state == CLEANUP
    loop.letters("u")
    assert loop.machine.quick_exits == 0


@pytest.mark.parametrize("letter", "uRo")
def test_none_of_them_starts_it_within_its_second(letter: str) -> None:
    loop = leaving(NEVER, uptime=0.25, restart_delay=600)
    loop.letters(letter)
    loop.nobody_left()
    assert loop.state == DELAY
    loop.wait(0.75)
    assert loop.starts == [1000.0, 1001.0]


def test_x_ends_supervise_when_nothing_is_left() -> None:
    loop = leaving("KILL")
    loop.letters("x")
    assert loop.state == CLEANUP
    loop.wait(5)
    assert loop.clears == ["KILL"]
    assert loop.state == ENDED


@pytest.mark.parametrize("letter", ["p", "c", *SIGNALS])
def test_no_letter_sends_it_a_signal(letter: str) -> None:
    loop = in_state(CLEANUP)
    loop.letters("+" + letter)
    assert loop.kinds == []
    assert loop.said(states.NOTICE) == [f"command {letter}: the service is not running"]
