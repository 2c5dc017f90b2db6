"""Whose turn it is: the jobs, what each waits for, and in what order they go on.

What lives here: what the plan knows, and the small words in which its answers change that.  What does not: what
follows from which event (table.py).

A job waits for one thing at a time: for the first of its prerequisites that is not met.  When that moves, it goes on
to the next.  So all of a command takes no more looks than there are services and dependencies.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from supervise.fleet.job import (
    BLOCKED,
    COMING,
    DEADLINE,
    DONE,
    DUE,
    FAILED,
    FINAL,
    GONE,
    HELD,
    RECALLED,
    REMOVE,
    REPLACE,
    RESTART,
    SAY,
    SKIPPED,
    START,
    STARTING,
    STARTS,
    STOPPING,
    UNDER_WAY,
    UP,
    WAITING,
    Job,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from supervise.fleet.job import ServiceFacts

    Action = tuple[Any, ...]
    Post = tuple[Job, str, Any]

# What the plan is at.
RESTING = "resting"  # nothing
BUSY = "busy"  # carrying out a command
QUEUED = "queued"  # the same, and an update comes after it
ENDING = "ending"  # taking all down, to end
ENDED = "ended"
PHASES = (RESTING, BUSY, QUEUED, ENDING, ENDED)
# What happens to the plan as a whole.
NEW_GOALS = "goals"  # a command comes.  value: goals by name, and ServiceFacts or None
LOOK = "update"  # the configuration may have changed
TAKE_DOWN = "down"  # everything is to be stopped, to end.  value: the names of what is spared, or None
ALL_FINAL = "finished"  # all jobs are in a final state
COMMAND_EVENTS = (NEW_GOALS, LOOK, TAKE_DOWN, ALL_FINAL)

_REMOVALS = ""  # in place of a name: all that are to be removed
_MET, _NOT_YET = "met", "not yet"  # and any other answer: never, and why


class Schedule:
    """The jobs of a plan."""

    __slots__ = (
        "jobs",
        "dependents",
        "limit",
        "phase",
        "unfinished",
        "_under_way",
        "_starting",
        "_removing",
        "_actions",
        "_posted",
        "_moved",
        "_unseen",
        "_waiters",
        "_limited",
        "_free",
        "_deadlines",
        "_tickets",
    )

    def __init__(self, limit: int) -> None:
        """`limit`: how many supervises may be being started at the same time."""
        if limit < 1:
            raise ValueError(f"limit: {limit} is less than 1")
        self.jobs: dict[str, Job] = {}
        self.dependents: dict[str, list[str]] = {}
        self.limit = limit
        self.phase = RESTING
        # How many jobs are not in a final state, have a deadline, are being started, are to be removed.
        self.unfinished = self._under_way = self._starting = self._removing = 0
        self._actions: list[Action] = []
        self._posted: deque[Post] = deque()
        self._moved: deque[Job] = deque()
        self._unseen: deque[tuple[Job, int]] = deque()  # whose prerequisites have not been looked at
        self._waiters: dict[str, list[tuple[Job, int]]] = {}
        self._limited: list[tuple[tuple[int, int], str, int]] = []  # starts that are due
        self._free: list[tuple[int, tuple[int, int], str, int]] = []  # stops that are due, then restarts
        self._deadlines: list[tuple[float, str, int]] = []
        self._tickets = 0

    def know(self, services: Iterable[ServiceFacts]) -> None:
        """Learn of all services that there are.  Of one that is being worked on its presence is known better here."""
        jobs: dict[str, Job] = {}
        for place, service in enumerate(services):
            job = self.jobs.get(service.name) or Job(service)
            job.service = service
            job.rank = (service.priority, place)
            if job.state in FINAL:
                job.presence = service.presence
            jobs[job.name] = job
        for name, job in self.jobs.items():
            if job.state not in FINAL or job.presence != GONE:
                jobs.setdefault(name, job)
        self.jobs = jobs
        self.dependents = {name: [] for name in jobs}
        for name, job in jobs.items():
            if job.state in (WAITING, HELD):
                self.move(job, job.state)  # it waits for others now
            for other in job.service.depends_on:
                if other in jobs:
                    self.dependents[other].append(name)

    # Small words for the answers.

    def do(self, *action: Any) -> None:
        """Add an action to the answer."""
        self._actions.append(action)

    def actions(self) -> list[Action]:
        """What was asked for since this was called last."""
        actions, self._actions = self._actions, []
        return actions

    def say(self, severity: str, text: str) -> None:
        """Have something said."""
        self.do(SAY, severity, text)

    def post(self, job: Job, event: str, value: Any = None) -> None:
        """Have an event answered next."""
        self._posted.append((job, event, value))

    def want(self, job: Job, goal: str) -> None:
        """Set what is wanted of a service."""
        self._count(job, -1)
        job.goal = goal
        self._count(job, 1)

    def move(self, job: Job, state: str, deadline: float | None = None) -> None:
        """Bring a job to a state, and have those that wait for it look."""
        self._count(job, -1)
        job.state, job.deadline = state, deadline
        self._tickets += 1
        job.ticket = self._tickets
        job.cursor, job.waits_for = 0, None
        self._count(job, 1)
        if deadline is not None:
            heappush(self._deadlines, (deadline, job.name, job.ticket))
        if state in (WAITING, HELD):
            self._unseen.append((job, job.ticket))
        self._moved.append(job)

    def extend(self, job: Job, deadline: float) -> None:
        """Give a job more time, if that is more."""
        if job.deadline is not None and deadline > job.deadline:
            job.seconds = round(job.seconds + deadline - job.deadline, 1)
            self.move(job, job.state, deadline)

    def _count(self, job: Job, by: int) -> None:
        state = job.state
        if state not in FINAL:
            self.unfinished += by
            self._under_way += by * (state in UNDER_WAY)
            self._starting += by * (state in (STARTING, RECALLED))
            self._removing += by * (job.goal == REMOVE)

    # What follows.

    @property
    def deadline(self) -> float | None:
        """When the first of the jobs has to be done with what it is at."""
        while self._deadlines and self._valid(*self._deadlines[0][1:]) is None:
            heappop(self._deadlines)
        return self._deadlines[0][0] if self._deadlines else None

    def overdue(self, now: float) -> None:
        """Post DEADLINE to each job whose deadline is past."""
        while self.deadline is not None and self.deadline <= now:
            self.post(self.jobs[heappop(self._deadlines)[1]], DEADLINE)

    def following(self) -> Post | None:
        """The next event to be answered: what was posted, or what follows from the last moves.  None: nothing does."""
        while True:
            if self._posted:
                return self._posted.popleft()
            if self._moved:
                self._wake(self._moved.popleft())
            elif self._unseen:
                job, ticket = self._unseen.popleft()
                if job.ticket == ticket:
                    self._look(job)
            elif self._free:
                due = self._valid(*heappop(self._free)[2:])
                if due is not None:
                    return due, DUE, None
            elif self._limited and self._starting < self.limit:
                due = self._valid(*heappop(self._limited)[1:])
                if due is not None:
                    return due, DUE, None
            else:
                return self._untangled() if self.unfinished and not self._under_way else None

    def _valid(self, name: str, ticket: int) -> Job | None:
        """The job that a note is about, unless it has moved since."""
        job = self.jobs.get(name)
        return job if job is not None and job.ticket == ticket else None

    def _wake(self, job: Job) -> None:
        """Tell those that wait for a job that it has moved, and those that depend on it if it will not be up."""
        if job.state in (FAILED, SKIPPED) and job.goal in STARTS:
            for name in self.dependents.get(job.name, ()):
                other = self.jobs[name]
                if other.state == WAITING or (other.state == HELD and other.goal == REPLACE):
                    self.post(other, BLOCKED, (job.name, ""))
        for moved in (job.name,) if self._removing else (job.name, _REMOVALS):
            for other, ticket in self._waiters.pop(moved, ()):
                if other.ticket == ticket:
                    self._look(other)

    def _look(self, job: Job) -> None:
        """See how many of its prerequisites are met."""
        if job.state == WAITING and self._removing:
            self._wait(job, _REMOVALS)
            return
        up = job.service.depends_on if job.state == WAITING else ()
        down = self.dependents[job.name] if job.state == HELD or job.goal == RESTART else []
        while job.cursor < len(up) + len(down):
            if job.cursor < len(up):
                name = up[job.cursor]
                answer = self._is_up(name, job)
            else:
                name = down[job.cursor - len(up)]
                answer = _NOT_YET if self.jobs[name].state in (HELD, STOPPING, RECALLED) else _MET
            if answer == _NOT_YET:
                self._wait(job, name)
                return
            if answer != _MET:
                self.post(job, BLOCKED, (name, answer))
                return
            job.cursor += 1
        job.waits_for = None
        if job.state == HELD:
            heappush(self._free, (0, (-job.rank[0], -job.rank[1]), job.name, job.ticket))
        elif job.goal == RESTART and job.presence != GONE:
            heappush(self._free, (1, job.rank, job.name, job.ticket))
        else:
            heappush(self._limited, (job.rank, job.name, job.ticket))

    def _wait(self, job: Job, name: str) -> None:
        job.waits_for = name or None
        self._waiters.setdefault(name, []).append((job, job.ticket))

    def _is_up(self, name: str, job: Job) -> str:
        """Whether a dependency is up, as far as `job` has to wait for that.

        That nothing is wanted of one that is not up matters only to what is to be started: another has run without it.
        """
        other = self.jobs.get(name)
        if other is not None:
            if other.state in (WAITING, STARTING, COMING):
                return _NOT_YET
            if other.current and other.goal not in STARTS:
                return ", which is to be down"
            if other.state not in FINAL:
                return _NOT_YET
            if other.current:
                return _MET if other.state == DONE else ""
            if other.presence == UP:
                return _MET
        return ", which is not up" if job.goal == START else _MET

    def _untangled(self) -> Post:
        """What goes on although it waits: nothing else would, for services that wait for each other."""
        stuck = [job for job in self.jobs.values() if job.state in (HELD, WAITING)]
        held = [job for job in stuck if job.state == HELD]
        if held:
            return max(held, key=lambda job: job.rank), DUE, None
        job = min(stuck, key=lambda job: job.rank)
        return job, BLOCKED, (job.waits_for or job.name, "")
