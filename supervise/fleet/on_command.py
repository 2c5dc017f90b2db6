"""Answers of the plan to commands as a whole (table.py): what one has to do with each service, and what comes next."""

from __future__ import annotations

from supervise.fleet.job import FINAL, FINISHED, REPLACE, RESTART, RUNNING, START, STARTS, STOP, UP, UPDATE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Optional

    from supervise.fleet.job import ServiceFacts
    from supervise.fleet.schedule import Schedule

    Command = tuple[Mapping[str, str], Optional[Iterable[ServiceFacts]]]  # goals by name, and what is known now


def begin_with(schedule: Schedule, now: float, value: Command) -> None:
    for job in schedule.jobs.values():
        job.current = False
    add(schedule, now, value)


def add(schedule: Schedule, now: float, value: Command) -> None:
    goals, services = value
    if services is not None:
        schedule.know(services)
    _post(schedule, with_followers(schedule, goals))


def _post(schedule: Schedule, goals: Mapping[str, str]) -> None:
    """Tell each job what is wanted of it.  Raises KeyError before that: a goal for what is not known."""
    for job, goal in [(schedule.jobs[name], goal) for name, goal in goals.items()]:
        job.current = True
        schedule.post(job, goal)


def with_followers(schedule: Schedule, goals: Mapping[str, str]) -> dict[str, str]:
    """These goals and the restarts of what runs and is to be restarted after what it depends on; and so on."""
    found = dict(goals)
    pending = [name for name, goal in goals.items() if goal in (RESTART, REPLACE)]
    while pending:
        for name in schedule.dependents[pending.pop()]:
            job = schedule.jobs[name]
            stays = job.state in FINAL or job.goal in STARTS
            runs = job.presence in (RUNNING, UP)
            if job.service.depends_restart and runs and stays and found.get(name, START) == START:
                found[name] = RESTART
                pending.append(name)
    return found


def look_for_changes(schedule: Schedule, now: float, value: None) -> None:
    schedule.do(UPDATE)


def look_later(schedule: Schedule, now: float, value: None) -> None:
    """When FINISHED comes."""


def take_all_down(schedule: Schedule, now: float, value: Collection[str] | None) -> None:
    """`value`: the names of those that are not this program's to stop."""
    spared = value or ()
    for name, job in schedule.jobs.items():
        job.current = job.current and name not in spared
    _post(schedule, {name: STOP for name in schedule.jobs if name not in spared})


def finish(schedule: Schedule, now: float, value: None) -> None:
    schedule.do(FINISHED)


def finish_and_look(schedule: Schedule, now: float, value: None) -> None:
    schedule.do(FINISHED)
    schedule.do(UPDATE)
