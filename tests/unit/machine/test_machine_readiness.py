"""The state machine and a service that says how far it is: starting, ready, reloading, about to end."""

from __future__ import annotations

import pytest
from simulated import CLEAN, Loop, in_phase, in_state, policy, running

from supervise.config.config import Config
from supervise.protocol import states
from supervise.protocol.letters import SIGNALS
from supervise.protocol.states import (
    ABORTING,
    DELAY,
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

PHASES = (None, STARTING, READY, RELOADING, ENDING)


def notifying(**keys: object) -> Loop:
    """A service with `notify : yes`, started just now."""
    return running(policy(notify=True, **keys))


# notify, notification_fd: whether the service says when it is ready.


def test_a_service_that_says_nothing_is_in_no_phase() -> None:
    assert running().machine.phase is None


@pytest.mark.parametrize("config", [policy(notify=True), policy(notification_fd=3)], ids=["notify", "fd"])
def test_one_that_is_to_say_when_it_is_ready_is_starting_until_then(config: Config) -> None:
    loop = running(config)
    assert loop.machine.phase == STARTING
    loop.wait(2.5)
    loop.event(states.SAYS_READY)
    assert loop.machine.phase == READY
    assert loop.said(states.NOTICE) == ["service is ready (pid 101, after 2.5 seconds)"]
    assert loop.state == RUNNING


def test_it_is_ready_once() -> None:
    loop = in_phase(READY)
    assert loop.event(states.SAYS_READY) == []


def test_one_that_need_not_say_it_may() -> None:
    loop = running()
    loop.event(states.SAYS_READY)
    assert loop.machine.phase == READY


def test_the_next_process_is_starting_again() -> None:
    loop = in_phase(READY)
    loop.event(states.SAYS_TEXT, "all is well")
    loop.crash_after(5)
    assert loop.state == RUNNING
    assert (loop.machine.phase, loop.machine.status_text) == (STARTING, None)


def test_a_configuration_that_changes_is_for_the_next_process() -> None:
    loop = running()
    loop.event(states.CONFIG, policy(notify=True))
    assert loop.machine.phase is None
    loop.crash_after(5)
    assert loop.machine.phase == STARTING


def test_what_it_says_of_itself_is_kept_until_it_says_something_else() -> None:
    loop = notifying()
    loop.event(states.SAYS_TEXT, "loading 50 %")
    assert loop.machine.status_text == "loading 50 %"
    loop.event(states.SAYS_READY)
    assert loop.machine.status_text == "loading 50 %"
    loop.event(states.SAYS_TEXT, "")
    assert loop.machine.status_text is None


@pytest.mark.parametrize("state", [STOPPING, ABORTING])
def test_it_may_say_what_it_does_while_it_is_being_ended(state: str) -> None:
    loop = in_state(state)
    loop.event(states.SAYS_TEXT, "saving")
    assert loop.machine.status_text == "saving"


def test_it_reloads_and_is_ready_again() -> None:
    loop = in_phase(READY)
    loop.event(states.SAYS_RELOADING)
    assert loop.machine.phase == RELOADING
    assert loop.said(states.NOTICE) == ["service is reloading (pid 101)"]
    loop.event(states.SAYS_READY)
    assert loop.machine.phase == READY
    assert loop.said(states.NOTICE) == ["service has reloaded (pid 101)"]


@pytest.mark.parametrize("phase", [STARTING, ENDING])
def test_one_that_is_not_ready_or_ends_does_not_reload(phase: str) -> None:
    loop = in_phase(phase)
    assert loop.event(states.SAYS_RELOADING) == []
    assert loop.machine.phase == phase


def test_it_says_that_it_is_about_to_end_by_itself() -> None:
    loop = in_phase(READY)
    loop.event(states.SAYS_STOPPING)
    assert loop.machine.phase == ENDING
    assert loop.said(states.NOTICE) == ["service says that it is stopping (pid 101)"]
    loop.wait(1_000_000)
    assert loop.state == RUNNING


def test_its_end_by_itself_was_not_asked_for() -> None:
    loop = in_phase(ENDING, policy(alarm_interval=60))
    loop.crash_after(5, CLEAN)
    assert len(loop.alarms) == 1
    assert loop.machine.totals["planned"] == 0


@pytest.mark.parametrize("event", [states.SAYS_READY, states.SAYS_RELOADING, states.SAYS_STOPPING, states.KICK])
@pytest.mark.parametrize("state", [state for state in STATES if state not in (RUNNING, states.SUCCESSION)])
def test_what_is_heard_when_it_does_not_run_or_is_being_ended_is_too_late(state: str, event: str) -> None:
    loop = in_state(state)
    before = loop.machine.phase, loop.machine.deadline
    assert loop.event(event) == []
    assert (loop.machine.phase, loop.machine.deadline) == before


# starttimeoutsecs.


def test_by_default_a_service_may_be_starting_for_ever() -> None:
    loop = notifying()
    loop.wait(1_000_000)
    assert (loop.state, loop.machine.phase) == (RUNNING, STARTING)


def test_a_service_that_is_not_ready_in_time_is_told_to_end() -> None:
    loop = notifying(starttimeoutsecs=30)
    loop.wait(29.999)
    assert loop.state == RUNNING
    loop.wait(0.001)
    assert loop.state == ABORTING
    assert loop.machine.fault == "not ready within 30 seconds"


def test_it_is_told_as_it_is_told_to_stop() -> None:
    loop = notifying(starttimeoutsecs=30, stopsignal="INT", stopasgroup=True)
    loop.wait(30)
    assert loop.signals == [("INT", True), ("CONT", True)]
    assert loop.said(states.WARNING) == ["service (pid 101) not ready within 30 seconds: sending INT"]


def test_one_that_is_ready_in_time_is_left_alone() -> None:
    loop = notifying(starttimeoutsecs=30)
    loop.wait(29.9)
    loop.event(states.SAYS_READY)
    loop.wait(1_000_000)
    assert loop.state == RUNNING


def test_ready_comes_too_late_when_it_has_been_told_to_end() -> None:
    loop = notifying(starttimeoutsecs=30)
    loop.wait(30)
    loop.event(states.SAYS_READY)
    assert (loop.state, loop.machine.phase) == (ABORTING, STARTING)


@pytest.mark.parametrize("stopwaitsecs, seconds", [(0, 5), (3, 3), (60, 60)])
def test_one_that_does_not_end_is_killed(stopwaitsecs: int, seconds: int) -> None:
    loop = notifying(starttimeoutsecs=30, stopwaitsecs=stopwaitsecs)
    loop.wait(30)
    loop.wait(seconds - 0.001)
    assert loop.signals == []
    loop.wait(0.001)
    assert loop.signals == [("KILL", False)]
    assert loop.said(states.WARNING) == ["service (pid 101) does not end: sending KILL"]


def test_it_has_failed_whatever_its_exit_code_and_however_long_it_took() -> None:
    config = policy(
        notify=True, starttimeoutsecs=30, alarm_interval=60, autorestart="unexpected", restart_delay_max=600
    )
    loop = running(config)
    loop.wait(30)
    loop.exit(CLEAN)
    assert loop.ends == ["exited with status 0, ended by supervise: not ready within 30 seconds"]
    assert loop.alarms == [("exited with status 0, ended by supervise: not ready within 30 seconds", 30.0, 0, False)]
    assert loop.machine.quick_exits == 1
    assert loop.machine.totals["crashes"] == 1
    assert loop.machine.totals["hangs"] == 0
    assert loop.state == RUNNING  # the next one


def test_one_that_ends_before_it_is_ready_has_failed_however_long_it_took() -> None:
    loop = notifying(restart_delay_max=600)
    for exits in (1, 2, 3):
        loop.crash_after(1000)
        assert loop.machine.quick_exits == exits
        assert loop.state == RUNNING
    loop.event(states.SAYS_READY)
    loop.crash_after(1000)
    assert loop.machine.quick_exits == 0


def test_it_may_ask_for_more_time_to_get_ready() -> None:
    loop = notifying(starttimeoutsecs=30)
    loop.wait(20)
    loop.event(states.EXTEND, 60.0)
    loop.wait(59)
    assert loop.state == RUNNING
    loop.wait(1)
    assert loop.state == ABORTING


def test_asking_for_more_time_never_takes_any_away() -> None:
    loop = notifying(starttimeoutsecs=30)
    loop.event(states.EXTEND, 1.0)
    loop.wait(29)
    assert loop.state == RUNNING


def test_one_that_has_all_the_time_gets_no_limit_by_asking_for_more() -> None:
    loop = notifying()
    loop.event(states.EXTEND, 1.0)
    assert loop.machine.deadline is None


def test_one_that_fails_to_get_ready_again_and_again_waits_longer_and_longer() -> None:
    loop = notifying(starttimeoutsecs=2, restart_delay_max=60)
    loop.ends_on = ("TERM",)
    loop.wait(100)
    gaps = [later - earlier for earlier, later in zip(loop.starts, loop.starts[1:])]
    assert gaps == [2, 2, 4, 8, 16, 32]
    assert loop.state == DELAY


def test_a_sign_of_life_gives_one_that_is_stopping_no_more_time() -> None:
    loop = in_phase(ENDING, policy(stopwaitsecs=10, watchdog_secs=3))
    loop.wait(9)
    loop.event(states.KICK)
    loop.wait(1)
    assert loop.signals == [("KILL", False)]


# In each phase the letters mean what they mean.


@pytest.mark.parametrize("phase", PHASES)
def test_in_every_phase_a_service_is_taken_down_and_started_again(phase: str | None) -> None:
    loop = in_phase(phase, policy(starttimeoutsecs=30, watchdog_secs=10))
    for letter in "dR":
        loop.letters(letter)
        assert loop.state == STOPPING
        loop.wait(2)
        loop.exit(CLEAN)
        loop.letters("u")
        assert loop.state == RUNNING
    assert loop.machine.totals["planned"] == 2


@pytest.mark.parametrize("phase", PHASES)
def test_in_every_phase_a_crash_is_a_crash(phase: str | None) -> None:
    loop = in_phase(phase, policy(alarm_interval=60))
    loop.crash_after(2)
    assert len(loop.alarms) == 1
    assert loop.state == RUNNING


@pytest.mark.parametrize("phase", PHASES)
def test_in_every_phase_x_and_o_let_it_run(phase: str | None) -> None:
    for letter, state in (("x", ENDED), ("o", IDLE)):
        loop = in_phase(phase)
        loop.letters(letter)
        assert (loop.state, loop.machine.phase, loop.kinds) == (RUNNING, phase, [])
        loop.crash_after(2)
        assert loop.state == state


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("letter", ["t", "2", "p", "c"])
def test_in_every_phase_signals_reach_it(letter: str, phase: str | None) -> None:
    loop = in_phase(phase)
    loop.letters(letter)
    assert loop.signals == [({**SIGNALS, "p": "STOP", "c": "CONT"}[letter], False)]
    assert (loop.state, loop.machine.phase) == (RUNNING, phase)
