"""The state machine in the supervise that comes next: one that takes a service over, or replaces this one by `e`."""

from __future__ import annotations

import pytest
from machines import follower, found_state, written
from simulated import CRASH, KILLED, Loop, in_phase, in_state, policy, running

from supervise.config.config import Config
from supervise.machine.restore import after_takeover, after_upgrade
from supervise.protocol import states
from supervise.protocol.record import DOWN, UP
from supervise.protocol.states import ABORTING, DELAY, ENDING, IDLE, READY, RUNNING, SCRIPT_RUN, STARTING, STOPPING


def taken_over(loop: Loop, config: Config | None = None, resume: bool = False) -> Loop:
    """The supervise of this service is killed; another comes a second later."""
    fields = written(loop.machine)
    loop.machine = follower(loop.machine)
    loop.machine.config = config or loop.machine.config
    after_takeover(loop.machine, fields, resume)
    loop.now += 1
    loop.event(states.ADOPTED, (loop.pid, fields))
    return loop


def replaced(loop: Loop) -> Loop:
    """The letter `e`: the installed version carries on."""
    old = loop.machine
    loop.machine = follower(old)
    after_upgrade(loop.machine, written(old), loop.now)
    return loop


# A service that is taken over.


def test_what_it_has_said_of_itself_is_still_so() -> None:
    loop = in_phase(READY)
    loop.event(states.SAYS_TEXT, "serving")
    taken_over(loop)
    assert (loop.state, loop.machine.phase, loop.machine.status_text) == (RUNNING, READY, "serving")


def test_one_that_has_a_watchdog_has_all_of_its_time_from_now_on() -> None:
    loop = in_phase(READY, policy(watchdog_secs=10))
    loop.event(states.WATCHDOG, 20.0)
    loop.wait(19)
    taken_over(loop)
    loop.wait(19.9)
    assert loop.state == RUNNING
    loop.wait(0.1)
    assert loop.machine.fault == "hung: no WATCHDOG=1 for 20 seconds"


def test_one_that_was_told_nothing_of_a_watchdog_has_none() -> None:
    loop = taken_over(running(), policy(watchdog_secs=10))
    loop.wait(1_000_000)
    assert loop.state == RUNNING


def test_one_that_was_starting_may_have_got_ready_while_nobody_listened() -> None:
    loop = taken_over(in_phase(STARTING, policy(starttimeoutsecs=30)))
    assert loop.machine.phase == STARTING
    loop.wait(1_000_000)
    assert loop.state == RUNNING
    loop.event(states.SAYS_READY)
    assert loop.machine.phase == READY


def test_with_s6s_form_it_can_say_so_no_more_and_counts_as_ready() -> None:
    loop = running(policy(notification_fd=3))
    assert loop.machine.phase == STARTING
    assert taken_over(loop).machine.phase == READY


def test_one_that_was_about_to_end_has_all_of_its_time_from_now_on() -> None:
    loop = taken_over(in_phase(ENDING, policy(stopwaitsecs=10)))
    loop.wait(9.9)
    assert loop.signals == []
    loop.wait(0.1)
    assert loop.signals == [("KILL", False)]


def test_one_that_is_paused_is_stopped_again_and_not_watched() -> None:
    loop = in_phase(READY, policy(watchdog_secs=10))
    loop.letters("p")
    taken_over(loop)
    assert loop.signals == [("STOP", False)]
    loop.wait(1_000_000)
    assert loop.state == RUNNING
    loop.letters("c")
    loop.wait(10)
    assert loop.state == ABORTING


def test_one_that_was_told_to_stop_is_killed_when_it_would_have_been() -> None:
    loop = running(policy(stopwaitsecs=10))
    loop.letters("d")
    taken_over(loop, resume=True)
    assert (loop.state, loop.signals) == (STOPPING, [])
    loop.wait(9)
    assert loop.signals == [("KILL", False)]
    loop.exit(KILLED)
    assert (loop.state, loop.machine.want, loop.machine.totals["planned"]) == (IDLE, DOWN, 1)


def test_one_that_hung_is_killed_when_it_would_have_been_and_its_fault_is_known() -> None:
    loop = taken_over(in_state(ABORTING, config=policy(alarm_interval=60)))
    assert (loop.state, loop.signals) == (ABORTING, [])
    loop.wait(4)
    assert loop.signals == [("KILL", False)]
    loop.exit(KILLED)
    assert loop.ends == ["was killed by signal 9 (KILL), ended by supervise: hung: it sent WATCHDOG=trigger"]
    assert len(loop.alarms) == 1
    assert loop.machine.totals["hangs"] == 1


def test_it_is_killed_at_once_if_that_is_past() -> None:
    loop = in_state(ABORTING)
    loop.now += 1000
    taken_over(loop)
    loop.wait(0)
    assert loop.signals == [("KILL", False)]


def test_with_resume_one_that_was_wanted_down_is_told_so() -> None:
    loop = Loop(policy(stopwaitsecs=10))
    loop.pid = 77
    fields = {**written(loop.machine), **found_state(RUNNING, 77), "wanted": "down"}
    after_takeover(loop.machine, fields, True)
    loop.event(states.ADOPTED, (77, fields))
    assert loop.signals == [("TERM", False), ("CONT", False)]
    loop.wait(10)
    assert loop.signals == [("KILL", False)]


def test_one_that_the_state_does_not_name_was_started_just_before() -> None:
    loop = in_phase(READY, policy(watchdog_secs=10, starttimeoutsecs=30))
    loop.event(states.SAYS_TEXT, "serving")
    loop.wait(100)
    fields = written(loop.machine)
    loop.machine = follower(loop.machine)
    after_takeover(loop.machine, fields, False)
    loop.pid = 555
    loop.event(states.ADOPTED, (555, fields))
    assert (loop.machine.phase, loop.machine.status_text) == (STARTING, None)
    assert loop.machine.started_at == loop.now
    loop.event(states.SAYS_READY)
    loop.wait(10)
    assert loop.state == ABORTING


# A supervise that is replaced.


def test_a_service_that_runs_notices_nothing() -> None:
    loop = in_phase(READY, policy(watchdog_secs=10, alarm_interval=60))
    loop.event(states.SAYS_TEXT, "serving")
    loop.wait(9)
    replaced(loop)
    assert (loop.machine.phase, loop.machine.status_text) == (READY, "serving")
    assert loop.machine.visible == (False, UP, True, loop.pid)
    loop.wait(9.9)
    assert loop.state == RUNNING
    loop.wait(0.1)
    assert loop.state == ABORTING


def test_one_that_is_being_ended_is_killed_when_it_would_have_been() -> None:
    for loop in (in_state(ABORTING), in_state(STOPPING, config=policy(stopwaitsecs=5))):
        loop.wait(3)
        fault = loop.machine.fault
        replaced(loop)
        assert loop.machine.fault == fault
        loop.wait(2)
        assert loop.signals == [("KILL", False)]


def test_a_long_wait_goes_on() -> None:
    loop = running(policy(restart_delay_max=600))
    for _ in range(8):
        loop.exit()
        loop.due()
    loop.exit()
    assert loop.state == DELAY
    due = loop.machine.deadline
    replaced(loop)
    assert (loop.state, loop.machine.deadline) == (DELAY, due)
    loop.due()
    loop.exit()
    assert loop.machine.deadline == loop.now + 512


def test_a_start_that_waits_for_its_script_follows_it_when_it_is_due() -> None:
    loop = running(policy(restart_delay=10), script=True)
    loop.crash_after(2, CRASH)
    replaced(loop)
    assert loop.state == SCRIPT_RUN
    loop.script_done()
    loop.due()
    assert loop.starts == [1000.0, 1010.0]


@pytest.mark.parametrize("letter, state", [("d", IDLE), ("x", states.ENDED)])
def test_what_it_was_told_still_holds(letter: str, state: str) -> None:
    loop = running()
    loop.letters(letter)
    replaced(loop)
    loop.crash_after(5)
    assert loop.state == state


def test_one_that_is_not_restarted_is_not_started_by_it() -> None:
    loop = running(policy(autorestart="never"))
    loop.crash_after(5)
    replaced(loop)
    loop.wait(1000)
    assert (loop.state, loop.starts) == (IDLE, [1000.0])
