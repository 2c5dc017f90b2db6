"""Alarms and limits: which exits are counted, which raise an alarm, and when supervise gives up."""

from __future__ import annotations

import signal

import pytest
from conftest import rounds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from simulated import CLEAN, CORE, CRASH, KILLED, UNKNOWN, Loop, policy, running

from supervise.config.config import Config
from supervise.machine.policy import Window
from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus, from_wait_status, signal_name
from supervise.protocol.states import DELAY, ENDED, IDLE, RUNNING, SPAWNING

STEADY = settings(max_examples=rounds(60, 120), deadline=None, suppress_health_check=[HealthCheck.too_slow])

MINUTE = policy(alarm_interval=60)


def limited(max_tries: int = 0, cores: int = 0, interval: int = 60) -> Config:
    return policy(alarm_interval=interval, max_tries=max_tries, max_tries_if_coredumped=cores)


# alarm_interval: only the first exit within it raises an alarm.


def test_the_first_exit_raises_an_alarm() -> None:
    loop = running(MINUTE)
    loop.crash_after(5, CORE)
    assert loop.alarms == [(str(CORE), 5.0, 0, False)]


def test_further_exits_within_the_interval_raise_none() -> None:
    loop = running(MINUTE)
    loop.crash_after(5)
    for _ in range(29):
        loop.crash_after(2)
        assert loop.alarms == []
        assert loop.state == RUNNING


def test_the_interval_begins_with_the_exit_that_raised_the_alarm() -> None:
    loop = running(MINUTE)
    loop.crash_after(1000)
    loop.crash_after(59.5)
    assert loop.alarms == []
    loop.crash_after(1)
    assert len(loop.alarms) == 1


def test_an_interval_is_over_when_it_is_over_to_the_second() -> None:
    loop = running(MINUTE)
    loop.crash_after(5)
    loop.crash_after(60)
    assert len(loop.alarms) == 1


def test_with_an_interval_of_0_the_other_keys_are_off() -> None:
    loop = running(limited(max_tries=1, cores=1, interval=0))
    for _ in range(100):
        loop.crash_after(1, CORE)
        assert loop.alarms == []
    assert loop.state == RUNNING


def test_an_exit_while_they_are_off_ends_the_interval() -> None:
    loop = running(MINUTE)
    loop.crash_after(5)
    loop.event(states.CONFIG, Config())
    loop.crash_after(5)
    assert loop.alarms == []
    loop.event(states.CONFIG, MINUTE)
    loop.crash_after(5)
    assert len(loop.alarms) == 1


@pytest.mark.parametrize("how", [CLEAN, CRASH, KILLED, UNKNOWN], ids=str)
def test_however_a_service_ends_it_is_counted_and_alarmed(how: ExitStatus) -> None:
    loop = running(limited(max_tries=1))
    loop.crash_after(5, how)
    assert [alarm[0] for alarm in loop.alarms] == [str(how)]
    loop.crash_after(5, how)
    assert loop.machine.gave_up


@pytest.mark.parametrize("letter", "tk")
def test_an_exit_after_t_or_k_is_counted_and_alarmed(letter: str) -> None:
    loop = running(MINUTE)
    loop.letters(letter)
    loop.crash_after(5, KILLED)
    assert len(loop.alarms) == 1


def test_a_start_that_fails_is_counted_and_alarmed() -> None:
    loop = running(limited(max_tries=2))
    loop.letters("s")
    loop.broken = True
    loop.crash_after(5)
    loop.letters("n")
    loop.wait(1)
    assert [alarm[0] for alarm in loop.alarms] == ["could not be started: no such program"]
    loop.wait(2)
    assert loop.machine.gave_up


# Planned exits are neither counted nor alarmed.


@pytest.mark.parametrize("letters", ["d", "R", "x", "dx", "+d", "du", "do", "dt", "Rk", "xk"])
def test_an_exit_that_follows_d_R_or_x_is_planned(letters: str) -> None:
    loop = running(limited(max_tries=1, cores=1))
    loop.wait(5)
    loop.letters(letters)
    loop.exit(CORE)
    assert loop.alarms == []
    assert not loop.machine.gave_up
    assert loop.machine.window.exits == 0


def test_planned_restarts_use_up_no_tries() -> None:
    loop = running(limited(max_tries=1))
    for _ in range(20):
        loop.wait(1)
        loop.letters("R")
        loop.exit()
    loop.crash_after(1)
    assert len(loop.alarms) == 1
    assert loop.state == RUNNING


def test_the_exit_after_a_planned_restart_is_not_planned() -> None:
    loop = running(MINUTE)
    loop.letters("R")
    loop.crash_after(5)
    loop.crash_after(5)
    assert len(loop.alarms) == 1


@pytest.mark.parametrize("letters", ["d", "x"])
def test_a_start_that_fails_after_d_or_x_is_planned(letters: str) -> None:
    loop = Loop(limited(max_tries=1))
    loop.hold = loop.broken = True
    loop.begin()
    loop.letters(letters)
    assert loop.state == SPAWNING
    loop.spawned()
    assert loop.alarms == []
    assert loop.state == (ENDED if letters == "x" else IDLE)
    assert loop.machine.window.exits == 0


# s and n: while alarms are off, exits are neither alarmed nor counted.


def test_while_alarms_are_off_nothing_is_alarmed() -> None:
    loop = running(MINUTE)
    loop.letters("s")
    loop.crash_after(5)
    assert loop.alarms == []
    loop.letters("n")
    loop.crash_after(5)
    assert len(loop.alarms) == 1


def test_while_alarms_are_off_nothing_is_counted() -> None:
    loop = running(limited(max_tries=3))
    loop.letters("s")
    for _ in range(20):
        loop.crash_after(1)
    loop.letters("n")
    for _ in range(3):
        loop.crash_after(1)
    assert loop.state == RUNNING
    loop.crash_after(1)
    assert loop.machine.gave_up


def test_what_was_counted_before_s_still_counts_after_n() -> None:
    loop = running(limited(max_tries=2))
    loop.crash_after(1)
    loop.letters("s")
    loop.crash_after(1)
    loop.letters("n")
    loop.crash_after(1)
    assert loop.alarms == []
    loop.crash_after(1)
    assert loop.machine.gave_up


# max_tries.


@pytest.mark.parametrize("tries", [1, 2, 3, 50])
def test_supervise_gives_up_at_the_exit_after_max_tries_restarts(tries: int) -> None:
    loop = running(limited(max_tries=tries))
    for _ in range(tries):
        loop.crash_after(1)
        assert loop.state == RUNNING
    loop.crash_after(1)
    assert loop.state == ENDED
    assert loop.machine.gave_up
    assert len(loop.starts) == 1 + tries


def test_giving_up_is_an_alarm_and_a_fatal_line() -> None:
    loop = running(limited(max_tries=1))
    loop.crash_after(5)
    loop.crash_after(5, CORE)
    assert loop.alarms == [(str(CORE), 5.0, 1, True)]
    assert loop.said(states.FATAL) == ["giving up after 1 restarts within 60 seconds"]


def test_a_restart_beyond_the_window_is_not_one_too_many() -> None:
    loop = running(limited(max_tries=3))
    for _ in range(10):
        for _ in range(3):
            loop.crash_after(1)
        loop.wait(60)
        loop.crash_after(1)
        assert loop.state == RUNNING
        loop.wait(60)


def test_max_tries_0_is_no_limit() -> None:
    loop = running(limited())
    for _ in range(1000):
        loop.crash_after(1)
    assert loop.state == RUNNING


def test_starts_that_fail_use_up_tries() -> None:
    loop = running(limited(max_tries=3))
    loop.broken = True
    loop.crash_after(5)
    loop.wait(100)
    assert loop.state == ENDED
    assert loop.machine.gave_up
    assert len(loop.starts) == 1 + 3


def test_nobody_gives_up_while_alarms_are_off() -> None:
    loop = running(limited(max_tries=1, cores=1))
    loop.letters("s")
    for _ in range(20):
        loop.crash_after(1, CORE)
    assert loop.state == RUNNING


def test_no_restart_script_runs_when_supervise_gives_up() -> None:
    loop = running(limited(max_tries=1), script=True)
    loop.crash_after(5)
    loop.script_done()
    loop.crash_after(5)
    assert loop.scripts == [1]
    assert loop.state == ENDED


def test_a_new_limit_holds_from_the_next_exit_on() -> None:
    loop = running(MINUTE)
    for _ in range(5):
        loop.crash_after(1)
    loop.event(states.CONFIG, limited(max_tries=3))
    assert loop.state == RUNNING
    loop.crash_after(1)
    assert loop.machine.gave_up


# max_tries_if_coredumped.


@pytest.mark.parametrize("cores", [1, 2, 3])
def test_supervise_gives_up_once_so_many_exits_dumped_core(cores: int) -> None:
    loop = running(limited(cores=cores))
    for _ in range(cores - 1):
        loop.crash_after(1, CORE)
        assert loop.state == RUNNING
    loop.crash_after(1, CORE)
    assert loop.machine.gave_up
    assert loop.alarms[0][3]
    assert loop.said(states.FATAL)


def test_exits_without_a_core_do_not_count_for_it() -> None:
    loop = running(limited(cores=2))
    for how in (CORE, CRASH, CLEAN, KILLED):
        loop.crash_after(1, how)
        assert loop.state == RUNNING
    loop.crash_after(1, CORE)
    assert loop.machine.gave_up


def test_a_core_dumped_before_the_window_does_not_count() -> None:
    loop = running(limited(cores=2))
    loop.crash_after(1, CORE)
    loop.crash_after(60, CORE)
    assert loop.state == RUNNING
    loop.crash_after(1, CORE)
    assert loop.machine.gave_up


def test_the_limit_that_is_reached_first_counts() -> None:
    loop = running(limited(max_tries=1, cores=5))
    loop.crash_after(1, CORE)
    loop.crash_after(1, CORE)
    assert loop.machine.gave_up


# The window as a whole.

exits = st.lists(st.tuples(st.sampled_from([0, 1, 1, 2, 10, 30, 59, 60, 61]), st.booleans()), max_size=40)
limits = st.sampled_from([0, 1, 2, 3, 7])


@STEADY
@given(exits, limits, limits)
def test_the_window_counts_as_one_would_by_hand(found: list[tuple[int, bool]], tries: int, cores: int) -> None:
    window, config = Window(), limited(tries, cores)
    counted: list[tuple[int, bool]] = []  # the exits of this window
    now = 1000
    for seconds, core in found:
        now += seconds
        if counted and now - counted[0][0] >= 60:
            counted = []
        counted.append((now, core))
        dumped = sum(core for _, core in counted)
        last = bool((tries and len(counted) > tries) or (cores and dumped >= cores))
        may = window.may_give_up(config)
        verdict = window.count(now, core, config)
        assert verdict.restarts == len(counted) - 1
        assert verdict.give_up == last
        assert verdict.alarm == (last or len(counted) == 1)
        assert may or not last


@STEADY
@given(exits)
def test_two_alarms_are_at_least_an_interval_apart(found: list[tuple[int, bool]]) -> None:
    window, now = Window(), 1000
    alarms = []
    for seconds, core in found:
        now += seconds
        if window.count(now, core, MINUTE).alarm:
            alarms.append(now)
    assert all(later - earlier >= 60 for earlier, later in zip(alarms, alarms[1:]))


@STEADY
@given(
    st.integers(1, 20),
    st.lists(st.tuples(st.sampled_from([0, 0.5, 1, 3, 10, 70]), st.sampled_from([CRASH, CORE, CLEAN])), max_size=60),
)
def test_there_are_never_more_restarts_in_a_window_than_max_tries(
    tries: int, found: list[tuple[float, ExitStatus]]
) -> None:
    loop = running(limited(max_tries=tries))
    opened, restarts = None, 0
    for uptime, how in found:
        if loop.state == DELAY:
            loop.wait(1)
        if loop.state == ENDED:
            break
        loop.crash_after(uptime, how)
        if opened is None or loop.now - opened >= 60:
            opened, restarts = loop.now, 0
        if loop.state == ENDED:
            assert restarts == tries
        else:
            restarts += 1
            assert restarts <= tries


# How a process ended.


def test_a_wait_status_says_how_a_process_ended() -> None:
    assert str(from_wait_status(0)) == "exited with status 0"
    assert str(from_wait_status(255 << 8)) == "exited with status 255"
    assert str(from_wait_status(15)) == "was killed by signal 15 (TERM)"
    assert str(from_wait_status(11 | 0x80)) == "was killed by signal 11 (SEGV), core dumped"
    assert from_wait_status(11 | 0x80).core
    assert not from_wait_status(11).core


@STEADY
@given(st.integers(0, 255))
def test_every_exit_code_is_read(code: int) -> None:
    found = from_wait_status(code << 8)
    assert (found.code, found.signal, found.core, found.failure) == (code, None, False, None)


@STEADY
@given(st.integers(1, 64), st.booleans())
def test_every_signal_is_read(number: int, core: bool) -> None:
    found = from_wait_status(number | (0x80 if core else 0))
    assert (found.code, found.signal, found.core, found.failure) == (None, number, core, None)


def test_signals_have_the_names_that_the_system_gives_them() -> None:
    for found in signal.Signals:
        if found < 32:
            assert "SIG" + signal_name(found) == found.name
    assert (signal_name(0), signal_name(32), signal_name(64)) == ("0", "32", "64")


def test_how_a_process_ended_may_not_be_known() -> None:
    assert str(UNKNOWN) == "exited, status unknown"
