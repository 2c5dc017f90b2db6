"""A plan (fleet/plan.py) without services: the test says what becomes of them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from defined import defined

from supervise.fleet.job import GONE, READY, RESTART, SAY, START, STARTED, STOP, UP, ServiceFacts
from supervise.fleet.plan import Plan

START_WITHIN, STOP_WITHIN = 10.0, 5.0


def facts(
    text: str,
    presence: str | Mapping[str, str] = GONE,
    readiness: Collection[str] = (),
    depends_restart: Collection[str] = (),
) -> list[ServiceFacts]:
    """Services by lines as `defined` has them, all of one presence or by name."""
    return [
        ServiceFacts(
            one.name,
            depends_on=one.depends_on,
            priority=one.priority,
            depends_restart=one.name in depends_restart,
            readiness=one.name in readiness,
            start_within=START_WITHIN,
            stop_within=STOP_WITHIN,
            presence=presence if isinstance(presence, str) else presence.get(one.name, GONE),
        )
        for one in defined(text)
    ]


class Planned:
    """A plan, its time, and what it has asked for and said."""

    def __init__(self, services: Iterable[ServiceFacts], limit: int = 100) -> None:
        self.plan = Plan(limit)
        self.now = 1000.0
        self.services = [*services]
        self.said: list[str] = []

    def carry_out(self, goal: str | Mapping[str, str], *names: str, known: bool = False) -> list[str]:
        """Begin with a command: one goal for all services or these, or goals by name."""
        if isinstance(goal, str):
            goal = dict.fromkeys(names or [service.name for service in self.services], goal)
        return self.shown(self.plan.carry_out(goal, self.now, None if known else self.services))

    def event(self, event: str, name: str, value: object = None) -> list[str]:
        """Something has happened to a service."""
        return self.shown(self.plan.handle(event, name, self.now, value))

    def comes_up(self, name: str) -> list[str]:
        """Its supervise runs, and it is up and ready."""
        return self.event(STARTED, name) + self.event(READY, name)

    def late(self) -> list[str]:
        """The next deadline passes."""
        assert self.plan.deadline is not None
        self.now = max(self.now, self.plan.deadline)
        return self.shown(self.plan.tick(self.now))

    def shown(self, actions: Iterable[tuple[Any, ...]]) -> list[str]:
        """Actions as words; what is said goes to `said`."""
        found = []
        for action, *values in actions:
            if action == SAY:
                self.said.append(values[1])
            else:
                assert action not in (START, STOP, RESTART) or len(values) == 1
                found.append(" ".join([action, *values]))
        return found

    def state(self, name: str) -> str:
        """The state of its job."""
        return self.plan.state(name)[0]


def running(text: str, limit: int = 100, **options: Collection[str]) -> Planned:
    """A plan for services that are all up."""
    return Planned(facts(text, UP, **options), limit)
