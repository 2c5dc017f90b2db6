"""The state machine and programs that replace their own main process, or fork into the background."""

from __future__ import annotations

import pytest
from simulated import CLEAN, CRASH, KILLED, NEVER, Loop, in_phase, in_state, policy, running

from supervise.machine.on_process import SUCCESSION_WAIT
from supervise.protocol import states
from supervise.protocol.letters import SIGNALS
from supervise.protocol.record import DOWN, ONCE, UP
from supervise.protocol.states import (
    ABORTING,
    CLEANUP,
    ENDED,
    IDLE,
    READY,
    RUNNING,
    STARTING,
    STATES,
    STOPPING,
    SUCCESSION,
)


def forking(**keys: object) -> Loop:
    """A service with a pidfile, started five seconds ago."""
    loop = running(policy(pidfile="app.pid", **keys))
    loop.wait(5)
    return loop


def main_exited(**keys: object) -> Loop:
    """One whose main process has just ended, and has left others."""
    loop = forking(**keys)
    loop.orphan()
    assert loop.state == SUCCESSION
    return loop


# A main process that names its successor while it runs: MAINPID=, or the pidfile.


def test_the_record_follows_the_main_process_at_once() -> None:
    loop = forking(alarm_interval=60, max_tries=1)
    before = dict(loop.machine.totals)
    loop.main()
    assert loop.machine.visible == (False, UP, True, 102)
    assert loop.said(states.NOTICE) == ["main process of the service is pid 102 now, was pid 101"]
    assert loop.kinds == []
    assert loop.machine.totals == before


def test_the_service_is_as_old_as_it_was() -> None:
    loop = forking()
    loop.main()
    loop.crash_after(5)
    assert loop.did[0] == (states.START,)
    assert loop.said(states.NOTICE)[0] == "service exited with status 1 (pid 102, up 10.0 seconds)"


def test_its_phase_and_its_watchdog_go_on() -> None:
    loop = in_phase(READY, policy(watchdog_secs=10))
    loop.event(states.SAYS_TEXT, "serving")
    loop.wait(5)
    loop.main()
    assert (loop.machine.phase, loop.machine.status_text) == (READY, "serving")
    loop.wait(5)
    assert loop.state == ABORTING


@pytest.mark.parametrize("letter", ["d", "R"])
def test_a_successor_that_appears_while_the_service_is_told_to_stop_is_told_too(letter: str) -> None:
    loop = forking(stopsignal="QUIT", stopwaitsecs=10)
    loop.letters(letter)
    loop.wait(4)
    loop.main()
    assert loop.signals == [("QUIT", False), ("CONT", False)]
    assert loop.state == STOPPING
    loop.wait(6)
    assert loop.signals == [("KILL", False)]
    loop.exit(KILLED)
    assert loop.machine.totals["planned"] == 1
    assert loop.state == (IDLE if letter == "d" else RUNNING)


def test_one_that_appears_after_KILL_is_told_and_killed_too() -> None:
    loop = forking(stopwaitsecs=10)
    loop.letters("d")
    loop.wait(10)
    assert loop.signals == [("KILL", False)]
    loop.main()
    assert loop.signals == [("TERM", False), ("CONT", False)]
    loop.wait(10)
    assert loop.signals == [("KILL", False)]


@pytest.mark.parametrize("seconds", [1, 5, 100])
def test_one_that_appears_while_the_service_is_ended_because_it_hangs_is_ended_too(seconds: int) -> None:
    loop = forking()
    loop.event(states.TRIGGER)
    loop.wait(seconds)
    loop.main()
    assert loop.signals == [("TERM", False)]
    assert loop.state == ABORTING
    loop.wait(5)
    assert loop.signals == [("KILL", False)]


def ended_late() -> Loop:
    """One that said that it was stopping, had its time for that, and was sent KILL."""
    loop = forking(stopwaitsecs=3)
    loop.event(states.SAYS_STOPPING)
    loop.wait(3)
    assert loop.signals == [("KILL", False)]
    return loop


def test_one_that_appears_when_the_last_was_killed_for_it_did_not_end_as_it_said_is_ended_too() -> None:
    loop = ended_late()
    loop.main()
    assert (loop.state, loop.signals) == (ABORTING, [("TERM", False)])
    loop.wait(5)
    assert loop.signals == [("KILL", False)]


@pytest.mark.parametrize("state", [state for state in STATES if state not in (RUNNING, STOPPING, ABORTING, SUCCESSION)])
def test_where_there_is_no_service_none_becomes_its_main_process(state: str) -> None:
    loop = in_state(state)
    assert loop.event(states.MAIN, 777) == []
    assert loop.machine.pid == 0


# A main process that ends and leaves others: its successor is awaited.


def test_the_end_of_the_main_process_is_not_the_end_of_the_service() -> None:
    loop = main_exited(alarm_interval=60, max_tries=1)
    assert loop.kinds == []
    assert loop.said(states.NOTICE) == [
        "main process (pid 101) exited with status 0; waiting for the pidfile to name another"
    ]
    assert loop.machine.visible == (False, UP, True, 0)
    assert loop.machine.totals["exits"] == 0


def test_the_successor_is_the_service_and_nothing_else_has_happened() -> None:
    loop = main_exited(alarm_interval=60, max_tries=1)
    loop.wait(4.9)
    loop.main()
    assert loop.state == RUNNING
    assert loop.machine.pid == 102
    assert loop.said(states.NOTICE) == ["main process of the service is pid 102 now"]
    assert (loop.machine.totals["starts"], loop.machine.totals["exits"]) == (1, 0)
    loop.wait(1_000_000)
    assert loop.state == RUNNING
    assert loop.starts == [1000.0]


def test_this_goes_on_as_often_as_one_likes() -> None:
    loop = forking()
    for number in range(100):
        loop.orphan()
        loop.main()
        assert loop.machine.pid == 102 + number
        loop.wait(1)
    assert loop.starts == [1000.0]


@pytest.mark.parametrize("how", [CLEAN, CRASH, KILLED], ids=str)
def test_without_a_successor_the_service_has_ended_when_its_main_process_did(how: object) -> None:
    loop = forking(alarm_interval=60)
    loop.orphan(how)  # type: ignore[arg-type]
    loop.wait(SUCCESSION_WAIT)
    assert loop.alarms == [(str(how), 5.0, 0, False)]
    assert loop.said(states.NOTICE)[0] == f"service {how} (pid 101, up 5.0 seconds)"
    assert loop.state == RUNNING
    assert loop.starts == [1000.0, 1005.0 + SUCCESSION_WAIT]


def test_what_is_left_then_is_reported() -> None:
    loop = main_exited()
    loop.wait(SUCCESSION_WAIT)
    assert loop.kinds == [states.START, states.GONE, states.REPORT_LEFTOVERS]


def test_or_ended_before_the_next_start() -> None:
    loop = forking(killasgroup=True)
    loop.orphan(left="KILL")
    loop.wait(SUCCESSION_WAIT)
    assert (loop.state, loop.clears) == (CLEANUP, ["TERM"])
    loop.wait(5)
    assert loop.clears == ["KILL"]
    assert loop.state == RUNNING


def test_nobody_is_awaited_when_nobody_is_left() -> None:
    loop = main_exited()
    loop.wait(1)
    loop.nobody_left()
    assert loop.state == RUNNING
    assert loop.starts == [1000.0, 1006.0]


def test_a_short_life_was_short_however_long_a_successor_was_awaited() -> None:
    loop = running(policy(pidfile="app.pid", startsecs=3))
    loop.wait(1)
    loop.orphan()
    loop.wait(4)
    loop.nobody_left()
    assert loop.machine.quick_exits == 1


def test_what_policy_makes_of_the_exit_comes_after_the_wait() -> None:
    loop = main_exited(autorestart="unexpected")
    loop.wait(SUCCESSION_WAIT)
    assert loop.state == IDLE
    assert loop.machine.totals["expected"] == 1


def test_a_daemon_that_forks_at_once_has_been_started_once() -> None:
    loop = running(policy(pidfile="app.pid"))
    loop.wait(0.01)
    loop.orphan(CLEAN)
    loop.wait(0.2)
    loop.main()
    loop.wait(3600)
    loop.exit(CRASH)
    assert loop.did[0] == (states.START,)
    assert loop.said(states.NOTICE)[0] == "service exited with status 1 (pid 102, up 3600.2 seconds)"


def test_a_pause_was_that_of_the_process_that_has_ended() -> None:
    loop = forking()
    loop.letters("p")
    loop.orphan(KILLED)
    assert not loop.machine.paused
    loop.main()
    assert loop.machine.visible == (False, UP, True, 102)


# What the successor says before it is known to be one.


def test_a_daemon_that_says_that_it_is_ready_before_the_pidfile_names_it_is_ready() -> None:
    loop = running(policy(pidfile="app.pid", notify=True, starttimeoutsecs=30, watchdog_secs=10))
    loop.wait(1)
    loop.orphan()
    loop.event(states.SAYS_TEXT, "serving")
    loop.event(states.WATCHDOG, 20.0)
    loop.event(states.SAYS_READY)
    loop.event(states.WATCHDOG, 20.0)
    assert (loop.state, loop.machine.deadline) == (SUCCESSION, 1001.0 + SUCCESSION_WAIT)
    loop.main()
    assert (loop.machine.phase, loop.machine.status_text) == (READY, "serving")
    loop.wait(19.9)
    assert loop.state == RUNNING
    loop.wait(0.1)
    assert loop.machine.fault == "hung: no WATCHDOG=1 for 20 seconds"


def test_one_that_has_not_has_all_of_its_time() -> None:
    loop = running(policy(pidfile="app.pid", notify=True, starttimeoutsecs=30))
    loop.wait(29)
    loop.orphan()
    loop.wait(1)
    loop.main()
    assert loop.machine.phase == STARTING
    loop.wait(29.9)
    assert loop.state == RUNNING
    loop.wait(0.1)
    assert loop.machine.fault == "not ready within 30 seconds"


# Letters meanwhile.


@pytest.mark.parametrize("letter", ["p", "c", *SIGNALS])
def test_no_signal_is_sent_while_nobody_is_the_service(letter: str) -> None:
    loop = main_exited()
    loop.letters(letter)
    assert loop.kinds == []
    assert loop.said(states.NOTICE) == [f"command {letter}: the service is not running"]


def test_d_takes_down_what_is_left_and_waits_for_no_successor() -> None:
    loop = main_exited(stopsignal="INT")
    loop.left = "KILL"
    loop.letters("d")
    assert (loop.state, loop.clears) == (CLEANUP, ["INT"])
    assert loop.said(states.NOTICE)[-1] == "command d: do not wait for another main process"
    loop.wait(5)
    assert loop.clears == ["KILL"]
    assert (loop.state, loop.machine.want) == (IDLE, DOWN)
    assert loop.starts == [1000.0]


def test_this_was_asked_for() -> None:
    loop = main_exited(alarm_interval=60)
    loop.letters("d")
    assert loop.alarms == []
    assert (loop.machine.totals["planned"], loop.machine.totals["exits"]) == (1, 1)


def test_R_takes_down_what_is_left_and_starts_the_service_again() -> None:
    loop = main_exited()
    loop.left = "KILL"
    loop.letters("R")
    assert (loop.state, loop.clears) == (CLEANUP, ["TERM"])
    assert states.START not in loop.kinds
    loop.wait(5)
    assert loop.state == RUNNING
    assert loop.pid == 102


def test_dx_takes_down_what_is_left_and_ends() -> None:
    loop = main_exited()
    loop.left = NEVER
    loop.letters("dx")
    assert (loop.state, loop.clears) == (CLEANUP, ["TERM"])
    loop.wait(10)
    assert loop.state == ENDED


def test_x_waits_for_a_successor_and_then_for_its_end() -> None:
    loop = main_exited()
    loop.letters("x")
    assert loop.state == SUCCESSION
    loop.main()
    loop.wait(1000)
    assert loop.state == RUNNING
    loop.exit()
    assert loop.state == ENDED


def test_x_ends_supervise_where_no_successor_comes() -> None:
    loop = main_exited(alarm_interval=60)
    loop.letters("x")
    loop.wait(SUCCESSION_WAIT)
    assert loop.state == ENDED
    assert loop.alarms == []


def test_a_main_process_that_changes_after_x_is_followed() -> None:
    loop = forking()
    loop.letters("x")
    loop.orphan()
    loop.main()
    assert loop.state == RUNNING
    loop.exit()
    assert loop.state == ENDED


def test_o_lets_the_successor_be_the_last() -> None:
    loop = main_exited()
    loop.letters("o")
    loop.main()
    assert (loop.state, loop.machine.want) == (RUNNING, ONCE)
    loop.exit()
    assert loop.state == IDLE


def test_o_without_a_successor_was_it() -> None:
    loop = main_exited()
    loop.letters("o")
    loop.wait(100)
    assert loop.state == IDLE
    assert loop.starts == [1000.0]


def test_u_waits_with_it() -> None:
    loop = main_exited()
    loop.letters("ou")
    assert loop.state == SUCCESSION
    assert loop.said(states.NOTICE)[-1] == "command u: keep the service up"
    loop.wait(SUCCESSION_WAIT)
    assert loop.state == RUNNING


# One that was told to end has ended, whatever it leaves.


@pytest.mark.parametrize("letter, state", [("d", IDLE), ("R", RUNNING), ("dx", ENDED)])
def test_a_service_that_was_told_to_stop_has_no_successor(letter: str, state: str) -> None:
    loop = forking()
    loop.letters(letter)
    loop.orphan()
    assert loop.state == state
    assert states.REPORT_LEFTOVERS in loop.kinds
    assert loop.machine.totals["planned"] == 1


def test_nor_has_one_that_hung() -> None:
    loop = forking(killasgroup=True)
    loop.event(states.TRIGGER)
    loop.orphan(KILLED, left="KILL")
    assert loop.state == CLEANUP
    assert loop.ends == ["was killed by signal 9 (KILL), ended by supervise: hung: it sent WATCHDOG=trigger"]


def test_nor_has_one_that_did_not_end_as_it_said() -> None:
    loop = ended_late()
    loop.orphan(KILLED)
    assert len(loop.starts) == 2
    assert loop.ends == [
        "was killed by signal 9 (KILL), ended by supervise: did not end in time after it said that it was stopping"
    ]


# Where a successor may come, none is started before it is known that none does.


def test_nothing_is_started_ahead_where_there_is_a_pidfile() -> None:
    assert running(policy(pidfile="app.pid")).machine.eager_from is None
    assert running(policy()).machine.eager_from is not None
