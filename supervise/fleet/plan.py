"""The plan: how a command is carried out over many services.

What lives here: the rules, and what the program calls.  What does not: what a job is (job.py), whose turn it is
(schedule.py), what follows from what (table.py, on_job.py, on_command.py); nor processes, files and clocks.  Events
come in, with the monotonic time in seconds; actions go out, as a list that the program carries out in order.

Theory of operation
-------------------

Rule 1.  A command is a goal for each service that it is about.  The others are known, too: they may be what those
         depend on.
Rule 2.  A service is started when each that it depends on has come up, or was up and nothing is wanted of it.  One that
         is neither up nor about to come up is as one that did not come up; but a restart does not wait for it.
Rule 3.  A dependency that did not come up is said once; so is each service that waits for it, and those that wait for
         these.  They are skipped: what of them runs is left as it is.
Rule 4.  A service is stopped when what depends on it and is to be stopped as well is down, or did not stop in its time.
Rule 5.  What is not defined any more is stopped before anything is started: it may be the same under another name.
Rule 6.  What is replaced is stopped in that order and started in this one.  A restart is one step, in start order.
Rule 7.  A service that runs and has `depends_restart` is restarted after one that it depends on was restarted or
         replaced, and is up again; and so on.
Rule 8.  What may start at the same time does, by priority and then place in the file; but no more than `limit`
         supervises are being started at a time.  Stops go first, in the other direction.
Rule 9.  Nothing hangs: whatever is under way has a deadline, and all else waits for what is under way.
Rule 10. DONE, FAILED and SKIPPED are final for this command.  A command that comes while another is carried out counts
         where both are about one service; what both are about is one result.
"""

from __future__ import annotations

from supervise.fleet import table
from supervise.fleet.job import DONE, FAILED, FINAL, SKIPPED, UNDER_WAY
from supervise.fleet.schedule import ALL_FINAL, BUSY, ENDED, ENDING, LOOK, NEW_GOALS, QUEUED, TAKE_DOWN, Schedule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from typing import Any

    from supervise.fleet.job import ServiceFacts
    from supervise.fleet.schedule import Action


class Plan:
    """The plan of one program: of `svall up`, or of `svall run` as long as it stays."""

    __slots__ = ("_schedule",)

    def __init__(self, limit: int) -> None:
        """`limit`: how many supervises may be being started at a time.  Raises ValueError if it is less than 1."""
        self._schedule = Schedule(limit)

    # Commands.

    def carry_out(
        self, goals: Mapping[str, str], now: float, services: Iterable[ServiceFacts] | None = None
    ) -> list[Action]:
        """Begin with a command: goals by name.

        `services`: all that there are, in the order of the file, those to be removed behind them; None: as before.
        Nothing comes of it while all is being taken down.  Raises KeyError: a goal for what is not known.
        """
        return self._command(NEW_GOALS, now, (goals, services))

    def update(self, now: float) -> list[Action]:
        """Ask for an update: UPDATE is the answer, at once or when the command that is carried out is finished."""
        return self._command(LOOK, now)

    def down(self, now: float, spared: Collection[str] = ()) -> list[Action]:
        """Take everything down but those that are spared, whatever is being carried out, and end."""
        return self._command(TAKE_DOWN, now, spared)

    # Events.

    def handle(self, event: str, name: str, now: float, value: Any = None) -> list[Action]:
        """Answer an event from outside about a service; none follows for one that is not known any more."""
        job = self._schedule.jobs.get(name)
        if job is not None:
            table.answer(self._schedule, job, event, now, value)
        return self._answer(now)

    def tick(self, now: float) -> list[Action]:
        """Answer the deadlines that are past."""
        self._schedule.overdue(now)
        return self._answer(now)

    @property
    def deadline(self) -> float | None:
        """When `tick` is to be called, at the latest."""
        return self._schedule.deadline

    # What has come of it.

    @property
    def finished(self) -> bool:
        """Whether nothing is being carried out."""
        return self._schedule.phase not in (BUSY, QUEUED, ENDING)

    @property
    def ended(self) -> bool:
        """Whether all was taken down, and the program is to end."""
        return self._schedule.phase == ENDED

    @property
    def ending(self) -> bool:
        """Whether everything is being taken down, or was."""
        return self._schedule.phase in (ENDING, ENDED)

    @property
    def results(self) -> dict[str, tuple[str, str | None]]:
        """Of each service that the command is about, by priority: its state, and why it has failed or was skipped."""
        jobs = [job for job in self._schedule.jobs.values() if job.current]
        return {job.name: (job.state, job.reason) for job in sorted(jobs, key=lambda job: job.rank)}

    @property
    def successful(self) -> bool:
        """Whether nothing has failed or was skipped."""
        return not any(job.current and job.state in (FAILED, SKIPPED) for job in self._schedule.jobs.values())

    @property
    def progress(self) -> tuple[int, int, list[str]]:
        """How many are done, of how many, and what is under way, by priority."""
        jobs = [job for job in self._schedule.jobs.values() if job.current]
        under_way = sorted((job for job in jobs if job.state in UNDER_WAY), key=lambda job: job.rank)
        return sum(job.state == DONE for job in jobs), len(jobs), [job.name for job in under_way]

    def knows(self, name: str) -> bool:
        """Whether there is a job of that name."""
        return name in self._schedule.jobs

    def service(self, name: str) -> ServiceFacts:
        """What is known of a service.  Raises KeyError."""
        return self._schedule.jobs[name].service

    def state(self, name: str) -> tuple[str, str, str | None]:
        """The state of a job, the presence of its service, and what it waits for.  Raises KeyError."""
        job = self._schedule.jobs[name]
        return job.state, job.presence, job.waits_for if job.state not in FINAL else None

    # Carrying it out.

    def _command(self, event: str, now: float, value: Any = None) -> list[Action]:
        table.command(self._schedule, event, now, value)
        return self._answer(now)

    def _answer(self, now: float) -> list[Action]:
        """Answer all that follows, and give the actions."""
        schedule = self._schedule
        while True:
            following = schedule.following()
            if following is not None:
                job, event, value = following
                table.answer(schedule, job, event, now, value)
            elif not self.finished and not schedule.unfinished:
                table.command(schedule, ALL_FINAL, now)
            else:
                return schedule.actions()
