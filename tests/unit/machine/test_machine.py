"""The state machine, letter by letter."""

from __future__ import annotations

import copy

import pytest
from machines import EVENTS
from simulated import CRASH, KILLED, NOT_FOUND, Loop, in_state, policy, running

from supervise.machine.table import BY_STATE
from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.letters import COMMANDS, SIGNAL_LETTER, SIGNALS
from supervise.protocol.record import DOWN, ONCE, UP
from supervise.protocol.states import (
    ABORTING,
    CLEANUP,
    DELAY,
    ENDED,
    IDLE,
    RUNNING,
    SCRIPT_RUN,
    SPAWNING,
    STATES,
    STOPPING,
    SUCCESSION,
)

WITHOUT_SERVICE = [IDLE, SPAWNING, CLEANUP, SUCCESSION, DELAY, SCRIPT_RUN, ENDED]
WITH_SERVICE = [RUNNING, STOPPING, ABORTING]
WAITING = [IDLE, DELAY, SCRIPT_RUN]
ALIVE = [state for state in STATES if state != ENDED]


# The table.


def test_the_table_has_an_answer_to_every_event_in_every_state() -> None:
    assert set(BY_STATE) == set(STATES)
    for state, answers in BY_STATE.items():
        assert set(answers) == set(EVENTS), state
        assert all(callable(answer) for answer in answers.values()), state


def test_every_letter_is_an_event() -> None:
    assert set(COMMANDS) | {SIGNAL_LETTER} <= set(EVENTS)
    assert {event for event in EVENTS if len(event) == 1} == set("udoxRpcsnre")


# The start.


def test_a_supervise_that_begins_starts_its_service() -> None:
    loop = Loop()
    loop.begin()
    assert loop.kinds == [states.START]
    assert loop.machine.visible == (False, UP, True, loop.pid)


def test_it_begins_once() -> None:
    for state in STATES:
        if state != IDLE:
            assert in_state(state).begin().did == []


@pytest.mark.parametrize("state", [state for state in STATES if state != DELAY])
def test_where_nothing_is_due_a_timer_means_nothing(state: str) -> None:
    assert in_state(state).event(states.TIMER) == []


@pytest.mark.parametrize(
    "event, value, asked_for_in",
    [
        (states.STARTED, 77, [SPAWNING]),
        (states.FAILED, NOT_FOUND, [SPAWNING]),
        (states.EXITED, CRASH, WITH_SERVICE),
        (states.MAIN_EXITED, CRASH, WITH_SERVICE),
        (states.SCRIPT_DONE, None, [SCRIPT_RUN]),
    ],
)
def test_a_result_that_was_not_asked_for_is_said_and_has_no_effect(
    event: str, value: object, asked_for_in: list[str]
) -> None:
    for state in STATES:
        if state not in asked_for_in:
            loop = in_state(state)
            before = loop.machine.visible
            loop.event(event, copy.copy(value))
            assert loop.kinds == []
            assert loop.said(states.WARNING) == [f"unexpected in state {state}: {event}"]
            assert (loop.state, loop.machine.visible) == (state, before)


# What is wanted: byte 13.


@pytest.mark.parametrize("state", ALIVE)
@pytest.mark.parametrize("letter, want", [("u", UP), ("d", DOWN), ("o", ONCE), ("R", UP)])
def test_in_every_state_a_letter_can_say_what_is_wanted(letter: str, want: str, state: str) -> None:
    for before in "udo":
        loop = in_state(state)
        loop.letters(before + letter)
        assert loop.machine.visible[1] == want


# u: up.  Start it if it is not running, restart it when it exits.


def test_u_starts_a_service_that_is_down() -> None:
    loop = in_state(IDLE)
    loop.letters("u")
    assert loop.kinds == [states.START]
    assert loop.machine.want == UP


def test_u_leaves_a_service_that_runs_alone() -> None:
    loop = running()
    loop.letters("u")
    assert loop.kinds == []
    assert loop.state == RUNNING


def test_u_makes_a_service_that_runs_once_be_restarted() -> None:
    loop = running()
    loop.letters("ou")
    loop.crash_after(2)
    assert loop.state == RUNNING


def test_u_brings_a_service_that_was_told_to_go_down_up_again() -> None:
    loop = running()
    loop.letters("du")
    assert loop.crash_after(2)[0] == (states.START,)


@pytest.mark.parametrize("state", [DELAY, SCRIPT_RUN])
def test_u_does_not_make_a_start_come_before_its_second_or_its_script(state: str) -> None:
    loop = in_state(state)
    loop.letters("u")
    assert loop.kinds == []
    assert loop.state == state


def test_u_after_d_waits_for_the_second_of_the_last_start() -> None:
    loop = running()
    loop.letters("d")
    loop.crash_after(0.25)
    loop.letters("u")
    assert loop.state == DELAY
    loop.wait(0.75)
    assert loop.starts == [1000.0, 1001.0]


# d: down.  TERM, then CONT; do not restart it.


def test_d_sends_term_then_cont() -> None:
    loop = running()
    loop.letters("d")
    assert loop.signals == [("TERM", False), ("CONT", False)]
    assert loop.machine.want == DOWN


def test_d_keeps_a_service_down() -> None:
    loop = running()
    loop.letters("d")
    loop.crash_after(5)
    assert loop.state == IDLE
    loop.wait(1_000_000)
    assert loop.starts == [1000.0]


def test_d_once_more_sends_the_signals_once_more() -> None:
    loop = in_state(STOPPING)
    loop.letters("d")
    assert loop.signals == [("TERM", False), ("CONT", False)]


def test_d_ends_a_wait_for_a_restart() -> None:
    loop = in_state(DELAY)
    loop.letters("d")
    loop.wait(10)
    assert loop.state == IDLE
    assert len(loop.starts) == 1


def test_d_ends_the_restart_script_and_the_restart() -> None:
    loop = in_state(SCRIPT_RUN)
    loop.letters("d")
    assert loop.kinds == [states.END_SCRIPT]
    loop.script_done()
    assert loop.state == IDLE


def test_d_while_the_service_is_being_started_takes_it_down() -> None:
    loop = in_state(SPAWNING)
    loop.letters("d")
    assert loop.kinds == []
    loop.spawned()
    assert loop.signals == [("TERM", False), ("CONT", False)]
    loop.exit()
    assert loop.state == IDLE


# o: once.  Start it if it is not running, do not restart it.


def test_o_starts_a_service_that_is_down_and_does_not_restart_it() -> None:
    loop = in_state(IDLE)
    loop.letters("o")
    assert loop.kinds == [states.START]
    assert loop.machine.want == ONCE
    loop.crash_after(5)
    assert loop.state == IDLE


def test_o_makes_a_service_that_runs_not_be_restarted() -> None:
    loop = running()
    loop.letters("o")
    assert loop.kinds == []
    loop.crash_after(5)
    assert loop.state == IDLE


@pytest.mark.parametrize("state", [DELAY, SCRIPT_RUN])
def test_o_while_a_restart_waits_lets_it_be_the_last(state: str) -> None:
    loop = in_state(state)
    loop.letters("o")
    if state == SCRIPT_RUN:
        loop.script_done()
    loop.wait(1)
    assert loop.state == RUNNING
    loop.crash_after(5)
    assert loop.state == IDLE


def test_a_start_that_fails_was_the_one_time() -> None:
    loop = in_state(IDLE)
    loop.broken = True
    loop.letters("o")
    loop.wait(10)
    assert loop.state == IDLE
    assert len(loop.starts) == 1


# x: exit as soon as the service is down, without taking it down.


@pytest.mark.parametrize("state", WAITING)
def test_x_ends_at_once_without_a_service(state: str) -> None:
    loop = in_state(state)
    loop.letters("x")
    assert loop.state == ENDED
    assert loop.kinds == ([states.END_SCRIPT] if state == SCRIPT_RUN else [])


def test_x_does_not_take_the_service_down() -> None:
    loop = running()
    loop.letters("x")
    assert loop.kinds == []
    assert loop.state == RUNNING
    loop.crash_after(5)
    assert loop.state == ENDED
    assert len(loop.starts) == 1


def test_dx_takes_the_service_down_and_ends() -> None:
    loop = running()
    loop.letters("dx")
    assert loop.signals == [("TERM", False), ("CONT", False)]
    loop.exit(ExitStatus(signal=15))
    assert loop.state == ENDED


@pytest.mark.parametrize("letters", ["xu", "xo", "xR", "xdu"])
def test_nothing_takes_x_back(letters: str) -> None:
    loop = running()
    loop.letters(letters)
    loop.crash_after(5)
    assert loop.state == ENDED


def test_x_while_the_service_is_being_started_waits_for_its_end() -> None:
    loop = in_state(SPAWNING)
    loop.letters("x")
    loop.spawned()
    assert loop.state == RUNNING
    loop.exit()
    assert loop.state == ENDED


def test_x_ends_when_the_start_that_it_waits_for_fails() -> None:
    loop = in_state(SPAWNING)
    loop.letters("x")
    loop.broken = True
    loop.spawned()
    assert loop.state == ENDED


@pytest.mark.parametrize("letter", "udoxRpcsnretk")
def test_after_the_end_no_letter_means_anything(letter: str) -> None:
    loop = in_state(ENDED)
    before = loop.machine.visible
    assert loop.letters(letter) == []
    assert loop.machine.visible == before


# R: planned restart.  Down, then up again.


def test_R_takes_the_service_down_and_starts_it_again() -> None:
    loop = running()
    loop.wait(5)
    loop.letters("R")
    assert loop.signals == [("TERM", False), ("CONT", False)]
    loop.exit()
    assert loop.did[0] == (states.START,)
    assert loop.machine.want == UP


def test_R_starts_a_service_that_is_down() -> None:
    loop = running()
    loop.letters("d")
    loop.crash_after(5)
    loop.letters("R")
    assert loop.state == RUNNING
    assert loop.machine.want == UP


def test_R_does_not_restart_before_the_second() -> None:
    loop = running()
    loop.wait(0.5)
    loop.letters("R")
    loop.exit()
    loop.wait(1)
    assert loop.starts == [1000.0, 1001.0]


# p and c: STOP and CONT, and byte 12.


def test_p_pauses_and_c_continues() -> None:
    loop = running()
    loop.letters("p")
    assert loop.signals == [("STOP", False)]
    assert loop.machine.visible == (True, UP, True, loop.pid)
    loop.letters("c")
    assert loop.signals == [("CONT", False)]
    assert loop.machine.visible == (False, UP, True, loop.pid)


@pytest.mark.parametrize("letter", "dR")
def test_a_paused_service_that_is_taken_down_is_continued(letter: str) -> None:
    loop = running()
    loop.letters("p" + letter)
    assert loop.signals == [("STOP", False), ("TERM", False), ("CONT", False)]
    assert not loop.machine.paused


def test_the_next_process_is_not_paused() -> None:
    loop = running()
    loop.letters("p")
    loop.crash_after(5, KILLED)
    assert loop.machine.visible == (False, UP, True, loop.pid)


# t k h a i q 1 2 w: a signal and nothing else.


@pytest.mark.parametrize("state", WITH_SERVICE)
@pytest.mark.parametrize("letter", SIGNALS)
def test_a_signal_letter_sends_its_signal_and_nothing_else(letter: str, state: str) -> None:
    loop = in_state(state)
    before = loop.machine.visible
    loop.letters(letter)
    assert loop.kinds == [states.SIGNAL]
    assert loop.signals == [(SIGNALS[letter], False)]
    assert loop.machine.visible == before
    assert loop.state == state


@pytest.mark.parametrize("letters", ["+t", "+k", "+d", "+R", "+p", "+c"])
def test_plus_sends_to_the_process_group(letters: str) -> None:
    loop = running()
    loop.letters(letters)
    assert loop.signals
    assert all(group for _, group in loop.signals)


@pytest.mark.parametrize("letter", ["p", "c", *SIGNALS])
def test_without_a_service_no_signal_is_sent(letter: str) -> None:
    for state in WITHOUT_SERVICE:
        loop = in_state(state)
        loop.letters(letter)
        assert loop.kinds == []
        assert not loop.machine.paused


@pytest.mark.parametrize("letter", "tk")
def test_a_service_that_was_killed_by_letter_is_restarted(letter: str) -> None:
    loop = running()
    loop.wait(5)
    loop.letters(letter)
    assert loop.exit(KILLED)[0] == (states.START,)


# s and n, r, e.


@pytest.mark.parametrize("state", ALIVE)
def test_s_turns_alarms_off_and_n_on_again(state: str) -> None:
    loop = in_state(state)
    loop.letters("s")
    assert loop.machine.visible[2] is False
    loop.letters("n")
    assert loop.machine.visible[2] is True
    assert loop.state == state


@pytest.mark.parametrize("state", ALIVE)
def test_r_reads_the_configuration_again(state: str) -> None:
    loop = in_state(state)
    loop.letters("r")
    assert loop.kinds == [states.RELOAD]
    config = policy(max_tries=5)
    loop.event(states.CONFIG, config)
    assert loop.machine.config is config
    assert loop.state == state


@pytest.mark.parametrize("state", [state for state in ALIVE if state != SPAWNING])
def test_e_replaces_supervise_and_does_not_touch_the_service(state: str) -> None:
    loop = in_state(state)
    before = loop.machine.visible
    loop.letters("e")
    assert loop.kinds == [states.UPGRADE]
    assert (loop.state, loop.machine.visible) == (state, before)


@pytest.mark.parametrize("letter", "udoxRpcsnretk")
def test_every_letter_is_said_in_the_log(letter: str) -> None:
    for state in ALIVE:
        if letter == "e" and state == SPAWNING:
            continue  # nothing is read while a start lasts; the successor would not know of it
        loop = in_state(state)
        loop.letters(letter)
        assert [line for line in loop.said(states.NOTICE) if line.startswith(f"command {letter}: ")], state
