"""The transition tables of the plan: for each state and event the answer, and the next state.

What lives here: the grids, and reading them.  What does not: what their words do (on_job.py, on_command.py).

How to read them
----------------

A line is an event, a column a state.  A cell is `function>next`: what is called, and the state in which that leaves the
job, or the plan.

    .     it stays in this one
    a|b   one of several, by what is wanted and by the presence of the service
    -     nothing follows

JOBS         one service, and what is wanted of it (job.py)
COMMANDS     the plan as a whole (schedule.py)

Whatever the state, an event from outside also tells the presence of the service (PRESENCE).  `deadline` comes when the
deadline of a job is past, and only then.
"""

from __future__ import annotations

from supervise.fleet.job import (
    DOWN,
    EVENTS,
    FAILED,
    GONE,
    READY,
    RUNNING,
    STARTED,
    STATES,
    UP,
)
from supervise.fleet.on_command import (
    add,
    begin_with,
    finish,
    finish_and_look,
    look_for_changes,
    look_later,
    take_all_down,
)
from supervise.fleet.on_job import (
    aim,
    begin,
    bring_up,
    came_up,
    came_up_yet,
    extended,
    is_down,
    is_gone,
    is_ready,
    is_running,
    keep,
    known,
    not_down_in_time,
    not_gone_in_time,
    not_started_in_time,
    not_stopped,
    not_up,
    not_up_in_time,
    recall,
    restart,
    skip,
    start_after_all,
    start_again,
    tell,
    tell_supervise,
    unknown,
    up_already,
    want_down,
)
from supervise.fleet.schedule import COMMAND_EVENTS, PHASES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any, Callable

    from supervise.fleet.job import Job
    from supervise.fleet.schedule import Schedule

    Cell = tuple[Callable[..., None], tuple[str, ...]]

JOBS = """
    event     waiting                held                     starting
    start     keep>.                 bring_up>.|waiting|done  keep>.
    restart   aim>.                  restart>.|waiting        keep>.
    replace   aim>.|held|leaving     aim>.                    recall>recalled
    stop      aim>held|leaving|done  aim>.                    recall>recalled
    remove    aim>held|leaving|done  aim>.                    recall>recalled
    due       begin>starting|coming  tell>stopping            -
    blocked   skip>skipped           skip>skipped             -
    started   -                      -                        is_running>coming
    refused   -                      -                        not_up>failed
    up        up_already>.|done      -                        came_up>coming|done
    ready     up_already>.|done      -                        is_ready>done
    failed    -                      -                        not_up>failed
    down      -                      tell_supervise>leaving   not_up>failed
    gone      -                      is_gone>waiting|done     not_up>failed
    extend    -                      -                        extended>.
    deadline  -                      -                        not_started_in_time>failed

    event     recalled                         coming                 stopping
    start     start_after_all>.|starting       keep>.                 start_again>.
    restart   start_after_all>.|starting       aim>waiting            start_again>.
    replace   recall>.                         aim>held               start_again>.
    stop      recall>.                         aim>held               want_down>.
    remove    recall>.                         aim>held               want_down>.
    due       -                                -                      -
    blocked   -                                -                      -
    started   known>held                       -                      -
    refused   known>waiting|held|leaving|done  not_up>failed          not_stopped>failed
    up        known>held                       came_up_yet>.|done     -
    ready     known>held                       is_ready>done          -
    failed    known>held                       not_up>failed          -
    down      known>leaving                    not_up>failed          is_down>leaving
    gone      known>waiting|done               not_up>failed          is_gone>waiting|done
    extend    -                                extended>.             extended>.
    deadline  unknown>held|leaving             not_up_in_time>failed  not_down_in_time>failed

    event     leaving                  done                      failed                    skipped
    start     start_again>.            aim>.|waiting             aim>waiting|done          aim>waiting|done
    restart   start_again>.            aim>waiting               aim>waiting               aim>waiting
    replace   start_again>.            aim>waiting|held|leaving  aim>waiting|held|leaving  aim>waiting|held|leaving
    stop      want_down>.              aim>.|held|leaving        aim>held|leaving|done     aim>held|leaving|done
    remove    want_down>.              aim>.|held|leaving        aim>held|leaving|done     aim>held|leaving|done
    due       -                        -                         -                         -
    blocked   -                        -                         -                         -
    started   -                        -                         -                         -
    refused   not_stopped>failed       -                         -                         -
    up        -                        -                         -                         -
    ready     -                        -                         -                         -
    failed    -                        -                         -                         -
    down      -                        -                         -                         -
    gone      is_gone>waiting|done     -                         -                         -
    extend    extended>.               -                         -                         -
    deadline  not_gone_in_time>failed  -                         -                         -
"""

COMMANDS = """
    event     resting               busy                  queued                   ending        ended
    goals     begin_with>busy       add>.                 add>.                    -             -
    update    look_for_changes>.    look_later>queued     look_later>.             -             -
    down      take_all_down>ending  take_all_down>ending  take_all_down>ending     -             -
    finished  -                     finish>resting        finish_and_look>resting  finish>ended  -
"""

# What an event tells of the service; `up` only of one without readiness: else it is running.
PRESENCE = {STARTED: RUNNING, UP: UP, READY: UP, FAILED: RUNNING, DOWN: DOWN, GONE: GONE}

# fmt: off
ON_JOB: tuple[Callable[..., None], ...] = (
    aim, begin, bring_up, came_up, came_up_yet, extended, is_down, is_gone, is_ready, is_running, keep, known,
    not_down_in_time, not_gone_in_time, not_started_in_time, not_stopped, not_up, not_up_in_time, recall, restart, skip,
    start_after_all, start_again, tell, tell_supervise, unknown, up_already, want_down,
)
ON_COMMAND: tuple[Callable[..., None], ...] = (
    add, begin_with, finish, finish_and_look, look_for_changes, look_later, take_all_down,
)
# fmt: on


def _nothing(*_: Any) -> None:
    """Nothing follows from this event in this state."""


def read(
    grid: str, handlers: Iterable[Callable[..., None]], states: Iterable[str], events: Iterable[str]
) -> dict[str, dict[str, Cell]]:
    """The cells by state and event: the function, and the words for where it leads.

    Raises LookupError: a cell that is no handler or a handler that is no cell, a state or an event that does not exist
    or is missing.
    """
    names = {handler.__name__: handler for handler in handlers}
    known: dict[str, Callable[..., None]] = {**names, "-": _nothing}
    wanted = {*events}
    cells: dict[str, dict[str, Cell]] = {state: {} for state in states}
    columns: list[dict[str, Cell]] = []
    unused = {*names}
    for line in grid.splitlines():
        first, *found = line.split() or ("",)
        if first == "event":
            columns = [cells[name] for name in found]
        elif first:
            if len(found) != len(columns):
                raise LookupError(f"table: {first} has {len(found)} cells for {len(columns)} columns")
            for column, cell in zip(columns, found):
                name, _, words = cell.partition(">")
                column[first] = known[name], tuple(words.split("|")) if words else (".",)
                unused.discard(name)
    if unused:
        raise LookupError(f"table: no cell has {', '.join(sorted(unused))}")
    for state, column in cells.items():
        if column.keys() != wanted:
            raise LookupError(f"table: {state} does not have: {', '.join(sorted(column.keys() ^ wanted))}")
    return cells


BY_STATE = read(JOBS, ON_JOB, STATES, EVENTS)
BY_PHASE = read(COMMANDS, ON_COMMAND, PHASES, COMMAND_EVENTS)


def answer(schedule: Schedule, job: Job, event: str, now: float, value: Any) -> None:
    """Answer one event about a service."""
    if event in PRESENCE:
        unready = event == UP and job.service.readiness
        job.presence = RUNNING if unready else PRESENCE[event]
    BY_STATE[job.state][event][0](schedule, job, event, now, value)


def command(schedule: Schedule, event: str, now: float, value: Any = None) -> None:
    """Answer one event about the plan as a whole."""
    handler, (following,) = BY_PHASE[schedule.phase][event]
    handler(schedule, now, value)
    if following != ".":
        schedule.phase = following
