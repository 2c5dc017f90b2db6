"""Alarms as they arrive: through the machine's own mail programs, at a real SMTP server, or at a recording script."""

from __future__ import annotations

import os
import re
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, Box, alive, wait_for
from installing import own
from mailers import ONCE, POLICY, SENDMAILS, TO, Server, alarms, is_alarm, kill, only, real_sendmail, record, recorded
from system import children, needs


@pytest.fixture
def server(box: Box) -> Iterator[Server]:
    """A mail server, and a HOME from which msmtp sends everything to it."""
    real_sendmail()
    made = Server()
    home = box.folder / "home"
    home.mkdir()
    (home / ".msmtprc").write_text(f"account default\nhost 127.0.0.1\nport {made.port}\nfrom supervise@example.org\n")
    (home / ".msmtprc").chmod(0o600)
    box.env["HOME"] = str(home)
    box.env.pop("MAILRC", None)
    yield made
    made.stop()


def check_text(box: Box, text: str, how: str, restarts: int) -> None:
    """The mail's text: how it ended, uptime, restarts in the window, and where the logs are."""
    text = text.replace("\r\n", "\n")
    assert how in text
    assert re.search(r"uptime: +\d+\.\d seconds", text)
    assert re.search(rf"restarts: +{restarts}\b.*60 seconds", text)
    for log in ("supervise.log", "supervise.log.wf", "__stdout", "__stderr"):
        assert re.search(rf"^.*{re.escape(str(box.status / log))}$", text, re.MULTILINE), log


# What arrives, and how.


@pytest.mark.parametrize("through", ["mail", "sendmail"])
def test_an_exit(box: Box, server: Server, through: str) -> None:
    if through == "mail":
        needs("mail")
    else:
        only(box, "sh", "sleep", "touch", "test")  # sendmail is not on this PATH: it is found in /usr/sbin
    box.conf(POLICY)
    box.start("sh", "-c", ONCE + "sleep 0.2; exit 3")
    ((to, message),) = server.wait()
    assert to == sorted(TO)
    assert is_alarm(message["Subject"], "exited!")
    check_text(box, message.get_content(), "exited with status 3", 0)
    box.wait_log(f"alarm to {' '.join(TO)} through {through}: handed over")
    assert box.warnings == ""
    assert alarms(box) == [message["Subject"]]


def test_an_exit_by_a_signal(box: Box, server: Server) -> None:
    needs("mail")
    box.conf(POLICY)
    box.start("sleep", "1000")
    box.control("k")
    ((_, message),) = server.wait()
    assert is_alarm(message["Subject"], "exited!")
    check_text(box, message.get_content(), "was killed by signal 9 (KILL)", 0)


def test_an_exit_with_a_core(box: Box, server: Server) -> None:
    needs("mail")
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0 and os.geteuid() != 0:
        pytest.skip("core dumps are forbidden here (ulimit -H -c is 0)")
    box.conf(POLICY)
    box.start("sh", "-c", ONCE + "ulimit -c unlimited; kill -SEGV $$")
    ((_, message),) = server.wait()
    assert is_alarm(message["Subject"], "exited with coredump!")
    check_text(box, message.get_content(), "was killed by signal 11 (SEGV), core dumped", 0)


def test_giving_up(box: Box, server: Server) -> None:
    """The first exit alarms, the second does not, the one that is one too many does."""
    needs("mail")
    box.conf(POLICY + "max_tries : 2\n")
    box.start("sh", "-c", "exit 7")
    box.wait_gone()
    (_, first), (_, last) = sorted(server.wait(2), key=lambda mail: str(mail[1]["Subject"]))
    assert is_alarm(first["Subject"], "exited!")
    assert is_alarm(last["Subject"], "gave up after 2 restarts!")
    check_text(box, last.get_content(), "exited with status 7", 2)
    assert alarms(box) == [first["Subject"], last["Subject"]]
    assert "[FATAL]" in box.warnings
    box.wait_log("handed over", 2)


def test_numbers(box: Box) -> None:
    """Each number gets one message as one argument; there are never more than ten."""
    record(box, "gsmsend-script")
    numbers = [f"+49170{n}" for n in range(9)] + ["oncall_group", "one-too-many"]
    box.conf(f"[global]\nalarm_interval : 60\nalarm_gsm : {' '.join(numbers)}\n")
    box.start("sh", "-c", ONCE + "exit 3")
    box.wait_warning("more than 10 numbers")
    box.wait_log("through gsmsend-script: handed over", 10)
    runs = recorded(box, "gsmsend-script")
    (subject,) = alarms(box)
    assert sorted(runs) == sorted([f"{number}@{subject}", ""] for number in numbers[:10])
    supervisor = box.supervisor
    wait_for("no child but the service", lambda: [*children(supervisor)] == [box.pid])


def test_a_missing_gsmsend_script(box: Box) -> None:
    """Mail still goes out, and the log says what is missing."""
    record(box, "mail")
    box.conf(POLICY + "alarm_gsm : 123\n")
    box.start("sh", "-c", ONCE + "exit 3")
    box.wait_log("through mail: handed over")
    box.wait_warning("gsmsend-script is not installed")
    assert len(recorded(box, "mail")) == 1


@pytest.mark.parametrize("through", ["mail", "sendmail"])
def test_a_name_that_is_more_than_a_line(box: Box, server: Server, through: str) -> None:
    """Whatever a service is called: the alarm arrives, and nothing in the name becomes a header."""
    if through == "mail":
        needs("mail")
    else:
        only(box, "sh", "sleep", "touch", "test")
    strange = Box(box.folder, "a b\nBcc: spy@example.org")
    strange.env = box.env
    box.conf(POLICY)
    strange.start("sh", "-c", ONCE + "exit 3")
    strange.wait_log("alarm: ")
    wait_for("the mail, or a word why there is none", lambda: server.mails or strange.warnings)
    assert strange.warnings == ""
    ((to, message),) = server.mails
    assert to == sorted(TO)
    assert message["Bcc"] is None
    subject = message["Subject"]
    assert subject.endswith("exited!") and "\n" not in subject


def test_a_name_that_is_not_utf_8(box: Box, server: Server) -> None:
    needs("mail")
    strange = Box(box.folder, os.fsdecode(b"caf\xe9"))
    strange.env = box.env
    box.conf(POLICY)
    strange.start("sh", "-c", ONCE + "exit 3")
    ((_, message),) = server.wait()
    assert re.search(r"Service caf.* exited!$", message["Subject"])


# Where nothing can send.


def hidden() -> list[str]:
    """Words before a command that is to run where no sendmail can be found: in a mount namespace without it."""
    needs("unshare", "mount")
    hide = f"for f in {' '.join(SENDMAILS)}; do if test -e $f; then mount --bind /dev/null $f || exit 1; fi; done; "
    words = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c"]
    words += [hide + 'exec "$@"', "hide"]
    tried = subprocess.run([*words, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"sendmail cannot be hidden in a mount namespace: {tried.stderr.strip()}")
    return words


def without_mailers(box: Box, *command: str) -> None:
    """Supervise where there is neither mail nor sendmail."""
    words = hidden()
    path = only(box, "sh", "sleep", "touch", "test", "env")
    start = [*words, f"{path}/env", f"PATH={path}", box.program, "-u", "status/app", *command]
    # unshare and mount are not on the PATH of supervise.
    subprocess.run(start, cwd=box.folder, env=dict(box.env, PATH=os.environ["PATH"]), check=True, timeout=PATIENCE)


def set_interval(box: Box, seconds: int) -> None:
    """Change the configuration, and wait until it is in force."""
    box.conf(POLICY.replace("60", str(seconds)))
    box.control("r")
    meaning = f"alarm_interval {seconds}," if seconds else "alarm_interval is 0"
    wait_for(meaning, lambda: meaning in box.log().rpartition("configuration supervise.conf: ")[2].partition("\n")[0])


def test_one_warning_where_nothing_can_send(box: Box) -> None:
    box.conf(POLICY)
    without_mailers(box, "sleep", "1000")
    supervisor = box.supervisor
    for count in (1, 2):
        kill(box)
        wait_for("the alarm", lambda count=count: len(alarms(box)) == count)  # type: ignore[misc]
        wait_for("the helper to have ended", lambda: [*children(supervisor)] == [box.pid])
        if count < 2:  # an exit that is not counted ends the window: the next one alarms again
            set_interval(box, 0)
            kill(box)
            set_interval(box, 60)
    lines = box.warnings.splitlines()
    assert len(lines) == 1 and "neither mail nor sendmail is installed" in lines[0], lines
    assert alive(box.pid)


def test_one_warning_where_two_alarms_overlap(box: Box) -> None:
    """The second alarm is raised before the first helper could say that nothing can send."""
    # Helpers are as slow as on a machine that has too much to do.
    helper = own(box) / "supervise" / "helpers" / "alarm_helper.py"
    first, _, rest = helper.read_text().partition("import time\n")
    helper.write_text(f"{first}import time\ntime.sleep(1.5)\n{rest}")
    box.conf(POLICY + "max_tries : 1\n")
    without_mailers(box, "sh", "-c", "exit 3")
    box.wait_gone()
    assert len(alarms(box)) == 2
    box.wait_warning("neither mail nor sendmail is installed")
    wait_for("the helpers to have ended", lambda: not helpers(box))
    assert box.warnings.count("neither mail nor sendmail is installed") == 1, box.warnings


def helpers(box: Box) -> list[int]:
    """The processes of this folder that deliver alarms."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and b"alarm_helper" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except OSError:
            pass
    return [pid for pid in found if box.owns(pid)]
