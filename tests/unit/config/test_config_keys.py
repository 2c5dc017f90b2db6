"""The keys of supervise.conf beyond the policy: what sections, readings and expansion do to them; what is not told."""

from __future__ import annotations

import pytest
from test_config import complaints, made, read, the_complaint

from supervise.config.config import LIMITS, POLICY_KEYS, RESTRICTING, Config
from supervise.config.expand import Names
from supervise.config.parser import parse
from supervise.config.sections import LINE_LIMIT

NAMES = Names("/etc/app", "app", "host7", {b"HOME": b"/root", b"CAFE": b"caf\xe9"})

FULL = """\
[global]
autorestart : unexpected
exitcodes : 0,2
restart_delay : 2
restart_delay_max : 60
startsecs : 5
stopsignal : SIGQUIT
stopwaitsecs : 30
stopasgroup : yes
killasgroup : true
directory : %(here)s/run
user : www-data
group : adm
umask : 027
environment : A="1",B='two words'
redirect_stderr : on
stdout_logfile : INHERIT
stderr_logfile : inherit
stdout_logfile_maxbytes : 50MB
stdout_logfile_backups : 3
stderr_logfile_maxbytes : 1536K
stderr_logfile_backups : 0
logfile_compress : gzip
stdout_command : multilog t s1000000 ./main
stderr_command : logger -t "my app"
logfile_maxbytes : 1MB
logfile_backups : 5
rlimit_nofile : 1024:4096
rlimit_core : 0
rlimit_nproc : 100
rlimit_as : 1024M
nice : +5
ionice : be
oom_score_adj : -500
cpu_affinity : 3,0-1,2 7
cgroup : /sys/fs/cgroup/%(program_name)s
memory_max : 65536k
cpu_max : 150%
notify : 1
notification_fd : 5
starttimeoutsecs : 60
watchdog_secs : 10
watchdog_signal : 9
check_command : curl -fsS 'http://x/a b'
check_interval : 15
check_timeout : 5
check_failures : 2
check_delay : 1
pidfile : %(program_name)s.pid
"""
FULL_CONFIG = made(
    autorestart="unexpected",
    exitcodes=(0, 2),
    restart_delay=2,
    restart_delay_max=60,
    startsecs=5,
    stopsignal="QUIT",
    stopwaitsecs=30,
    stopasgroup=True,
    killasgroup=True,
    directory="/etc/app/run",
    user="www-data",
    group="adm",
    umask=0o27,
    environment=(("A", "1"), ("B", "two words")),
    redirect_stderr=True,
    stdout_logfile="INHERIT",
    stderr_logfile="INHERIT",
    stdout_logfile_maxbytes=50 << 20,
    stdout_logfile_backups=3,
    stderr_logfile_maxbytes=1536 << 10,
    stderr_logfile_backups=0,
    logfile_compress="gzip",
    stdout_command=("multilog", "t", "s1000000", "./main"),
    stderr_command=("logger", "-t", "my app"),
    logfile_maxbytes=1 << 20,
    logfile_backups=5,
    rlimit_nofile="1024:4096",
    rlimit_core="0",
    rlimit_nproc="100",
    rlimit_as="1G",
    nice="5",
    ionice="best-effort:4",
    oom_score_adj="-500",
    cpu_affinity="0-3,7",
    cgroup="/sys/fs/cgroup/app",
    memory_max="64M",
    cpu_max="150000 100000",
    notify=True,
    notification_fd=5,
    starttimeoutsecs=60,
    watchdog_secs=10,
    watchdog_signal="KILL",
    check_command=("curl", "-fsS", "http://x/a b"),
    check_interval=15,
    check_timeout=5,
    check_failures=2,
    check_delay=1,
    pidfile="app.pid",
)
LATER_KEYS = Config.__slots__[len(POLICY_KEYS) :]


def kept(key: str) -> dict[str, object]:
    """What stays in force where the value of a key is broken: that key, or all that restrict."""
    return {one: getattr(FULL_CONFIG, one) for one in (RESTRICTING if key in RESTRICTING else (key,))}


def expanded(text: str, previous: Config | None = None) -> Config:
    """What a file means where everything can be expanded, problems or not."""
    return parse(text.encode(), "app", previous, names=NAMES)[0]


def test_every_key() -> None:
    config, problems = parse(FULL.encode(), "app", names=NAMES)
    assert problems.lines("conf") == []
    assert config == FULL_CONFIG
    assert all(getattr(config, key) != getattr(Config(), key) for key in LATER_KEYS)


def test_the_defaults() -> None:
    assert {key: getattr(Config(), key) for key in LATER_KEYS} == {
        "autorestart": "always",
        "stopsignal": "TERM",
        "watchdog_signal": "ABRT",
        "exitcodes": (0,),
        **dict.fromkeys(("restart_delay", "startsecs"), 1),
        **dict.fromkeys(("restart_delay_max", "stopwaitsecs", "notification_fd", "starttimeoutsecs"), 0),
        **dict.fromkeys(("watchdog_secs",), 0),
        **dict.fromkeys(("stopasgroup", "killasgroup", "redirect_stderr", "notify"), False),
        **dict.fromkeys(("directory", "user", "group", "pidfile", "stdout_logfile", "stderr_logfile", *LIMITS), ""),
        **dict.fromkeys(("stdout_logfile_maxbytes", "stderr_logfile_maxbytes"), 0),
        **dict.fromkeys(("stdout_logfile_backups", "stderr_logfile_backups"), 10),
        "logfile_compress": "",
        "logfile_maxbytes": 10 << 20,
        "logfile_backups": 1,
        **dict.fromkeys(("environment", "check_command", "stdout_command", "stderr_command"), ()),
        **dict.fromkeys(("umask", "check_delay")),
        "check_interval": 30,
        "check_timeout": 10,
        "check_failures": 3,
    }


@pytest.mark.parametrize("key", LATER_KEYS)
def test_an_empty_value_is_the_default(key: str) -> None:
    expected = made(exitcodes=()) if key == "exitcodes" else Config()
    assert read(f"[global]\n{key} :\n") == expected
    if key != "environment":  # nothing is added to the variables
        assert getattr(expanded(f"{FULL}[app]\n{key} : \n"), key) == getattr(expected, key)


BAD = {
    "autorestart": "sometimes",
    "exitcodes": "0,256",
    "restart_delay": "1.5",
    "restart_delay_max": "1m",
    "startsecs": "-1",
    "stopsignal": "NOSUCH",
    "stopwaitsecs": "2147484",
    "stopasgroup": "maybe",
    "killasgroup": "2",
    "directory": "/srv/100%",
    "user": "a b",
    "group": "a b",
    "umask": "888",
    "environment": 'A="1',
    "redirect_stderr": "y",
    "stdout_logfile": "/dev/stdout",
    "stderr_logfile": "/var/log/%(nosuch)s",
    "stdout_logfile_maxbytes": "50 pages",
    "stdout_logfile_backups": "1000",
    "stderr_logfile_maxbytes": "2000000GB",
    "stderr_logfile_backups": "-1",
    "logfile_compress": "xz",
    "stdout_command": "'logger",
    "stderr_command": "'' -t app",
    "logfile_maxbytes": "10 pages",
    "logfile_backups": "1000",
    "rlimit_nofile": "2:1",
    "rlimit_core": "1X",
    "rlimit_nproc": "1K",
    "rlimit_as": "-1",
    "nice": "20",
    "ionice": "idle:1",
    "oom_score_adj": "1001",
    "cpu_affinity": "3-1",
    "cgroup": "app",
    "memory_max": "50%",
    "cpu_max": "half",
    "notify": "systemd",
    "notification_fd": "2",
    "starttimeoutsecs": "x",
    "watchdog_secs": "10s",
    "watchdog_signal": "99",
    "check_command": "curl '",
    "check_interval": "x",
    "check_timeout": "x",
    "check_failures": "x",
    "check_delay": "x",
    "pidfile": "%(nosuch)s",
}


@pytest.mark.parametrize("key", LATER_KEYS)
def test_a_bad_value_is_skipped_with_a_warning_and_leaves_the_one_in_force(key: str) -> None:
    text = f"[global]\nmax_tries : 3\n{key} : {BAD[key]}\n"
    assert the_complaint(text).startswith(f"conf:3: {key}: ")
    assert expanded(text) == made(max_tries=3)
    assert expanded(text, FULL_CONFIG) == made(max_tries=3, **kept(key))


@pytest.mark.parametrize("key", LATER_KEYS)
def test_what_a_sound_file_no_longer_says_is_at_its_default_again(key: str) -> None:
    lines = FULL.splitlines(keepends=True)
    rest = "".join(line for line in lines if not line.startswith(f"{key} "))
    changed = expanded(rest, FULL_CONFIG)
    assert getattr(changed, key) == getattr(Config(), key)
    assert changed == made(**{k: getattr(FULL_CONFIG, k) for k in LATER_KEYS if k != key})


def test_a_bad_value_over_a_good_one_leaves_the_good_one_at_first() -> None:
    text = "[global]\nstopwaitsecs : 5\n[app]\nstopwaitsecs : x\n"
    assert expanded(text).stopwaitsecs == 5
    assert expanded(text, made(stopwaitsecs=7)).stopwaitsecs == 7


def test_of_exit_codes_the_stronger_section_has_the_word() -> None:
    assert read("[global]\nexitcodes : 0,2\n[app]\nexitcodes : 1\n").exitcodes == (1,)


def test_of_a_command_the_stronger_section_has_the_word() -> None:
    assert read("[global]\ncheck_command : a b\n[app]\ncheck_command : c\n").check_command == ("c",)


# Expansion.


def test_what_is_expanded() -> None:
    for key in ("directory", "pidfile"):
        text = f"[app]\n{key} : %(here)s/%(program_name)s/%(host_node_name)s/%(ENV_HOME)s/100%%\n"
        assert getattr(expanded(text), key) == "/etc/app/app/host7//root/100%"


def test_a_command_is_expanded_before_it_is_split() -> None:
    names = Names(environ={b"CHECK": b"curl -f 'a b'"})
    config, _ = parse(b"[app]\ncheck_command : %(ENV_CHECK)s\n", "app", names=names)
    assert config.check_command == ("curl", "-f", "a b")


def test_what_is_not_expanded() -> None:
    text = "[app]\nuser : %(ENV_HOME)s\nstopsignal : %(ENV_HOME)s\n"
    assert [line.partition(" is ")[0] for line in complaints(text)] == [
        "conf:2: user: '%(ENV_HOME)s'",
        "conf:3: stopsignal: '%(ENV_HOME)s'",
    ]


def test_a_value_that_is_expanded_to_nothing_is_the_default() -> None:
    names = Names(environ={b"NONE": b""})
    text = b"[app]\ndirectory : %(ENV_NONE)s\ncheck_command : %(ENV_NONE)s\npidfile : %(ENV_NONE)s\n"
    config, problems = parse(text, "app", names=names)
    assert config == Config() and not problems


def test_the_name_of_the_service_is_always_known() -> None:
    assert read("[global]\npidfile : %(program_name)s.pid\n", "web").pidfile == "web.pid"


def test_bytes_that_are_no_text_are_kept() -> None:
    config, _ = parse(b"[app]\ndirectory : /caf\xe9\nenvironment : A=%(ENV_CAFE)s\n", "app", names=NAMES)
    assert config.directory.encode("utf-8", "surrogateescape") == b"/caf\xe9"
    assert config.environment[0][1].encode("utf-8", "surrogateescape") == b"caf\xe9"


@pytest.mark.parametrize(
    "value, why",
    [
        ("/a/%", "'/a/%': a % that is neither %% nor the beginning of %(...)s"),
        ("%(here)d", "'%(here)d': no s behind %(...)"),
        ("%(nosuch)s", "a name in %(...)s that is none of here, program_name, host_node_name, ENV_..."),
        ("%(ENV_NOSUCH)s", "'%(ENV_NOSUCH)s': no variable NOSUCH in supervise's environment"),
    ],
)
def test_what_cannot_be_expanded_is_told(value: str, why: str) -> None:
    _, problems = parse(f"[app]\ndirectory : {value}\n".encode(), "app", names=NAMES)
    (line,) = problems.lines("conf")
    assert line.startswith("conf:2: directory: ") and line.endswith(why)


# The environment.


def test_variables_of_the_two_sections_are_joined() -> None:
    text = '[global]\nenvironment : A=1,B="2",C=3\n[app]\nenvironment : C=4,A=%(here)s,D=5\n'
    assert expanded(text).environment == (("A", "/etc/app"), ("B", "2"), ("C", "4"), ("D", "5"))


@pytest.mark.parametrize("name", ["SUPERVISE_SERVICE", "SUPERVISE_STATUS_DIR", "NOTIFY_SOCKET"])
def test_what_supervise_says_itself_cannot_be_said_otherwise(name: str) -> None:
    text = f"[app]\nenvironment : A=1,{name}=hunter2,B=2\n"
    assert expanded(text).environment == (("A", "1"), ("B", "2"))
    assert the_complaint(text) == f"conf:2: environment: {name} is set by supervise: skipped"
    assert expanded(text, made(environment=(("A", "0"),))).environment == (("A", "1"), ("B", "2"))


def test_a_name_that_is_none_is_skipped() -> None:
    text = "[app]\nenvironment : A=1,hun ter2=x,B=2\n"
    assert expanded(text).environment == (("A", "1"), ("B", "2"))
    assert the_complaint(text) == "conf:2: environment: pair 2 has no usable name: skipped"


def test_of_a_variable_given_twice_the_last_one_counts() -> None:
    text = "[app]\nenvironment : A=1,B=2,A=3\n"
    assert expanded(text).environment == (("A", "3"), ("B", "2"))
    assert the_complaint(text) == "conf:2: environment: A again: the last one counts"


def test_a_variable_that_cannot_be_expanded_is_missing_at_first_and_then_all_stay_as_they_were() -> None:
    text = "[app]\nenvironment : A=1,B=%(ENV_NOSUCH)s\n"
    assert expanded(text).environment == (("A", "1"),)
    assert the_complaint(text) == ("conf:2: environment: B: no variable NOSUCH in supervise's environment: skipped")
    was = made(environment=(("A", "0"), ("B", "2")))
    assert expanded(text, was) == was


@pytest.mark.parametrize("bad, good", [("global", "app"), ("app", "global")])
def test_variables_of_one_section_that_are_missing_are_not_made_up_for_by_the_other(bad: str, good: str) -> None:
    lines = {bad: "environment : A='1\n", good: "environment : B=2\n"}
    text = f"[global]\n{lines['global']}[app]\n{lines['app']}"
    assert expanded(text).environment == (("B", "2"),)
    was = made(environment=(("A", "1"), ("B", "0")))
    assert expanded(text, was) == was


# What is cut short.


@pytest.mark.parametrize("key", LATER_KEYS)
def test_a_value_without_its_end_is_skipped(key: str) -> None:
    """Part of a command is another command."""
    line = f"{key} : 1 ".ljust(LINE_LIMIT)
    text = f"[app]\n{line}1\nmax_tries : 4\n"
    assert expanded(text, FULL_CONFIG) == made(max_tries=4, **kept(key))
    cut, skipped = complaints(text)
    assert cut == "conf:2: longer than 2048 bytes: cut there"
    assert skipped == f"conf:2: {key}: its end is missing: skipped"


def test_a_value_that_is_followed_by_blanks_only_is_whole() -> None:
    text = "[app]\ncheck_command : true" + " " * LINE_LIMIT + "\n"
    assert expanded(text).check_command == ("true",)
    assert the_complaint(text) == "conf:2: longer than 2048 bytes: cut there"


# What is not told.

TOKEN = "hunter$2"  # could be no name of a variable


@pytest.mark.parametrize(
    "text",
    [
        f"environment : A={TOKEN}",
        f"environment : A={TOKEN} x",
        f"environment : A='{TOKEN}",
        f"environment : {TOKEN}",
        f"environment : A=1,{TOKEN}=x",
        f"environment : A={TOKEN}%",
        f"environment : A=%({TOKEN})s",
        f"environment : A={TOKEN},A={TOKEN}",
        f"environment : NOTIFY_SOCKET={TOKEN}",
        f"environment : A=1\nenvironment : A={TOKEN}",
        f"environment {TOKEN}",
        f"environment A : {TOKEN}",
        f" environment : A={TOKEN}",
        f"\tenvironment {TOKEN}",
        f"environment :\n  A='{TOKEN}'",
        f"environment =\n    A=1,\n    B='{TOKEN}\n    {TOKEN}',C=1",
        f"environment = A='1,\n{TOKEN},\n{TOKEN}'=x\n{TOKEN} : x",
        f"environment = A='1,\n# a comment\n\n    {TOKEN}",
        f"environment = A='1\\0\n    {TOKEN}".replace("\\0", "\0"),
        f"environment : A={TOKEN}{'x' * LINE_LIMIT}",
        f"enviroment : A={TOKEN}",
        f"  A={TOKEN}",
    ],
)
def test_no_problem_tells_a_value_of_the_environment(text: str) -> None:
    for data in (f"[app]\n{text}\n", f"{text}\n[app]\n"):
        for line in complaints(data, strict=True):
            assert "hunter" not in line, line
        assert "hunter" not in str(expanded(data))


def test_what_follows_another_key_is_told_again() -> None:
    text = "[app]\nenvironment : A=1\nmax_tries : 5\n  max_tries : 6\nenvironment : A=1\n[other]\n  indented\n"
    assert "conf:4: indented, so it does not count: 'max_tries : 6'" in complaints(text)
    assert "conf:7: indented, so it does not count: 'indented'" in complaints(text, strict=True)


def test_a_value_that_seems_to_go_on_is_told_that_none_does() -> None:
    text = "[app]\nenvironment : A=1,\n  B=2\n"
    assert the_complaint(text) == "conf:3: indented, so it does not count (nor does a value go on in the next line)"


# What the log and --check say.


def test_the_log_is_told_what_is_not_at_its_default() -> None:
    assert str(made(notify=True, umask=0o22)) == (
        "no policy: alarm_interval is 0, restarts are not limited, umask 022, notify yes"
    )
    assert str(made(alarm_interval=60, exitcodes=())).endswith("max_tries_if_coredumped 0, exitcodes (empty)")
    assert str(FULL_CONFIG) == (
        "no policy: alarm_interval is 0, restarts are not limited, autorestart unexpected, exitcodes 0,2,"
        " restart_delay 2, restart_delay_max 60, startsecs 5, stopsignal QUIT, stopwaitsecs 30, stopasgroup yes,"
        " killasgroup yes, directory /etc/app/run, user www-data, group adm, umask 027, environment A B,"
        " redirect_stderr yes, stdout_logfile INHERIT, stderr_logfile INHERIT, stdout_logfile_maxbytes 50MB,"
        " stdout_logfile_backups 3, stderr_logfile_maxbytes 1536KB, stderr_logfile_backups 0, logfile_compress gzip,"
        " stdout_command multilog ..., stderr_command logger ..., logfile_maxbytes 1MB, logfile_backups 5,"
        " rlimit_nofile 1024:4096, rlimit_core 0, rlimit_nproc 100, rlimit_as 1G, nice 5,"
        " ionice best-effort:4, oom_score_adj -500, cpu_affinity 0-3,7, cgroup /sys/fs/cgroup/app, memory_max 64M,"
        " cpu_max 150000 100000, notify yes, notification_fd 5, starttimeoutsecs 60, watchdog_secs 10,"
        " watchdog_signal KILL, check_command curl ..., check_interval 15, check_timeout 5, check_failures 2,"
        " check_delay 1, pidfile app.pid"
    )


def test_every_key_is_shown_as_it_would_be_written() -> None:
    assert [key for key, _ in FULL_CONFIG.items()] == list(Config.__slots__)
    text = "[app]\n" + "".join(f"{key} : {value}\n" for key, value in FULL_CONFIG.items())
    assert read(text) == FULL_CONFIG
    assert read("[app]\n" + "".join(f"{key} : {value}\n" for key, value in Config().items())) == Config()
