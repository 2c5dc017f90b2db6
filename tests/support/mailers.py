"""Mail programs for the tests of alarms: recording scripts, and a mail server for the machine's real ones."""

from __future__ import annotations

import email
import email.policy
import os
import re
import shutil
import signal
import socket
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from box import PATIENCE, Box, wait_for

HOST = os.uname().nodename
TO = ["oncall@example.org", "boss@example.org"]
POLICY = f"[global]\nalarm_interval : 60\nalarm_mail : {' '.join(TO)}\n"
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
SENDMAILS = ("/usr/sbin/sendmail", "/usr/lib/sendmail", "/sbin/sendmail")

# Records one file for each run: the arguments, NUL-terminated, an empty one, then what came on standard input.
RECORD = 'printf "%s\\0" "$@" "" >"$RECORDS/$$"; cat >>"$RECORDS/$$"; mv "$RECORDS/$$" "$RECORDS/$$.done"\n'
ONCE = "test -e ended && exec sleep 1000; touch ended; "  # a service that ends once, as what follows says


def real_sendmail() -> None:
    """The machine's sendmail must be msmtp: another one would send its mail into the world."""
    if not os.path.realpath(SENDMAILS[0]).endswith("/msmtp"):
        pytest.skip(f"{SENDMAILS[0]} is not msmtp (Debian package msmtp-mta)")


class Server:
    """An SMTP server on a free loopback port; `mails` is what arrived: recipients and message."""

    def __init__(self) -> None:
        controller = pytest.importorskip("aiosmtpd.controller")
        self.mails: list[tuple[list[str], EmailMessage]] = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.port = listener.getsockname()[1]

        class Controller(controller.Controller):  # type: ignore[name-defined,misc]
            def _create_server(self) -> Any:
                return self.loop.create_server(self._factory_invoker, sock=listener)

        self._controller = Controller(self, hostname="127.0.0.1", port=self.port, ready_timeout=PATIENCE)
        self._controller.start()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.mails.append((sorted(envelope.rcpt_tos), message))
        return "250 taken"

    def wait(self, count: int = 1) -> list[tuple[list[str], EmailMessage]]:
        wait_for(f"{count} mails at the server", lambda: len(self.mails) >= count)
        return self.mails

    def stop(self) -> None:
        self._controller.stop()


def put(box: Box, name: str, text: str) -> None:
    """Put a shell script first on PATH."""
    folder = box.folder / "bin"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("#!/bin/sh\n" + text)
    (folder / name).chmod(0o755)
    if not box.env["PATH"].startswith(f"{folder}:"):
        box.env["PATH"] = f"{folder}:{box.env['PATH']}"


def record(box: Box, name: str, more: str = "") -> None:
    """Put a program first on PATH that records how it was called."""
    records = box.folder / f"{name}.records"
    records.mkdir()
    put(box, name, f"RECORDS='{records}'\n{RECORD}{more}")


def recorded(box: Box, name: str) -> list[list[str]]:
    """How that program was called: its arguments, and at the end its input."""
    runs = []
    for path in (box.folder / f"{name}.records").glob("*.done"):
        arguments, _, text = path.read_bytes().decode().partition("\0\0")
        runs.append([*arguments.split("\0"), text])
    return runs


def only(box: Box, *programs: str) -> Path:
    """A PATH with nothing but these programs."""
    folder = box.folder / "few"
    folder.mkdir()
    for program in programs:
        found = shutil.which(program)
        assert found
        (folder / program).symlink_to(found)
    box.env["PATH"] = str(folder)
    return folder


def alarms(box: Box) -> list[str]:
    """The subjects of the alarms that the log knows of."""
    return re.findall(r"^\[NOTICE\] \S+ \S+ alarm: (.*)$", box.log(), re.MULTILINE)


def is_alarm(subject: str, what: str, name: str = "app") -> bool:
    return bool(re.fullmatch(rf"{STAMP} \[Alarm: {re.escape(HOST)}\] Service {re.escape(name)} {what}", subject))


def kill(box: Box) -> None:
    """End the service as somebody else might, and wait for its successor."""
    pid = box.pid
    os.kill(pid, signal.SIGKILL)
    box.wait_new_pid(pid)
