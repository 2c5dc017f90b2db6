"""`supervise --check`: what a configuration means, every problem with its line, and exit codes for scripts."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import PATIENCE, ROOT, SUPERVISE, Box

from supervise.config.config import Config
from supervise.config.parser import parse

EXAMPLE = ROOT / "conf" / "supervise.conf"
GOOD = """\
[lonely]
alarm_interval : 120

[global]
alarm_interval : 60
alarm_mail : a@example.org
max_tries : 5

[app]
max_tries = 3
alarm_mail : b@example.org a@example.org
"""


def check(box: Box, *args: str, code: int = 0) -> list[str]:
    """The lines that `supervise --check` prints; nothing goes to standard error, nothing is made."""
    before = sorted(box.folder.iterdir())
    done = box.run("--check", *args)
    assert (done.returncode, done.stderr) == (code, ""), done.stdout + done.stderr
    assert sorted(box.folder.iterdir()) == before
    return done.stdout.splitlines()


def meaning(output: list[str], service: str) -> dict[str, str]:
    """What is printed for one service: key -> value."""
    start = next(number for number, line in enumerate(output) if re.match(rf"service {service}\b.*:$", line))
    found = {}
    for line in output[start + 1 :]:
        match = re.fullmatch(r"  (\w+) :(?: (.*))?", line)
        if not match:
            break
        found[match[1]] = match[2] or ""
    return found


def problems(output: list[str], path: str = "supervise.conf") -> list[str]:
    """The problems, which are the lines that begin with the file's name."""
    return [line[len(path) :] for line in output if line.startswith(f"{path}:")]


def test_many_sections_take_no_longer_than_each_of_them(box: Box) -> None:
    """Reading the whole file for each section took a minute for a thousand of them."""
    many = 3_000
    (box.folder / "supervise.conf").write_text("".join(f"[svc{number}]\n" for number in range(many)))
    output = check(box, "-F", "supervise.conf")
    assert sum(line.startswith("service svc") for line in output) == many


# What a good file means.


def test_one_service(box: Box) -> None:
    box.conf(GOOD)
    assert meaning(check(box, "app"), "app") == {
        **dict(Config().items()),
        "alarm_interval": "60",
        "alarm_mail": "a@example.org b@example.org",
        "alarm_gsm": "",
        "max_tries": "3",
        "max_tries_if_coredumped": "0",
    }
    assert meaning(check(box, "app"), "app").keys() == {key for key, _ in Config().items()}


def test_a_service_before_global(box: Box) -> None:
    box.conf(GOOD)
    found = meaning(check(box, "lonely"), "lonely")
    assert (found["alarm_interval"], found["alarm_mail"], found["max_tries"]) == ("120", "", "0")


def test_a_service_without_a_section(box: Box) -> None:
    box.conf(GOOD)
    output = check(box, "other")
    assert "no section" in output[0]
    found = meaning(output, "other")
    assert (found["alarm_interval"], found["max_tries"]) == ("60", "5")


def test_every_service(box: Box) -> None:
    """Without NAME, each section is explained; global is no service."""
    box.conf(GOOD)
    output = check(box)
    assert [line for line in output if line.startswith("service ")] == ["service lonely:", "service app:"]
    assert meaning(output, "lonely")["alarm_interval"] == "120"
    assert meaning(output, "app")["max_tries"] == "3"


@pytest.mark.parametrize("text", ["", "# nothing\n\n; at all\n", "[global]\n"])
def test_no_policy(box: Box, text: str) -> None:
    """A file that says nothing is no problem, and what that means is said."""
    box.conf(text)
    output = check(box)
    assert "  alarm_interval : 0" in output
    assert any("no alarms" in line for line in output)


def test_interval_off(box: Box) -> None:
    """Limits that have no effect are pointed out."""
    box.conf("[global]\nalarm_interval : 0\nmax_tries : 5\n")
    assert any("no limit" in line for line in check(box, "app"))


def test_another_file(box: Box) -> None:
    (box.folder / "other.conf").write_text(GOOD)
    for order in (["-F", "other.conf", "app"], ["-F", str(box.folder / "other.conf"), "app"]):
        assert meaning(check(box, *order), "app")["max_tries"] == "3"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(GOOD.replace("\n", "\r\n").encode(), id="CRLF"),
        pytest.param(b"\xef\xbb\xbf" + GOOD.encode(), id="byte-order mark"),
        pytest.param(GOOD.rstrip("\n").encode(), id="no newline at the end"),
        pytest.param(GOOD.replace(" : ", ":").encode(), id="no blanks"),
        pytest.param(GOOD.replace(" : ", "\t=  ").replace("\n", " \t\n").encode(), id="other blanks"),
    ],
)
def test_harmless_variants(box: Box, data: bytes) -> None:
    (box.folder / "supervise.conf").write_bytes(data)
    output = check(box, "app")
    assert problems(output) == []
    assert meaning(output, "app")["alarm_mail"] == "a@example.org b@example.org"


def test_a_service_with_everything(box: Box) -> None:
    """Values are shown expanded, and as they would be written."""
    box.env["PORT"] = "8000"
    box.conf(
        "[global]\nenvironment : A=1,B=2\nstopsignal : 15\n"
        "[app]\nautorestart : FALSE\nexitcodes : 0 2\ndirectory : %(here)s/%(program_name)s\numask : 22\n"
        """environment : B="two 'words', 100%%",PORT=%(ENV_PORT)s\n"""
        "check_command : curl -f 'http://x:%(ENV_PORT)s/a b'\nnotify : on\n"
    )
    (box.folder / "app").mkdir()
    found = meaning(check(box, "app"), "app")
    assert {key: value for key, value in found.items() if value != dict(Config().items())[key]} == {
        "autorestart": "never",
        "exitcodes": "0,2",
        "directory": f"{box.folder}/app",
        "umask": "022",
        "environment": """A="1",B="two 'words', 100%%",PORT="8000\"""",
        "check_command": "curl -f 'http://x:8000/a b'",
        "notify": "yes",
    }


def test_an_expanded_value_that_disturbs_a_terminal(box: Box) -> None:
    box.env["ODD"] = "\x1b[2J\nmax_tries : 9\x07"
    box.conf("[app]\ndirectory : %(ENV_ODD)s\nenvironment : A=%(ENV_ODD)s\n")
    output = check(box, "app", code=100)  # there is no such directory
    assert all(line.isprintable() for line in output)
    assert meaning(output, "app")["max_tries"] == "0"


# What is wrong with a bad one.

BROKEN = {
    "unknown key": ("[global]\nalarm_intervall : 60\n", [":2: unknown key 'alarm_intervall'.*typo"]),
    "repeated key": ("[global]\nmax_tries : 1\n\nmax_tries : 2\n", [":4: max_tries again.*line 2"]),
    "repeated section": ("[app]\n[global]\n[app]\n", [":3: section .*app.* again"]),
    "not a number": ("[app]\nmax_tries : 1.5\n", [":2: max_tries: '1.5' is not a whole number"]),
    "negative": ("[app]\nmax_tries : -1\n", [":2: max_tries: '-1' is not a whole number"]),
    "hexadecimal": ("[app]\nmax_tries : 0x10\n", [":2: max_tries: "]),
    "other digits": ("[app]\nmax_tries : \u0663\n", [":2: max_tries: .* is not a whole number"]),
    "a unit": ("[app]\nalarm_interval : 5m\n", [":2: alarm_interval: '5m' is not a whole number"]),
    "out of range": ("[app]\nalarm_interval : 2147483648\n", [":2: alarm_interval: .* is out of range"]),
    "far out of range": (f"[app]\nmax_tries : {'9' * 1000}\n", [":2: max_tries: .* is out of range"]),
    "addresses": ("[app]\nalarm_mail : a@b -v |cat\n", [":2: alarm_mail: '-v' ", r":2: alarm_mail: '\|cat' "]),
    "a file": ("[app]\nalarm_mail : /tmp/x\n", [":2: alarm_mail: '/tmp/x' is not a usable address"]),
    "a number": ("[app]\nalarm_gsm : 123 12;3\n", [":2: alarm_gsm: '12;3' is not a usable number"]),
    "numbers": (f"[app]\nalarm_gsm : {' '.join(map(str, range(11)))}\n", [":2: alarm_gsm: more than 10 numbers"]),
    "indented key": ("[app]\n  max_tries : 1\n", [":2: indented, so it does not count: 'max_tries : 1'"]),
    "indented header": ("[global]\n [app]\nmax_tries : 1\n", [":2: indented"]),
    "no section": ("max_tries : 1\n", [":1: outside of any section"]),
    "no colon": ("[app]\nmax_tries 1\nnonsense\n", [":2: max_tries: no ':'", ":3: neither .*'nonsense'"]),
    "unclosed header": ("[app\nmax_tries : 1\n[global]\nmax_tries : x\n", [r":1: not a section header", ":4: "]),
    "empty header": ("[]\n", [":1: not a section header"]),
    "text after a header": ("[app] # mine\n", [":1: not a section header"]),
    "a flag": ("[app]\nnotify : maybe\n", [":2: notify: 'maybe' is neither yes nor no"]),
    "a signal": ("[app]\nstopsignal : SIGSTERM\n", [":2: stopsignal: 'SIGSTERM' is not a signal"]),
    "a mask": ("[app]\numask : 99\n", [":2: umask: '99' is not an octal number"]),
    "exit codes": ("[app]\nexitcodes : 0,300\n", [":2: exitcodes: '300' is out of range"]),
    "a restart policy": ("[app]\nautorestart : perhaps\n", [":2: autorestart: 'perhaps' is neither always nor"]),
    "a user": ("[app]\nuser : a,b\n", [":2: user: 'a,b' is neither the name nor the number of a user"]),
    "a descriptor": ("[app]\nnotification_fd : 1\n", [":2: notification_fd: '1' is neither 0 nor a descriptor"]),
    "a quote": ("[app]\ncheck_command : a 'b\n", [":2: check_command: no closing '"]),
    "a percent sign": ("[app]\ndirectory : /100%\n", [":2: directory: '/100%': a % that is neither"]),
    "a variable": ("[app]\npidfile : %(ENV_NO)s\n", [":2: pidfile: '%.ENV_NO.s': no variable NO in supervise's"]),
    "variables": ("[app]\nenvironment : A=1,B\n", [":2: environment: no = in the second pair"]),
    "our variable": ("[app]\nenvironment : NOTIFY_SOCKET=1\n", [":2: environment: NOTIFY_SOCKET is set by"]),
    "no check": ("[app]\ncheck_timeout : 5\n", [":2: check_timeout: of no effect without check_command"]),
    "a logger": (
        "[app]\nstdout_logfile_maxbytes : 5MB\nstdout_command : logger\n",
        [":2: stdout_logfile_maxbytes: of no effect with stdout_command"],
    ),
    "one for both": (
        "[app]\nredirect_stderr : yes\nstderr_command : logger\n",
        [":3: stderr_command: of no effect with redirect_stderr"],
    ),
    "no readiness": ("[app]\nstarttimeoutsecs : 5\n", [":2: starttimeoutsecs: of no effect without notify or"]),
    "delays": ("[app]\nrestart_delay : 9\nrestart_delay_max : 5\n", [":3: restart_delay_max: less than .*, 9:"]),
    "general delays": ("[global]\nrestart_delay : 9\nrestart_delay_max : 5\n", [":3: restart_delay_max: less than"]),
    "NUL": ("[app]\nmax_tries : 1\0\n", [":2: holds a NUL byte"]),
    "long line": (f"[app]\nalarm_mail :{' a@b' * 600}\n", [":2: longer than 2048 bytes: cut there"]),
    "long comment": (f"[app]\n#{'x' * 3000}\n", [":2: longer than 2048 bytes: cut there"]),
    "control characters": ("[app]\n\x1b[2J : 1\n", [r":2: unknown key '\\x1b\[2J'"]),
    "in another section": ("[global]\n[app]\n[other]\nmax_tries : x\n", [":4: max_tries: 'x'"]),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_problems(box: Box, kind: str) -> None:
    """Exit code 100, each problem with its line, in the file's order, no others; and what is not broken applies."""
    text, expected = BROKEN[kind]
    (box.folder / "supervise.conf").write_bytes(text.encode())
    output = check(box, "app", code=100)
    assert meaning(output, "app").keys() == {key for key, _ in Config().items()}
    found = problems(output)
    assert len(found) == len(expected), found
    for line, pattern in zip(found, expected):
        assert re.match(pattern, line), line
        assert line.isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "[global]\ncheck_timeout : 5\nstarttimeoutsecs : 5\n[app]\nmax_tries : 1\n",
        "[global]\ncheck_command : true\nnotify : yes\n[app]\ncheck_timeout : 5\nstarttimeoutsecs : 5\n",
        "[app]\ncheck_interval : 30\nstarttimeoutsecs : 0\ncheck_delay :\n",
        "[app]\nnotification_fd : 3\nstarttimeoutsecs : 5\n",
        "[app]\nwatchdog_secs : 5\nexitcodes : 1\nkillasgroup : yes\nwatchdog_signal : KILL\n",
        "[app]\nrestart_delay : 5\n",
        "[app]\nrestart_delay : 5\nrestart_delay_max : 5\n",
    ],
)
def test_what_makes_sense_together(box: Box, text: str) -> None:
    """In [global], a key may be meant for some services."""
    box.conf(text)
    assert problems(check(box, "app")) == []


def test_problems_without_a_name(box: Box) -> None:
    """Those of all sections, and each of them once."""
    box.conf("[one]\nmax_tries : x\n[global]\nmax_tries : y\n[two]\nmax_tries : z\n[three]\n")
    output = check(box, code=100)
    expected = [f":{n}: max_tries: '{value}' is not a whole number" for n, value in ((2, "x"), (4, "y"), (6, "z"))]
    assert sorted(problems(output)) == expected


def test_many_problems(box: Box) -> None:
    """A file that is no configuration at all gives a screenful, not a flood."""
    box.conf("nonsense\n" * 5000)
    output = check(box, code=100)
    assert len(output) < 40 + len(Config().items())
    assert "more problems" in output[-1]


@pytest.mark.parametrize("kind", ["random bytes", "a program", "one line of 10 MB", "100 MB"])
def test_files_that_are_something_else(box: Box, kind: str) -> None:
    path = box.folder / "supervise.conf"
    if kind == "random bytes":
        path.write_bytes(bytes(range(256)) * 64)
    elif kind == "a program":
        path.write_bytes(Path("/bin/sh").read_bytes())
    elif kind == "one line of 10 MB":
        path.write_bytes(b"[app]\nmax_tries : 4\nalarm_mail : " + b"x" * 10_000_000)
    else:
        with path.open("wb") as file:
            file.write(b"[app]\nmax_tries : 4\n")
            file.truncate(100_000_000)
    output = check(box, "app", code=100)
    assert problems(output)
    assert all(line.isprintable() for line in output)
    if "MB" in kind:
        assert meaning(output, "app")["max_tries"] == "4"
        assert any("longer than 1048576 bytes" in line for line in output)


def test_sections_that_are_strange(box: Box) -> None:
    """They may be called anything; what is printed disturbs no terminal and breaks no line."""
    box.conf("[a b]\nmax_tries : 1\n[caf\u00e9]\n[evil\x1b[2J\x07\x85\u2028!]\n")
    done = box.run("--check")
    assert (done.returncode, done.stderr) == (0, "")
    assert "service a b:\n" in done.stdout and "service caf\u00e9:\n" in done.stdout
    for line in done.stdout.split("\n"):
        assert line.isprintable(), repr(line)


STRANGE = [
    pytest.param(b"caf\xe9", id="not UTF-8"),
    pytest.param(b"x\ny", id="newline"),
    pytest.param(b"\x1b[2J", id="ESC"),
]


@pytest.mark.parametrize("name", STRANGE)
def test_a_service_that_is_strange(box: Box, name: bytes) -> None:
    box.conf(GOOD)
    done = box.run("--check", name)
    assert (done.returncode, done.stderr) == (0, "")
    first, *rest = done.stdout.split("\n")
    assert first.startswith("service ") and first.endswith(", which has no section of its own:")
    assert all(line.isprintable() for line in (first, *rest)), repr(done.stdout)


@pytest.mark.parametrize("name", STRANGE)
def test_a_path_that_is_strange(box: Box, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(box.folder) + b"/" + name)).write_text("[app]\nnonsense\n")
    done = box.run("--check", "-F", name, "app")
    assert (done.returncode, done.stderr) == (100, "")
    *meant, problem, end = done.stdout.split("\n")
    assert problem.endswith(":2: neither `key : value` nor a section header: 'nonsense'") and end == ""
    assert problem.isprintable(), repr(problem)
    assert len(meant) == 2 + len(Config().items()), meant


# No file to read.


@pytest.mark.parametrize("args", [[], ["app"], ["-F", "etc/other.conf"], ["-F", "etc/other.conf", "app"]])
def test_a_missing_file(box: Box, args: list[str]) -> None:
    path = args[1] if "-F" in args else "supervise.conf"
    assert check(box, *args, code=100) == [f"{path}: cannot be read: No such file or directory"]


def test_a_directory(box: Box) -> None:
    (box.folder / "supervise.conf").mkdir()
    assert check(box, code=100) == ["supervise.conf: cannot be read: Is a directory (the service is not started)"]


def test_a_fifo_is_not_waited_for(box: Box) -> None:
    os.mkfifo(box.folder / "supervise.conf")
    assert check(box, code=100) == ["supervise.conf: cannot be read: Is a FIFO (the service is not started)"]


def test_a_symlink_loop(box: Box) -> None:
    (box.folder / "supervise.conf").symlink_to("supervise.conf")
    (line,) = check(box, code=100)
    assert line.startswith("supervise.conf: cannot be read: ")


def test_no_permission(box: Box, unprivileged: list[str]) -> None:
    box.conf(GOOD)
    (box.folder / "supervise.conf").chmod(0)
    done = subprocess.run(
        [*unprivileged, SUPERVISE, "--check"], cwd=box.folder, capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.returncode, done.stderr) == (100, "")
    assert done.stdout == "supervise.conf: cannot be read: Permission denied (the service is not started)\n"


def test_wrong_usage(box: Box) -> None:
    done = box.run("--check", "one", "two")
    assert done.returncode == 100
    assert done.stderr.startswith("supervise: fatal: wrong usage")


# The example that comes with the program.


def test_the_example_is_clean(box: Box) -> None:
    output = check(box, "-F", str(EXAMPLE))
    assert "service transmit:" in output
    assert check(box, "-F", str(EXAMPLE), "app")[0].startswith("service app, which has no section")


def test_the_example_documents_every_key(box: Box) -> None:
    """Each key stands in [global] with its default, and under words that explain it."""
    text = EXAMPLE.read_text()
    rest = text.split("\n[global]\n")[1].split("\n[")[0]
    found = dict(re.findall(r"^(\w+) :[ \t]*(.*)$", rest, re.MULTILINE))
    assert found == dict(Config().items())
    for key in found:
        assert re.search(rf"^# .+\n{key} :", rest, re.MULTILINE), f"{key} is not explained"
    config, wrong = parse(EXAMPLE.read_bytes(), "app", strict=True)
    assert config == Config() and not wrong
