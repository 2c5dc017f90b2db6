"""The restart policy: when a service that has ended is started again."""

from __future__ import annotations

import pytest
from conftest import rounds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from machines import follower, written
from simulated import Loop, policy, running

from supervise.machine.policy import delay
from supervise.machine.restore import after_takeover
from supervise.protocol import states
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.record import ONCE, UP
from supervise.protocol.states import DELAY, ENDED, IDLE, RUNNING, SCRIPT_RUN

STEADY = settings(max_examples=rounds(100, 200), deadline=None, suppress_health_check=[HealthCheck.too_slow])


def gaps(loop: Loop) -> list[float]:
    """Seconds from each start to the next."""
    return [later - earlier for earlier, later in zip(loop.starts, loop.starts[1:])]


def crash(loop: Loop, uptime: float = 0) -> None:
    """It runs so long, ends, and is started again."""
    loop.crash_after(uptime)
    if loop.state == DELAY:
        loop.due()


def crashing(times: int, **keys: object) -> Loop:
    """A service that has ended so many times as soon as it was started."""
    loop = running(policy(**keys))
    for _ in range(times):
        crash(loop)
    return loop


# restart_delay: seconds from start to start.


@pytest.mark.parametrize("uptime", [0, 1, 9.5])
def test_starts_are_restart_delay_apart(uptime: float) -> None:
    loop = running(policy(restart_delay=10))
    for _ in range(5):
        crash(loop, uptime)
    assert gaps(loop) == [10] * 5


def test_a_service_that_ran_for_longer_is_restarted_at_once() -> None:
    loop = running(policy(restart_delay=10))
    loop.crash_after(10)
    assert loop.did[0] == (states.START,)


def test_the_next_start_is_prepared_for_no_earlier() -> None:
    assert running(policy(restart_delay=10)).machine.eager_from == 1010.0


def test_starts_that_fail_are_as_far_apart() -> None:
    loop = Loop(policy(restart_delay=10))
    loop.broken = True
    loop.begin()
    loop.wait(50)
    assert gaps(loop) == [10] * 5


def test_a_script_takes_its_time_out_of_it() -> None:
    loop = running(policy(restart_delay=10), script=True)
    loop.crash_after(2)
    loop.wait(3)
    loop.script_done()
    loop.wait(10)
    assert gaps(loop) == [10]


def test_a_new_delay_holds_from_the_next_exit_on() -> None:
    loop = running(policy(restart_delay=600))
    loop.exit()
    loop.event(states.CONFIG, policy())
    loop.wait(600)
    loop.exit()
    loop.wait(1)
    assert gaps(loop) == [600, 1]


# restart_delay_max: it doubles with each exit before startsecs.


def test_by_default_it_does_not_grow() -> None:
    assert gaps(crashing(20)) == [1] * 20


def test_it_doubles_with_each_quick_exit_up_to_the_longest() -> None:
    assert gaps(crashing(8, restart_delay_max=60)) == [1, 2, 4, 8, 16, 32, 60, 60]


def test_from_whatever_it_begins_with() -> None:
    assert gaps(crashing(5, restart_delay=7, restart_delay_max=30)) == [7, 14, 28, 30, 30]


def test_a_longest_that_is_shorter_than_the_shortest_counts_as_that() -> None:
    assert gaps(crashing(5, restart_delay=7, restart_delay_max=3)) == [7] * 5


def test_starts_that_fail_are_quick_exits() -> None:
    loop = Loop(policy(restart_delay_max=60))
    loop.broken = True
    loop.begin()
    loop.wait(100)
    assert gaps(loop) == [1, 2, 4, 8, 16, 32]


def test_what_is_quick_is_configured() -> None:
    loop = running(policy(restart_delay_max=60, startsecs=30))
    for _ in range(4):
        crash(loop, 29.9)
    assert loop.machine.quick_exits == 4


def test_with_startsecs_0_no_exit_is_quick_but_a_failed_start_is() -> None:
    loop = crashing(5, restart_delay_max=60, startsecs=0)
    assert gaps(loop) == [1] * 5
    loop.broken = True
    loop.exit()
    loop.wait(8)
    assert gaps(loop)[5:] == [1, 1, 2, 4]


def test_a_service_that_stays_up_begins_anew() -> None:
    loop = crashing(6, restart_delay_max=60)
    loop.crash_after(1)
    assert loop.state == RUNNING  # at once: it had been up for its second
    for _ in range(3):
        crash(loop)
    assert gaps(loop)[-3:] == [1, 2, 4]


def test_expected_and_planned_exits_do_not_add_to_it() -> None:
    loop = crashing(3, restart_delay_max=60)
    loop.letters("R")
    crash(loop)
    assert gaps(loop)[-1] == 1
    assert loop.machine.quick_exits == 0


def test_where_it_grows_nothing_is_started_ahead_before_startsecs() -> None:
    assert running(policy(restart_delay_max=60, startsecs=5)).machine.eager_from == 1005.0
    assert running(policy(startsecs=5)).machine.eager_from == 1001.0


def test_nothing_is_started_ahead_where_the_start_or_the_end_needs_more() -> None:
    for key, value in (
        ("killasgroup", True),
        ("pidfile", "app.pid"),
        ("notify", True),
        ("notification_fd", 3),
        ("watchdog_secs", 10),
    ):
        assert running(policy(**{key: value})).machine.eager_from is None, key


def test_silence_does_not_make_it_hurry() -> None:
    loop = crashing(0, restart_delay_max=60)
    loop.letters("s")
    for _ in range(4):
        crash(loop)
    assert gaps(loop) == [1, 2, 4, 8]


def test_the_next_supervise_goes_on_where_this_one_was() -> None:
    loop = crashing(4, restart_delay_max=60)
    fields = written(loop.machine)
    next_one = follower(loop.machine)
    after_takeover(next_one, fields, False)
    next_one.handle(states.ADOPTED, loop.now, (loop.pid, fields))
    next_one.handle(states.EXITED, loop.now, ExitStatus(code=1))
    assert next_one.deadline == loop.now + 16


def test_a_planned_restart_does_not_wait_for_it() -> None:
    loop = running(policy(restart_delay=600))
    loop.letters("R")
    loop.crash_after(0.5)
    loop.due()
    assert gaps(loop) == [1]


# Chance: a hundred services that lost their database do not come back in step.


def test_what_is_longer_than_restart_delay_is_shortened_by_up_to_a_quarter() -> None:
    for chance, wait in ((0.0, 8.0), (0.5, 7.0), (1.0, 6.0)):
        loop = crashing(3, restart_delay_max=60)
        loop.chance = chance
        loop.exit()
        assert loop.machine.deadline == loop.now + wait


def test_restart_delay_itself_is_exact() -> None:
    loop = running(policy(restart_delay=10))
    loop.chance = 1.0
    loop.exit()
    assert loop.machine.deadline == 1010.0


def test_a_hundred_services_that_fail_together_come_back_one_by_one() -> None:
    config = policy(restart_delay_max=60)
    due = {delay(config, 6, number / 99) for number in range(100)}
    assert len(due) == 100
    assert max(due) - min(due) == 8


@STEADY
@given(st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1), st.integers(0, 10**9), st.floats(0, 1))
def test_a_delay_is_as_long_as_one_would_work_out_by_hand(
    shortest: int, longest: int, quick_exits: int, chance: float
) -> None:
    config = policy(restart_delay=shortest, restart_delay_max=longest)
    full = shortest
    for _ in range(min(quick_exits, 40) - 1):
        full = min(full * 2, max(longest, shortest))
    found = delay(config, quick_exits, chance)
    assert isinstance(found, float)
    assert max(shortest, full * 0.75) <= found <= full
    assert found == full or chance > 0
    assert delay(config, quick_exits + 1, 0.0) >= delay(config, quick_exits, 0.0)


def test_no_chance_makes_it_shorter_than_restart_delay() -> None:
    assert delay(policy(restart_delay=7, restart_delay_max=8), 2, 1.0) == 7


# u, R, o and d: somebody is there.


@pytest.mark.parametrize("letter", "uRo")
def test_a_letter_ends_a_long_wait_but_not_within_the_second_of_the_last_start(letter: str) -> None:
    loop = crashing(8, restart_delay_max=600)
    started = loop.starts[-1]
    loop.crash_after(0.25)
    assert (loop.machine.deadline or 0) > loop.now + 100
    loop.letters(letter)
    assert loop.machine.deadline == max(started + 1, loop.now)
    loop.wait(0.75)
    assert loop.state == RUNNING


@pytest.mark.parametrize("letter", "uRo")
def test_it_is_started_at_once_if_that_second_is_over(letter: str) -> None:
    loop = running(policy(restart_delay=600))
    loop.crash_after(2)
    loop.wait(3)
    loop.letters(letter)
    assert loop.kinds == [states.START]
    assert loop.starts == [1000.0, 1005.0]
    assert loop.machine.want == (ONCE if letter == "o" else UP)


@pytest.mark.parametrize("letter", "uR")
def test_u_and_R_forgive_what_was_before(letter: str) -> None:
    loop = crashing(7, restart_delay_max=600)
    loop.exit()
    loop.letters(letter)
    loop.due()
    for _ in range(3):
        crash(loop)
    assert gaps(loop)[-4:] == [1, 1, 2, 4]


def test_so_does_R_to_one_that_runs() -> None:
    loop = crashing(7, restart_delay_max=600)
    loop.letters("R")
    crash(loop)
    crash(loop)
    assert gaps(loop)[-2:] == [1, 1]


def test_and_u_after_d() -> None:
    loop = crashing(7, restart_delay_max=600)
    loop.letters("d")
    loop.exit()
    loop.wait(5)
    loop.letters("u")
    assert loop.state == RUNNING
    loop.exit()
    loop.wait(1)
    assert loop.state == RUNNING


@pytest.mark.parametrize("letter", "uRo")
def test_a_letter_while_the_restart_script_runs_has_the_start_follow_it(letter: str) -> None:
    loop = running(policy(restart_delay=600), script=True)
    loop.crash_after(2)
    loop.letters(letter)
    assert loop.state == SCRIPT_RUN
    loop.wait(3)
    loop.script_done()
    assert loop.starts == [1000.0, 1005.0]


def test_d_ends_a_long_wait() -> None:
    loop = crashing(7, restart_delay_max=600)
    loop.exit()
    loop.letters("d")
    loop.wait(10_000)
    assert loop.state == IDLE


def test_x_does_not_wait_for_the_next_start() -> None:
    loop = crashing(7, restart_delay_max=600)
    loop.exit()
    loop.letters("x")
    assert loop.state == ENDED


def test_p_and_t_do_not_end_a_wait() -> None:
    loop = crashing(7, restart_delay_max=600)
    loop.exit()
    before = loop.machine.deadline
    loop.letters("pct1snr")
    assert (loop.state, loop.machine.deadline) == (DELAY, before)


def test_a_thousand_quick_exits_are_counted_in_the_same_few_numbers() -> None:
    loop = crashing(1000, restart_delay_max=60)
    assert loop.machine.quick_exits == 1000
    assert gaps(loop)[-1] == 60
