"""supervise.notify's watchdog: the one timer of a process, and those who interrupt its being set."""

from __future__ import annotations

import faulthandler
import sys
import time
from pathlib import Path
from typing import Callable

import pytest
from conftest import rounds
from test_watchdog import goes_well

from supervise import notify


def test_signal_handlers(tmp_path: Path) -> None:
    code = """
import signal
from supervise import notify
seen = 0
@watchdog(10)
def call():
    pass
def handler(number, frame):
    global seen
    seen += 1
    call()
    dog.kick()
def sends():
    for number in range(ROUNDS):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
        while seen == number:
            time.sleep(number % 10 * 1e-5)
signal.signal(signal.SIGUSR1, handler)
with watchdog(20) as dog:
    threading.Thread(target=sends).start()
    while seen < ROUNDS:
        call()
        dog.kick()
        with watchdog(9):
            pass
    # The timer is where it is thought to be: neither too early for the one that is left, nor off.
    assert notify._running == {dog} and dog._deadline <= notify._armed <= dog._latest, (dog, notify._armed)
print("well")
"""
    goes_well(tmp_path, code.replace("ROUNDS", str(rounds(300, 1000))))


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> Timer:
    """faulthandler's timer, which notes what it is set to."""
    made = Timer()
    monkeypatch.setattr(faulthandler, "dump_traceback_later", made.set)
    return made


class Timer:
    def __init__(self) -> None:
        self.times: list[float] = []
        self.before: Callable[[], object] = lambda: None  # what a signal handler does then, once
        self.after: Callable[[], object] = lambda: None

    def set(self, seconds: float, **options: object) -> None:
        before, self.before = self.before, lambda: None
        before()
        self.times.append(seconds)
        after, self.after = self.after, lambda: None
        after()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_while_the_timer_is_set(timer: Timer, when: str) -> None:
    shorter = notify.watchdog(100)
    setattr(timer, when, shorter.__enter__)
    with notify.watchdog(1000):
        assert notify._armed is not None
        assert round(notify._armed - time.monotonic(), -2) == round(timer.times[-1], -2) == 100
        setattr(timer, when, lambda: shorter.__exit__())
        with notify.watchdog(10):
            pass
        assert round(notify._armed - time.monotonic(), -2) == round(timer.times[-1], -2) == 1000


def test_a_handler_that_raises(timer: Timer) -> None:
    with notify.watchdog(1000):
        inner = notify.watchdog(10)
        timer.before = sys.exit
        with pytest.raises(SystemExit):
            inner.__enter__()
        assert notify._armed is not None
        assert round(notify._armed - time.monotonic(), -2) == round(timer.times[-1], -2) == 1000
        inner.__enter__()
        timer.before = sys.exit
        with pytest.raises(SystemExit):
            inner.__exit__()
        assert round(notify._armed - time.monotonic(), -2) == round(timer.times[-1], -2) == 1000
    assert not notify._running


def test_a_handler_that_takes_its_time_in_a_kick(timer: Timer, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5000.0

    def clock() -> float:
        nonlocal now
        read = now
        if timer.times and now == 5000.0:
            now += 600
            dog.kick()
        return read

    monkeypatch.setattr(notify, "monotonic", clock)
    with notify.watchdog(100) as dog:
        dog.kick()
        assert dog._deadline == 5700
        assert notify._armed is not None and notify._armed >= 5700


def test_kicks_seldom_set_the_timer(timer: Timer) -> None:
    with notify.watchdog(1000) as dog, notify.watchdog(2000) as other, notify.watchdog(500):
        for _ in range(10_000):
            dog.kick()
            other.kick()
    assert len(timer.times) < 100


def test_no_thread_for_the_timer(tmp_path: Path) -> None:
    code = """
import faulthandler
real = faulthandler.dump_traceback_later
def refused(*args, **kwargs):
    raise RuntimeError("unable to start watchdog thread")
faulthandler.dump_traceback_later = refused
dog = watchdog(1)
try:
    with dog:
        print("not here")
except RuntimeError as why:
    print(why)
faulthandler.dump_traceback_later = real
with dog:
    dog.kick()
time.sleep(1.5)
print("well")
"""
    goes_well(tmp_path, code, says="unable to start watchdog thread\nwell\n")
