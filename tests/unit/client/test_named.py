"""What the words of a command line name: names and paths first, then patterns, then groups that states tell of."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pretended import state

from supervise.client import ClientError, Service, UnknownService, services
from supervise.client.named import named
from supervise.protocol.state import encode

CONF = {"directory": "/srv", "conf": "site.conf", "conf_named": True, "script": [], "reset": None}
OPTIONS: dict[str, Any] = {**CONF, "exit_with_service": False, "foreground": False, "defined": True}


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUPERVISE_ROOT", raising=False)
    for name, groups in (
        ("web_10", {"site": [1, 10], "web": [0, 10]}),
        ("web_2", {"site": [1, 2], "web": [0, 2]}),
        ("db", {"site": [0, 0], "sets": [0, 0]}),
        (".hidden", {"site": [2, 0]}),
        ("x[1]", {}),
        ("x1", None),
        ("a:b", {"a": [0, 0]}),
        ("b", {"a": [1, 0]}),
    ):
        made(name, groups)
    made(b"caf\xe9", {"g\udcff": [0, 0]})


def made(name: str | bytes, groups: Any = None, root: str = "status", **options: Any) -> str:
    """A service that a supervise has run."""
    path = os.path.join(root, os.fsdecode(name))
    os.makedirs(path)
    Path(path, "status").touch()
    Path(path, "state").write_bytes(encode(state(groups=groups, options={**OPTIONS, **options})))
    return path


def names(*words: str) -> list[str]:
    return [service.name for service in services(*words)]


@pytest.mark.parametrize(
    "words, found",
    [
        ("db", "db"),
        ("web_*", "web_10 web_2"),
        ("site:*", "db web_2 web_10 .hidden"),
        ("site:w*", "web_2 web_10"),
        ("site:web_2", "web_2"),
        ("s*:db", "db"),
        ("*:web_*", "web_2 web_10"),
        ("web:*", "web_2 web_10"),
        ("*", "a:b b caf\udce9 db web_10 web_2 x1 x[1]"),
        (".h*", ".hidden"),
        ("x[1]", "x[1]"),
        ("[x]1", "x1"),
        ("caf?", "caf\udce9"),
        ("g\udcff:*", "caf\udce9"),
        ("a:b", "a:b"),
        ("a:*", "a:b b"),
        ("a:a:b", "a:b"),
        ("web_2 site:* web_*", "web_2 db web_10 .hidden"),
        ("site:* web_2 status/web_2", "db web_2 web_10 .hidden"),
        ("status/db", "db"),
    ],
)
def test_what_is_named(words: str, found: str) -> None:
    assert names(*words.split()) == found.split()


@pytest.mark.parametrize(
    "word, said",
    [
        ("wbe_*", "no service matches wbe_*; the services in status are: "),
        ("site", "no service is named site; the services of that group are site:*"),
        ("site:b", "no service of the group site is named b"),
        ("site:x*", "no service of the group site matches x*"),
        ("stie:b", "no group is named stie"),
        ("stie:*", "no service matches stie:*"),
        ("bd", "cannot find a service named 'bd'; the services in status are: "),
        ("status/web_*", "cannot find status/web_*: no such directory; the services in status are: "),
    ],
)
def test_what_names_nothing_is_said_and_of_an_unknown_service(word: str, said: str) -> None:
    with pytest.raises(UnknownService) as raised:
        services(word)
    assert str(raised.value).startswith(said)
    assert raised.value.exit_code == 100
    assert "db" in raised.value.names


def test_without_any_services_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    with pytest.raises(UnknownService, match="no service matches \\*: there are no services in status"):
        services("*")


def test_the_first_directory_in_which_something_matches_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    made("web_3", {"site": [0, 3]}, "root/status")
    made("far", {"away": [0, 0]}, "root/status")
    monkeypatch.setenv("SUPERVISE_ROOT", "root")
    assert [service.path for service in services("f*", "away:*")] == ["root/status/far"]
    assert "web_3" not in names("web_*", "site:*")


def test_within_status_they_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("status")
    assert [service.path for service in services("web_*", "site:db")] == ["web_10", "web_2", "db"]


def test_what_is_no_directory_of_services_is_not_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    made("lost", {}, "elsewhere")
    monkeypatch.chdir("elsewhere")
    with pytest.raises(UnknownService):
        services("l*")


def test_a_state_that_cannot_be_read_is_said_where_it_may_matter() -> None:
    Path("status/web_3").mkdir()
    Path("status/web_3/status").touch()
    assert names("site:w*") == ["web_2", "web_10"]  # no supervise of svall has been there
    Path("status/web_3/state").write_text("{")
    found = named(["site:w*"])
    assert [service.name for _, service in found if isinstance(service, Service)] == ["web_2", "web_10"]
    assert [(word, str(why)) for word, why in found if isinstance(why, ClientError)] == [
        ("status/web_3", "cannot read status/web_3/state: damaged: not JSON")
    ]
    assert names("site:db") == ["db"]
    with pytest.raises(ClientError, match="damaged"):
        services("site:w*")


def test_a_group_that_two_files_define_is_both_and_that_is_said() -> None:
    made("api", {"site": [0, 0]}, directory="/opt", conf="api.conf")
    said: list[str] = []
    found = [service for _, service in named(["site:*", "web_*"], said.append)]
    assert [service.name for service in found if isinstance(service, Service)] == [
        *("api", "db", "web_2", "web_10", ".hidden")
    ]
    assert said == ["the group site is defined in /opt/api.conf and in /srv/site.conf: all of them are meant"]


def test_without_patterns_it_is_as_often_as_it_was_named() -> None:
    assert [word for word, _ in named(["db", "b", "db"])] == ["db", "b", "db"]
