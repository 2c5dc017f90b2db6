"""Answers of the plan to what is asked of a service, and to what comes of it (table.py)."""

from __future__ import annotations

from supervise.fleet.job import (
    COMING,
    DONE,
    DOWN,
    FAILED,
    GONE,
    HELD,
    LEAVING,
    RECALLED,
    REPLACE,
    RESTART,
    RUNNING,
    SKIPPED,
    START,
    STARTING,
    STARTS,
    STOP,
    STOPPING,
    UP,
    WAITING,
)
from supervise.protocol.severities import WARNING
from supervise.protocol.text import shown_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from supervise.fleet.job import Job
    from supervise.fleet.schedule import Schedule


# What is asked of it.


def aim(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    schedule.want(job, event)
    _set_out(schedule, job, now)


def _set_out(schedule: Schedule, job: Job, now: float) -> None:
    """Begin with what is wanted of a service, by what of it there is."""
    goal, presence = job.goal, job.presence
    job.reason = None
    if goal in (START, RESTART) or (goal == REPLACE and presence == GONE):
        schedule.move(job, DONE if goal == START and presence == UP else WAITING)
    elif presence == GONE:
        schedule.move(job, DONE)
    elif presence == DOWN:
        _have_it_end(schedule, job, now)
    else:
        schedule.move(job, HELD)


def bring_up(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    if job.goal not in (RESTART, REPLACE):  # after which it is up, too
        aim(schedule, job, event, now, value)


def restart(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    if job.goal != REPLACE:
        aim(schedule, job, event, now, value)


def keep(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    """It will be up anyway."""


def recall(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    schedule.want(job, event)
    schedule.move(job, RECALLED, job.deadline)


def start_after_all(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    if job.goal != REPLACE:
        schedule.want(job, START)
        schedule.move(job, STARTING, job.deadline)


def want_down(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    schedule.want(job, event)


def start_again(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    schedule.want(job, REPLACE)


# Its turn.


def begin(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    service = job.service
    if job.goal == RESTART and job.presence != GONE:
        schedule.do(RESTART, job.name)
        job.presence = RUNNING
        _give(schedule, job, COMING, now, service.stop_within + service.start_within)
    else:
        schedule.do(START, job.name)
        _give(schedule, job, STARTING, now, service.start_within)


def _give(schedule: Schedule, job: Job, state: str, now: float, seconds: float) -> None:
    """Bring a job to a state in which it has so many seconds."""
    schedule.move(job, state, now + seconds)
    job.seconds = seconds


def extended(schedule: Schedule, job: Job, event: str, now: float, value: float) -> None:
    schedule.extend(job, value)


def tell(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    schedule.do(STOP, job.name)
    _give(schedule, job, STOPPING, now, job.service.stop_within)


def tell_supervise(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    _have_it_end(schedule, job, now)


def _have_it_end(schedule: Schedule, job: Job, now: float) -> None:
    """Have the supervise of a service end that is down already."""
    schedule.do(STOP, job.name)
    _give(schedule, job, LEAVING, now, job.service.stop_within)


def skip(schedule: Schedule, job: Job, event: str, now: float, value: tuple[str, str]) -> None:
    name, why = value
    job.reason = f"it waits for {shown_name(name)}{why}"
    what = "restarted" if job.presence != GONE and job.goal != START else "started"
    schedule.say(WARNING, f"{shown_name(job.name)} not {what}: {job.reason}")
    schedule.move(job, SKIPPED)


# It comes up, or does not.


def is_running(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    _give(schedule, job, COMING, now, job.service.start_within)


def came_up(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    if job.presence == UP:
        schedule.move(job, DONE)
    else:
        is_running(schedule, job, event, now, value)


def came_up_yet(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    if job.presence == UP:
        schedule.move(job, DONE)


def up_already(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    if job.goal == START and job.presence == UP:
        schedule.move(job, DONE)


def is_ready(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    schedule.move(job, DONE)


def not_up(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    _give_up(schedule, job, str(value or ("its supervise has ended" if event == GONE else "it is down")))


def not_started_in_time(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    _give_up(schedule, job, f"its supervise did not start within {job.seconds:g} s")


def not_up_in_time(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    state = "ready" if job.service.readiness else "up"
    _give_up(schedule, job, f"not {state} within {job.seconds:g} s")


def _give_up(schedule: Schedule, job: Job, reason: str) -> None:
    job.reason = reason
    schedule.say(WARNING, f"{shown_name(job.name)} did not come up: {reason}")
    schedule.move(job, FAILED)


# What was being started is to be stopped.


def known(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    _set_out(schedule, job, now)


def unknown(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    """Its supervise may run."""
    if job.presence == GONE:
        job.presence = RUNNING
    _set_out(schedule, job, now)


# It goes down, or does not.


def is_down(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    schedule.move(job, LEAVING, job.deadline)


def is_gone(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    schedule.move(job, WAITING if job.goal in STARTS else DONE)


def not_stopped(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    _still_there(schedule, job, str(value))


def not_down_in_time(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    _still_there(schedule, job, f"not down within {job.seconds:g} s")


def not_gone_in_time(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    _still_there(schedule, job, f"its supervise did not end within {job.seconds:g} s")


def _still_there(schedule: Schedule, job: Job, reason: str) -> None:
    job.reason = reason
    schedule.say(WARNING, f"{shown_name(job.name)} did not stop: {reason}")
    schedule.move(job, FAILED)
