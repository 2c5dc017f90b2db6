"""Delivering an alarm: `mail`, or where there is none `sendmail`, and `gsmsend-script`; loaded by the helper alone.

What lives here: the programs, and the wait for each.  What does not: the helper's time and its log (alarm_helper.py).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from email.message import EmailMessage
from email.utils import formatdate
from typing import BinaryIO

from supervise.protocol.exitstatus import from_wait_status
from supervise.system.descendants import send_to
from supervise.system.procfs import Stat, everybody

LIMIT = 30.0  # seconds for everything together
_LOOK = 0.05  # seconds between looks at a program
_SBIN = "/usr/sbin:/usr/lib:/sbin"  # where sendmail is, and PATH often is not


def _in_memory(name: str) -> BinaryIO:
    """A file that needs no disk: alarms are about machines whose disk may be full."""
    return open(os.memfd_create(name), "w+b", buffering=0)


class Delivery:
    """One mail program: started at once, waited for until a deadline.  `failure`: why it did not deliver, or empty."""

    def __init__(self, argv: list[str], what: str, data: bytes) -> None:
        self.what = f"{what} through {os.path.basename(argv[0])}"
        self.failure = ""
        self.output = _in_memory("output")
        self.process: subprocess.Popen[bytes] | None = None
        with _in_memory("text") as text:
            text.write(data)
            text.seek(0)
            try:
                self.process = subprocess.Popen(
                    argv, stdin=text, stdout=self.output, stderr=subprocess.STDOUT, start_new_session=True
                )
            except OSError as why:
                self.failure = f"cannot be executed: {why.strerror}"

    def wait(self, deadline: float) -> None:
        """Wait until the deadline (monotonic seconds).  It is not reaped, so that its number is that of its session."""
        if self.process is None:
            return
        while True:
            ended = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if ended or time.monotonic() >= deadline:
                break
            time.sleep(_LOOK)
        if not ended:
            self.failure = f"not finished after {LIMIT:.0f} seconds: killed"
        elif ended.si_status:
            self.output.seek(0)
            said = self.output.read(400).decode("utf-8", "replace").strip()
            how = from_wait_status(ended.si_status << 8 if ended.si_code == os.CLD_EXITED else ended.si_status)
            self.failure = f"{how}: {said}" if said else str(how)

    def finish(self, deadline: float) -> None:
        """Wait for its background processes until the deadline, then kill its session, and reap it."""
        if self.process is None:
            return
        while self._at_work() and time.monotonic() < deadline:
            time.sleep(_LOOK)
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except PermissionError:
            pass  # only a zombie, or somebody else by now
        for stat in self._at_work():
            send_to(stat, "KILL")  # in a process group of its own
        self.process.wait()

    def _at_work(self) -> list[Stat]:
        assert self.process
        try:
            return [stat for stat in everybody() if stat.session == self.process.pid]
        except OSError:
            return []  # nobody can look: then its process group is all that is ended


def message(subject: str, text: str, addresses: list[str]) -> bytes:
    """A mail as `sendmail -t` reads it: the recipients are in the header."""
    mail = EmailMessage()
    mail["To"] = ", ".join(addresses)
    mail["Subject"] = subject
    mail["Date"] = formatdate(localtime=True)
    mail.set_content(text)
    return mail.as_bytes()


def deliveries(subject: str, text: str, addresses: list[str], numbers: list[str]) -> tuple[list[Delivery], list[str]]:
    """Start a program for each way an alarm goes; the second list says what is configured, but not installed."""
    started, missing = [], []
    path = os.environ.get("PATH", os.defpath)
    if addresses:
        mail = shutil.which("mail", path=path)
        sendmail = shutil.which("sendmail", path=f"{path}:{_SBIN}")
        to = "alarm to " + " ".join(addresses)
        if mail:
            data = text.encode("utf-8", "replace")
            started.append(Delivery([mail, "-s", subject, *addresses], to, data))
        elif sendmail:
            started.append(Delivery([sendmail, "-t"], to, message(subject, text, addresses)))
        else:
            missing.append("alarm_mail is set, but neither mail nor sendmail is installed")
    if numbers:
        gsm = shutil.which("gsmsend-script", path=path)
        if gsm:
            started += [Delivery([gsm, f"{number}@{subject}"], f"alarm to {number}", b"") for number in numbers]
        else:
            missing.append("alarm_gsm is set, but gsmsend-script is not installed")
    return started, missing
