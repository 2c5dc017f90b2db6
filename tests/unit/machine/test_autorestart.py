"""The restart policy: whether a service that has ended is started again."""

from __future__ import annotations

import pytest
from simulated import CLEAN, CORE, CRASH, KILLED, UNKNOWN, Loop, policy, running

from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.record import ONCE, UP
from supervise.protocol.states import DELAY, ENDED, IDLE, RUNNING, SCRIPT_RUN

THREE = ExitStatus(code=3)


# autorestart, exitcodes.


@pytest.mark.parametrize("how", [CLEAN, CRASH, KILLED, CORE, UNKNOWN], ids=str)
def test_always_is_always(how: ExitStatus) -> None:
    loop = running()
    loop.crash_after(5, how)
    assert loop.state == RUNNING
    assert loop.machine.totals["crashes"] == 1


@pytest.mark.parametrize("how", [CLEAN, CRASH, KILLED, CORE, UNKNOWN], ids=str)
def test_never_is_never(how: ExitStatus) -> None:
    loop = running(policy(autorestart="never"))
    loop.crash_after(5, how)
    assert (loop.state, loop.machine.visible) == (IDLE, (False, UP, True, 0))
    assert loop.said(states.NOTICE)[-1] == "service is not restarted: autorestart is never"
    loop.wait(1_000_000)
    assert loop.starts == [1000.0]


def test_unexpected_is_what_is_not_an_expected_exit_code() -> None:
    for how, state in ((CLEAN, IDLE), (CRASH, RUNNING), (KILLED, RUNNING), (CORE, RUNNING), (UNKNOWN, RUNNING)):
        loop = running(policy(autorestart="unexpected"))
        loop.crash_after(5, how)
        assert loop.state == state, how


@pytest.mark.parametrize("codes, code, state", [((0, 3), 3, IDLE), ((3,), 0, RUNNING), ((), 0, RUNNING)])
def test_which_codes_are_expected_is_configured(codes: tuple[int, ...], code: int, state: str) -> None:
    loop = running(policy(autorestart="unexpected", exitcodes=codes))
    loop.crash_after(5, ExitStatus(code=code))
    assert loop.state == state


@pytest.mark.parametrize("autorestart", ["unexpected", "never"])
def test_an_expected_exit_is_neither_counted_nor_alarmed(autorestart: str) -> None:
    loop = running(policy(autorestart=autorestart, alarm_interval=60, max_tries=1, exitcodes=(0, 3)))
    loop.crash_after(5, THREE)
    assert loop.alarms == []
    assert loop.machine.window.exits == 0
    assert (loop.machine.totals["expected"], loop.machine.totals["crashes"]) == (1, 0)


def test_under_always_every_exit_is_a_crash() -> None:
    loop = running(policy(alarm_interval=60))
    loop.crash_after(5, CLEAN)
    assert len(loop.alarms) == 1
    assert loop.machine.totals["expected"] == 0


@pytest.mark.parametrize("autorestart", ["unexpected", "never"])
def test_an_unexpected_exit_is_counted_and_alarmed(autorestart: str) -> None:
    loop = running(policy(autorestart=autorestart, alarm_interval=60))
    loop.crash_after(5)
    assert len(loop.alarms) == 1
    assert loop.machine.totals["crashes"] == 1


def test_never_is_not_giving_up() -> None:
    loop = running(policy(autorestart="never", alarm_interval=60, max_tries=1))
    loop.crash_after(5)
    assert not loop.machine.gave_up
    assert loop.state == IDLE


@pytest.mark.parametrize("autorestart", ["unexpected", "never"])
@pytest.mark.parametrize("letter", "uRo")
def test_a_service_that_is_not_restarted_is_started_by_letter(letter: str, autorestart: str) -> None:
    loop = running(policy(autorestart=autorestart))
    loop.crash_after(5, CLEAN)
    loop.letters(letter)
    assert loop.state == RUNNING
    assert loop.machine.want == (ONCE if letter == "o" else UP)


def test_a_planned_restart_is_a_restart_whatever_is_configured() -> None:
    loop = running(policy(autorestart="never"))
    loop.wait(5)
    loop.letters("R")
    loop.exit(CLEAN)
    assert loop.state == RUNNING
    assert loop.machine.totals["planned"] == 1


def test_so_is_u_after_d() -> None:
    loop = running(policy(autorestart="never"))
    loop.wait(5)
    loop.letters("du")
    loop.exit(CLEAN)
    assert loop.state == RUNNING


def test_no_script_runs_for_a_service_that_is_not_restarted() -> None:
    loop = running(policy(autorestart="unexpected"), script=True)
    loop.crash_after(5, CLEAN)
    assert loop.scripts == []


def test_a_start_that_fails_is_never_expected() -> None:
    loop = running(policy(autorestart="unexpected"))
    loop.broken = True
    loop.crash_after(5)
    loop.wait(3)
    assert len(loop.starts) == 5
    assert loop.machine.totals["expected"] == 0


def test_nor_is_it_tried_again_under_never() -> None:
    loop = Loop(policy(autorestart="never"))
    loop.broken = True
    loop.begin()
    loop.wait(1000)
    assert (loop.state, loop.starts) == (IDLE, [1000.0])


def test_only_where_everything_is_restarted_is_anything_started_ahead() -> None:
    assert running(policy()).machine.eager_from == 1001.0
    assert running(policy(autorestart="unexpected")).machine.eager_from is None
    assert running(policy(autorestart="never")).machine.eager_from is None


# --exit-with-service.


@pytest.mark.parametrize("how, state", [(CLEAN, ENDED), (CRASH, RUNNING)], ids=str)
def test_supervise_ends_with_a_service_that_is_not_to_be_restarted(how: ExitStatus, state: str) -> None:
    loop = running(policy(autorestart="unexpected"), exit_with_service=True)
    loop.crash_after(5, how)
    assert loop.state == state
    assert not loop.machine.gave_up


@pytest.mark.parametrize("letter", "do")
def test_and_with_one_that_was_taken_down_or_run_once(letter: str) -> None:
    loop = running(exit_with_service=True)
    loop.letters(letter)
    loop.crash_after(5)
    assert loop.state == ENDED


def test_and_with_one_whose_restart_is_taken_back() -> None:
    waiting = running(exit_with_service=True)
    waiting.exit()
    assert waiting.state == DELAY
    waiting.letters("d")
    assert waiting.state == ENDED
    scripted = running(script=True, exit_with_service=True)
    scripted.exit()
    scripted.letters("d")
    assert scripted.state == SCRIPT_RUN
    scripted.script_done()
    assert scripted.state == ENDED


def test_a_planned_restart_does_not_end_it() -> None:
    loop = running(policy(autorestart="never"), exit_with_service=True)
    loop.letters("R")
    loop.crash_after(5)
    assert loop.state == RUNNING
