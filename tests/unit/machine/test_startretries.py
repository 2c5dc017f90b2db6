"""startretries: how many failed starts in a row are tried again before supervise gives up."""

from __future__ import annotations

import pytest
from simulated import CLEAN, CRASH, Loop, policy, running

from supervise.protocol import states
from supervise.protocol.states import DELAY, ENDED, IDLE, RUNNING


def crashes(loop: Loop, times: int) -> None:
    """So many exits before startsecs, each started again when its delay is over."""
    for _ in range(times):
        loop.crash_after(0)
        if loop.state == DELAY:
            loop.due()


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_it_gives_up_when_the_retries_have_failed_as_well(retries: int) -> None:
    loop = running(policy(startretries=retries))
    crashes(loop, retries)
    assert loop.state == RUNNING
    crashes(loop, 1)
    assert loop.state == ENDED and loop.machine.gave_up
    assert (states.FATAL, "giving up after %d failed starts in a row", retries + 1) in loop.did
    assert loop.alarms == [(str(CRASH), 0.0, 0, True)]
    assert len(loop.starts) == retries + 1


def test_without_it_starts_are_tried_for_ever() -> None:
    loop = running(policy())
    crashes(loop, 50)
    assert loop.state == RUNNING


def test_a_start_that_has_succeeded_counts_from_the_beginning() -> None:
    loop = running(policy(startretries=1, startsecs=5))
    for _ in range(4):
        crashes(loop, 1)
        loop.crash_after(5)
    assert loop.state == RUNNING


def test_a_program_that_cannot_be_executed_is_such_a_start() -> None:
    loop = Loop(policy(startretries=2))
    loop.broken = True
    loop.begin()
    loop.wait(10)
    assert loop.state == ENDED and len(loop.starts) == 3


@pytest.mark.parametrize("autorestart", ["unexpected", "never"])
def test_an_end_too_soon_is_a_failed_start_whatever_its_exit_code(autorestart: str) -> None:
    loop = running(policy(startretries=1, autorestart=autorestart, startsecs=5))
    loop.crash_after(4, CLEAN)
    assert loop.state == RUNNING and loop.machine.totals["expected"] == 0
    loop.crash_after(4, CLEAN)
    assert loop.state == ENDED and loop.machine.gave_up


@pytest.mark.parametrize("autorestart", ["unexpected", "never"])
@pytest.mark.parametrize("startsecs", [0, 5])
def test_one_that_has_run_long_enough_is_not_restarted(autorestart: str, startsecs: int) -> None:
    loop = running(policy(startretries=0, autorestart=autorestart, startsecs=startsecs))
    loop.crash_after(startsecs, CLEAN)
    assert loop.state == IDLE and not loop.machine.gave_up


def test_what_is_wanted_once_is_not_tried_again() -> None:
    loop = running(policy(startretries=1))
    loop.event("o")
    loop.crash_after(0, CLEAN)
    assert loop.state == IDLE and not loop.machine.gave_up


@pytest.mark.parametrize("letter", ["d", "R"])
def test_an_end_that_was_asked_for_is_no_failed_start(letter: str) -> None:
    loop = running(policy(startretries=0))
    loop.ends_on = ("TERM",)
    loop.event(letter)
    assert not loop.machine.gave_up


def test_what_somebody_starts_has_all_its_retries() -> None:
    loop = running(policy(startretries=2))
    crashes(loop, 1)
    loop.crash_after(0)
    loop.event("u")
    loop.due()
    crashes(loop, 2)
    assert loop.state == RUNNING


def test_the_next_start_is_not_prepared_for_before_it_is_certain() -> None:
    assert running(policy(startretries=2, startsecs=7)).machine.eager_from == 1007.0


def test_with_max_tries_what_is_reached_first_counts() -> None:
    loop = running(policy(startretries=5, alarm_interval=60, max_tries=1))
    crashes(loop, 2)
    assert loop.state == ENDED
    assert [action for action in loop.did if action[0] == states.FATAL] == [
        (states.FATAL, "giving up after %d restarts within %d seconds", 1, 60)
    ]
