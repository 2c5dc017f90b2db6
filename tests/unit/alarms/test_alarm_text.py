"""What an alarm says, and that a helper is told all of it."""

from __future__ import annotations

import email
import email.policy
import os
import posix
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from supervise.alarms import alarm
from supervise.alarms.mail import message
from supervise.alarms.text import compose
from supervise.config.config import Config
from supervise.protocol.exitstatus import ExitStatus, Fault
from supervise.protocol.states import HUNG, NOT_READY, SICK

ENV = {b"SUPERVISE_STATUS_DIR": b"/srv/status/app"}
BAD, CORE = ExitStatus(code=1), ExitStatus(signal=6, core=True)
SILENT = Fault(HUNG, "hung: no WATCHDOG=1 for 10 seconds")
UNHEALTHY = Fault(SICK, "unhealthy: check_command exited with status 1")
LATE = Fault(NOT_READY, "not ready within 30 seconds")
REWORDED = Fault(HUNG, "silent for 10 seconds")


class Text(NamedTuple):
    subject: str
    body: str


def composed(*what: Any, **more: Any) -> Text:
    return Text(*compose(*what, **more))


def text(how: ExitStatus = BAD, gave_up: bool = False, **more: Any) -> Text:
    config = Config()
    config.alarm_interval = 60
    return composed("app", ENV, config, how, 12.34, 3, gave_up, **more)


def ended(fault: str, core: bool = False) -> ExitStatus:
    return ExitStatus(signal=6, core=core, fault=fault)


@pytest.mark.parametrize(
    ("how", "gave_up", "what"),
    [
        (BAD, False, "exited!"),
        (CORE, False, "exited with coredump!"),
        (ended(SILENT), False, "hung!"),
        (ended(SILENT, core=True), False, "hung!"),  # it was told to dump one
        (ended(UNHEALTHY), False, "hung!"),
        (ended(LATE), False, "not ready!"),
        (ended(REWORDED), False, "hung!"),
        (ended("hung, by the words alone"), False, "exited!"),
        (BAD, True, "gave up after 3 restarts!"),
        (ended(SILENT), True, "gave up after 3 restarts!"),
    ],
)
def test_the_subject_says_what_has_happened(how: ExitStatus, gave_up: bool, what: str) -> None:
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d \[Alarm: .*\] Service app {what}", text(how, gave_up).subject
    )


@pytest.mark.parametrize(
    ("gave_up", "stays_down", "follows"),
    [
        (False, False, "it is being restarted"),
        (False, True, "it is not restarted (autorestart)"),
        (True, False, "supervise has given up: the service stays down"),
        (True, True, "supervise has given up: the service stays down"),
    ],
)
def test_the_body_says_what_follows(gave_up: bool, stays_down: bool, follows: str) -> None:
    body = text(gave_up=gave_up, stays_down=stays_down).body
    assert body.startswith(f"Service app exited with status 1; {follows}.\n\n")


def test_the_body_says_why_it_was_ended() -> None:
    body = text(ended(SILENT)).body
    assert f"was killed by signal 6 (ABRT), ended by supervise: {SILENT}; it is being restarted." in body


# Details: lines of anybody's making.


def block(details: str) -> list[str]:
    """The lines of the details, as they are in the body."""
    before, _, said = text(details=details).body.partition("\n  details:\n")
    assert before == text().body
    assert said.endswith("\n")
    return said[:-1].split("\n")


def test_details_are_a_block_of_their_own() -> None:
    lines = block("connection refused\n\tat port 80\n\n.\n")
    assert lines == ["    connection refused", "            at port 80", "    ", "    ."]


@pytest.mark.parametrize("details", ["", "\n", " \n\t\r\n"])
def test_without_details_there_is_no_block(details: str) -> None:
    assert text(details=details).body == text().body


def test_what_disturbs_a_terminal_is_left_out() -> None:
    assert block("\033[31mred\033[0m\0\a \udcff caf\N{LATIN SMALL LETTER E WITH ACUTE}\u202e") == [
        "    [31mred[0m  caf\N{LATIN SMALL LETTER E WITH ACUTE}"
    ]


def test_a_long_line_is_cut() -> None:
    assert block("x" * 201 + "\n" + "y" * 200) == ["    " + "x" * 200 + "...", "    " + "y" * 200]


def test_of_many_lines_the_middle_is_left_out() -> None:
    lines = block("\n".join(f"line {number}" for number in range(1000)))
    assert lines[:2] == ["    line 0", "    line 1"]
    assert lines[-2:] == ["    line 998", "    line 999"]
    assert lines.count("    ...") == 1


@given(st.text(max_size=6000))
@example("\N{PILE OF POO}" * 6000)
@example(("\N{PILE OF POO}" * 250 + "\n") * 10)
@example("\n" * 6000 + "x")
@example("\t" * 6000 + "x")
@example("x\n" * 3000)
def test_whatever_it_is_it_is_short_and_indented(details: str) -> None:
    if not details.strip():
        return
    lines = block(details)
    assert all(line.startswith("    ") and line.isprintable() for line in lines)
    assert len("\n".join(lines).encode()) <= 2100


# To the helper.


def test_the_helper_is_told_all_of_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Even where a pipe holds but a page, and addresses and paths are long."""
    told = []

    def start(name: str, args: Sequence[str], env: Any, ignored: Any, stdin: int, directory: int) -> int:
        told.append(os.read(stdin, 1 << 20).decode("utf-8", "surrogateescape"))
        return 4711

    class Directory:
        path, fd = str(tmp_path), 9

    monkeypatch.setattr(alarm.helper, "start", start)
    config = Config()
    config.alarm_mail = tuple(f"{number}-{'x' * 90}@example.org" for number in range(40))
    config.alarm_gsm = ("1", "2")
    env = {b"SUPERVISE_STATUS_DIR": b"/x" * 2000}
    saying = composed("caf\udce9", env, config, BAD, 1, 0, False, details="y\n" * 900)
    before = os.listdir("/proc/self/fd")
    assert alarm.send(Directory(), config, saying, {}, [], False) == 4711  # type: ignore[arg-type]
    assert os.listdir("/proc/self/fd") == before
    assert told[0].split("\0") == ["", saying.subject, saying.body, " ".join(config.alarm_mail), "1 2"]


def test_where_nobody_is_to_be_told_no_helper_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm.helper, "start", None)
    assert alarm.send(None, Config(), text(), {}, [], False) == 0  # type: ignore[arg-type]


# Nothing that a service, its directory or its host is called, or prints, is more than text.

ODD = st.text(st.characters(), min_size=1, max_size=40) | st.sampled_from(
    ["a\n~!touch x\n.\nb", "x\r\nBcc: eve@example.org\r\n\r\n", "-f", "\N{LINE SEPARATOR}~r x", "\udce9\n", "\x85.\x85"]
)


@given(ODD, ODD, ODD, ODD, ODD)
def test_whatever_things_are_called(name: str, path: str, host: str, failure: str, printed: str) -> None:
    class Uname:
        nodename = host

    config = Config()
    env = {b"SUPERVISE_STATUS_DIR": ("/" + path).encode("utf-8", "surrogateescape" if "\udce9" in path else "replace")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posix, "uname", Uname)
        said = composed(name, env, config, ExitStatus(failure=failure), 1, 0, False, details=printed)
    assert said.subject.isprintable()
    assert re.match(r"\d{4}-\d\d-\d\d ", said.subject)  # not an option
    lines = said.body.split("\n")
    assert lines[0].startswith("Service ") and lines[-1] == ""
    assert all(line == "" or line.startswith("  ") for line in lines[1:])  # no command of a mailer, no end of the mail
    assert all(line.isprintable() for line in lines)


@given(ODD, ODD)
@example("x" * 73, "." * 200)
def test_the_header_of_a_mail(name: str, printed: str) -> None:
    addresses = ["ops@example.org", "dev+alarms@example.org"]
    said = composed(name, ENV, Config(), BAD, 1, 0, False, details=printed)
    data = message(said.subject, said.body, addresses)
    body = data.partition(b"\n\n")[2]
    mail = email.message_from_bytes(data, policy=email.policy.default)
    known = {"To", "Subject", "Date", "Content-Type", "Content-Transfer-Encoding", "MIME-Version"}
    assert sorted(mail.keys()) == sorted(known)
    assert [address.addr_spec for address in mail["To"].addresses] == addresses
    assert mail["Subject"].replace(" ", "") == said.subject.replace(" ", "")
    assert b"." not in body.split(b"\n")  # alone it ends what sendmail reads
