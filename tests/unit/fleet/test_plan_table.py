"""The tables of the plan say what is so: driven through every cell, it lands where the cell says."""

from __future__ import annotations

import dis
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from typing import NamedTuple

import pytest
from planned import START_WITHIN, STOP_WITHIN, Planned, running

from supervise.fleet import on_command, on_job, table
from supervise.fleet.job import (
    BLOCKED,
    DEADLINE,
    DONE,
    DUE,
    EVENTS,
    EXTEND,
    FINAL,
    GOALS,
    GONE,
    HELD,
    PRESENCES,
    REPLACE,
    RESTART,
    STARTS,
    STATES,
    STOP,
    UNDER_WAY,
    WAITING,
    Job,
    ServiceFacts,
)
from supervise.fleet.schedule import ALL_FINAL, BUSY, COMMAND_EVENTS, ENDED, ENDING, PHASES, QUEUED, RESTING, Schedule

NOW = 1000.0


class Situation(NamedTuple):
    """All that the answers of a job depend on."""

    state: str
    presence: str
    goal: str | None
    readiness: bool


def job_of(found: Situation) -> tuple[Schedule, Job]:
    """A job in that situation, alone."""
    schedule = Schedule(1)
    facts = ServiceFacts("app", start_within=START_WITHIN, stop_within=STOP_WITHIN, readiness=found.readiness)
    schedule.know([facts])
    job = schedule.jobs["app"]
    if found.goal is not None:
        schedule.want(job, found.goal)
    schedule.move(job, found.state, NOW + 5 if found.state in UNDER_WAY else None)
    job.presence = found.presence
    return schedule, job


def value_of(event: str) -> object:
    return {BLOCKED: ("db", ""), EXTEND: NOW + 50}.get(event, "a reason")


def answered(found: Situation, event: str) -> tuple[Situation, Schedule, Job]:
    """What an event leads to."""
    schedule, job = job_of(found)
    table.answer(schedule, job, event, NOW, value_of(event))
    return Situation(job.state, job.presence, job.goal, found.readiness), schedule, job


def comes(found: Situation, event: str) -> bool:
    """Whether such an event may come there: those from within come only where something is waited for."""
    if event == DUE:
        return found.state in (WAITING, HELD)
    if event == BLOCKED:
        return found.state == WAITING or (found.state == HELD and found.goal == REPLACE)
    return event != DEADLINE or found.state in UNDER_WAY


def explored() -> Iterator[tuple[Situation, str, Situation]]:
    """Each situation that can be reached, each event, and what that leads to."""
    pending = [Situation(DONE, presence, None, ready) for presence, ready in product(PRESENCES, (False, True))]
    seen = {*pending}
    while pending:
        found = pending.pop()
        for event in EVENTS:
            if comes(found, event):
                led_to = answered(found, event)[0]
                yield found, event, led_to
                if led_to not in seen:
                    seen.add(led_to)
                    pending.append(led_to)


EXPLORED = list(explored())


@pytest.mark.parametrize("state", STATES)
def test_in_every_state_every_event_leads_where_its_cell_says_and_everywhere_there(state: str) -> None:
    landed = defaultdict(set)
    for found, event, led_to in EXPLORED:
        if found.state == state:
            landed[event].add("." if led_to.state == state else led_to.state)
    for event in EVENTS:
        handler, words = table.BY_STATE[state][event]
        if event in landed:
            assert landed[event] == {*words}, (state, event)
        else:
            assert handler is table._nothing, (state, event)


def test_where_nothing_follows_nothing_is_asked_for() -> None:
    for found, event, led_to in EXPLORED:
        if table.BY_STATE[found.state][event][0] is table._nothing:
            assert led_to._replace(presence=found.presence) == found
            assert answered(found, event)[1].actions() == []


def test_an_event_tells_the_presence_in_every_state() -> None:
    for found, event, led_to in EXPLORED:
        if event == "up" and found.readiness:
            assert led_to.presence == "running"
        elif event in table.PRESENCE:
            assert led_to.presence == table.PRESENCE[event]
        elif event not in (DUE, DEADLINE):
            assert led_to.presence == found.presence


def test_what_can_be_reached_makes_sense() -> None:
    for found in {found for found, _, _ in EXPLORED}:
        _, presence, goal, _ = found
        if found.state in ("starting", "coming", "skipped"):
            assert goal in STARTS, found
        if found.state in ("held", "stopping", "leaving", "recalled"):
            assert goal in (STOP, "remove", REPLACE), found
        if found.state == HELD:
            assert presence in ("running", "up"), found
        if found.state == "coming":
            assert presence in ("running", "up"), found


def test_what_is_under_way_has_a_deadline_and_nothing_else() -> None:
    for found, event, _ in EXPLORED:
        _, _, job = answered(found, event)
        assert (job.deadline is not None) == (job.state in UNDER_WAY), (found, event)


def test_a_job_that_failed_or_was_skipped_has_a_reason_and_has_said_it() -> None:
    for found, event, led_to in EXPLORED:
        if led_to.state in ("failed", "skipped") and led_to.state != found.state:
            _, schedule, job = answered(found, event)
            ((what, _, text),) = schedule.actions()
            assert what == "say" and job.reason and text.startswith("app ") and text.endswith(job.reason)


def test_each_action_comes_with_a_move() -> None:
    """So that what was asked for is not asked for twice."""
    for found, event, led_to in EXPLORED:
        actions = [action for action in answered(found, event)[1].actions() if action[0] != "say"]
        assert len(actions) <= 1
        if actions:
            assert led_to.state != found.state, (found, event)
            assert led_to.state in ("starting", "coming", "stopping", "leaving")


# What is written there.


def cells(grid: str) -> Iterator[tuple[str, str, str]]:
    """In another reading than that of table.py: column, event, cell."""
    for block in re.split(r"\n\s*\n", grid.strip()):
        head, *rows = (line.split() for line in block.splitlines())
        for event, *found in rows:
            for state, cell in zip(head[1:], found):
                yield state, event, cell


@pytest.mark.parametrize(
    "grid, read, states, events",
    [
        (table.JOBS, table.BY_STATE, STATES, EVENTS),
        (table.COMMANDS, table.BY_PHASE, PHASES, COMMAND_EVENTS),
    ],
    ids=["jobs", "commands"],
)
def test_it_is_read_as_it_is_written(
    grid: str, read: dict[str, dict[str, table.Cell]], states: tuple[str, ...], events: tuple[str, ...]
) -> None:
    written = list(cells(grid))
    assert sorted((state, event) for state, event, _ in written) == sorted(product(states, events))
    for state, event, cell in written:
        name, _, words = cell.partition(">")
        handler, following = read[state][event]
        assert handler is (table._nothing if name == "-" else getattr(table, name))
        assert "|".join(following) == (words or ".")
        assert {*following} <= {*states, "."}
        assert state not in following, "one's own state is written as ."


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("tell>stopping", "tlel>stopping", "tlel"),
        ("known>leaving   ", "known>leaving - ", "down has 4 cells for 3 columns"),
        ("tell>stopping", "-", "no cell has tell$"),
        ("\n    refused", "\n    refusde", "does not have: refusde, refused"),
        ("waiting    ", "wiating    ", "wiating"),
    ],
)
def test_a_mistake_is_noticed_when_the_module_is_read(old: str, new: str, said: str) -> None:
    assert old in table.JOBS
    with pytest.raises(LookupError, match=said):
        table.read(table.JOBS.replace(old, new, 1), table.ON_JOB, STATES, EVENTS)


def test_a_cell_is_a_function_of_its_module() -> None:
    for handlers, module in ((table.ON_JOB, on_job), (table.ON_COMMAND, on_command)):
        for handler in handlers:
            assert getattr(table, handler.__name__) is getattr(module, handler.__name__) is handler


def test_no_cell_of_a_job_asks_for_its_state() -> None:
    """That was asked already, once."""
    functions = [value for value in vars(on_job).values() if hasattr(value, "__code__")]
    assert len(functions) > len(table.ON_JOB)
    for function in functions:
        if function.__module__ == on_job.__name__:
            reads = {one.argval for one in dis.get_instructions(function) if one.opname.startswith("LOAD_")}
            assert "state" not in {name for name in reads if isinstance(name, str)} - {*function.__code__.co_varnames}


# Commands as a whole.


def in_phase(phase: str) -> Planned:
    fleet = running("db:")
    fleet.carry_out({})
    if phase != RESTING:
        fleet.carry_out(RESTART)
    if phase == QUEUED:
        fleet.plan.update(fleet.now)
    if phase in (ENDING, ENDED):
        fleet.plan.down(fleet.now)
    if phase == ENDED:
        fleet.event(GONE, "db")
    assert fleet.plan._schedule.phase == phase
    return fleet


@pytest.mark.parametrize("phase, event", list(product(PHASES, COMMAND_EVENTS)))
def test_in_every_phase_every_event_leads_where_its_cell_says(phase: str, event: str) -> None:
    fleet = in_phase(phase)
    schedule = fleet.plan._schedule
    table.command(schedule, event, fleet.now, ({"db": REPLACE}, None) if event == "goals" else None)
    (following,) = table.BY_PHASE[phase][event][1]
    assert schedule.phase == (phase if following == "." else following)
    wants = {"goals": REPLACE, "down": STOP}
    posted = [(job.name, goal) for job, goal, _ in schedule._posted]
    nothing = table.BY_PHASE[phase][event][0] is table._nothing
    assert posted == ([("db", wants[event])] if event in wants and not nothing else [])
    said = [action[0] for action in schedule.actions()]
    updates = (event == "update" and phase == RESTING) or (event == ALL_FINAL and phase == QUEUED)
    assert ("update" in said) == updates
    assert ("finished" in said) == (event == ALL_FINAL and phase in (BUSY, QUEUED, ENDING))


def test_goals_are_events_and_final_states_are_states() -> None:
    assert {*GOALS} < {*EVENTS}
    assert {*STATES} > FINAL
    assert not FINAL & UNDER_WAY
    assert {*STATES} == FINAL | UNDER_WAY | {WAITING, HELD}
