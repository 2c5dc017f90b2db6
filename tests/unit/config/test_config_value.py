"""The configuration is a value: once it was read, nobody changes it; whoever wants another makes one."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest

from supervise.config.config import Config
from supervise.config.file import ConfFile
from supervise.config.from_state import config_from_state
from supervise.config.restrictions import copy
from supervise.machine.machine import Machine
from supervise.service import parts
from supervise.service.parts import Parts

ALL = "[app]\nnotify : yes\nwatchdog_secs : 10\ncheck_command : true\nenvironment : A=1\nalarm_interval : 60\n"


def conf_of(tmp_path: Path, text: str | None) -> ConfFile:
    path = tmp_path / "supervise.conf"
    if text is not None:
        path.write_text(text)
    return ConfFile(str(path), "app", True)


@pytest.mark.parametrize(
    "text", [None, "", ALL, "[app]\numask : many\n", "[app\n"], ids=["absent", "empty", "whole", "blocking", "broken"]
)
def test_what_was_read_cannot_be_changed(tmp_path: Path, text: str | None) -> None:
    conf = conf_of(tmp_path, text)
    for previous in (None, Config(), conf.read()[0]):
        config, _ = conf.read(previous)
        for key in (*Config.__slots__, "blocked"):
            with pytest.raises(AttributeError, match="does not change"):
                setattr(config, key, getattr(config, key))


def test_nor_what_could_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "supervise.conf").mkdir()
    conf = conf_of(tmp_path, None)
    before = config_from_state({"restrictions": {"umask": "027"}})
    assert before
    for previous in (None, before, conf.read()[0]):
        config, problems = conf.read(previous)
        assert len(problems) == 1
        with pytest.raises(AttributeError, match="does not change"):
            config.umask = 0


def test_another_one_is_made_of_it(tmp_path: Path) -> None:
    config, _ = conf_of(tmp_path, ALL).read()
    another = copy(config)
    assert another == config and hash(another) == hash(config) and str(another) == str(config)
    another.max_tries = 7
    assert (another.max_tries, config.max_tries, another == config) == (7, 0, False)


class Pretended:
    """In the place of all that the parts are for."""

    notify_address = None
    notify_socket = ""
    watchdog_usec = 0
    can_fork = False
    blocked = not_inherited = ""
    conf = None
    loggers = None

    def __init__(self) -> None:
        self.governed: list[Config] = []
        self.warnings = 0
        self.not_in_force: list[str] = []

    def needs_fork(self, config: Config) -> bool:
        return False

    def govern(self, config: Config) -> None:
        self.governed.append(config)

    def configure(self, killasgroup: object) -> None:
        pass

    def add(self, *_: object) -> None:
        self.warnings += 1


def test_parts_that_cannot_be_had_make_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "replaced", lambda: True)  # what is installed is another version's
    config, _ = conf_of(tmp_path, ALL).read()
    said = str(config)
    machine, others = Machine(config), Pretended()
    place: Any = others
    made = Parts(machine, *[place] * 3, types.SimpleNamespace(), {}, [], *[place] * 4)  # type: ignore[arg-type]
    for _ in range(3):
        made.equip()
    assert str(config) == said  # which was logged
    assert machine.config is not config and others.governed == [machine.config]
    in_force = {key: value for key, value in machine.config.items() if value != dict(Config().items())[key]}
    assert in_force == {"alarm_interval": "60"}
    assert others.warnings == 1
    assert len(others.not_in_force) == 1 and "takes effect after an upgrade" in others.not_in_force[0]
