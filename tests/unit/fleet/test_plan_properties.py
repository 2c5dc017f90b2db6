"""The plan under any graph, any goals and anything that may become of services: what holds whatever happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from conftest import rounds
from defined import graphs
from hypothesis import given, settings
from hypothesis import strategies as st
from planned import START_WITHIN, STOP_WITHIN, Planned

from supervise.fleet.job import (
    DONE,
    DOWN,
    EXTEND,
    FAILED,
    FINAL,
    FROM_OUTSIDE,
    GOALS,
    GONE,
    HELD,
    PRESENCES,
    READY,
    RECALLED,
    REFUSED,
    REMOVE,
    REPLACE,
    RESTART,
    RUNNING,
    SKIPPED,
    START,
    STARTED,
    STARTING,
    STARTS,
    STOP,
    UNDER_WAY,
    UP,
    WAITING,
    ServiceFacts,
)

ENDS = (STOP, REMOVE, REPLACE)  # goals that begin with a stop
EVENTS = [event for event in FROM_OUTSIDE if event != "deadline"]


@st.composite
def fleets(draw: st.DrawFn, cycles: bool = False) -> list[ServiceFacts]:
    """Services in the order of a file."""
    return [
        ServiceFacts(
            name,
            depends_on=others,
            priority=draw(st.integers(0, 2)),
            depends_restart=draw(st.booleans()),
            readiness=draw(st.booleans()),
            start_within=START_WITHIN,
            stop_within=STOP_WITHIN,
            presence=draw(st.sampled_from(PRESENCES)),
        )
        for name, others in draw(graphs(cycles=cycles)).items()
    ]


def some_goals(services: list[ServiceFacts]) -> st.SearchStrategy[dict[str, str]]:
    """Goals for some of the services, all the same or each another."""
    names = st.lists(st.sampled_from([service.name for service in services]), unique=True)
    one = st.builds(dict.fromkeys, names, st.sampled_from(GOALS))
    return one | names.flatmap(lambda found: st.fixed_dictionaries({name: st.sampled_from(GOALS) for name in found}))


def followed(services: Mapping[str, ServiceFacts], goals: dict[str, str]) -> dict[str, str]:
    """The goals, and the restarts that come with them, by asking again until nothing changes."""
    found, before = dict(goals), None
    while found != before:
        before = dict(found)
        for name, service in services.items():
            again = any(before.get(other) in (RESTART, REPLACE) for other in service.depends_on)
            runs = service.presence in (RUNNING, UP)
            if service.depends_restart and runs and again and before.get(name, START) == START:
                found[name] = RESTART
    return found


class Outside:
    """What becomes of services, and what may be asked for: one command, and no event that nobody has asked for."""

    def __init__(self, services: list[ServiceFacts], goals: dict[str, str], limit: int) -> None:
        self.fleet = Planned(services, limit)
        self.services = {service.name: service for service in services}
        self.goals = followed(self.services, goals)
        self.limit = limit
        self.asked: dict[str, str] = {}  # what is going on, and not known to have come to an end
        self.until: dict[str, float] = {}
        self.forked: set[str] = set()  # of those, whose supervise has not been heard of
        self.counts: Counter[tuple[str, str]] = Counter()
        self.came_up: set[str] = set()
        self.stopped = {name for name, one in self.services.items() if one.presence in (GONE, DOWN)}
        self.not_stopped: set[str] = set()
        self.finished = 0
        self.see(self.fleet.carry_out(goals))

    def dependents(self, name: str) -> list[str]:
        return [other for other, service in self.services.items() if name in service.depends_on]

    def see(self, actions: list[str]) -> None:
        """Check what was asked for."""
        for action in actions:
            verb, _, name = action.partition(" ")
            if verb == "finished":
                self.finished += 1
                continue
            self.counts[verb, name] += 1
            assert name in self.goals, "what it was not asked for is not touched"
            assert name not in self.asked, "one thing at a time"
            if verb == STOP:
                assert self.goals[name] in ENDS
                if self.services[name].presence != DOWN:
                    self.check_nobody_needs(name)
            else:
                assert self.goals[name] in STARTS
                self.check_dependencies(name)
                if verb == RESTART:
                    self.check_nobody_needs(name)
            self.asked[name] = verb
            within = {START: START_WITHIN, STOP: STOP_WITHIN, RESTART: START_WITHIN + STOP_WITHIN}[verb]
            self.until[name] = self.fleet.now + within
            if verb == START:
                self.forked.add(name)
        assert len(self.forked) <= self.limit
        self.check_nothing_waits_for_nothing()

    def check_nobody_needs(self, name: str) -> None:
        """What depends on it and is to be stopped is down, could not be stopped in time, or is left as it is."""
        for other in self.dependents(name):
            if self.goals.get(other) in ENDS:
                skipped = self.fleet.state(other) == SKIPPED
                assert other in self.stopped or other in self.not_stopped or skipped, (name, other)

    def check_dependencies(self, name: str) -> None:
        """All that it depends on is up; and nothing that is to be removed runs."""
        assert not self.removing()
        for other in self.services[name].depends_on:
            goal, presence = self.goals.get(other), self.services[other].presence
            if goal in STARTS:
                assert other in self.came_up or (goal == START and presence == UP), (name, other)
            else:
                assert goal is None and (presence == UP or self.goals[name] != START), (name, other)

    def removing(self) -> list[str]:
        return [
            name for name, goal in self.goals.items() if goal == REMOVE and self.fleet.state(name) not in (DONE, FAILED)
        ]

    def check_nothing_waits_for_nothing(self) -> None:
        """What may go on does."""
        for name, goal in self.goals.items():
            state = self.fleet.state(name)
            if state == WAITING and not self.removing():
                others = [one for one in self.services[name].depends_on if self.goals.get(one) in STARTS]
                open_ones = [one for one in others if self.fleet.state(one) not in FINAL]
                if goal == RESTART:
                    open_ones += [one for one in self.dependents(name) if self.goals.get(one) in ENDS]
                assert open_ones or len(self.forked) == self.limit, name
            if state == HELD:
                assert [one for one in self.dependents(name) if self.fleet.state(one) in (HELD, "stopping")], name

    def ends(self, name: str) -> None:
        del self.asked[name], self.until[name]
        self.forked.discard(name)

    def becomes(self, name: str, event: str) -> None:
        """Something comes of what was asked for."""
        verb = self.asked[name]
        if verb == STOP:
            if event in (DOWN, GONE):
                self.stopped.add(name)
            if event == REFUSED:
                self.not_stopped.add(name)
            if event != DOWN:
                self.ends(name)
        elif event == STARTED:
            self.forked.discard(name)
            self.until[name] = self.fleet.now + START_WITHIN
        elif event == UP and self.services[name].readiness:
            if name in self.forked:
                self.forked.discard(name)
                self.until[name] = self.fleet.now + START_WITHIN
        else:
            self.ends(name)
            if event in (UP, READY):
                self.came_up.add(name)
        self.see(self.fleet.event(event, name, "a reason" if event in (FAILED, REFUSED) else None))

    def may_become(self, name: str) -> list[str]:
        if self.asked[name] == STOP:
            return [GONE, REFUSED] + [DOWN] * (name not in self.stopped)
        return [READY, UP, UP, FAILED, REFUSED, DOWN, GONE] + [STARTED, STARTED] * (name in self.forked)

    def late(self) -> None:
        """The first deadline passes."""
        first = min(self.until.values())
        assert self.fleet.plan.deadline == first
        for name in [name for name, until in self.until.items() if until <= first]:
            if self.asked[name] == STOP:
                self.not_stopped.add(name)
            self.ends(name)
        self.see(self.fleet.late())

    def check_end(self) -> None:
        """Each has come to what it must."""
        assert (self.finished, self.fleet.plan.finished, self.fleet.plan.deadline) == (1, True, None)
        results = self.fleet.plan.results
        assert results.keys() == self.goals.keys()
        for name, (state, reason) in results.items():
            goal, presence = self.goals[name], self.services[name].presence
            asked = {verb: self.counts[verb, name] for verb in (START, STOP, RESTART)}
            assert max(asked.values()) <= 1
            lines = [line for line in self.fleet.said if line.startswith(f"{name} ")]
            assert len(lines) == (state != DONE) and (reason is None) == (state == DONE)
            untouched = goal == START and presence == UP
            blocked = goal in STARTS and not untouched and self.blocked(name)
            if blocked:
                assert not asked[START] and not asked[RESTART]
                assert state == SKIPPED or (state == FAILED and name in self.not_stopped)
            elif untouched:
                assert state == DONE and not any(asked.values())
            elif goal in STARTS:
                assert (state == DONE) == (name in self.came_up)
                assert state != SKIPPED
            else:
                assert (state == FAILED) == (name in self.not_stopped)
                assert asked[STOP] == (presence != GONE)
        assert self.fleet.plan.successful == all(state == DONE for state, _ in results.values())
        assert len(self.fleet.said) == sum(state != DONE for state, _ in results.values())

    def blocked(self, name: str) -> bool:
        """Whether something that it depends on did not come up."""
        results = self.fleet.plan.results
        for other in self.services[name].depends_on:
            goal = self.goals.get(other)
            if goal in STARTS and results[other][0] != DONE:
                return True
            if goal in (STOP, REMOVE):
                return True
            if goal is None and self.services[other].presence != UP and self.goals[name] == START:
                return True
        return False


@settings(max_examples=rounds(30, 5000))
@given(st.data(), fleets(), st.integers(1, 4))
def test_one_command_and_whatever_comes_of_it(data: st.DataObject, services: list[ServiceFacts], limit: int) -> None:
    outside = Outside(services, data.draw(some_goals(services)), limit)
    patient = data.draw(st.integers(0, 30))  # how much happens before nothing does any more
    while outside.asked:
        happens = patient > 0 and data.draw(st.integers(0, 9)) > 0
        patient -= 1
        if happens:
            name = data.draw(st.sampled_from(sorted(outside.asked)))
            outside.becomes(name, data.draw(st.sampled_from(outside.may_become(name))))
        else:
            outside.late()
    outside.check_end()


@settings(max_examples=rounds(20, 2000))
@given(st.data(), fleets(), st.sampled_from(GOALS), st.integers(1, 4))
def test_where_all_goes_well_all_is_done(
    data: st.DataObject, services: list[ServiceFacts], goal: str, limit: int
) -> None:
    outside = Outside(services, {service.name: goal for service in services}, limit)
    while outside.asked:
        name = data.draw(st.sampled_from(sorted(outside.asked)))
        outside.becomes(name, GONE if outside.asked[name] == STOP else READY)
    outside.check_end()
    assert outside.fleet.plan.successful
    assert {state for state, _ in outside.fleet.plan.results.values()} == {DONE}


# Anything at all.


def check_counts(fleet: Planned) -> None:
    """What is counted as it goes is so."""
    schedule = fleet.plan._schedule
    states = [job.state for job in schedule.jobs.values()]
    assert schedule.unfinished == sum(state not in FINAL for state in states)
    assert schedule._under_way == sum(state in UNDER_WAY for state in states)
    assert schedule._starting == sum(state in (STARTING, RECALLED) for state in states)
    removed = [job.state for job in schedule.jobs.values() if job.goal == REMOVE]
    assert schedule._removing == sum(state not in FINAL for state in removed)
    assert schedule._starting <= schedule.limit
    assert fleet.plan.finished or fleet.plan.deadline is not None, "it hangs"
    assert all(job.current for job in schedule.jobs.values() if job.state not in FINAL)


@settings(max_examples=rounds(30, 5000))
@given(st.data(), fleets(cycles=True), st.integers(1, 3))
def test_anything_in_any_order_comes_to_an_end(
    data: st.DataObject, services: list[ServiceFacts], limit: int
) -> None:
    fleet = Planned(services, limit)
    fleet.carry_out(data.draw(some_goals(services)))
    check_counts(fleet)
    for _ in range(data.draw(st.integers(0, 30))):
        kind = data.draw(st.sampled_from(["event"] * 8 + ["late", "command", "read", "update", "down"]))
        if kind == "event":
            event = data.draw(st.sampled_from(EVENTS))
            value: Any = fleet.now + 7 if event == EXTEND else None
            fleet.event(event, data.draw(st.sampled_from(services)).name, value)
        elif kind == "late":
            if fleet.plan.deadline is not None:
                fleet.late()
        elif kind == "command":
            fleet.carry_out(data.draw(some_goals(services)), known=True)
        elif kind == "read":
            fleet.services = data.draw(fleets(cycles=True))
            if not fleet.plan._schedule.phase.startswith("end"):  # when nothing is looked at any more
                services = fleet.services
            fleet.carry_out(data.draw(some_goals(fleet.services)))
        elif kind == "update":
            fleet.plan.update(fleet.now)
        else:
            fleet.plan.down(fleet.now)
        check_counts(fleet)
    rounds_left = 10 * len(fleet.plan._schedule.jobs) + 10
    while fleet.plan.deadline is not None:
        fleet.late()
        check_counts(fleet)
        rounds_left -= 1
        assert rounds_left, "it does not end"
    assert fleet.plan.finished
    assert all(state in FINAL for state, _ in fleet.plan.results.values())


@settings(max_examples=rounds(20, 2000))
@given(st.data(), fleets(), st.integers(1, 3))
def test_down_takes_all_down_whatever_was_going_on(
    data: st.DataObject, services: list[ServiceFacts], limit: int
) -> None:
    """What is told to stop does, and what was being started is reported: nothing is left, and nothing has failed."""
    fleet = Planned(services, limit)
    asked = fleet.carry_out(data.draw(some_goals(services)))
    for _ in range(data.draw(st.integers(0, 10))):
        name = data.draw(st.sampled_from(services)).name
        asked += fleet.event(data.draw(st.sampled_from([STARTED, UP, READY, FAILED, DOWN, GONE])), name)
    forking = [service.name for service in services if fleet.state(service.name) == STARTING]
    stopping = [service.name for service in services if fleet.state(service.name) in ("stopping", "leaving")]
    pending = [f"{STOP} {name}" for name in stopping] + fleet.shown(fleet.plan.down(fleet.now))
    pending += [f"{START} {name}" for name in forking]
    while pending:
        verb, _, name = pending.pop(data.draw(st.integers(0, len(pending) - 1))).partition(" ")
        assert verb != RESTART
        if verb == START:
            assert name in forking, "nothing is started any more"
            pending += fleet.event(STARTED, name)
        elif verb == STOP:
            pending += fleet.event(GONE, name)
    assert fleet.plan.ended and fleet.plan.successful
    assert all(fleet.plan.state(service.name)[1] == GONE for service in services)
