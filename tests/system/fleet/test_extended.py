"""A service that asks for more time (EXTEND_TIMEOUT_USEC) has it from svall as well."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from box import PATIENCE
from conftest import Box
from speaking import Speaker, speaking

from supervise.fleet.job import COMING, EXTEND, GONE, START, STARTED, STOPPING, ServiceFacts
from supervise.fleet.lookout import Lookout
from supervise.fleet.plan import Plan


@pytest.fixture
def speaker(box: Box) -> Iterator[Speaker]:
    with speaking(box) as made:
        yield made


def given(lookout: Lookout, name: str, stops: bool, least: float) -> float:
    """Until when a service is given, once that is this long at least."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        lookout.wait(0.1)
        for event, _, value in lookout.events(name):
            if event == EXTEND:
                assert isinstance(value, tuple)
                until, is_stop = value
                if is_stop == stops and until > least:
                    return float(until)
    pytest.fail("waited in vain for more time")


def test_the_state_says_it(speaker: Speaker) -> None:
    """While it gets ready and while it stops; a service that is up has no deadline that anybody has to know."""
    speaker.start("notify : yes\nstarttimeoutsecs : 100\nstopwaitsecs : 100\nstopsignal : WINCH\n")
    box = speaker.box
    lookout = Lookout(str(box.status.parent))
    try:
        lookout.add(box.name, str(box.status))
        now = time.monotonic()
        speaker.say(f"EXTEND_TIMEOUT_USEC={600 * 10**6}")
        assert now + 599 < given(lookout, box.name, False, now + 200) < time.monotonic() + 601
        speaker.say("READY=1")
        speaker.wait_state(phase="ready", deadline_at=None)
        box.control("d")
        speaker.wait_state(machine="stopping")
        now = time.monotonic()
        speaker.say(f"EXTEND_TIMEOUT_USEC={900 * 10**6}")
        assert now + 899 < given(lookout, box.name, True, now + 200) < time.monotonic() + 901
    finally:
        lookout.close()


def test_the_plan_has_it() -> None:
    """It does not give up before that, also on one that it stops; and what it has is never taken back."""
    facts = ServiceFacts("db", start_within=10.0, stop_within=5.0, presence=GONE, readiness=True)
    plan = Plan(10)
    plan.carry_out({"db": START}, 1000.0, [facts])
    plan.handle(STARTED, "db", 1001.0)
    for until in (1100.0, 1050.0):
        plan.handle(EXTEND, "db", 1002.0, until)
        assert plan.deadline == 1100.0
    plan.tick(1099.0)
    assert plan.state("db")[0] == COMING
    plan.down(1099.5)
    assert plan.state("db")[0] == STOPPING
    plan.handle(EXTEND, "db", 1100.0, 1200.25)
    plan.tick(1150.0)
    assert plan.state("db")[0] == STOPPING
    actions = plan.tick(1201.0)
    assert plan.ended
    assert "did not stop: not down within 100.8 s" in str(actions)
