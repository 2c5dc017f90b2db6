"""The list of parts: each is made when a configuration asks for it, and told what concerns all of them."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import FakeLog, FakeMachine, FakeStatusWriter
from starting import Stage, set_stage

from supervise.config.config import Config
from supervise.protocol import states
from supervise.runtime.reactor import Reactor
from supervise.service import parts
from supervise.service.part import Part
from supervise.service.service import Service

stage = pytest.fixture(set_stage)


class Heard(Part):
    """A part more, which notes what it is told."""

    def __init__(self, reactor: Reactor) -> None:
        self.reactor = reactor
        self.calls: list[Any] = []
        self.at: float | None = None

    @property
    def due(self) -> float | None:
        return self.at

    def on_time(self, now: float) -> None:
        self.reactor.post(states.UNHEALTHY, now)

    def configure(self, config: Config) -> None:
        self.calls.append(("configure", config.check_command))

    def housekeeping(self, machine: Any) -> None:
        self.calls.append("housekeeping")

    def handover(self) -> dict[str, int]:
        return {"heard": 99}

    def restore(self, fields: dict[str, Any]) -> None:
        self.calls.append(("inherit", fields["descriptors"]["heard"]))

    def disown(self) -> None:
        self.calls.append("disown")

    def close(self, leaving: bool) -> None:
        self.calls.append(("close", leaving))


class Room:
    """A Service with a part more in the list, and those around it."""

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: Any = FakeLog()
        self.machine: Any = FakeMachine()
        self.machine.pid, self.machine.healthy, self.machine.config = 0, False, Config()
        self.reactor = Reactor(self.log)
        more = "heard", lambda config, _: config.check_command, lambda parts: Heard(parts.reactor), ("check_command",)
        monkeypatch.setattr(parts, "KINDS", (*[kind for kind in parts.KINDS if kind[0] != "checks"], more))
        around = self.machine, stage.launcher("/bin/true"), FakeStatusWriter(), stage.directory, stage.env
        self.service = Service(*around, [], self.reactor, self.log)  # type: ignore[arg-type]

    def ask(self, *command: str) -> None:
        self.machine.config = Config()
        self.machine.config.check_command = command
        self.service.prepare()

    @property
    def part(self) -> Heard:
        (part,) = self.service.parts.made
        assert isinstance(part, Heard)
        return part


@pytest.fixture
def room(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Room:
    return Room(stage, monkeypatch)


def test_the_keys_that_stay_are_keys() -> None:
    names = [name for name, *_ in parts.KINDS]
    assert len({*names}) == len(names)
    for *_, keys in parts.KINDS:
        assert all(hasattr(Config(), key) for key in keys)


def test_a_part_more_is_made_when_it_is_asked_for(room: Room) -> None:
    room.service.prepare()
    assert room.service.parts.made == []
    room.ask("true")
    assert room.part.calls == [("configure", ("true",))]
    assert room.reactor.parts == [room.part]
    room.ask()
    assert room.part.calls[1:] == [("configure", ())], "it stays, and is told"


def test_it_is_told_what_concerns_all(room: Room) -> None:
    room.ask("true")
    room.service.housekeeping()
    assert room.service.descriptors() == {"service": -1, "heard": 99}
    assert room.service.go_on()
    room.service.close(leaving=True)
    room.service.close()
    assert room.part.calls[1:] == ["housekeeping", "disown", ("close", True), ("close", False)]
    room.part.on_time(5.0)
    assert room.reactor.posted == [(states.UNHEALTHY, 5.0)]


def test_it_inherits_before_it_is_configured(room: Room) -> None:
    room.machine.config.check_command = ("true",)
    room.service.restore({"descriptors": {"service": -1, "heard": 7}, "child": True})
    room.service.prepare()
    assert room.part.calls == [("inherit", 7), ("configure", ("true",))]


def test_where_it_cannot_be_had_its_keys_stay_as_they_were(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "replaced", lambda: True)
    room.ask("true")
    assert room.service.parts.made == []
    ((event, config),) = room.machine.events
    assert (event, config.check_command) == (states.CONFIG, ())
    (line,) = room.log.warnings
    assert "takes effect after an upgrade (letter e)" in line
