"""check_command: when it is run, what its end means, and that nothing it does holds anything up."""

from __future__ import annotations

import errno
import os
import posix
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import alive, wait_for
from fakes import FakeLog

from supervise.config.config import Config
from supervise.protocol.exitstatus import ExitStatus
from supervise.protocol.states import UNHEALTHY
from supervise.runtime.reactor import Reactor
from supervise.service.health_check import START_WAIT, Checks
from supervise.system.spawn import reap

SERVICE = 4711
START = 1000.0  # the monotonic time at which the service is up
OK, BAD = ExitStatus(code=0), ExitStatus(code=1)


class Launcher:
    """Starts checks as the daemon does: in sessions of their own."""

    def __init__(self) -> None:
        self.pids: list[int] = []

    def check_command(self, argv: tuple[str, ...], pid: int, output: int) -> int | str:
        assert pid == SERVICE
        assert os.get_blocking(output), "a check must not meet a pipe that refuses what it prints"
        try:
            outputs = [(os.POSIX_SPAWN_DUP2, output, its) for its in (1, 2)]
            started = os.posix_spawnp(argv[0], argv, os.environb, file_actions=outputs, setsid=True)
        except OSError as why:
            return f"{argv[0]}: {why.strerror}"
        self.pids.append(started)
        return started


def conf(*command: str, delay: int | None = 0, interval: int = 30, timeout: int = 10, failures: int = 3) -> Config:
    config = Config()
    config.check_command = command
    config.check_delay, config.check_interval = delay, interval
    config.check_timeout, config.check_failures = timeout, failures
    return config


def sh(script: str, **more: int | None) -> Config:
    return conf("sh", "-c", script, **more)  # type: ignore[arg-type]


class Watched:
    """The checks of one service, and of the loop what they need.  `now` is what the test says it is."""

    def __init__(self) -> None:
        self.log: Any = FakeLog()
        self.reactor = Reactor(self.log)  # type: ignore[arg-type]
        self.launcher = Launcher()
        self.checks = Checks(self.launcher, self.reactor, self.log)  # type: ignore[arg-type]
        self.now = START

    def begin(self, config: Config, starting_since: float | None = None) -> None:
        self.checks.begin(config, SERVICE, self.now, starting_since)

    def health(self, *names: str) -> tuple[object, ...]:
        """Some of what the checks have found."""
        assert self.checks.health
        return tuple(self.checks.health[name] for name in names)

    def at(self, now: float) -> str | None:
        """The time comes when something may be due."""
        self.now = now
        self.checks.on_time(now)
        return self.posted()

    def posted(self) -> str | None:
        """The fault that the machine is to be told of, if there is one."""
        posted, self.reactor.posted[:] = self.reactor.posted[:], []
        assert [event for event, _ in posted] in ([], [UNHEALTHY])
        return posted[0][1] if posted else None

    def ended(self, how: ExitStatus, now: float) -> str | None:
        """The check was reaped; the fault that comes of it."""
        self.now = now
        self.checks.ended(how, now)
        return self.posted()

    def reaped(self) -> bool:
        """Read what there is; whether the check has been reaped now.  Its fault is in `fault`."""
        for fd, events in self.reactor.poll(0):
            assert fd == self.checks.fd
            self.reactor.readable(fd, events)
        ended = reap(self.checks.pid)
        self.fault = self.ended(ended[1], self.now) if ended else None
        return bool(ended)

    def finish(self) -> str | None:
        """Wait for the end of the check that runs; the fault that comes of it."""
        assert self.checks.pid
        wait_for("the end of the check", self.reaped)
        return self.fault

    def run(self) -> str | None:
        """The next check, from its start to its end."""
        assert self.checks.due is not None and not self.checks.pid
        return self.at(max(self.checks.due, self.now)) or (self.finish() if self.checks.pid else None)


@pytest.fixture
def watched() -> Iterator[Watched]:
    before = len(os.listdir("/proc/self/fd"))
    made = Watched()
    yield made
    made.checks.end()
    if made.checks.pid:
        made.finish()
    assert made.checks.due is None and made.checks.fd == -1 and made.reactor.poll(0) == []
    assert len(os.listdir("/proc/self/fd")) == before
    for pid in made.launcher.pids:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


# When.


def test_nothing_is_due_without_a_service_or_a_command(watched: Watched) -> None:
    assert watched.checks.due is None
    watched.begin(conf())
    assert watched.checks.due is None
    assert watched.at(START + 10000) is None
    assert watched.launcher.pids == []


@pytest.mark.parametrize("delay", [0, 5])
def test_the_first_is_due_after_its_delay_and_the_next_after_an_interval(watched: Watched, delay: int) -> None:
    watched.begin(conf("true", delay=delay, interval=7))
    assert watched.checks.due == START + delay
    assert watched.at(START + delay - 0.1) is None
    assert watched.launcher.pids == []
    assert watched.at(START + delay + 0.5) is None
    assert watched.checks.pid == watched.launcher.pids[0]
    assert watched.finish() is None
    assert watched.checks.due == START + delay + 0.5 + 7


def test_one_that_takes_longer_than_the_interval_is_followed_by_the_next_at_once(watched: Watched) -> None:
    watched.begin(conf("cat", "/dev/null", interval=1, timeout=10))
    watched.at(START)
    assert watched.checks.due == START + 10  # not the next: this one's timeout
    assert watched.at(START + 5) is None
    assert len(watched.launcher.pids) == 1
    watched.now = START + 6
    assert watched.finish() is None
    assert watched.checks.due is not None and watched.checks.due <= watched.now
    watched.at(watched.now)
    assert len(watched.launcher.pids) == 2


def test_no_interval_is_a_second(watched: Watched) -> None:
    watched.begin(conf("true", interval=0, timeout=0, failures=0))
    watched.at(START)
    assert watched.checks.due == START + 1  # to end
    watched.finish()
    assert watched.checks.due == START + 1  # to start


# What its end means.


def test_so_many_failures_in_a_row_are_a_fault(watched: Watched) -> None:
    watched.begin(sh("echo; echo no answer; echo from it >&2; exit 1"))
    assert watched.run() is None
    assert watched.run() is None
    assert watched.run() == "unhealthy: check_command exited with status 1"
    assert watched.log.notices == [
        "check_command exited with status 1 (1 of 3): no answer",
        "check_command exited with status 1 (2 of 3): no answer",
        "check_command exited with status 1 (3 of 3): no answer",
    ]
    assert watched.checks.output == "\nno answer\nfrom it\n"


def test_a_success_ends_the_row(watched: Watched, tmp_path: Path) -> None:
    health = tmp_path / "healthy"
    watched.begin(sh(f"test -e '{health}'", failures=2))
    assert watched.run() is None
    health.touch()
    assert [watched.run(), watched.run()] == [None, None]
    health.unlink()
    assert watched.run() is None
    assert watched.run() == "unhealthy: check_command exited with status 1"
    assert watched.log.notices == [
        "check_command exited with status 1 (1 of 2)",
        "check_command succeeded, after 1 that did not",
        "check_command exited with status 1 (1 of 2)",
        "check_command exited with status 1 (2 of 2)",
    ]


@pytest.mark.parametrize(("limit", "seconds"), [(0, START_WAIT), (200, 200)])
def test_a_slow_starter_has_until_its_first_success_or_the_limit(watched: Watched, limit: int, seconds: int) -> None:
    config = sh("echo not yet; exit 1", delay=None, failures=2)
    config.starttimeoutsecs = limit
    watched.begin(config, START - 10)
    assert watched.checks.due == START
    while watched.checks.due < START - 10 + seconds:
        assert watched.run() is None
        assert watched.health("limit", "starting", "failure") == (2, True, "exited with status 1")
    count = len(watched.log.lines)
    last = f"check_command exited with status 1 ({count}, while it starts): not yet"
    assert count > 2 and watched.log.lines[-1][1] == last
    assert watched.run() == "unhealthy: check_command exited with status 1"
    assert watched.health("failures", "starting") == (count + 1, False)


def test_after_its_first_success_each_failure_counts(watched: Watched, tmp_path: Path) -> None:
    health = tmp_path / "healthy"
    watched.begin(sh(f"test -e '{health}'", delay=None, failures=2), START)
    assert [watched.run() for _ in range(2)] == [None, None]
    health.touch()
    assert watched.run() is None
    health.unlink()
    assert watched.run() is None
    assert watched.run() == "unhealthy: check_command exited with status 1"


def test_one_that_has_said_that_it_is_ready_is_no_slow_starter(watched: Watched) -> None:
    watched.begin(conf("false", delay=None, failures=1), None)
    assert watched.run() == "unhealthy: check_command exited with status 1"


# What they have found, for people who look.


def test_what_they_have_found(watched: Watched, tmp_path: Path) -> None:
    health = tmp_path / "healthy"
    health.touch()
    watched.begin(sh(f"test -e '{health}' || {{ echo; echo $$ is sick; exit 3; }}"))
    assert watched.checks.health is None
    assert watched.run() is None
    assert watched.health("failures", "failure", "output", "failing_time", "problem") == (0, None, "", None, None)
    before = watched.checks.health
    watched.run()
    assert watched.checks.health == before, "the state of a healthy service is not written again and again"
    health.unlink()
    watched.run()
    assert watched.health("failures", "limit", "failure") == (1, 3, "exited with status 3")
    since = watched.health("failing_time", "failing_boottime")
    assert None not in since
    watched.run()
    assert watched.health("failures", "failing_time", "failing_boottime") == (2, *since)
    assert watched.health("output") == (f"{watched.launcher.pids[-1]} is sick",)
    watched.checks.end()
    assert watched.health("failures") == (2,), "of one that is being ended, it is why"
    watched.begin(conf())
    assert watched.checks.health is None


def test_what_is_kept_of_its_output_is_short(watched: Watched) -> None:
    watched.begin(sh("yes | head -n 5000; exit 1"))
    watched.run()
    (output,) = watched.health("output")
    assert isinstance(output, str) and len(output) == 500


def test_one_that_cannot_be_started_is_seen(watched: Watched) -> None:
    watched.begin(conf("/no/such/check"))
    watched.at(START)
    assert watched.health("failures", "problem") == (0, "/no/such/check: No such file or directory")
    watched.checks.configure(conf("true"), START)
    assert watched.checks.health is None
    watched.run()
    assert watched.health("failures", "problem") == (0, None)


def test_another_process_of_the_service_begins_anew(watched: Watched) -> None:
    watched.begin(conf("false", failures=2))
    assert watched.run() is None
    watched.checks.end()
    assert watched.checks.due is None
    watched.begin(conf("false", failures=2))
    assert watched.run() is None
    assert watched.run() == "unhealthy: check_command exited with status 1"


def test_a_check_that_is_killed_has_failed(watched: Watched) -> None:
    watched.begin(sh("kill -KILL $$", failures=1))
    assert watched.run() == "unhealthy: check_command was killed by signal 9 (KILL)"


def test_a_check_whose_end_nobody_knows_has_failed(watched: Watched) -> None:
    watched.begin(conf("true", failures=1))
    watched.at(START)
    wait_for("its end", lambda: not alive(watched.checks.pid))
    os.waitpid(watched.checks.pid, 0)
    fault = watched.ended(ExitStatus(), START)
    assert fault == "unhealthy: check_command exited, status unknown"


def test_a_check_whose_output_cannot_be_read_has_ended_all_the_same(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.begin(sh("exit 1"))
    watched.at(START)

    def read(fd: int, size: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    os.waitpid(watched.checks.pid, 0)
    with monkeypatch.context() as patch:
        patch.setattr(posix, "read", read)
        watched.ended(BAD, watched.now)
    assert watched.checks.pid == 0
    assert watched.checks.fd == -1


def test_a_check_that_cannot_be_started_says_nothing_of_the_service(watched: Watched) -> None:
    watched.begin(conf("/nowhere/check", failures=1))
    for _ in range(3):
        assert watched.run() is None
    assert watched.checks.due == START + 90
    why = "/nowhere/check: No such file or directory"
    assert watched.log.warnings == [f"cannot start check_command, so the service is not checked: {why}"]
    assert watched.checks.output == ""


def test_no_descriptor_is_left_for_a_check(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(flags: int) -> tuple[int, int]:
        raise OSError(24, os.strerror(24))

    watched.begin(conf("true", failures=1))
    with monkeypatch.context() as patched:
        patched.setattr(posix, "pipe2", full)
        assert watched.run() is None
    assert watched.log.warnings == ["cannot start check_command, so the service is not checked: Too many open files"]
    assert watched.run() is None


# One that takes too long.


def family(where: Path) -> list[int]:
    """The processes that wrote their pids down."""
    return wait_for("their pids", lambda: where.exists() and [int(word) for word in where.read_text().split()])


def test_a_check_that_takes_too_long_is_killed_with_its_children(watched: Watched, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"echo asking; sleep 1000 & echo $$ $! >'{pids}.new'; mv '{pids}.new' '{pids}'; wait"
    watched.begin(sh(script, timeout=10, interval=3, failures=2))
    for fault in (None, "unhealthy: check_command did not end within 10 seconds"):
        due = watched.checks.due
        assert due is not None
        watched.at(due)
        both = family(pids)
        assert watched.at(due + 9.9) is None
        assert all(map(alive, both))
        assert watched.at(due + 10) == fault
        assert watched.checks.output == "asking\n"
        wait_for("all of it to be gone", lambda both=both: not any(map(alive, both)))  # type: ignore[misc]
        # Its end is no failure once more.
        assert watched.finish() is None
        assert watched.checks.due is not None and watched.checks.due <= watched.now
        pids.unlink()
    assert watched.log.notices == [
        f"check_command did not end within 10 seconds ({count} of 2): asking" for count in (1, 2)
    ]


def test_one_that_cannot_even_be_killed_fails_again_and_no_other_is_started(watched: Watched) -> None:
    """As it is with a file system that does not answer: here, its end is only not told."""
    watched.begin(conf("sleep", "1000", timeout=10, interval=20))
    assert watched.at(START) is None
    assert watched.at(START + 10) is None
    assert watched.checks.due == START + 30
    assert watched.at(START + 30) is None
    assert watched.at(START + 50) == "unhealthy: check_command did not end within 10 seconds"
    assert len(watched.launcher.pids) == 1
    assert watched.finish() is None
    assert watched.checks.due is not None and watched.checks.due <= watched.now


# The service is stopped meanwhile.


def test_a_check_ends_with_the_service(watched: Watched) -> None:
    watched.begin(sh("trap '' TERM INT HUP; sleep 1000; exit 1", failures=1))
    watched.at(START)
    watched.checks.end()
    assert watched.checks.due is None
    assert watched.finish() is None


def test_the_last_check_of_the_time_before_is_waited_for(watched: Watched) -> None:
    """It has been killed, but that takes its time: it is neither overlapped nor a failure."""
    config = conf("sleep", "1000", failures=1)
    watched.begin(config)
    watched.at(START)
    watched.checks.end()
    watched.begin(config)
    assert watched.at(START + 1) is None
    assert len(watched.launcher.pids) == 1
    assert watched.finish() is None
    assert watched.checks.due == START
    watched.at(START + 1)
    assert len(watched.launcher.pids) == 2


def test_an_end_that_is_told_after_the_service_s_means_nothing(watched: Watched) -> None:
    watched.begin(conf("false", failures=1))
    watched.at(START)
    wait_for("its end", lambda: not alive(watched.checks.pid))
    watched.checks.end()
    assert watched.finish() is None
    assert watched.log.lines == []


# What it prints.


def test_what_it_prints_never_holds_it_up(watched: Watched) -> None:
    """A pipe holds 64 KB."""
    watched.begin(sh("echo first; seq 200000; echo last; exit 1", failures=1))
    assert watched.run() == "unhealthy: check_command exited with status 1"
    output = watched.checks.output
    assert output.startswith("first\n1\n2\n") and output.endswith("\n200000\nlast\n") and "\n...\n" in output
    assert len(output) <= 4096


@pytest.mark.parametrize("size", [0, 1, 3500, 3501, 4000])
def test_up_to_some_size_all_of_it_is_kept(watched: Watched, size: int) -> None:
    watched.begin(sh(f"head -c {size} /dev/zero | tr '\\0' x; exit 1", failures=1))
    watched.run()
    assert watched.checks.output == "x" * size


def test_what_it_prints_may_be_anything(watched: Watched) -> None:
    watched.begin(sh(r"printf 'caf\351 \000\033[31m'; exit 1", failures=1))
    watched.run()
    assert watched.checks.output == "caf\N{REPLACEMENT CHARACTER} \0\033[31m"


def test_of_each_failure_its_own_words_are_kept(watched: Watched, tmp_path: Path) -> None:
    words = tmp_path / "words"
    watched.begin(sh(f"cat '{words}'; exit 1"))
    for text in ("one\n", "two\n"):
        words.write_text(text)
        watched.run()
        assert watched.checks.output == text


def test_it_may_close_its_output_long_before_its_end(watched: Watched, tmp_path: Path) -> None:
    go = tmp_path / "go"
    os.mkfifo(go)
    watched.begin(sh(f"echo said; exec >&- 2>&-; read line <'{go}'; exit 1", failures=1))
    watched.at(START)

    def closed() -> bool:
        assert not watched.reaped()
        return watched.checks.fd == -1

    wait_for("the end of its output", closed)
    assert watched.checks.due == START + 10
    go.write_text("\n")
    assert watched.finish() == "unhealthy: check_command exited with status 1"
    assert watched.checks.output == "said\n"


@pytest.mark.parametrize("left", ["sleep 1000", "exec yes"])
def test_what_it_leaves_in_the_background_does_not_matter(watched: Watched, tmp_path: Path, left: str) -> None:
    """Neither that its output stays open, nor that there is no end of it."""
    pids = tmp_path / "pids"
    watched.begin(sh(f"({left}) & echo $! >'{pids}'; exit 1", failures=2))
    for fault in (None, "unhealthy: check_command exited with status 1"):
        assert watched.run() == fault
        assert watched.checks.fd == -1
        for pid in family(pids):
            if alive(pid):  # yes has ended with its pipe, perhaps
                os.kill(pid, signal.SIGKILL)


# The configuration changes.


def test_times_that_are_changed_count_at_once(watched: Watched) -> None:
    watched.begin(conf("sleep", "1000", delay=100))
    watched.checks.configure(conf("sleep", "1000", delay=10), START + 1)
    assert watched.checks.due == START + 10
    watched.at(START + 10)
    watched.checks.configure(conf("sleep", "1000", timeout=5), START + 11)
    assert watched.checks.due == START + 15
    watched.checks.configure(conf("sleep", "1000", timeout=5, failures=1), START + 12)
    assert watched.at(START + 15) == "unhealthy: check_command did not end within 5 seconds"
    watched.finish()
    watched.checks.configure(conf("sleep", "1000", interval=77), START + 16)
    assert watched.checks.due == START + 10 + 77


def test_another_command_is_another_question(watched: Watched) -> None:
    watched.begin(conf("false", failures=2))
    assert watched.run() is None
    watched.checks.configure(sh("exit 2", failures=2), START + 1)
    assert watched.checks.due == START
    assert watched.run() is None
    assert watched.run() == "unhealthy: check_command exited with status 2"


def test_a_command_that_is_changed_while_it_runs(watched: Watched) -> None:
    watched.begin(conf("sleep", "1000", failures=1))
    watched.at(START)
    watched.checks.configure(conf("true", failures=1), START + 1)
    assert watched.at(START + 2) is None  # the other one has not ended
    assert watched.finish() is None
    assert watched.run() is None
    assert len(watched.launcher.pids) == 2


def test_a_command_that_is_taken_away_and_given_again(watched: Watched) -> None:
    watched.begin(conf("sleep", "1000"))
    watched.at(START)
    watched.checks.configure(conf(), START + 1)
    assert watched.checks.due is None
    assert watched.finish() is None
    watched.checks.configure(conf("true"), START + 2)
    assert watched.run() is None
    assert len(watched.launcher.pids) == 2


def test_without_a_service_a_change_starts_nothing(watched: Watched) -> None:
    watched.checks.configure(conf("true"), START)
    assert watched.checks.due is None


# For months.


def test_hundreds_of_checks_leave_nothing(watched: Watched) -> None:
    """The fixture counts descriptors and looks for zombies."""
    watched.begin(sh("echo fine", interval=1))
    for _ in range(300):
        assert watched.run() is None
    assert len(watched.launcher.pids) == 300
    assert watched.log.lines == []
