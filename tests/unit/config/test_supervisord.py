"""A supervisord.conf as it is: its syntax, its defaults, its names, and what is said of what is not carried over."""

from __future__ import annotations

import configparser
import posix
import resource
import shutil
from pathlib import Path

import pytest
from conftest import rounds
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from supervise.config.config import Config
from supervise.config.definitions import Fleet, find, read
from supervise.config.file import names_for
from supervise.config.parser import parse
from supervise.config.sources import Source
from supervise.config.supervisord_syntax import blocks, split_variables, title_of

SAMPLES = Path(__file__).parent / "samples"
ENVIRON = {b"WORKERS": b"4", b"PATH": b"/bin", b"SAID": b'a "b", %(c)s'}
HEAD = "[supervisord]\nnodaemon = true\n"
NOISY = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
STEADY = settings(max_examples=rounds(40, 150), deadline=None, suppress_health_check=NOISY)
MANY = rounds(2_000, 10_000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "supervisord.conf"


def fleet(path: Path, text: str) -> Fleet:
    path.write_text(text)
    return read(str(path), ENVIRON)


def good(path: Path, text: str) -> Fleet:
    """The fleet of a file with nothing wrong in it."""
    found = fleet(path, text)
    assert found.errors == []
    assert found.dialect == "supervisord.conf"
    return found


def config(found: Fleet, name: str) -> Config:
    """What a supervise makes of what governs a service; without a problem."""
    governed, problems = parse(found.services[name].text(), name, names=names_for(found.path, name))
    assert problems.lines("") == []
    return governed


def variables(found: Fleet, name: str) -> dict[str, str]:
    """The variables that a service gets, without those that tell who supervises it."""
    said = {**dict(found.services[name].environment), **dict(config(found, name).environment)}
    return {key: value for key, value in said.items() if not key.startswith("SUPERVISOR_")}


def said(lines: list[str], path: Path) -> list[str]:
    """Errors or warnings without the folder."""
    return [line.replace(f"{path.parent}/", "") for line in lines]


# The samples.


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """A copy of the samples that is believed, whoever checked them out."""
    return Path(shutil.copytree(SAMPLES, tmp_path / "samples"))


@pytest.mark.parametrize(
    "name, services",
    [
        ("every_key", ["cat"]),
        ("queue_workers", [*(f"queue-worker_0{number}" for number in range(8)), "scheduler_00"]),
        ("celery", ["celery", "celerybeat", "redis"]),
        ("container", ["php-fpm", "nginx"]),
        ("site", ["web-1", "web-2", "web-3", "web-4", "cron", "consumer_00", "consumer_01", "sender_00"]),
        ("airflow", ["airflow_webserver", "airflow_scheduler"]),
        ("ports", [*(f"server-port-98{number:02}" for number in range(3)), "push_shard1", "push_shard2"]),
        ("supervisor/conf.d/worker", ["worker_00", "worker_01"]),
        ("odoo", ["odoo", "odoo-longpolling"]),
        ("debian/supervisord", ["local", "sentry-web", "sentry-worker", "sentry-cron"]),
    ],
)
def test_samples_of_well_known_shapes_work_as_they_are(samples: Path, name: str, services: list[str]) -> None:
    found = read(str(samples / f"{name}.conf"), ENVIRON)
    assert found.errors == []
    assert found.dialect == "supervisord.conf"
    assert list(found.services) == services
    for one in services:
        config(found, one)
        assert find(found.path, one, ENVIRON) == (found.services[one], [])


def test_the_sample_with_several_workers(samples: Path) -> None:
    found = read(str(samples / "queue_workers.conf"), ENVIRON)
    worker = found.services["queue-worker_07"]
    assert worker.command[:3] == ["php", "/srv/app/artisan", "queue:work"]
    assert found.groups["queue-worker"] == list(found.services)[:8]
    governed = config(found, worker.name)
    assert (governed.user, governed.stopwaitsecs, governed.autorestart) == ("www-data", 3600, "always")
    assert (governed.stopasgroup, governed.killasgroup, governed.umask) == (True, True, None)
    assert found.services["scheduler_00"].command[2].startswith("while true; do php")


def test_the_sample_of_a_desktop(samples: Path) -> None:
    found = read(str(samples / "desktop.conf"), ENVIRON)
    assert (found.errors, found.groups["x"]) == ([], ["screen", "share", "editor"])
    assert found.services["proxy"].command == ["nginx", "-c", "/etc/nginx/nginx.conf", "-g", "daemon off;"]
    assert found.services["share"].command[2] == "rm /tmp/.X11-unix/X1 /tmp/.lock; x11vnc -display :1 -forever"
    editor = found.services["editor"]
    assert editor.command[2].endswith("done; exec node server.js -a : -w /work")
    assert editor.command[3:] == ["--listen", "9999", "--collab"]
    assert variables(found, "editor") == {"PYTHONPATH": "/srv/a:/srv/b", "LANG": "POSIX"}
    assert config(found, "editor").directory == "/srv/editor"
    assert config(found, "screen").directory == "/root"
    assert config(found, "screen").stopsignal == "KILL"
    assert [line.partition(":")[2] for line in said(found.warnings, samples / "desktop.conf")] == [
        "3: redirect_stderr: not a key of [supervisord]: skipped",
        "4: stopsignal: not a key of [supervisord]: skipped",
        "5: http_port: not a key of [supervisord]: skipped",
        "26: stderr_syslog: not carried over: what it prints is in __stderr; "
        "stderr_command : logger pipes it to syslog",
    ]
    _, problems = parse(found.services["proxy"].text(), "proxy", names=names_for(found.path, "proxy"))
    keys = ("chmod", "dependent_startup", "dependent_startup_wait_for")
    assert [line.partition("unknown key ")[2].split(":")[0] for line in problems.lines("")] == [
        f"'{key}'" for key in keys
    ]


def test_the_sample_with_ports(samples: Path) -> None:
    found = read(str(samples / "ports.conf"), ENVIRON)
    assert found.services["server-port-9802"].command[2] == "127.0.0.1:9802"
    assert variables(found, "server-port-9802") == {"UNBUFFERED": "1", "HTTP_proxy": "", "HTTPS_proxy": ""}
    assert config(found, "server-port-9802").stopwaitsecs == 30
    assert found.services["push_shard2"].command[-1] == "2"
    assert found.groups["queues"] == ["push_shard1", "push_shard2"]


def test_the_sample_that_supervisor_would_include(samples: Path) -> None:
    found = read(str(samples / "supervisor/conf.d/worker.conf"), ENVIRON)
    assert found.services["worker_01"].command == ["php", "/srv/app/artisan", "queue:work", "--sleep=3"]
    assert config(found, "worker_01").stopwaitsecs == 3600
    assert config(found, "worker_01").killasgroup


def test_the_sample_with_a_group(samples: Path) -> None:
    found = read(str(samples / "celery.conf"), ENVIRON)
    worker, beat, redis = (found.services[name] for name in ("celery", "celerybeat", "redis"))
    assert worker.command == [
        *("/srv/shop/venv/bin/celery", "-A", "shop", "worker"),
        *("--loglevel=INFO", "--concurrency=4", "-n", "worker@%h"),
    ]
    assert beat.command[-1] == f"--schedule={samples}/beat.db"
    assert redis.priority < beat.priority < worker.priority
    assert (worker.group, redis.group, found.groups["shop"]) == ("shop", "redis", ["celery", "celerybeat"])
    governed = config(found, "celery")
    assert (governed.startsecs, governed.stopwaitsecs, governed.directory) == (10, 600, "/srv/shop")
    assert (governed.stopasgroup, governed.killasgroup, governed.umask) == (True, True, 0o22)
    assert variables(found, "celery") == {
        "DJANGO_SETTINGS_MODULE": "shop.settings",
        "BROKER": "redis://:p,w@127.0.0.1/0",
    }


def test_the_sample_of_a_site(samples: Path) -> None:
    found = read(str(samples / "site.conf"), ENVIRON)
    web = found.services["web-2"]
    assert web.command[-4:] == ["--bind", "127.0.0.1:8002", "--name", "web 2/4"]
    host = names_for("", "").host
    assert variables(found, "web-2") == {
        **{"CONFIG": "/etc/site/site.yml", "HOME": "/srv/site"},
        **{"PORT": "8002", "NODE": host, "WHO": "web"},
    }
    assert config(found, "web-2").directory == "/srv/site"
    assert config(found, "consumer_01").directory == "/srv/site/consumers"
    assert found.services["cron"].command == ["/srv/site/bin/run", "--config=/etc/site/site.yml", "cron"]
    assert (found.services["cron"].autostart, config(found, "cron").exitcodes) == (False, (0, 2))


def test_a_service_knows_what_supervisor_would_have_told_it(samples: Path) -> None:
    found = read(str(samples / "celery.conf"), ENVIRON)
    told = {key: value for key, value in config(found, "celery").environment if key.startswith("SUPERVISOR_")}
    assert told == {
        "SUPERVISOR_ENABLED": "1",
        "SUPERVISOR_PROCESS_NAME": "celery",
        "SUPERVISOR_GROUP_NAME": "shop",
    }


def test_what_is_not_carried_over_is_said_in_one_line_each(samples: Path) -> None:
    found = read(str(samples / "every_key.conf"), ENVIRON)
    lines = [line.replace(f"{found.path}:", "") for line in found.warnings]
    assert all(": not carried over: " in line or ": left out" in line or "matches nothing" in line for line in lines)
    assert [line.partition(": not carried")[0] for line in lines if ": not carried" in line] == [
        *("3: [unix_http_server]", "7: [inet_http_server]", "13: logfile", "17: pidfile", "23: identifier"),
        *("30: [rpcinterface:supervisor]", "33: [supervisorctl]", "56: stdout_capture_maxbytes"),
        *("57: stdout_events_enabled", "58: stdout_syslog"),
        *("68: [eventlistener:mailer]", "72: [fcgi-program:php]"),
    ]
    assert not any("secret" in line for line in lines)


# Its syntax.


def parsed(text: str, tmp_path: Path) -> tuple[dict[str, dict[str, str]], list[str]]:
    source = Source(str(tmp_path / "x.conf"), text.encode())
    source.split(title_of)
    complaints: list[str] = []
    found: dict[str, dict[str, str]] = {}
    for section in source.sections:
        if section.title is None:
            complaints.append("no header")
            continue
        for block in blocks(section, lambda line, text: complaints.append(f"{line}: {text}")):
            found.setdefault(block.title, {}).update((key, entry.text) for key, entry in block.keys.items())
    return found, complaints


@pytest.mark.parametrize(
    "text, meant",
    [
        ("a=b ; c", "b"),
        ("a = b # c", "b"),
        ("a: b;c#d", "b;c#d"),
        ("a = sh -c 'x ; y'", "sh -c 'x"),
        ("a = b\n  c\n\n  d ; e\n", "b\nc\n\nd"),
        ("a = b\n; c\n  d\n", "b\nd"),
        ("a = b\n  x = y\n  [z]\n", "b\nx = y\n[z]"),
        ("a =\n  b\n", "\nb"),
        ("A = b\n", "b"),
        ("a = b = c : d\n", "b = c : d"),
        ("a = 1\na = 2\n", "2"),
        ("  a = b\n", "b"),
        ("  a = x\n  a = b\n", "b"),
        ("a =", ""),
    ],
)
def test_values_are_those_of_supervisor(tmp_path: Path, text: str, meant: str) -> None:
    found, complaints = parsed(f"[s] ; x\n{text}", tmp_path)
    assert (found["s"]["a"], complaints) == (meant, [])


_PIECES = st.sampled_from(
    ["\n", "\n", " ", "  ", "[a]", "[b] ; x", "[a", "a = 1", "b: 2", "c", " ; d", "# e", ";", "=", "A=3", "x ;y", "\t"]
)


@STEADY
@given(st.lists(_PIECES, max_size=30))
@example(["[a]", "\n", " ", "b: 2", "\n", "  ", "[b] ; x", "\n", "a = 1"])
@example([" ", "[a]", "\n", "  ", "a = 1", "\n", " ", "[b] ; x"])
def test_sections_and_values_are_what_configparser_makes_of_them(tmp_path: Path, pieces: list[str]) -> None:
    text = "".join(pieces)
    theirs = configparser.RawConfigParser(inline_comment_prefixes=(";", "#"), strict=False)
    found, complaints = parsed(text, tmp_path)
    try:
        theirs.read_string(text)
    except configparser.Error:
        assert complaints
        return
    if complaints or any("]" in title for title in found):
        return  # a header that is none, which it takes for a key; or one that it reads as its version does
    assert found == {name: dict(theirs.items(name)) for name in theirs.sections()}


@pytest.mark.parametrize(
    "text, meant",
    [
        ("", {}),
        ("A=1", {"A": "1"}),
        ("A=\"1\",B='2'", {"A": "1", "B": "2"}),
        ('A="x, y",B="it\'s"', {"A": "x, y", "B": "it's"}),
        ("A=1,\n\nB=2,\n", {"A": "1", "B": "2"}),
        ('A = 1 , B = "2" ,', {"A": "1", "B": "2"}),
        ("A=http://u:p@h/?a=b,B=\\", {"A": "http://u:p@h/?a=b", "B": "\\"}),
        ('A="a\\n\\"', {"A": "a\\n\\"}),
        ('A=""', {"A": ""}),
    ],
)
def test_variables(text: str, meant: dict[str, str]) -> None:
    assert dict(split_variables(text)) == meant


@pytest.mark.parametrize("text", ["A", "A,B=1", 'A="x', 'A="x"y', "A='x' B='y'"])
def test_variables_that_cannot_be_understood(path: Path, text: str) -> None:
    with pytest.raises(ValueError):
        dict(split_variables(text))
    (error,) = fleet(path, f"{HEAD}[program:a]\ncommand=a\nenvironment={text}\n").errors
    assert error.startswith(f"{path}:5: environment: ") and text not in error


# What it is recognised by.


@pytest.mark.parametrize(
    "head",
    [
        *("[supervisord]", "[supervisorctl]", "[unix_http_server]", "[inet_http_server]", "  [supervisord]"),
        *("[rpcinterface:x]", "[eventlistener:x]", "[fcgi-program:x]", "[supervisord] ; x", "[ctlplugin:x]"),
    ],
)
def test_a_section_that_only_supervisor_has(tmp_path: Path, head: str) -> None:
    path = tmp_path / "any.conf"
    assert fleet(path, f"{head}\n[program:a]\ncommand = a ; b\n").dialect == "supervisord.conf"
    assert fleet(path, f"; x {head}\n[program:a]\ncommand = a\n").dialect == "supervise.conf"


@pytest.mark.parametrize(
    "name",
    [
        "supervisord.conf",
        "supervisor.conf",
        "supervisor/conf.d/a.conf",
        "supervisord/conf.d/a.conf",
        "supervisord.d/a.ini",
    ],
)
def test_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    found = good(path, "[program:a]\ncommand = a ; b\n")
    assert found.services["a"].command == ["a"]


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("key", ["logfile_maxbytes", "logfile_backups", "capture_maxbytes", "events_enabled", "syslog"])
def test_a_key_that_only_supervisor_has(tmp_path: Path, stream: str, key: str) -> None:
    path = tmp_path / "any.conf"
    line = f"{stream}_{key} = 0\n"
    for more in ("", "[group:b]\nprograms = a\n", "[include]\nfiles = none/*\n", "[global]\nalarm_interval : 60\n"):
        assert fleet(path, f"[program:a]\ncommand = a ; b\n  {line}{more}").dialect == "supervisord.conf"
    for text in (
        f"[a]\ncommand = a\n{line}",
        f"[program:a]\ncommand = a\n[b]\n{line}",
        f"[program:a]\ncommand = a {line}",
    ):
        assert fleet(path, text).dialect == "supervise.conf"


# Its defaults, and ours.


def test_defaults_are_those_of_supervisor(path: Path) -> None:
    found = good(path, "[supervisord]\n[program:a]\ncommand = a\n")
    governed = config(found, "a")
    assert (governed.autorestart, governed.exitcodes, governed.startsecs) == ("unexpected", (0,), 1)
    assert (governed.stopsignal, governed.stopwaitsecs, governed.umask) == ("TERM", 10, 0o22)
    assert (governed.stopasgroup, governed.killasgroup, governed.redirect_stderr) == (False, False, False)
    assert (governed.directory, governed.user) == ("", "")
    one = found.services["a"]
    assert (one.startretries, one.autostart, one.priority) == (3, True, 999)


@pytest.mark.parametrize(
    "line, key, value",
    [
        ("autorestart = true", "autorestart", "always"),
        ("autorestart = FALSE", "autorestart", "never"),
        ("exitcodes = 0,2", "exitcodes", (0, 2)),
        ("startsecs = 0", "startsecs", 0),
        ("stopsignal = 15", "stopsignal", "TERM"),
        ("stopsignal = SIGQUIT", "stopsignal", "QUIT"),
        ("stopwaitsecs = 0", "stopwaitsecs", 1),
        ("stopwaitsecs = 30 ; s", "stopwaitsecs", 30),
        ("stopasgroup = true", "killasgroup", True),
        ("killasgroup = yes", "killasgroup", True),
        ("directory = /x y/%%", "directory", "/x y/%"),
        ("user = nobody", "user", "nobody"),
        ("umask = 0027", "umask", 0o27),
        ("redirect_stderr = on", "redirect_stderr", True),
        ("check_command = curl\n  -f http://%(host_node_name)s.x/%%", "check_command", None),
        ("rlimit_core = 0", "rlimit_core", "0"),
        ("alarm_mail = a@b", "alarm_mail", ("a@b",)),
    ],
)
def test_keys_that_mean_something_to_us(path: Path, line: str, key: str, value: object) -> None:
    found = good(path, f"{HEAD}[program:a]\ncommand = a\n{line}\n")
    if value is None:
        value = ("curl", "-f", f"http://{names_for('', '').host}.x/%")
    assert getattr(config(found, "a"), key) == value


def test_supervisords_own_keys_are_defaults_for_all(path: Path) -> None:
    head = "[supervisord]\numask = 077\nuser = daemon\ndirectory = sub\nenvironment = A=1,B=%(ENV_WORKERS)s\n"
    text = f"{head}[program:a]\ncommand = a %(ENV_B)s\n[program:b]\ncommand = b\numask = 022\nuser = bin\n"
    found = good(path, f"{text}environment = B=x%(ENV_A)s\ndirectory = d\n")
    assert [(config(found, name).umask, config(found, name).user) for name in "ab"] == [(0o77, "daemon"), (0o22, "bin")]
    assert [config(found, name).directory for name in "ab"] == [f"{path.parent}/sub", f"{path.parent}/sub/d"]
    assert [variables(found, name) for name in "ab"] == [{"A": "1", "B": "4"}, {"A": "1", "B": "x1"}]
    assert found.services["a"].command == ["a", "4"]


def test_a_directory_is_below_that_of_the_file_where_supervisord_has_none(path: Path) -> None:
    found = good(path, f"{HEAD}[program:a]\ncommand = a\ndirectory = d\n[program:b]\ncommand = b\n")
    assert [config(found, name).directory for name in "ab"] == [f"{path.parent}/d", ""]


@pytest.mark.parametrize(
    "soft, hard, said",
    [(100, 200, "500:500"), (100, 900, "500:900"), (100, -1, "500:unlimited"), (600, 600, ""), (-1, -1, "")],
)
def test_limits_are_raised_and_never_lowered(
    path: Path, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, said: str
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    found = good(path, "[supervisord]\nminfds = 500\nminprocs = 500\n[program:a]\ncommand = a\n")
    meant = said.partition(":")[0] if said == "500:500" else said
    assert (config(found, "a").rlimit_nofile, config(found, "a").rlimit_nproc) == (meant, meant)


def test_a_section_global_of_ours_counts(path: Path) -> None:
    text = "[supervisord]\n[global]\nalarm_mail = a@b\nstopwaitsecs = 7\n[program:a]\ncommand = a\n"
    found = fleet(path, text)
    assert (found.errors, found.warnings) == ([], [])
    assert (config(found, "a").alarm_mail, config(found, "a").stopwaitsecs) == (("a@b",), 7)
    assert config(found, "a").autorestart == "unexpected"


def test_keys_of_a_definition_that_supervisor_does_not_have_count(path: Path) -> None:
    found = good(path, f"{HEAD}[program:a]\ncommand=a\ndepends_on=b\ndepends_restart=yes\n[program:b]\ncommand=b\n")
    assert (found.services["a"].depends_on, found.services["a"].depends_restart) == (["b"], True)


def test_what_may_have_been_meant_to_restrict_a_service_blocks_it(path: Path) -> None:
    one = good(path, f"{HEAD}[program:a]\ncommand = a\nusr = nobody\n").services["a"]
    blocking = parse(one.text(), "a")[1].blocking
    assert [one.place(problem.line) for problem in blocking] == [(str(path), 5)]


def test_so_does_what_may_have_been_meant_to_restrict_all(path: Path) -> None:
    found = good(path, "[supervisord]\nusr = nobody\n[program:a]\ncommand = a\n")
    one = found.services["a"]
    blocking = parse(one.text(), "a")[1].blocking
    assert [one.place(problem.line) for problem in blocking] == [(str(path), 2)]
    found = good(path, "[supervisord]\nnice = 5\n[program:a]\ncommand = a\n")
    assert (config(found, "a").nice, found.warnings) == ("5", [])


def test_a_group_has_no_other_keys(path: Path) -> None:
    found = good(path, f"{HEAD}[program:a]\ncommand = a\n[group:g]\nprograms = a\nuser = nobody\n")
    assert said(found.warnings, path) == ["supervisord.conf:7: user: not a key of [group:g]: skipped"]


# Expansion.


def test_everything_is_expanded(path: Path) -> None:
    text = f"""{HEAD}[program:a]
command = %(here)s/%(program_name)s %(process_num)03d %(numprocs)d %(group_name)s %(ENV_WORKERS)s %(ENV_N)s 5%%
numprocs = %(ENV_WORKERS)s
numprocs_start = 7
process_name = %(program_name)s-%(process_num)s
environment = N="n%(process_num)d",S="%(ENV_SAID)s"
startsecs = %(ENV_WORKERS)s
autostart = %(ENV_X)s
"""
    path.write_text(text)
    found = read(str(path), {**ENVIRON, b"X": b"false"})
    assert found.errors == []
    assert list(found.services) == ["a-7", "a-8", "a-9", "a-10"]
    last = found.services["a-10"]
    assert last.command == [f"{path.parent}/a", "010", "4", "a", "4", "n10", "5%"]
    assert last.autostart is False
    assert config(found, "a-10").startsecs == 4
    assert variables(found, "a-10") == {"N": "n10", "S": 'a "b", %(c)s'}


def test_all_variables_may_come_from_one(path: Path) -> None:
    path.write_text(f"{HEAD}[program:a]\ncommand = a\nenvironment = %(ENV_ALL)s\n")
    assert variables(read(str(path), {b"ALL": b'A="1",B=2'}), "a") == {"A": "1", "B": "2"}


def test_a_command_is_split_as_supervisor_does(path: Path) -> None:
    found = good(path, f"""{HEAD}[program:a]\ncommand = a "b \\$c \\" \\\\" 'd \\'\n  e\n""")
    assert found.services["a"].command == ["a", 'b \\$c " \\', "d \\", "e"]


def test_words_of_a_command_may_stand_in_several_lines_with_comments(path: Path) -> None:
    found = good(path, f"{HEAD}[program:a]\ncommand = a\n  --b ; why\n  # not --c\n\n  --d\n")
    assert found.services["a"].command == ["a", "--b", "--d"]


# Variables that no line can say.


def test_variables_beyond_a_line_are_the_definitions(path: Path) -> None:
    many = ",\n  ".join(f'V{number}="{"x" * 50}"' for number in range(100))
    found = good(
        path,
        f'{HEAD}[program:a]\ncommand = a\nenvironment = {many}\n[program:b]\ncommand=b\nenvironment = K="1\n  2"\n',
    )
    assert len(variables(found, "a")) == 100
    assert variables(found, "b") == {"K": "1\n2"}
    assert config(found, "a").environment == config(found, "b").environment == ()


# Groups and names.


def test_groups_come_in_the_order_of_supervisor(path: Path) -> None:
    text = """[supervisord]
[program:late]
command = a
priority = 1
[program:early]
command = b
priority = 2
[program:alone]
command = c
priority = 5
[program:plain]
command = d
[group:first]
programs = early
priority = 3
[group:second]
programs = late
priority = 10
"""
    found = good(path, text)
    assert sorted(found.services, key=lambda name: found.services[name].priority) == ["early", "alone", "late", "plain"]


def test_programs_with_the_same_process_name_are_told_apart(path: Path) -> None:
    text = (
        f"{HEAD}[program:a]\ncommand = a\nprocess_name = %(process_num)d\n[program:b]\ncommand = b\nprocess_name = x\n"
    )
    found = good(path, text)
    assert list(found.services) == ["0", "x"]
    found = good(path, text + "[program:c]\ncommand = c\nnumprocs = 2\nprocess_name = %(process_num)d\n")
    assert list(found.services) == ["a_0", "x", "c_0", "c_1"]
    assert found.groups == {"a": ["a_0"], "b": ["x"], "c": ["c_0", "c_1"]}
    assert said(found.warnings, path)[0] == (
        "supervisord.conf:5: process_name: others have the same: the services are called a_..."
    )
    assert find(str(path), "c_1", ENVIRON)[0] == found.services["c_1"]


@pytest.mark.parametrize(
    "text, error",
    [
        ("[program:a]\nautostart = true\n", "3: [program:a] has no command"),
        ("[program:a]\ncommand =\n", "4: command: is empty"),
        ("[program:a]\ncommand = 'a\n", "4: command: no closing '"),
        ("[program:a]\ncommand = sh -c 'a ; b'\n", "4: command: no closing '"),
        ("[program:a]\ncommand = %(ENV_NONE)s\n", "4: command: no variable NONE in the environment"),
        ("[program:a]\ncommand = a\nuser = %(x)s\n", None),
        ("[program:a b]\ncommand = a\n", "3: the name 'a b' has a blank in it"),
        (
            "[program:a]\ncommand = a\nnumprocs = 2\n",
            "5: numprocs: takes a process_name with %(process_num)d in it, or all would have one name",
        ),
        ("[program:a]\ncommand = a\nautostart = 5\n", "5: autostart: '5' is neither yes nor no"),
        ("[group:g]\nprograms = a\n", "4: group g: there is no program a"),
        ("[group:g]\nprograms = a\npriority = x\n[program:a]\ncommand=a\n", "5: priority: 'x' is not a whole number"),
        ("[program:a\ncommand = a\n", "3: not a section header: '[program:a'"),
        ("[program:a]\ncommand = a\njunk\n", "5: neither `key = value` nor a section header: 'junk'"),
        ("[include]\n", "3: [include] has no files"),
    ],
)
def test_what_cannot_be_understood_is_an_error(path: Path, text: str, error: str | None) -> None:
    (found,) = said(fleet(path, HEAD + text).errors, path)
    if error is not None:
        assert found == f"supervisord.conf:{error}"


def test_what_stands_before_the_first_section_is_an_error(path: Path) -> None:
    assert said(fleet(path, "a = b\n[supervisord]\n").errors, path) == [
        "supervisord.conf:1: outside of any section: 'a = b'"
    ]


def test_a_section_that_comes_again_is_joined_with_a_warning(path: Path) -> None:
    found = good(path, f"{HEAD}[program:a]\ncommand = a\numask=022\n[program:a]\ncommand = b\n")
    assert (found.services["a"].command, config(found, "a").umask) == (["b"], 0o22)
    assert said(found.warnings, path) == [
        "supervisord.conf:6: [program:a] again: joined with that in supervisord.conf:3"
    ]


def test_headers_may_be_indented(path: Path) -> None:
    found = good(path, "  [supervisord]\n  nodaemon = true\n  [program:a]\n  command = a\n    b\n  umask = 022\n")
    assert (found.services["a"].command, config(found, "a").umask) == (["a", "b"], 0o22)
    assert found.services["a"].line == 3


def test_defaults_of_all_sections(path: Path) -> None:
    found = good(
        path, f"[DEFAULT]\nuser = nobody\n{HEAD}[program:a]\ncommand = a\n[program:b]\ncommand = b\nuser = bin\n"
    )
    assert [config(found, name).user for name in "ab"] == ["nobody", "bin"]


# Included files.


def test_included_files_do_not_include_others(path: Path) -> None:
    (path.parent / "a.ini").write_text("[program:a]\ncommand = %(here)s/a\n[include]\nfiles = b.ini\n")
    (path.parent / "b.ini").write_text("[program:b]\ncommand = b\n")
    found = good(path, f"{HEAD}[include]\nfiles = a.ini\n  none*.ini ; nothing\n")
    assert list(found.services) == ["a"]
    assert found.services["a"].command == [f"{path.parent}/a"]
    assert said(found.warnings, path) == [
        "supervisord.conf:4: files: none*.ini matches nothing",
        "a.ini:3: [include] counts in the main file only",
    ]
    assert found.services["a"].sources == (str(path), str(path.parent / "a.ini"))


def test_an_included_file_that_others_can_write_is_not_believed(path: Path) -> None:
    (path.parent / "a.ini").write_text("[program:a]\ncommand = a\n")
    (path.parent / "a.ini").chmod(0o666)
    (error,) = said(fleet(path, f"{HEAD}[include]\nfiles = *.ini\n").errors, path)
    assert error.startswith("a.ini: not believed: ")


def test_thousands_of_programs(path: Path) -> None:
    text = "".join(f"[program:p{one}]\ncommand = sleep {one} ; for a while\n" for one in range(MANY))
    found = good(path, HEAD + text)
    assert len(found.services) == MANY
    assert find(str(path), f"p{MANY - 1}", ENVIRON) == (found.services[f"p{MANY - 1}"], [])


# What is not carried over.


@pytest.mark.parametrize(
    "line, instead",
    [
        ("stdout_logfile = AUTO", None),
        ("stdout_logfile = NONE", None),
        ("stdout_logfile = /x.log", None),
        ("stdout_logfile = syslog", "what it prints is in __stdout"),
        ("stdout_logfile_maxbytes = 0", None),
        ("stdout_logfile_maxbytes = 1MB", None),
        ("stdout_logfile_backups = 0", None),
        ("redirect_stderr = true\nstderr_logfile = /x.log", None),
        ("stdout_capture_maxbytes = 1MB", "there are no events"),
        ("stderr_events_enabled = false", None),
        ("stderr_events_enabled = true", "there are no events"),
        ("stdout_syslog = true", "what it prints is in __stdout; stdout_command : logger pipes it to syslog"),
        ("serverurl = AUTO", None),
        ("serverurl = http://x", "there is no server"),
    ],
)
def test_a_key_that_is_not_carried_over(path: Path, line: str, instead: str | None) -> None:
    found = good(path, f"{HEAD}[program:a]\ncommand = a\n{line}\n")
    key = line.rpartition("\n")[2].partition(" ")[0]
    number = 5 + line.count("\n")
    wanted = [] if instead is None else [f"supervisord.conf:{number}: {key}: not carried over: {instead}"]
    assert said(found.warnings, path) == wanted
    config(found, "a")


@pytest.mark.parametrize(
    "value, meant",
    [
        *(("AUTO", ""), ("", ""), ("NONE", "NONE"), ("off", "NONE"), ("/dev/null", "NONE"), ("inherit", "INHERIT")),
        *(("/dev/stdout", "INHERIT"), ("/dev/fd/1", "INHERIT"), ("/proc/self/fd/2", "INHERIT")),
        *(("/var/log/%(program_name)s.log", "/var/log/a.log"), ("100%%.log", "HERE/100%.log")),
        *(("logs/x", "HERE/logs/x"), ("%(here)s/x", "HERE/x"), ("~/x", "/home/me/x")),
    ],
)
def test_where_a_program_prints_to(path: Path, value: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(posix.environ, b"HOME", b"/home/me")
    for key in ("stdout_logfile", "stderr_logfile"):
        found = good(path, f"{HEAD}[program:a]\ncommand = a\n{key} = {value}\n")
        assert getattr(config(found, "a"), key) == meant.replace("HERE", str(path.parent))
        assert said(found.warnings, path) == []


def test_a_log_is_relative_to_where_supervisord_runs_and_not_to_where_the_program_does(path: Path) -> None:
    text = "[supervisord]\ndirectory = /srv\n[program:a]\ncommand = a\ndirectory = a\nstdout_logfile = out\n"
    assert config(good(path, text), "a").stdout_logfile == "/srv/out"


@pytest.mark.parametrize(
    "text, warning",
    [
        ("[inet_http_server]\nport=1\n", "3: [inet_http_server]: not carried over: there is no server on the network"),
        ("[web]\ncommand=a\n", "3: [web]: not a section of supervisor's: skipped"),
    ],
)
def test_a_section_that_is_not_carried_over(path: Path, text: str, warning: str) -> None:
    assert said(good(path, HEAD + text).warnings, path) == [f"supervisord.conf:{warning}"]


def test_keys_of_supervisord_itself_that_are_not_carried_over(path: Path) -> None:
    found = good(path, f"{HEAD}logfile = x\nloglevel = info\npidfile = y\nidentifier = z\nlogflie = q\n")
    assert [line.partition(" ")[2].partition(" ")[0] for line in said(found.warnings, path)] == [
        *("logfile:", "pidfile:", "identifier:", "logflie:")
    ]
