"""Run as a script: deliver one alarm, log how that went, end within 30 seconds.

    alarm_helper.py STATUS_DIR      standard input: the alarm, as alarm.py writes it; descriptor 3: STATUS_DIR

Mail goes through `mail -s SUBJECT ADDRESS...`, or where there is none through `sendmail -t`; each number of alarm_gsm
through `gsmsend-script NUMBER@MESSAGE`.  All of them run at the same time, without a shell.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from email.message import EmailMessage
from email.utils import formatdate
from typing import BinaryIO

# Last: no module of the standard library is to be found there.
sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))

from supervise.alarms.alarm import NOBODY_CAN_SEND, SAID
from supervise.protocol.exitstatus import from_wait_status
from supervise.protocol.severities import NOTICE, WARNING
from supervise.runtime.event_log import Log
from supervise.system.descendants import send_to
from supervise.system.procfs import Stat, everybody
from supervise.system.statusdir import StatusDir

LIMIT = 30.0  # seconds for everything together
AFTERWARDS = 10.0  # seconds of these for what the programs have left at work in the background
_LOOK = 0.05  # seconds between looks at a program
_SBIN = "/usr/sbin:/usr/lib:/sbin"  # where sendmail is, and PATH often is not


def _in_memory(name: str) -> BinaryIO:
    """A file that needs no disk: alarms are about machines whose disk may be full."""
    return open(os.memfd_create(name), "w+b", buffering=0)


class Delivery:
    """One program that delivers: started at once, waited for until a deadline."""

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
        """What it has left at work has until the deadline; then it is killed with all that it started."""
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
    """What `sendmail -t` reads: the recipients are in the header."""
    mail = EmailMessage()
    mail["To"] = ", ".join(addresses)
    mail["Subject"] = subject
    mail["Date"] = formatdate(localtime=True)
    mail.set_content(text)
    return mail.as_bytes()


def deliveries(subject: str, text: str, addresses: list[str], numbers: list[str]) -> tuple[list[Delivery], list[str]]:
    """Start everything that can be started; the second list says what is not installed."""
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


def deliver(fields: list[str], log: Log) -> int:
    """0 if all went well, NOBODY_CAN_SEND if something is not installed, else SAID."""
    deadline = time.monotonic() + LIMIT
    warned, subject, text, addresses, numbers = fields
    started, missing = deliveries(subject, text, addresses.split(), numbers.split())
    for line in () if warned else missing:
        log.add(WARNING, "cannot send alarms: %s", line)
    log.flush()
    failed = False
    for delivery in started:
        delivery.wait(deadline)
        failed |= bool(delivery.failure)
        if delivery.failure:
            log.add(WARNING, "%s failed: %s", delivery.what, delivery.failure)
        else:
            log.add(NOTICE, "%s: handed over", delivery.what)
        log.flush()
    # `mail` may leave the work to a child, which has time for it, but not for ever.
    end = min(deadline, time.monotonic() + AFTERWARDS)
    for delivery in started:
        delivery.finish(end)
    if missing:
        return NOBODY_CAN_SEND
    return SAID if failed else 0


def main(argv: list[str]) -> int:
    """Deliver the alarm on standard input; whatever goes wrong is in the log."""
    os.set_inheritable(3, False)
    log = Log(StatusDir.attach(argv[0], 3))
    try:
        fields = sys.stdin.buffer.read().split(b"\0")
        for variable in fields[5:]:
            name, _, value = variable.partition(b"=")
            os.environb[name] = value
        # Names may hold bytes that are not UTF-8; mail may not.
        return deliver([field.decode("utf-8", "backslashreplace") for field in fields[:5]], log)
    except Exception as why:  # the end of the line: nobody else would say that an alarm was lost
        log.add(WARNING, "alarm lost: %s: %s", type(why).__name__, why)
        return SAID
    finally:
        log.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
