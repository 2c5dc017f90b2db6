"""What a command has to do with one service: its vocabulary, and what is known of it.

What lives here: names and values.  What does not: what follows from what (table.py).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Goals: what a command wants of a service.  As events they are that command.
START = "start"  # bring it up; one that is up is left alone
STOP = "stop"  # stop the service, and its supervise
RESTART = "restart"  # planned restart, by its supervise; one without a supervise is started
REPLACE = "replace"  # stop it and its supervise, and start it with another definition
REMOVE = "remove"  # stop it and its supervise, for it is not defined any more: before anything is started
GOALS = (START, RESTART, REPLACE, STOP, REMOVE)
STARTS = frozenset((START, RESTART, REPLACE))  # which end with a service that is up

# Events from outside.
STARTED = "started"  # its supervise runs
REFUSED = "refused"  # what was asked for could not be done, and will not be.  value: the reason
UP = "up"  # it has been up for its startsecs, or has run and ended as expected
READY = "ready"  # the same, and it is ready
FAILED = "failed"  # it died too soon, did not get ready, or supervise gave up (then GONE follows).  value: the reason
DOWN = "down"  # it does not run, and will not by itself.  value: the reason, if one is known
GONE = "gone"  # its supervise has ended
EXTEND = "extend"  # it has asked for more time.  value: when that is over, monotonic
DEADLINE = "deadline"  # the time for what it is at is over
# Events from within.
DUE = "due"  # what it has waited for is as it must be
BLOCKED = "blocked"  # it never will be.  value: the name of what it waits for, and what to say of that
FROM_OUTSIDE = (STARTED, REFUSED, UP, READY, FAILED, DOWN, GONE, EXTEND, DEADLINE)
EVENTS = (*GOALS, DUE, BLOCKED, *FROM_OUTSIDE)

# Presence: what of a service there is.  The first two and the last are the events of these names, which lead to them.
RUNNING = "running"  # it runs, or will by itself, but is not up yet
PRESENCES = (GONE, DOWN, RUNNING, UP)

# States.
WAITING = "waiting"  # to be started or restarted, when what it depends on is up
HELD = "held"  # to be stopped, when nothing that depends on it runs any more
STARTING = "starting"  # a supervise is being started
RECALLED = "recalled"  # the same, but it is to be stopped again
COMING = "coming"  # its supervise was told to start it, or to restart it
STOPPING = "stopping"  # it was told to stop
LEAVING = "leaving"  # it is down, its supervise is to end
DONE = "done"  # it is as it was asked for, or nothing was asked for; else FAILED
SKIPPED = "skipped"  # nothing was done, for what it depends on did not come up
STATES = (WAITING, HELD, STARTING, RECALLED, COMING, STOPPING, LEAVING, DONE, FAILED, SKIPPED)
FINAL = frozenset((DONE, FAILED, SKIPPED))
UNDER_WAY = frozenset((STARTING, RECALLED, COMING, STOPPING, LEAVING))  # with a deadline: something will come of it

# Actions.  START, STOP and RESTART are some as well, each with a name: start its supervise, or have the one that runs
# start it; stop it, and have its supervise end; restart it.
SAY = "say"  # a severity (severities.py) and a text
UPDATE = "update"  # look at the configuration, and carry out what has changed
FINISHED = "finished"  # a command is carried out: see Plan.results


class ServiceFacts:
    """What a plan has to know of a service.

    `depends_on`: the names of services; `readiness`: it is up when it says so; `start_within`: the seconds in which its
    supervise has to run, and then as many again in which it has to be up; `stop_within`: those in which it has to be
    down and its supervise gone; `presence`: as above, where one that has run and ended as expected is up, unless it is
    to run again.
    """

    __slots__ = (
        "name",
        "depends_on",
        "depends_restart",
        "priority",
        "readiness",
        "start_within",
        "stop_within",
        "presence",
    )

    def __init__(
        self,
        name: str,
        *,
        start_within: float,
        stop_within: float,
        depends_on: Sequence[str] = (),
        depends_restart: bool = False,
        priority: int = 999,
        readiness: bool = False,
        presence: str = GONE,
    ) -> None:
        self.name = name
        self.depends_on = tuple(dict.fromkeys(depends_on))
        self.depends_restart = depends_restart
        self.priority = priority
        self.readiness = readiness
        self.start_within = start_within
        self.stop_within = stop_within
        self.presence = presence


class Job:
    """A service, what is wanted of it, and how far that is."""

    __slots__ = (
        "name",
        "service",
        "rank",
        "presence",
        "goal",
        "state",
        "reason",
        "deadline",
        "seconds",
        "current",
        "waits_for",
        "ticket",
        "cursor",
    )

    def __init__(self, service: ServiceFacts) -> None:
        self.name = service.name
        self.service = service
        self.rank = (service.priority, 0)  # among those that may start at the same time
        self.presence = service.presence
        self.goal: str | None = None
        self.state = DONE
        self.reason: str | None = None  # why it has failed, or was skipped
        self.deadline: float | None = None
        self.seconds = 0.0  # from when that was set
        self.current = False  # the command that is carried out, or was last, is about it
        self.waits_for: str | None = None
        self.ticket = 0  # another one after each move: what was noted before it is void
        self.cursor = 0  # how much of what it waits for is as it must be
