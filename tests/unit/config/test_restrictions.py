"""Keys that restrict never fail open: what blocks a service, what does not, and what stays in force then."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import limit_values
import pytest
from conftest import ROOT, THOROUGH, rounds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervise.config.config import RESTRICTING, Config
from supervise.config.expand import Names
from supervise.config.file import SIZE_LIMIT, ConfFile
from supervise.config.from_state import config_from_state
from supervise.config.misspellings import first_word, lost_header, mentioned, misplaced, one_off, restricting
from supervise.config.parser import parse
from supervise.config.restrictions import in_force, keep, plainly_harmless, restricts, stays
from supervise.config.sections import LINE_LIMIT
from supervise.protocol.state import encode

STEADY = settings(max_examples=rounds(40, 150), deadline=None, suppress_health_check=[HealthCheck.too_slow])
NAMES = Names("/etc/app", "app", "host7", {b"HOME": b"/root"})


def made(**values: object) -> Config:
    config = Config()
    for key, value in values.items():
        setattr(config, key, value)
    return config


IN_FORCE = made(user="www-data", umask=0o27, directory="/srv", max_tries=9)


def blocking(text: str | bytes, name: str = "app", **more: Any) -> list[int]:
    """The lines for which nothing is started."""
    data = text if isinstance(text, bytes) else text.encode()
    _, problems = parse(data, name, names=NAMES, **more)
    assert all(problem in problems.kept for problem in problems.blocking)
    return [problem.line for problem in problems.blocking]


# What blocks.

VALUES = {
    "user": ('"nobody"', "nobody # web", "nobody,adm", "no body", "%(ENV_UNSET)s", "-1", "4294967295", "a:b:c", ":adm"),
    "group": ('"adm"', "a:b", "adm audio", "adm,audio", "adm:", "99999999999"),
    "umask": ("0o77", "8", "u=rwx", "1777", "07 7", "-1", "022 # web"),
    "directory": ("%(ENV_NOPE)s/x", "/srv/100%", "%(here)", "%(nosuch)s"),
    "rlimit_nofile": ("-1", "4:3", "x", "1K", "unlimited:1", ":", "1:", "1024 # web", "9223372036854775808"),
    "rlimit_core": ("-1", "1X", "2K:1K", "8388608T", "0.5G"),
    "rlimit_nproc": ("1G", "many"),
    "rlimit_as": ("G", "1GB:", "1 2"),
    "nice": ("20", "-21", "low", "1.5", "--1"),
    "ionice": ("fast", "idle:3", "none:0", "best-effort:8", "best-effort:", "4"),
    "oom_score_adj": ("1001", "-1001", "never"),
    "cpu_affinity": ("3-1", "-1", "0-", "all", "8192", ",", "0x1"),
    "cgroup": ("web.slice", "%(nosuch)s", "/sys/fs/cgroup/../x"),
    "memory_max": ("50%", "-1", "lots"),
    "cpu_max": ("0%", "50000 10", "1 2 3", "half", "max 2000000"),
}
# A value that is right, of the keys for which `www` is none.
GOOD = {
    "umask": "022",
    **dict.fromkeys(("rlimit_nofile", "rlimit_core", "rlimit_nproc", "rlimit_as", "nice", "cpu_affinity"), "7"),
    "ionice": "idle",
    "oom_score_adj": "500",
    "cgroup": "/sys/fs/cgroup/www",
    "memory_max": "64M",
    "cpu_max": "50%",
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in VALUES.items() for value in values])
def test_a_value_that_cannot_be_understood(key: str, value: str) -> None:
    for section in ("global", "app"):
        assert blocking(f"[{section}]\nmax_tries : 1\n{key} : {value}\n") == [3]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[app]\n{key} x\n", 2),
        ("[app]\n{key} x:y\n", 2),
        ("[app]\n{key}\n", 2),
        ("[app]\n{key}\uff1ax\n", 2),  # another colon
        ("[app]\n{key}->x\n", 2),
        ("[app]\n{key} : {x}" + " " * LINE_LIMIT + "x\n", 2),
        ("[app]\n" + " " * (LINE_LIMIT + 1) + "{key} : {x}\n", 2),
        ("[app]\n {key} : {x}\n", 2),
        ("[app]\n\t{key} = {x}\n", 2),
        ("[app]\nenvironment : A=1\n {key} : {x}\n", 3),
        ("[app]\n\ufeff{key} : {x}\n", 2),
        ('[app]\n"{key}" : {x}\n', 2),
        ("[app]\nstopsignal : TERM\r{key} : {x}\n", 2),
        ("# comment\r[app]\r{key} : {x}\r", 1),
        ("{key} : {x}\n[app]\n", 1),
        ("{key} x\n[app]\n", 1),
        (" {key} : {x}\n", 1),
        ("[app\n{key} : {x}\n", 2),
        ("[ app ]\n{key} : {x}\n", 2),
        ("[]\n {key} : {x}\n", 2),
        ("[app] # web\n{key} x\n", 2),
        ("[app] {key} : {x}\n", 1),
        ("[app {key} : {x}\n", 1),
        ("[app]\n{key} : {x}\0\n", 2),
        ("[app]\n\0{key} : {x}\n", 2),
        ("[app]\nmax_tries : 1\0{key} : {x}\n", 2),
        ("[other]\n[app]\0\n{key} : {x}\n", 3),
        ("[other]\nmax_tries : 1\0[app]\0{key} : {x}\n", 2),
        ("[other]\n  [app]\n{key} : {x}\n", 3),
        ("[other]\n  [app]\n{key} : {x}\n{key} : {x}\n", 3),
        ("[other]\n\ufeff[app]\n{key} : {x}\n", 3),
        ("[other]\n\u3010app\u3011\n{key} : {x}\n", 3),
        ("[app]\n  [other]\n{key} : {x}\n", 3),
        ("[other]\n  [global]\n{key} : {x}\n", 3),
        ("[App]\n{key} : {x}\n", 2),
        ("[Global]\n{key} : {x}\n[app]\nmax_tries : 1\n", 2),
        ("[gobal]\nmax_tries : 1\n{key} : {x}\n", 3),
        ("[program:app]\n{key} : {x}\n", 2),
    ],
)
def test_what_may_have_been_meant_and_does_not_count(text: str, line: int) -> None:
    for key in RESTRICTING:
        x = GOOD.get(key, "www")
        said = text.replace("{key}", key).replace("{x}", x)
        assert blocking(said)[0] == line
        assert blocking(said, strict=True) == blocking(said)
        if "\0" not in text:
            assert blocking(said.replace("\n", "\r\n"))[0] == line


@pytest.mark.parametrize(
    "word",
    [
        *("usr", "users", "User", "USER", "usre", "uesr", "sser", "use", "username"[:5], "usr ", "us\u0435r"),
        *("grup", "groups", "Group", "gruop", "umaks", "mask", "unmask", "Umask", "umask_"),
        *("nce", "niec", "Nice", "io_nice", "ionce", "cgroups", "c_group", "cpuaffinity", "cpu_affinty"),
        *("rlimit_nofiles", "rlimitas", "memorymax", "oom_score_ajd", "memory-max"),
        *("directry", "Directory", "directroy", "directorys", "drectory", "diirectory"),
    ],
)
def test_one_typing_error(word: str) -> None:
    for section in ("global", "app"):
        assert blocking(f"[{section}]\n{word} : x\n") == [2]
        assert blocking(f"[{section}]\n{word} x\n") == [2]
        assert blocking(f"[other]\n[{section}]\n {word} = x\n") == [3]
    assert blocking(f"[app]\nuser : www\ngroup : www\numask : 022\ndirectory : /\n{word} : x\n") == [6]


@pytest.mark.parametrize(
    "text",
    [
        *("{a} {b} : x", "{a} {b} = x", "{a}\u200b{b} : x", "{a}\u0301{b} : x", "{a}-{b} : x", "{a}.{b} : x"),
        *("export {key}=x", "set {key} x", "set {key} : x", "1. {key} : x", "app.{key} : x", "$app->{key} = x"),
        *("{a}\xa0{b}:x", "the {key} : x", "{wide} : x", "{wide}\uff1ax", "export {key} x"),
    ],
)
def test_a_key_with_something_in_it_or_before_it(text: str) -> None:
    for word in RESTRICTING:
        wide = "".join(chr(ord(char) + 0xFEE0) for char in word)
        for at in range(1, len(word)):
            line = text.format(a=word[:at], b=word[at:], key=word, wide=wide)
            assert blocking(f"[app]\n{line}\n") == [2], line
            assert blocking(f"[other]\n{line}\n") == [], line


@pytest.mark.parametrize(
    "line",
    [
        *("username : x", "usergroup : x", "user_id = 5", "group-name : x", "groupid : 5", "userx : y"),
        *("u\u0455\u0435r : x", "\u0443ser : x"),
    ],
)
def test_a_key_that_is_more_than_it(line: str) -> None:
    assert blocking(f"[app]\n{line}\n") == [2]


def test_a_key_with_bytes_astray_in_it() -> None:
    assert blocking(b"[app]\nus\xff\xfeer : x\n") == [2]


@pytest.mark.parametrize(
    "title",
    [
        *("apps", "ap", "aapp", '"app"', "'app'", "status/app", "./app", "app/", "program: app", "program:'app'"),
        *("app\u200b", "App", "a pp", "/srv/status/app/", "service:app", "apq"),
    ],
)
def test_a_header_that_is_not_quite_the_right_one(title: str) -> None:
    assert blocking(f"[{title}]\nmax_tries : 1\nuser : www\n") == [3]
    assert blocking(f"[{title}]\nmax_tries : 1\n") == []
    assert blocking(f"[{title}]\nuser : www\n[app]\n") == []


@pytest.mark.parametrize("title", ['"global"', "global/", "glob al", "global\u200b", "globl"])
def test_a_header_that_is_not_quite_global(title: str) -> None:
    assert blocking(f"[{title}]\nuser : www\n") == [2]


@pytest.mark.parametrize("blank", ["\xa0", "\u3000", " \u2003 ", "\u2028"])
def test_blanks_beyond_ascii_are_a_value(blank: str) -> None:
    for key in RESTRICTING:
        config, problems = parse(f"[app]\n{key} : {blank}\n".encode(), "app")
        assert problems.blocking or config.directory == blank.strip(" ")


@pytest.mark.parametrize(
    "text",
    ["[app]\n{key} : {x}\n{key} :\n", "[app]\n{key} : {x}\n{key} : 5\n", "[app]\n{key} : {x}\n[x]\n[app]\n{key} :\n"],
)
def test_one_that_is_there_twice_with_different_values(text: str) -> None:
    for key in RESTRICTING:
        said = text.replace("{key}", key).replace("{x}", GOOD.get(key, "7"))
        assert set(blocking(said)) == {said.count("\n")}
        assert blocking(said, "other") == []


@pytest.mark.parametrize(
    "line",
    [
        *("exitcodes : 0 {key} : 7", "autorestart : yes, {key} : 7", "autorestart : yes; {key}=7"),
        *("startsecs : 1 {key} =7", "environment : A=1 {key}=7", "exitcodes : 0 {key}: 7"),
        "alarm_mail : a@example.org {key} : 7",
    ],
)
def test_one_in_the_value_of_another_that_cannot_be_understood(line: str) -> None:
    for key in RESTRICTING:
        said = line.replace("{key}", key)
        assert blocking(f"[app]\n{said}\n") == [2]
        assert blocking(f"[other]\n{said}\n") == []
        assert "7" not in str(parse(f"[app]\n{said}\n".encode(), "app")[1].blocking[0].text) or "env" not in said


@pytest.mark.parametrize("ending", ["\r", "\x0c", "\u2028"])
def test_a_line_break_that_does_not_count_behind_the_limit(ending: str) -> None:
    assert blocking("[app]\n#" + "x" * 3000 + f"{ending}user : www{ending}\n") == [2]


def test_a_group_that_is_not_the_one_of_the_user() -> None:
    assert blocking("[app]\nuser : a:b\ngroup : c\n") == [3]
    assert blocking("[app]\ngroup : c\nuser : a:b\n") == [2]
    assert blocking("[global]\ngroup : c\n[app]\nuser : a:b\n") == [2]
    assert blocking("[app]\nuser : a:b\ngroup : b\n") == []
    assert blocking("[global]\ngroup : c\n[app]\nuser : a:b\ngroup :\n") == []


def test_a_file_that_is_cut() -> None:
    assert blocking("[app]\nmax_tries : 1\n", cut=True) == [0]
    assert blocking("[app]\nmax_tries : 1\n", cut=True, harmless=True) == []


def test_it_is_told_even_behind_a_hundred_others() -> None:
    text = "[app]\n" + "nonsense\n" * 100 + "usr : www\n"
    _, problems = parse(text.encode(), "app")
    assert "conf:102: unknown key 'usr': probably a typo of user" in problems.lines("conf")
    text = "[app]\n" + "nonsense\n" * 100 + "user : a b\n"
    assert blocking(text) == [102]


# What does not.


@pytest.mark.parametrize(
    "text",
    [
        "[app]\n{key} : {x}\n",
        "[app]\n{key} :\n",
        "[app]\n# {key} x\n; {key} : {x}\n  # {key}\n",
        "[app]\nmax_tries : x\nnonsense\n indented : 1\nunknown : 1\n",
        "[other]\n{key} x\n {key} : {x}\nusr : x\n",
        "[other]\n  [third]\n{key} : {x}\n",
        "[other]\n{key} : {x}\0\n",
        "[app]\n[global]\n{key} x\nusers : x\n {key} : {x}\n",  # [app] governs alone
        "[app]\n[App]\n{key} : x y\n",
        "[global]\n[globals]\n{key} : x y\n",
        "[app]\n[program:app]\n{key} : x y\n",
        "[program:other]\n{key} : x y\n",
        "[group:users]\nprograms : user, {key}\n",
        "[ users ]\nmax_tries : 1\n",
        "[app]\nenvironment : A=1,\n  USER=x,GROUP=\"y\",\n",
        "[app]\nalarm_mail : user@example.org {key}\n",
        "[app]\ncheck_command : {key} x\n",
        "[app]\nuser_agent : x\nuser-agent : x\nuser_2 : x\nweb-user : x\nmasks : x\n",
        "[global]\n{key} : a%b c#\n[app]\n{key} : {x}\n",  # overridden
        "[app]\n{key} : {x}\n{key} : {x}\n",
        "[other]\n{key} : {x}\n{key} :\n",
        "[app1]\nmax_tries : 1\n[app2]\n{key} : x y\n[global]\n",
        "[app]\n[apps]\n{key} : x y\n",
        "[app]\nenvironment : A=1,USER=x,{key}=y\n",
        "[app]\nenvironment : A=1 USER=nobody\n",
        "[app]\nenvironment : A=1,\n  USERNAME=x,\n  username=x\n",
        "[app]\nalarm_mail : {key}@example.org,\n",
        "[app]\nexitcodes : {key}\n",
        "[web1]\n{key} : x y\n[a]\n{key} : x y\n",
    ],
)
def test_what_is_understood_or_another_services(text: str) -> None:
    for key in RESTRICTING:
        x = GOOD.get(key, "www")
        assert blocking(text.replace("{key}", key).replace("{x}", x)) == []


# What stays in force.

BROKEN = ("[app]\nuser : a b\n", "[app]\nusr : www\n", "umask : 022\n[app]\n", "[app]\ngroup : adm\ndirectory x\n")


@pytest.mark.parametrize("text", BROKEN)
def test_where_a_file_blocks_all_of_them_stay_and_the_rest_applies(text: str) -> None:
    config, problems = parse((text + "max_tries : 3\nstopsignal : HUP\n").encode(), "app", IN_FORCE)
    assert problems.blocking
    assert config == made(user="www-data", umask=0o27, directory="/srv", max_tries=3, stopsignal="HUP")
    assert not config.blocked


def test_a_sound_file_has_the_last_word_again() -> None:
    config, _ = parse(b"[app]\nmax_tries : 3\n", "app", IN_FORCE)
    assert config == made(max_tries=3)


def test_a_file_that_blocked_from_the_beginning_blocks_until_it_is_sound(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    conf = ConfFile(str(path), "app", True)
    path.write_text("[app]\nuser : a b\n")
    config, _ = conf.read()
    assert config.blocked == f"{path}:2: user: 'a b' is neither the name nor the number of a user"
    for text in ("[app]\numask : 9\n", "[app\n", "\0\n"):
        path.write_text(text)
        config, _ = conf.read(config)
        assert config.blocked, text
    path.write_text("[app]\nusr : x\n")
    config, _ = conf.read(config)
    assert config.blocked == f"{path}:2: unknown key 'usr': probably a typo of user"
    path.unlink()
    config, _ = conf.read(config)
    assert config.blocked and conf.held
    path.write_text("[app]\nuser : www\n")
    config, _ = conf.read(config)
    assert (config, config.blocked, conf.held) == (made(user="www"), "", False)


def test_what_restricts_outlives_the_file(tmp_path: Path) -> None:
    """As an editor does that deletes the file, or empties it, and then writes it."""
    path = tmp_path / "conf"
    conf = ConfFile(str(path), "app", True)
    for change in (path.touch, path.unlink):
        change()
        assert conf.read(IN_FORCE)[0] == made(user="www-data", umask=0o27, directory="/srv")
        assert conf.held
        assert conf.read(made(max_tries=9))[0] == Config()
        assert not conf.held
        assert conf.read()[0] == Config()
        assert not conf.held
    path.write_text("# here again\n")
    assert conf.read(IN_FORCE)[0] == Config()
    assert not conf.held


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    conf = ConfFile(str(tmp_path), "app", True)
    config, _ = conf.read()
    assert config.blocked == f"{tmp_path}: cannot be read: Is a directory"
    assert conf.read(IN_FORCE)[0] is IN_FORCE
    assert conf.held and not conf.failing and not IN_FORCE.blocked


@pytest.mark.parametrize(
    ("rest", "blocks"),
    [
        ("# a comment\n", False),
        ("x : 1\n[other]\n", False),
        ("user : www\n", True),
        ("  Users : www\n", True),
        ("[app]\ndirectry = /\n", True),
        ("\0", False),
    ],
)
@pytest.mark.parametrize("before", [0, SIZE_LIMIT - 14, SIZE_LIMIT * 2 - 17] if THOROUGH else [SIZE_LIMIT - 14])
def test_the_rest_of_a_file_that_is_too_long_is_looked_through(
    tmp_path: Path, rest: str, blocks: bool, before: int
) -> None:
    path = tmp_path / "conf"
    filled = (b"# " + b"x" * 125 + b"\n") * (SIZE_LIMIT // 128)
    path.write_bytes(b"[app]\nmax_tries : 1\n" + filled + b"#" * before + b"\n" + rest.encode())
    config, problems = ConfFile(str(path), "app", True).read()
    assert config.max_tries == 1
    assert bool(config.blocked) == blocks
    assert problems == [f"{path}: longer than {SIZE_LIMIT} bytes: the rest is not read"]


def test_an_endless_file_blocks() -> None:
    assert ConfFile("/dev/zero", "app", True).read()[0].blocked


# In the state.

values = st.fixed_dictionaries(
    {
        "user": st.sampled_from(["", "www-data", "0", "DOM\\joe", "a:b", "12:34", "host$"]),
        "group": st.sampled_from(["", "adm", "4"]),
        "umask": st.none() | st.integers(0, 0o777),
        "directory": st.text(st.characters(exclude_characters="\0"), max_size=8),
        **{key: st.just("") | value for key, value in limit_values.values.items()},
    }
)


@STEADY
@given(values)
def test_what_is_in_force_is_recalled_from_the_state(said: dict[str, Any]) -> None:
    config = made(max_tries=3, **said)
    recorded = in_force(config)
    assert json.loads(encode({"restrictions": recorded}))["restrictions"] == recorded
    found = config_from_state({"restrictions": recorded})
    assert found is not None and not found.blocked
    assert found == made(**said) == keep(Config(), config)
    assert restricts(config) == bool(recorded)


def test_what_is_not_known_is_not_nothing() -> None:
    assert config_from_state({"restrictions": None}) is None
    found = config_from_state({"restrictions": in_force(made(blocked="conf:2: no"))})
    assert found is not None and found.blocked == "conf:2: no"
    for recorded in ({"user": "a b"}, {"limits": "1"}, {"umask": 18}, {"directory": "%(x)s"}, {"user": None}):
        found = config_from_state({"restrictions": recorded})
        assert found is not None and "cannot be understood" in found.blocked


def test_what_the_log_is_told() -> None:
    assert stays(IN_FORCE) == (
        "what restricts the service stays as it was: user www-data, group (empty), umask 027, directory /srv"
    )
    assert stays(made(blocked="conf:2: no")) == "the service is not started: conf:2: no"


# Where the parser itself cannot be had.


@pytest.mark.parametrize("key", RESTRICTING)
def test_a_file_that_plainly_says_nothing_of_them(key: str) -> None:
    harmless = f"# {key} x\n; x\n\n[app]\nmax_tries : 1\n{key} :\nalarm_mail = a@x\r\nenvironment : USER=1\n"
    assert plainly_harmless(harmless.encode())
    for line in (f"{key} : x", f"{key} x", f" {key} : x", f"{key}s : x", "x", " exitcodes : 1", "[app", "#\rx", "#\0"):
        assert not plainly_harmless(f"{harmless}{line}\n".encode())
    shipped = ROOT / "conf" / "supervise.conf"
    assert plainly_harmless(shipped.read_bytes())


# Words.


def edits(word: str) -> set[str]:
    """Every word that is one typing error away, with the letters x and the word's own."""
    letters = sorted({"x", *word})
    splits = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    found = {a + b[1:] for a, b in splits if b}
    found |= {a + c + b for a, b in splits for c in letters}
    found |= {a + c + b[1:] for a, b in splits if b for c in letters}
    return found | {a + b[1] + b[0] + b[2:] for a, b in splits if len(b) > 1}


@pytest.mark.parametrize("key", RESTRICTING)
def test_all_that_is_one_error_away_and_nothing_else(key: str) -> None:
    once = edits(key)
    for word in once:
        meant = restricting(word)
        assert meant == restricting(word.upper())
        assert (
            meant == key
            or word == meant
            or (one_off(word, meant) and RESTRICTING.index(meant) < RESTRICTING.index(key))
        )
    twice = {far for word in once for far in edits(word)} - once if len(key) < 6 else set()
    assert not [word for word in twice if one_off(word, key)]


def test_no_key_is_taken_for_another() -> None:
    assert [key for key in Config.__slots__ if restricting(key)] == sorted(RESTRICTING, key=Config.__slots__.index)
    assert [restricting(key) for key in RESTRICTING] == list(RESTRICTING)  # nor nice for ionice, nor group for cgroup


@STEADY
@given(st.text(max_size=12), st.sampled_from(RESTRICTING))
def test_whatever_the_words_are(text: str, key: str) -> None:
    assert one_off(text, key) == one_off(key, text)
    assert first_word(f" -{key}->{text}") == key
    assert mentioned(f"{text} {key} {text}".encode("utf-8", "surrogatepass")) == key or restricting(text)
    assert lost_header(text) is None or any(char in text for char in "[\uff3b\u3010")
    assert misplaced(text, "web") in ("", "web", "global")


def test_reading_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "conf"
    path.write_bytes(b"[app]\n" + b"#" * (SIZE_LIMIT * 2))
    before = os.listdir("/proc/self/fd")
    ConfFile(str(path), "app", True).read()
    assert os.listdir("/proc/self/fd") == before
