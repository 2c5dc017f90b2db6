"""svall diff and update: the least that brings what runs to what the file says; and errors of the configuration."""

from __future__ import annotations

import os

import pytest
from all_services import SLEEP, SVC, Services

PAIR = f"[db]\ncommand : {SLEEP}\n[web]\ncommand : {SLEEP}\ndepends_on : db\n"


@pytest.fixture
def pair(services: Services) -> Services:
    """Two services that run."""
    services.up("[global]\nstartsecs : 0\n" + PAIR)
    return services


def diff(services: Services, *names: str) -> list[str]:
    """What diff prints; its exit code has to go with that."""
    done = services.svall("diff", *names)
    assert done.returncode == bool(done.stdout), (done.returncode, done.stdout, done.stderr)
    assert done.stderr == ""
    return done.stdout.splitlines()


def changed(services: Services, text: str) -> str:
    """Write another configuration for services whose startsecs are 0."""
    services.conf("[global]\nstartsecs : 0\n" + text)
    return text


def environ(pid: int) -> dict[bytes, bytes]:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return dict(line.split(b"=", 1) for line in file.read().split(b"\0")[:-1])


def updated(services: Services, *names: str) -> None:
    """Do the update, after which nothing differs any more."""
    assert services.done("update", *names) == ""
    assert diff(services) == []


class TestNothing:
    def test_nothing_differs(self, pair: Services) -> None:
        before = pair.pids("db", "web")
        assert diff(pair) == []
        updated(pair)
        assert pair.pids("db", "web") == before

    def test_comments_and_order(self, pair: Services) -> None:
        before = pair.pids("db", "web")
        changed(pair, f"# nothing\n[web]\ndepends_on : db\ncommand : sleep  '86399'\n[db]\ncommand : {SLEEP}\n")
        assert diff(pair) == []
        updated(pair)
        assert pair.pids("db", "web") == before


class TestChanges:
    def test_a_new_one(self, pair: Services) -> None:
        before = pair.pids("db", "web")
        changed(pair, f"{PAIR}[more]\ncommand : {SLEEP}\n[spare]\ncommand : {SLEEP}\nautostart : no\n")
        assert diff(pair) == ["+ more"]
        updated(pair)
        assert {**pair.pids(), "more": 0} == {**before, "more": 0}
        assert pair.pids("more")

    def test_one_that_is_gone(self, pair: Services) -> None:
        before = pair.pids("db", "web")
        changed(pair, f"[db]\ncommand : {SLEEP}\n")
        assert diff(pair) == ["- web"]
        updated(pair)
        assert pair.pids() == {"db": before["db"]}
        assert not pair["web"].supervisor

    def test_another_name(self, pair: Services) -> None:
        before = pair.pids("db", "web")
        changed(pair, PAIR.replace("[web]", "[site]"))
        assert sorted(diff(pair)) == ["+ site", "- web"]
        updated(pair)
        assert pair.pids().keys() == {"db", "site"}
        assert pair.pid("db") == before["db"]

    def test_another_command(self, pair: Services) -> None:
        before = pair.pids("db", "web")
        supervisor = pair["db"].supervisor
        changed(pair, PAIR.replace(SLEEP, "sleep 86398", 1))
        assert diff(pair) == ["~ db: command"]
        updated(pair)
        after = pair.pids("db", "web")
        assert after["web"] == before["web"]
        with open(f"/proc/{after['db']}/cmdline", "rb") as file:
            assert file.read() == b"sleep\x0086398\0"
        assert pair["db"].supervisor != supervisor

    def test_the_environment(self, pair: Services) -> None:
        before = pair.pids("db", "web")
        changed(pair, PAIR.replace("[web]", "environment : COLOUR=blue\n[web]"))
        assert diff(pair) == ["~ db: environment"]
        updated(pair)
        after = pair.pids("db", "web")
        assert after["web"] == before["web"]
        assert environ(after["db"])[b"COLOUR"] == b"blue"

    def test_the_directory(self, pair: Services) -> None:
        before = pair.pids("db", "web")
        (pair.folder / "place").mkdir()
        changed(pair, f"{PAIR}directory : place\n")
        assert diff(pair) == ["~ web: directory"]
        updated(pair)
        after = pair.pids("db", "web")
        assert after["db"] == before["db"]
        assert os.readlink(f"/proc/{after['web']}/cwd") == str(pair.folder / "place")

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the service runs as another user")
    def test_the_user(self, pair: Services) -> None:
        before = pair.pids("db", "web")
        changed(pair, f"{PAIR}user : nobody\ndirectory : /\n")
        assert diff(pair) == ["~ web: user, directory"]
        updated(pair)
        after = pair.pids("db", "web")
        assert after["db"] == before["db"]
        assert os.stat(f"/proc/{after['web']}").st_uid != 0

    def test_several_keys(self, pair: Services) -> None:
        changed(pair, f"{PAIR}directory : /\numask : 027\n")
        assert diff(pair) == ["~ web: umask, directory"]

    def test_the_policy_takes_effect_without_a_restart(self, pair: Services) -> None:
        before = pair.pids("db", "web")
        changed(pair, f"{PAIR}stopsignal : INT\nstopwaitsecs : 7\n")
        pair["web"].wait_log("stopsignal INT")
        assert diff(pair) == []
        updated(pair)
        assert pair.pids("db", "web") == before

    def test_only_what_is_named(self, pair: Services) -> None:
        changed(pair, PAIR.replace(SLEEP, "sleep 86398"))
        before = pair.pids("db", "web")
        assert diff(pair) == ["~ db: command", "~ web: command"]
        assert diff(pair, "web") == ["~ web: command"]
        assert pair.done("update", "web") == ""
        assert diff(pair) == ["~ db: command"]
        assert pair.pid("db") == before["db"]

    def test_one_whose_supervise_has_ended(self, pair: Services) -> None:
        assert pair.words(SVC, "exit", "web").returncode == 0
        pair["web"].wait_gone()
        assert diff(pair) == ["+ web"]
        updated(pair)

    def test_a_change_while_it_is_down(self, pair: Services) -> None:
        assert pair.words(SVC, "stop", "web").returncode == 0
        changed(pair, f"{PAIR}umask : 027\n")
        assert diff(pair) == []
        updated(pair)
        assert not pair.pid("web")

    def test_one_that_was_started_by_hand(self, pair: Services) -> None:
        changed(pair, f"{PAIR}[hand]\ncommand : {SLEEP}\n")
        pid = pair["hand"].start("sleep", "86397")
        done = pair.svall("diff")
        assert (done.returncode, done.stdout) == (0, "")
        why = "its supervise was not started for what supervise.conf defines"
        line = f"svall: warning: status/hand is left alone: {why}\n"
        assert done.stderr == line
        done = pair.svall("update")
        assert (done.returncode, done.stderr) == (0, line)
        assert pair.pid("hand") == pid

    def test_one_of_another_configuration_in_the_same_root(self, pair: Services) -> None:
        (pair.folder / "other.conf").write_text(f"[other]\ncommand : {SLEEP}\nstartsecs : 0\n")
        from all_services import SVALL

        assert pair.words(SVALL, "-F", "other.conf", "up").returncode == 0
        pid = pair.pid("other")
        assert diff(pair) == []
        updated(pair)
        assert pair.pid("other") == pid

    def test_depends_restart(self, pair: Services) -> None:
        text = f"{PAIR}depends_restart : yes\n"
        changed(pair, text)
        before = pair.pids("db", "web")
        updated(pair)
        assert pair.pids("db", "web") == before
        changed(pair, text.replace(SLEEP, "sleep 86398", 1))
        updated(pair)
        after = pair.pids("db", "web")
        assert not {*before.values()} & {*after.values()}


class TestUndefined:
    """What runs and is not defined any more."""

    def test_a_file_that_defines_nothing_stops_nothing(self, pair: Services) -> None:
        before = pair.pids("db", "web")
        pair.conf("")
        for verb in ("update", "diff"):
            done = pair.svall(verb)
            assert (done.returncode, done.stdout) == (100, "")
            assert done.stderr.splitlines() == [
                "svall: warning: supervise.conf: defines no service",
                "svall: fatal: db, web would be stopped, for supervise.conf defines no service;"
                " if that is meant: svall down '*'",
            ]
        assert pair.pids("db", "web") == before
        pair.done("down", "*")
        assert not pair.pids() and not pair["web"].supervisor

    def test_down(self, pair: Services) -> None:
        """Those that are defined; the others are said, and stopped if they are named."""
        pair["hand"].start("sleep", "86397")
        changed(pair, f"[more]\ncommand : {SLEEP}\n")
        said = "not defined any more, and left running: svall down NAME stops what is named\n"
        assert pair.done("down") == f"svall: warning: db, web are {said}"
        assert pair.done("down", "web") == ""
        assert pair.done("down", "web") == ""
        assert pair.done("down") == f"svall: warning: db is {said}"
        assert "status/hand is left alone" in pair.done("down", "*")
        assert pair.pids().keys() == {"hand"}
        assert pair.svall("down", "nobody").returncode == 100
        assert "not started" in pair.svall("status", "w*", "more").stdout


class TestBroken:
    """What cannot be understood changes nothing."""

    @pytest.mark.parametrize("verb", ["diff", "update", "up", "down", "restart"])
    def test_an_error(self, pair: Services, verb: str) -> None:
        before = pair.pids("db", "web")
        changed(pair, PAIR.replace(SLEEP, "sleep 'x", 1))
        done = pair.svall(verb)
        assert (done.returncode, done.stdout) == (100, "")
        assert done.stderr.startswith("svall: fatal: supervise.conf:4: command: "), done.stderr
        assert pair.pids("db", "web") == before

    def test_a_restriction_that_cannot_be_understood(self, pair: Services) -> None:
        before = pair.pids("db", "web")
        changed(pair, f"{PAIR}umask : rwx\ndirectory : /\n")
        done = pair.svall("update")
        assert done.returncode in (0, 1)
        assert "status/web is left as it is: supervise.conf:8: umask: " in done.stderr
        assert pair.pids("db", "web") == before


ERRORS = {
    "a cycle": (f"[a]\ncommand : x\ndepends_on : b\n[b]\ncommand : {SLEEP}\ndepends_on : a\n", "1", "a -> b -> a"),
    "itself": (f"[a]\ncommand : {SLEEP}\ndepends_on : a\n", "", "a -> a"),
    "an unknown dependency": (f"[a]\ncommand : {SLEEP}\ndepends_on : nobody\n", "3", "nobody"),
    "two of one name": (f"[a]\ncommand : {SLEEP}\n[program:a]\ncommand : {SLEEP}\n", "", "a "),
    "an empty command": ("[a]\ncommand :\n", "2", "command: is empty"),
    "a command without a name": ("[a]\ncommand : '' x\n", "2", "command: "),
    "an unbalanced quote": ("[a]\ncommand : sleep '86399\n", "2", "command: "),
    "a name with a slash": (f"[a/b]\ncommand : {SLEEP}\n", "", "a/b"),
    "a name with a blank": (f"[a b]\ncommand : {SLEEP}\n", "", "a b"),
    "a name with a control character": (f"[a\x01b]\ncommand : {SLEEP}\n", "", "a\\x01b"),
    "a parent": (f"[..]\ncommand : {SLEEP}\n", "", ".."),
    "a bad number": (f"[a]\ncommand : {SLEEP}\nnumprocs : many\n", "3", "numprocs: "),
    "neither yes nor no": (f"[a]\ncommand : {SLEEP}\nautostart : maybe\n", "3", "autostart: "),
    "a group of nobody": (f"[a]\ncommand : {SLEEP}\n[group:g]\nprograms : b\n", "", "b"),
}


VERBS = ("up", "run", "update", "restart", "diff", "order", "status")


class TestErrors:
    @pytest.mark.parametrize("what", ERRORS)
    def test_nothing_is_started(self, services: Services, what: str) -> None:
        text, line, named = ERRORS[what]
        services.conf(f"{text}[other]\ncommand : {SLEEP}\n")
        for verb in VERBS if what == "a cycle" else ("up", "diff"):
            done = services.svall(verb)
            assert (done.returncode, done.stdout) == (100, ""), (verb, done.stderr)
            assert done.stderr.startswith(f"svall: fatal: supervise.conf:{line}"), (verb, done.stderr)
            assert named in done.stderr, (verb, done.stderr)
            assert "Traceback" not in done.stderr
        assert services.names == []

    def test_all_errors_are_said(self, services: Services) -> None:
        services.conf("[a]\ncommand :\n[b]\ncommand : 'x\n")
        assert len(services.svall("up").stderr.splitlines()) == 2

    def test_no_file(self, services: Services) -> None:
        done = services.svall("up")
        assert (done.returncode, done.stdout) == (100, "")
        assert done.stderr.startswith("svall: fatal: supervise.conf"), done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_no_service(self, services: Services) -> None:
        services.conf("[global]\nstartsecs : 0\n")
        for verb in ("up", "update", "diff"):
            assert services.done(verb) == "svall: warning: supervise.conf: defines no service\n"

    @pytest.mark.parametrize("files", ["more/*.conf", "supervise.conf"])
    def test_an_include_of_nothing_or_itself(self, services: Services, files: str) -> None:
        services.conf(f"[include]\nfiles : {files}\n[a]\ncommand : {SLEEP}\nstartsecs : 0\n")
        done = services.svall("up")
        assert done.returncode == 0
        [line] = done.stderr.splitlines()
        assert line.startswith("svall: warning: supervise.conf:2: "), line
        services.pids("a")

    def test_what_is_included(self, services: Services) -> None:
        (services.folder / "more").mkdir()
        (services.folder / "more/b.conf").write_text(f"[b]\ncommand : {SLEEP}\nstartsecs : 0\n")
        services.up(f"[include]\nfiles : more/*.conf\n[a]\ncommand : {SLEEP}\nstartsecs : 0\n")
        before = services.pids("a", "b")
        (services.folder / "more/b.conf").write_text(f"[b]\ncommand : {SLEEP}\nstopsignal : INT\n")
        services["b"].wait_log("stopsignal INT")
        assert services.pids("a", "b") == before

    def test_a_root_of_another_name(self, services: Services) -> None:
        services.conf(PAIR)
        for root in ("elsewhere", "status/sub", "status/.."):
            done = services.svall("-p", root, "up")
            assert (done.returncode, done.stdout) == (100, "")
            assert done.stderr.endswith("the directory of services must be named status\n")

    def test_a_root_that_cannot_be_written(self, services: Services, unprivileged: list[str]) -> None:
        services.conf(PAIR)
        (services.folder / "status").mkdir(mode=0o500)
        from all_services import SVALL

        for verb in ("up", "run", "update", "restart"):
            done = services.words(*unprivileged, SVALL, verb)
            assert done.returncode == 111
            assert done.stderr == "svall: fatal: cannot make directories in status: Permission denied\n"
        assert services.names == []

    def test_a_root_that_cannot_be_made(self, services: Services) -> None:
        services.conf(PAIR)
        (services.folder / "status").write_text("")
        done = services.svall("up")
        assert done.returncode == 111
        assert done.stderr.startswith("svall: fatal: cannot make directories in status: "), done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_one_directory_that_cannot_be_entered(self, pair: Services, unprivileged: list[str]) -> None:
        if not unprivileged:
            pytest.skip("needs root: it takes permissions away from others")
        from all_services import SVALL

        (pair.folder / "status/db").chmod(0)
        try:
            done = pair.words(*unprivileged, SVALL, "down")
        finally:
            (pair.folder / "status/db").chmod(0o700)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        [line] = done.stderr.splitlines()
        assert line.startswith("svall: warning: db did not stop: cannot "), line
        assert pair.pids().keys() == {"db"}


class TestEnvironment:
    def test_several_lines(self, services: Services) -> None:
        """A supervisord.conf may say what no line of a supervise.conf can."""
        services.file = services.folder / "supervisord.conf"
        services.conf(f'[supervisord]\n[program:app]\ncommand={SLEEP}\nenvironment=A="1\n  2",B="%(program_name)s"\n')
        done = services.svall("up")
        assert done.returncode == 0, done.stderr
        found = environ(services.pids("app")["app"])
        assert found[b"B"] == b"app"
        assert found[b"A"].split() == [b"1", b"2"]
        assert services.svall("diff").stdout == ""
        services.conf(f'[supervisord]\n[program:app]\ncommand={SLEEP}\nenvironment=A="1\n  3",B="%(program_name)s"\n')
        done = services.svall("diff")
        assert (done.returncode, done.stdout) == (1, "~ app: environment\n")
        before = services.pid("app")
        assert services.svall("update").returncode == 0
        assert services.pid("app") != before
        assert environ(services.pid("app"))[b"A"].split() == [b"1", b"3"]


class TestStatus:
    def test_the_table(self, pair: Services) -> None:
        changed(pair, f"[db]\ncommand : {SLEEP}\n[new]\ncommand : {SLEEP}\n")
        done = pair.svall("status")
        assert (done.returncode, done.stderr) == (0, "")
        rows = [line.split()[:2] for line in done.stdout.splitlines()[1:]]
        assert rows == [["db", "up"], ["new", "not"], ["web", "up"]]

    def test_order(self, pair: Services) -> None:
        done = pair.svall("order")
        assert (done.returncode, done.stdout, done.stderr) == (0, "db\nweb\n", "")

    def test_of_some(self, pair: Services) -> None:
        assert [line.split()[0] for line in pair.svall("status", "db").stdout.splitlines()[1:]] == ["db"]
