"""svall up, down and restart: in order, with what runs left alone, and with a reason for whatever fails."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys

import pyinotify
import pytest
from all_services import SLEEP, SVALL, SVC, Services, logs
from box import PATIENCE, alive, wait_for

from supervise.protocol.record import DOWN, UP

PAIR = f"[db]\ncommand : {SLEEP}\n[web]\ncommand : {SLEEP}\ndepends_on : db\n"
PYTHON = sys.executable
NOTIFIES = "import time; from supervise.notify import ready; ready(); time.sleep(86399)"
READY = f"[global]\nstartsecs : 0\n[app]\ncommand : {SLEEP}\n"


def chain(startsecs: int = 0) -> str:
    """Three services of which each depends on the one before, and which write when they begin and end."""
    return (
        f"[global]\nstartsecs : {startsecs}\n"
        f"[c]\ncommand : {logs('c')}\ndepends_on : b\n"
        f"[b]\ncommand : {logs('b')}\ndepends_on : a\n"
        f"[a]\ncommand : {logs('a')}\n"
    )


class TestUp:
    def test_all_are_up_when_it_ends(self, services: Services) -> None:
        services.up(PAIR)
        assert services.pids().keys() == {"db", "web"}
        assert all(map(alive, services.pids().values()))

    def test_in_order(self, services: Services) -> None:
        services.up(chain(startsecs=1))
        wait_for("all to have written", lambda: len(services.log) == 3)
        assert services.log == ["a up", "b up", "c up"]

    def test_what_does_not_depend_on_each_other_starts_at_once(self, services: Services) -> None:
        waits = "sh -c 'touch {}; while ! test -e {}; do sleep 0.05; done; exec sleep 86399'"
        text = "[global]\nstartsecs : 1\n"
        services.up(f"{text}[a]\ncommand : {waits.format('a', 'b')}\n[b]\ncommand : {waits.format('b', 'a')}\n")

    def test_what_runs_is_left_alone(self, services: Services) -> None:
        services.up(PAIR)
        before = services.pids("db", "web")
        supervisor = services["db"].supervisor
        services.up()
        assert services.pids("db", "web") == before
        assert services["db"].supervisor == supervisor
        assert services["db"].log().count("command") == 0

    def test_only_what_does_not_run_is_started(self, services: Services) -> None:
        services.up(PAIR, "db")
        before = services.pids("db")
        assert not services.pid("web")
        services.up()
        assert services.pids("db", "web")["db"] == before["db"]

    def test_one_that_was_stopped_is_brought_up(self, services: Services) -> None:
        services.up(PAIR)
        web, supervisor = services.pid("web"), services["db"].supervisor
        assert services.words(SVC, "stop", "db").returncode == 0
        assert services["db"].record.want == DOWN
        services.up()
        assert services.pids("db", "web")["web"] == web
        assert services["db"].supervisor == supervisor
        assert services["db"].record.want == UP

    def test_one_that_was_left_without_a_supervise_is_adopted(self, services: Services) -> None:
        services.up(PAIR)
        before = services.pids("db", "web")
        os.kill(services["db"].supervisor, signal.SIGKILL)
        services["db"].wait_gone()
        services.up()
        assert services.pids("db", "web") == before
        assert services["db"].supervisor

    def test_autostart(self, services: Services) -> None:
        text = f"{READY}[spare]\ncommand : {SLEEP}\nautostart : no\n"
        services.up(text)
        assert services.pids().keys() == {"app"}
        services.up(text, "spare")
        assert services.pids().keys() == {"app", "spare"}

    def test_what_a_named_one_depends_on_is_started_too(self, services: Services) -> None:
        services.up(chain(), "b")
        assert services.pids().keys() == {"a", "b"}

    @pytest.mark.parametrize(
        ("word", "expected"),
        [
            ("web_*", {"web_0", "web_1", "web_2"}),
            ("web_[01]", {"web_0", "web_1"}),
            ("web:*", {"web_0", "web_1", "web_2"}),
            ("web:web_1", {"web_1"}),
            ("site:*", {"web_0", "web_1", "web_2", "db"}),
            ("site:db", {"db"}),
            ("other", {"other"}),
        ],
    )
    def test_names(self, services: Services, word: str, expected: set[str]) -> None:
        services.up(
            f"[global]\nstartsecs : 0\n[web]\ncommand : {SLEEP}\nnumprocs : 3\n"
            "process_name : %(program_name)s_%(process_num)d\n"
            f"[db]\ncommand : {SLEEP}\n[other]\ncommand : {SLEEP}\n[group:site]\nprograms : web, db\n",
            word,
        )
        assert services.pids().keys() == expected

    def test_an_unknown_name(self, services: Services) -> None:
        services.conf(READY)
        done = services.svall("up", "app", "apq")
        assert (done.returncode, done.stdout) == (100, "")
        assert done.stderr == "svall: fatal: no service is named apq\n"
        assert services.names == []

    def test_from_another_directory(self, services: Services) -> None:
        services.conf(f"[app]\ncommand : {logs('app')}\nstartsecs : 0\n")
        os.mkdir(services.folder / "elsewhere")
        from all_services import SVALL

        done = services.words("sh", "-c", 'cd elsewhere && exec "$@"', "sh", SVALL, "-F", "../supervise.conf", "up")
        assert (done.returncode, done.stderr) == (0, "")
        wait_for("its output beside the configuration", lambda: services.log == ["app up"])
        services.up()
        assert services.log == ["app up"]

    def test_another_root(self, services: Services) -> None:
        services.conf(READY)
        services.done("-p", "run/status", "up")
        assert (services.folder / "run/status/app/status").exists()
        assert services.names == []
        services.done("-p", "run/status", "down")


class TestTwoAtOnce:
    def test_what_the_other_starts_counts(self, services: Services) -> None:
        services.conf("[global]\nstartsecs : 1\n" + "".join(f"[s{n}]\ncommand : {SLEEP}\n" for n in range(6)))
        words = [SVALL, "up"]
        both = [
            subprocess.Popen(words, cwd=services.folder, env=services.env, stderr=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        said = [process.communicate(timeout=PATIENCE)[1] for process in both]
        assert (said, [process.returncode for process in both]) == (["", ""], [0, 0])
        assert len(services.pids()) == 6

    def test_one_that_comes_to_nothing_is_made_after_all(self, services: Services) -> None:
        services.conf(READY)
        status = services.folder / "status/app"
        status.mkdir(parents=True, mode=0o700)
        with open(os.open(status / "lock", os.O_RDWR | os.O_CREAT, 0o600), "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            watch = pyinotify.WatchManager()
            watch.add_watch(str(status / "lock"), pyinotify.IN_OPEN)
            words = [SVALL, "up"]
            process = subprocess.Popen(words, cwd=services.folder, env=services.env, stderr=subprocess.PIPE, text=True)
            assert select.select([watch.get_fd()], [], [], PATIENCE)[0], "it has not tried"
            assert process.poll() is None
        assert (process.communicate(timeout=PATIENCE)[1], process.returncode) == ("", 0)
        watch.close()
        assert services.pids().keys() == {"app"}


class TestReadiness:
    def test_notify_is_waited_for(self, services: Services) -> None:
        says = (
            """sh -c 'while ! test -e go; do sleep 0.05; done; echo "db ready" >> log;"""
            f' exec {PYTHON} -c "{NOTIFIES}"\''
        )
        services.conf(
            f"[global]\nstartsecs : 0\n[db]\ncommand : {says}\nnotify : yes\n"
            f"[web]\ncommand : {logs('web')}\ndepends_on : db\n"
        )
        process = services.run()
        services.wait_up("db")
        services["db"].wait_log("service started")
        assert not services.pid("web")
        (services.folder / "go").touch()
        wait_for("both to be ready", lambda: services.log == ["db ready", "web up"])
        process.terminate()
        assert process.wait() == 0

    def test_one_that_does_not_get_ready(self, services: Services) -> None:
        services.conf(
            f"[db]\ncommand : {SLEEP}\nnotify : yes\nstarttimeoutsecs : 1\n"
            f"[web]\ncommand : {SLEEP}\ndepends_on : db\n[other]\ncommand : {SLEEP}\n"
        )
        done = services.svall("up")
        assert done.returncode == 1
        first, second = done.stderr.splitlines()
        assert first.startswith("svall: warning: db did not come up: it was killed by signal 15 (TERM)"), first
        assert "not ready within 1 second" in first
        assert second == "svall: warning: web not started: it waits for db"
        assert services.pid("other")
        assert "web" not in services.names


class TestFailure:
    def test_a_program_that_does_not_exist(self, services: Services) -> None:
        services.conf(
            f"[db]\ncommand : /no/such/program\n[web]\ncommand : {SLEEP}\ndepends_on : db\n"
            f"[site]\ncommand : {SLEEP}\ndepends_on : web\n[other]\ncommand : {SLEEP}\n"
        )
        done = services.svall("up")
        assert done.returncode == 1
        assert done.stderr.splitlines() == [
            "svall: warning: db did not come up: cannot start the service: /no/such/program: No such file or directory",
            "svall: warning: web not started: it waits for db",
            "svall: warning: site not started: it waits for web",
        ]
        assert services.pids().keys() == {"other"}

    def test_one_that_dies_at_once(self, services: Services) -> None:
        services.conf(
            "[db]\ncommand : sh -c 'echo no disk >&2; exit 3'\n" f"[web]\ncommand : {SLEEP}\ndepends_on : db\n"
        )
        done = services.svall("up")
        assert done.returncode == 1
        first, second = done.stderr.splitlines()
        assert first.startswith("svall: warning: db did not come up: it exited with status 3 after ")
        assert first.endswith("; the last line of its stderr: no disk")
        assert second == "svall: warning: web not started: it waits for db"

    @pytest.mark.parametrize("code", [3, 0])
    def test_startretries(self, services: Services, code: int) -> None:
        text = f"command : sh -c 'echo x >> log; exit {code}'\nautorestart : unexpected\n"
        services.conf(f"[db]\n{text}startretries : 2\n")
        assert services.svall("up").returncode == 1
        services["db"].wait_gone()
        assert services.log == ["x"] * 3
        services["db"].wait_warning("giving up after 3 failed starts in a row")

    def test_a_restriction_that_cannot_be_understood(self, services: Services) -> None:
        services.conf(f"[app]\ncommand : {SLEEP}\numask : 999\n[other]\ncommand : {SLEEP}\n")
        done = services.svall("up")
        assert done.returncode == 1
        [line] = done.stderr.splitlines()
        assert line.startswith("svall: warning: app did not come up: "), line
        assert "supervise.conf:3: " in line
        assert services.pids().keys() == {"other"}

    def test_one_that_another_supervise_holds(self, services: Services) -> None:
        services.conf(PAIR)
        pid = services["db"].start("sleep", "86398")
        done = services.svall("up")
        assert done.returncode == 0 and done.stderr.startswith("svall: warning: status/db is left alone: ")
        assert services.pids("db", "web")["db"] == pid

    def test_one_that_runs_once_and_ends_well(self, services: Services) -> None:
        services.up(
            "[init]\ncommand : sh -c 'echo init >> log'\nautorestart : unexpected\n"
            f"[app]\ncommand : {logs('app')}\ndepends_on : init\nstartsecs : 0\n"
        )
        wait_for("both", lambda: services.log == ["init", "app up"])
        services.up()
        assert services.log == ["init", "app up"]

    def test_what_it_said_is_passed_on(self, services: Services) -> None:
        services.conf(f"[app]\ncommand : {SLEEP}\nmax_tries : many\n")
        done = services.svall("up")
        assert done.returncode == 0
        assert "supervise.conf:3: " in done.stderr


class TestDown:
    def test_in_reverse_order(self, services: Services) -> None:
        services.up(chain())
        wait_for("all to be up", lambda: len(services.log) == 3)
        services.done("down")
        assert services.log[3:] == ["c down", "b down", "a down"]
        for name in "abc":
            assert not services[name].supervisor

    def test_nothing_runs(self, services: Services) -> None:
        services.conf(PAIR)
        services.done("down")
        assert services.names == []

    def test_some(self, services: Services) -> None:
        services.up(PAIR)
        services.done("down", "web")
        assert services.pids().keys() == {"db"}
        assert not services["web"].supervisor

    def test_one_that_is_down_already(self, services: Services) -> None:
        services.up(READY)
        assert services.words(SVC, "stop", "app").returncode == 0
        services.done("down")
        assert not services["app"].supervisor

    def test_up_again(self, services: Services) -> None:
        services.up(PAIR)
        services.done("down")
        services.up()
        services.pids("db", "web")

    def test_one_that_takes_its_time_is_killed_after_stopwaitsecs(self, services: Services) -> None:
        services.up(
            "[app]\ncommand : sh -c 'trap \"\" TERM; echo up >> log; while :; do sleep 86399; done'\n"
            "stopwaitsecs : 1\nstartsecs : 0\nstopasgroup : yes\nkillasgroup : yes\n"
        )
        wait_for("its trap", lambda: services.log == ["up"])
        services.done("down")
        assert not services["app"].supervisor

    def test_one_that_was_started_by_hand_is_left_alone_and_said(self, services: Services) -> None:
        services.conf(READY)
        pid = services["app"].start("sleep", "86398")
        why = "its supervise was not started for what supervise.conf defines"
        for verb in ("down", "restart", "up"):
            done = services.svall(verb)
            assert (done.returncode, done.stderr) == (0, f"svall: warning: status/app is left alone: {why}\n")
            assert services.pid("app") == pid


class TestRestart:
    def test_all_are_those_that_run_or_are_to(self, services: Services) -> None:
        services.conf(
            f"[global]\nstartsecs : 0\n[a]\ncommand : {SLEEP}\n[b]\ncommand : {SLEEP}\nautostart : no\n"
            f"[c]\ncommand : {SLEEP}\nautostart : no\n"
        )
        services.done("up")
        services.done("up", "b")
        before = services.pids("a", "b")
        services.done("restart")
        assert not {*before.values()} & {*services.pids("a", "b").values()}
        assert "c" not in services.names

    def test_in_order(self, services: Services) -> None:
        services.up(chain(startsecs=1))
        before = services.pids("a", "b", "c")
        supervisors = [services[name].supervisor for name in "abc"]
        services.done("restart")
        after = services.pids("a", "b", "c")
        assert not {*before.values()} & {*after.values()}
        assert [services[name].supervisor for name in "abc"] == supervisors
        assert [line for line in services.log[3:] if line.endswith("up")] == ["a up", "b up", "c up"]

    def test_those_that_depend_on_it_are_left_alone(self, services: Services) -> None:
        services.up(chain())
        before = services.pids("a", "b", "c")
        services.done("restart", "a")
        after = services.pids("a", "b", "c")
        assert [name for name in "abc" if before[name] != after[name]] == ["a"]

    def test_depends_restart(self, services: Services) -> None:
        services.up(chain().replace("depends_on : b\n", "depends_on : b\ndepends_restart : yes\n"))
        before = services.pids("a", "b", "c")
        services.done("restart", "b")
        after = services.pids("a", "b", "c")
        assert [name for name in "abc" if before[name] != after[name]] == ["b", "c"]

    def test_one_that_does_not_run_is_started(self, services: Services) -> None:
        services.conf(READY)
        services.done("restart")
        services.pids("app")

    def test_one_that_does_not_come_up_again(self, services: Services) -> None:
        services.up("[app]\ncommand : sh -c 'test ! -e bad || exit 4; exec sleep 86399'\n")
        (services.folder / "bad").touch()
        done = services.svall("restart")
        assert done.returncode == 1
        assert done.stderr.startswith("svall: warning: app did not come up: it exited with status 4 after ")
