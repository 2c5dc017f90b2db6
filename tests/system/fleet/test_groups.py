"""The other programs know the groups and patterns of what svall has started."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from all_services import SLEEP, Services
from box import alive, wait_for

GROUPS = f"""[global]
startsecs : 0
[db]
command : {SLEEP}
[web]
command : sh -c 'echo $SUPERVISE_SERVICE is here; exec {SLEEP}'
numprocs : 2
process_name : web_%(process_num)d
[alone]
command : {SLEEP}
[group:site]
programs : web db
"""


def ran(services: Services, program: str, *words: str, code: int = 0) -> str:
    """Run one of the programs; what it printed, errors after the rest."""
    found = services.words(str(Path(sys.executable).with_name(program)), *words)
    assert found.returncode == code, (found.stdout, found.stderr)
    return found.stdout + found.stderr


def names(printed: str) -> list[str]:
    return [line.split(":")[0].removeprefix("status/") for line in printed.splitlines()]


def groups(services: Services, name: str) -> object:
    document = json.loads(ran(services, "svstat", "--json", name))
    return document["services"][0]["groups"]


def test_each_program_takes_them(services: Services) -> None:
    services.up(GROUPS)
    before = services.pids()
    assert names(ran(services, "svstat", "site:*")) == ["web_0", "web_1", "db"]
    assert names(ran(services, "svc", "status", "web_*")) == ["web_0", "web_1"]
    printed = ran(services, "svlog", "-n", "1", "web:*")
    assert printed == "web_0 | web_0 is here\nweb_1 | web_1 is here\n"
    assert ran(services, "svlog", "-n", "1", "web_[0]") == "web_0 | web_0 is here\n"
    assert ran(services, "svlog", "-n", "1", "web:web_0") == "web_0 is here\n"
    assert ran(services, "svwait", "-u", "-t", "30", "site:*") == ""
    assert ran(services, "svok", "site:*") == ""
    assert sorted(names(ran(services, "svc", "restart", "web:*"))) == ["web_0", "web_1"]  # each when it is up
    after = services.pids()
    assert {name for name in before if after[name] != before[name]} == {"web_0", "web_1"}
    ran(services, "svc", "-d", "site:web_0", "*b")
    assert ran(services, "svwait", "-d", "-t", "30", "site:web_0", "db") == ""
    assert services.pids().keys() == {"alone", "web_1"}


def test_a_word_that_names_nothing_is_an_unknown_service(services: Services) -> None:
    services.up(GROUPS)
    for word in ("site:alone", "stie:*", "x*", "site"):
        ran(services, "svok", word, code=100)
        for program, *words in (("svstat",), ("svc", "-t"), ("svc", "stop"), ("svwait", "-u"), ("svlog",)):
            said = ran(services, program, *words, word, code=100)
            assert said.startswith(f"{program}: fatal: no ") and said.count("\n") == 1
    assert len(services.pids()) == 4


def test_groups_are_as_the_file_says_also_later(services: Services) -> None:
    services.up(GROUPS)
    assert groups(services, "web_1") == ["site", "web"]
    assert groups(services, "alone") == []
    services.conf(GROUPS.replace("web db", "alone db"))
    wait_for("the group to be another", lambda: groups(services, "alone") == ["site"])
    wait_for("web to be out of it", lambda: groups(services, "web_1") == ["web"])
    assert names(ran(services, "svstat", "site:*")) == ["alone", "db"]
    services.conf("[broken\n")
    supervisor, pid = services["db"].supervisor, services.pid("db")
    os.kill(supervisor, signal.SIGKILL)
    wait_for("its supervise to end", lambda: not alive(supervisor))
    ran(services, "svc", "start", "site:db")
    assert services.pid("db") == pid
    assert groups(services, "db") == ["site"]  # which a broken file does not say


def test_a_service_that_is_down_is_in_its_group(services: Services) -> None:
    services.up(GROUPS)
    services.done("down", "site:*")
    wait_for("them to be gone", lambda: services.pids().keys() == {"alone"})
    assert [line.split()[1] for line in ran(services, "svstat", "site:*").splitlines()] == ["supervise"] * 3
    ran(services, "svok", "site:*", code=100)
