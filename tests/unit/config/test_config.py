"""supervise.conf: what every line of it means, and that nothing in it can keep a service down."""

from __future__ import annotations

import pytest
from conftest import ROOT

from supervise.config.config import FLEET_KEYS, KEYS, Config
from supervise.config.parser import governing, parse
from supervise.config.sections import BOM, LINE_LIMIT, Problems, Sections, split
from supervise.config.written import written

SHIPPED = ROOT / "conf" / "supervise.conf"


def read(text: str | bytes, name: str = "app", previous: Config | None = None, strict: bool = False) -> Config:
    """What a file without problems means."""
    config, problems = parse(text if isinstance(text, bytes) else text.encode(), name, previous, strict=strict)
    assert problems.lines("conf") == []
    return config


def complaints(text: str | bytes, name: str = "app", strict: bool = False) -> list[str]:
    """The problems of a file."""
    _, problems = parse(text if isinstance(text, bytes) else text.encode(), name, strict=strict)
    return problems.lines("conf")


def the_complaint(text: str | bytes, name: str = "app", strict: bool = False) -> str:
    """The one problem of a file."""
    (line,) = complaints(text, name, strict)
    return line


def made(**values: object) -> Config:
    config = Config()
    for key, value in values.items():
        setattr(config, key, value)
    return config


FULL = """\
[global]
alarm_interval : 600
alarm_mail : a@example.com b@example.com
alarm_gsm : +4912345 oncall
max_tries : 3
max_tries_if_coredumped : 2
"""
FULL_CONFIG = made(
    alarm_interval=600,
    alarm_mail=("a@example.com", "b@example.com"),
    alarm_gsm=("+4912345", "oncall"),
    max_tries=3,
    max_tries_if_coredumped=2,
)


# The keys.


def test_every_key() -> None:
    assert read(FULL) == FULL_CONFIG


def test_the_defaults() -> None:
    assert (
        read("")
        == read("[global]\n")
        == made(alarm_interval=0, alarm_mail=(), alarm_gsm=(), max_tries=0, max_tries_if_coredumped=0)
    )


@pytest.mark.parametrize("key", ["alarm_interval", "max_tries", "max_tries_if_coredumped"])
def test_an_empty_number_is_0_and_an_empty_list_is_empty(key: str) -> None:
    assert read(f"[global]\n{key} :\nalarm_mail :\nalarm_gsm : \n") == Config()


def test_the_configuration_that_is_shipped_has_no_problem_and_no_policy() -> None:
    assert read(SHIPPED.read_bytes(), strict=True) == Config()


@pytest.mark.parametrize("typed, seconds", [(0, 0), (1, 60), (59, 60), (60, 60), (61, 61), (2**31 - 1, 2**31 - 1)])
def test_an_alarm_interval_of_1_to_59_seconds_counts_as_60(typed: int, seconds: int) -> None:
    assert read(f"[global]\nalarm_interval : {typed}\n").alarm_interval == seconds


@pytest.mark.parametrize("key", ["alarm_interval", "max_tries", "max_tries_if_coredumped"])
@pytest.mark.parametrize("value", ["x", "-1", "+1", "1.5", "1e3", "0x10", "1 2", "1s", "5 # five", "\u0663", "1_000"])
def test_a_number_that_is_none_is_skipped_with_a_warning(key: str, value: str) -> None:
    text = f"[global]\n{key} : {value}\n"
    assert parse(text.encode(), "app")[0] == Config()
    assert the_complaint(text).startswith(f"conf:2: {key}: ")
    assert "is not a whole number" in the_complaint(text)


@pytest.mark.parametrize("value", [2**31, 10**10, 10**400])
def test_a_number_out_of_range_is_skipped_with_a_warning(value: int) -> None:
    text = f"[global]\nmax_tries : {value}\nalarm_interval : 60\n"
    assert parse(text.encode(), "app")[0] == made(alarm_interval=60)
    assert the_complaint(text).startswith("conf:2: max_tries: ")
    assert "is out of range (0 to 2147483647)" in the_complaint(text)


def test_addresses_are_separated_by_any_blanks_and_come_without_repeats() -> None:
    assert read("[global]\nalarm_mail :  a@x\tb@x   a@x \n").alarm_mail == ("a@x", "b@x")


@pytest.mark.parametrize("word", ["-s", "|sh", "/etc/passwd", "a;b", "a@x,b@x", "$(id)", "`id`", "a\u00e9@x", "<a@x>"])
def test_a_word_that_mail_could_take_for_something_else_is_no_address(word: str) -> None:
    text = f"[global]\nalarm_mail : a@x {word} b@x\n"
    assert parse(text.encode(), "app")[0].alarm_mail == ("a@x", "b@x")
    assert the_complaint(text).endswith("is not a usable address: skipped")


@pytest.mark.parametrize("word", ["-1", "|sh", "a;b", "a%b", "a/b", "\u0663"])
def test_a_word_that_is_neither_number_nor_group_is_skipped(word: str) -> None:
    text = f"[global]\nalarm_gsm : 123 {word} oncall\n"
    assert parse(text.encode(), "app")[0].alarm_gsm == ("123", "oncall")
    assert the_complaint(text).endswith("is not a usable number: skipped")


def test_numbers_beyond_the_tenth_are_skipped_with_a_warning() -> None:
    text = "[global]\nalarm_gsm : " + " ".join(map(str, range(11))) + "\n"
    assert parse(text.encode(), "app")[0].alarm_gsm == tuple(map(str, range(10)))
    assert the_complaint(text) == "conf:2: alarm_gsm: more than 10 numbers: the rest are skipped"


def test_the_ten_numbers_are_those_of_both_sections() -> None:
    text = "[global]\nalarm_gsm : 1 2 3 4 5 6\n[app]\nalarm_gsm : 6 7 8 9 10 11\n"
    assert parse(text.encode(), "app")[0].alarm_gsm == tuple(map(str, range(1, 11)))
    assert the_complaint(text).startswith("conf:4: ")


# Which sections govern a service.


def test_a_section_before_global_governs_alone() -> None:
    text = "[app]\nmax_tries : 1\n" + FULL
    assert read(text, "app") == made(max_tries=1)
    assert read(text, "other") == FULL_CONFIG


def test_an_empty_section_before_global_turns_everything_off() -> None:
    assert read("[app]\n" + FULL) == Config()


def test_a_section_after_global_goes_over_it() -> None:
    text = FULL + "[app]\nmax_tries : 9\n"
    assert read(text, "app") == made(
        alarm_interval=600,
        alarm_mail=("a@example.com", "b@example.com"),
        alarm_gsm=("+4912345", "oncall"),
        max_tries=9,
        max_tries_if_coredumped=2,
    )
    assert read(text, "other") == FULL_CONFIG


def test_a_section_after_global_can_turn_a_limit_off() -> None:
    assert read(FULL + "[app]\nmax_tries : 0\nmax_tries_if_coredumped :\n").max_tries == 0


def test_lists_of_the_two_sections_are_joined_without_repeats() -> None:
    config = read(FULL + "[app]\nalarm_mail : c@example.com a@example.com\nalarm_gsm : oncall 7\n")
    assert config.alarm_mail == ("a@example.com", "b@example.com", "c@example.com")
    assert config.alarm_gsm == ("+4912345", "oncall", "7")


def test_a_service_without_a_section_is_governed_by_global() -> None:
    assert read("[other]\nmax_tries : 1\n" + FULL) == FULL_CONFIG


def test_a_section_without_a_global_one_governs() -> None:
    assert read("[other]\n[app]\nmax_tries : 4\n") == made(max_tries=4)


def test_a_service_may_be_called_global() -> None:
    assert read(FULL, "global") == FULL_CONFIG


def test_names_are_compared_to_the_letter() -> None:
    assert read("[App]\nmax_tries : 1\n[app.d]\nmax_tries : 2\n[ap]\nmax_tries : 3\n") == Config()
    assert read("[Global]\nmax_tries : 1\n") == Config()


def test_a_name_need_not_be_text() -> None:
    name = b"caf\xe9".decode("utf-8", "surrogateescape")
    assert read(b"[caf\xe9]\nmax_tries : 1\n", name) == made(max_tries=1)


def test_the_order_is_that_of_the_first_headers() -> None:
    text = b"[app]\nmax_tries : 1\n[global]\nmax_tries : 2\nalarm_interval : 60\n[app]\nalarm_mail : a@x\n"
    config, _ = parse(text, "app")
    assert config == made(max_tries=1, alarm_mail=("a@x",))
    assert list(split(text, Problems(), set()).keys) == ["app", "global"]


@pytest.mark.parametrize(
    "order, governed_by",
    [
        (["app", "global"], ["app"]),
        (["global", "app"], ["global", "app"]),
        (["global"], ["global"]),
        (["app"], ["app"]),
        (["other", "app", "more", "global"], ["app"]),
        (["other"], []),
        ([], []),
    ],
)
def test_the_rule_of_the_order(order: list[str], governed_by: list[str]) -> None:
    sections = Sections()
    sections.keys = {title: {} for title in order}
    assert governing(sections, "app") == governed_by


# Lines.


@pytest.mark.parametrize("between", [":", "=", " : ", " = ", " :", ": ", "\t:\t"])
def test_a_colon_or_an_equals_sign_stands_between_key_and_value(between: str) -> None:
    assert read(f"[global]\nmax_tries{between}5\n").max_tries == 5


def test_the_first_of_the_two_signs_counts() -> None:
    assert read("[global]\nalarm_mail : a=b@x\n").alarm_mail == ("a=b@x",)
    assert read("[global]\nalarm_mail = a:b@x\n").alarm_mail == ("a:b@x",)


@pytest.mark.parametrize("comment", ["# max_tries : 9", "; max_tries : 9", "#", "  # indented", "\t;", "", "   "])
def test_comments_and_blank_lines_mean_nothing(comment: str) -> None:
    assert read(f"{comment}\n[global]\n{comment}\nmax_tries : 5\n{comment}").max_tries == 5


@pytest.mark.parametrize("indent", [" ", "\t", "    "])
def test_an_indented_key_is_skipped_with_a_warning(indent: str) -> None:
    text = f"[global]\nmax_tries : 5\n{indent}max_tries : 6\n"
    assert parse(text.encode(), "app")[0] == made(max_tries=5)
    assert the_complaint(text) == "conf:3: indented, so it does not count: 'max_tries : 6'"


def test_an_indented_header_is_skipped_with_a_warning() -> None:
    text = "[global]\n [app]\nmax_tries : 5\n"
    assert parse(text.encode(), "other")[0] == made(max_tries=5)
    assert the_complaint(text, "other") == "conf:2: indented, so it does not count: '[app]'"


@pytest.mark.parametrize("header", ["[ app]", "[app ]", "[]", "[", "[app", "[app] # ours", "[app]]"])
def test_a_broken_header_ends_the_section_before_it(header: str) -> None:
    """Its keys belong to a section that nobody can name, so they count for none."""
    text = f"[global]\nmax_tries : 5\n{header}\nmax_tries : 6\nnonsense\n[global]\nalarm_interval : 60\n"
    config, problems = parse(text.encode(), "app")
    assert config == made(max_tries=5, alarm_interval=60)
    broken, again = problems.lines("conf")
    assert broken.startswith("conf:3: not a section header: ")
    assert again.startswith("conf:6: section [global] again")


def test_blanks_after_a_header_do_not_matter() -> None:
    assert read("[global]  \t\nmax_tries : 5  \t\n").max_tries == 5


def test_a_key_before_any_section_is_skipped_with_a_warning() -> None:
    assert the_complaint("max_tries : 5\n[global]\n") == "conf:1: outside of any section: 'max_tries : 5'"


def test_an_unknown_key_is_skipped_with_a_warning() -> None:
    text = "[global]\nmax_try : 5\nmax_tries : 3\nMAX_TRIES : 4\n"
    assert parse(text.encode(), "app")[0] == made(max_tries=3)
    assert complaints(text) == [
        "conf:2: unknown key 'max_try': probably a typo",
        "conf:4: unknown key 'MAX_TRIES': probably a typo",
    ]


@pytest.mark.parametrize("section", ["app", "global"])
def test_what_is_for_several_services_is_passed_over(section: str) -> None:
    keys = "".join(f"{key} : 1 of %(process_num)02d\n" for key in sorted(FLEET_KEYS))
    others = "[group:all]\nprograms : app, b\npriority = 1\n[include]\nfiles = *.conf\n"
    text = f"[{section}]\n{keys}max_tries : 3\n{others}"
    assert parse(text.encode(), "app")[0] == made(max_tries=3)
    assert complaints(text) == complaints(text, strict=True) == []
    assert not FLEET_KEYS & KEYS


def test_of_a_service_that_is_called_include_it_is_the_section() -> None:
    config, problems = parse(b"[include]\nmax_try : 5\nmax_tries : 3\n", "include")
    assert config.max_tries == 3
    assert problems.lines("conf") == ["conf:2: unknown key 'max_try': probably a typo"]


@pytest.mark.parametrize(
    ("key", "instead"),
    [
        ("stderr_syslog", "use stderr_command : logger -t NAME"),
        ("stdout_capture_maxbytes", "there are no events"),
        ("stderr_events_enabled", "there are no events"),
        ("serverurl", "there is no server, SUPERVISE_STATUS_DIR says where the service is commanded"),
    ],
)
def test_a_key_of_supervisors_that_is_none_here(key: str, instead: str) -> None:
    assert the_complaint(f"[app]\n{key} = 1\n") == f"conf:2: unknown key '{key}': supervisor's; here, {instead}"


@pytest.mark.parametrize("key", ["stdout_logfil", "stdin_syslog", "stdout_", "Serverurl"])
def test_what_only_looks_like_one_is_a_typo(key: str) -> None:
    assert the_complaint(f"[app]\n{key} = 1\n") == f"conf:2: unknown key '{key}': probably a typo"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("/dev/stdout", "is not INHERIT, by which it goes to what supervise prints to itself"),
        ("/dev/fd/1", "is not INHERIT, by which it goes to what supervise prints to itself"),
        ("/proc/self/fd/2", "is not INHERIT, by which it goes to what supervise prints to itself"),
        ("/proc/self/fd/1", "is not INHERIT, by which it goes to what supervise prints to itself"),
        ("syslog", "is no path: ./syslog is the file of that name"),
    ],
)
def test_what_supervisors_users_give_for_a_log(value: str, said: str) -> None:
    for key in ("stdout_logfile", "stderr_logfile"):
        found = the_complaint(f"[app]\n{key} = {value}\n")
        assert found == f"conf:2: {key}: '{value}' {said}"


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        *(("AUTO", ""), ("auto", ""), ("none", "NONE"), ("/dev/null", "NONE"), ("inherit", "INHERIT")),
        *(("/var/log/%(program_name)s.log", "/var/log/app.log"), ("app.log", "app.log"), ("./none", "./none")),
    ],
)
def test_where_it_prints_to(value: str, meant: str) -> None:
    for key in ("stdout_logfile", "stderr_logfile"):
        config = read(f"[app]\n{key} = {value}\n")
        assert getattr(config, key) == meant
        assert read(f"[app]\n{key} = {written(key, meant)}\n") == config


def test_the_path_is_relative_to_its_directory_and_stderr_may_go_with_stdout() -> None:
    config = read("[app]\ndirectory = /srv\nstdout_logfile = out\nstderr_logfile = /err\n")
    assert [config.output_path(stream) for stream in ("stdout", "stderr")] == ["/srv/out", "/err"]
    config = read("[app]\nredirect_stderr = yes\nstdout_logfile = out\nstderr_logfile = /err\n")
    assert [config.output_path(stream) for stream in ("stdout", "stderr")] == ["out", "out"]
    config = read("[app]\nstdout_logfile = NONE\nstderr_logfile = INHERIT\n")
    assert [config.output_path(stream) for stream in ("stdout", "stderr")] == ["", ""]


def test_a_key_without_a_sign_is_skipped_with_a_warning() -> None:
    assert the_complaint("[global]\nmax_tries 5\n") == "conf:2: max_tries: no ':' after the key"
    assert the_complaint("[global]\nmax tries\n").startswith("conf:2: neither ")


def test_of_a_key_given_twice_the_last_one_counts_with_a_warning() -> None:
    text = "[global]\nmax_tries : 5\n\nmax_tries : 6\n"
    assert parse(text.encode(), "app")[0] == made(max_tries=6)
    assert the_complaint(text) == "conf:4: max_tries again: this one counts, not the one in line 2"


def test_a_section_given_twice_is_joined_with_a_warning() -> None:
    text = "[global]\nmax_tries : 5\n[other]\n[global]\nalarm_interval : 60\n"
    assert parse(text.encode(), "app")[0] == made(max_tries=5, alarm_interval=60)
    assert the_complaint(text) == "conf:4: section [global] again: joined with the one above"


def test_problems_of_other_services_are_not_this_ones_unless_asked_for() -> None:
    text = "[global]\nmax_tries : 5\n[other]\nmax_try : 6\n  max_tries : 6\nnonsense\n[other]\n"
    assert read(text) == made(max_tries=5)
    assert [line.split(": ")[0] for line in complaints(text, strict=True)] == ["conf:4", "conf:5", "conf:6", "conf:7"]


# Bytes.


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: BOM + data,
        lambda data: BOM + data.replace(b"\n", b"\r\n"),
        lambda data: data.rstrip(b"\n"),
        lambda data: data.rstrip(b"\n") + b"\r",
        lambda data: data.replace(b"\n", b"\n\n \n"),
    ],
    ids=["CRLF", "BOM", "BOM and CRLF", "no newline at the end", "no newline after a CR", "blank lines"],
)
def test_what_editors_do_to_a_file_does_not_matter(change: object) -> None:
    assert read(change(FULL.encode())) == FULL_CONFIG  # type: ignore[operator]


def test_a_line_with_a_nul_is_skipped_with_a_warning() -> None:
    text = b"[global]\nmax_tries : 5\nmax_tries : 6\0\nalarm_interval : 60\n"
    assert parse(text, "app")[0] == made(max_tries=5, alarm_interval=60)
    assert the_complaint(text) == "conf:3: holds a NUL byte: skipped"


def test_a_file_of_nuls_as_a_crash_leaves_it_means_nothing() -> None:
    config, problems = parse(bytes(4096), "app")
    assert config == Config()
    assert problems.lines("conf") == ["conf:1: holds a NUL byte: skipped"]


def test_a_line_of_2048_bytes_is_whole() -> None:
    line = "max_tries : 5".ljust(LINE_LIMIT)
    assert len(line) == 2048
    assert read(f"[global]\n{line}\r\n").max_tries == 5


def test_a_longer_line_is_cut_there_with_a_warning() -> None:
    text = "[global]\n" + "alarm_mail : a@x".ljust(LINE_LIMIT) + "b\nmax_tries : 5\n"
    assert parse(text.encode(), "app")[0] == made(alarm_mail=("a@x",), max_tries=5)
    assert the_complaint(text) == "conf:2: longer than 2048 bytes: cut there"


@pytest.mark.parametrize("word", ["someone@example.com", "bounce=someone@example.com", "lists:someone@example.com"])
def test_a_word_that_the_limit_would_split_is_not_kept_in_part(word: str) -> None:
    """Half an address may be somebody else's, half a number is another number."""
    for kept in range(1, len(word)):
        text = "[global]\n" + "alarm_mail : a@x".ljust(LINE_LIMIT - kept) + word
        assert parse(text.encode(), "app")[0].alarm_mail == ("a@x",)


def test_a_comment_may_be_in_any_encoding() -> None:
    assert read(b"# caf\xe9\n[global]\nmax_tries : 5\n").max_tries == 5


# A file that is read again.


@pytest.mark.parametrize("value", ["x", "-1", "99999999999"])
@pytest.mark.parametrize("key", ["alarm_interval", "max_tries", "max_tries_if_coredumped"])
def test_a_bad_value_leaves_the_one_in_force(key: str, value: str) -> None:
    was = made(alarm_interval=120, max_tries=7, max_tries_if_coredumped=8)
    config, problems = parse(f"[global]\n{key} : {value}\n".encode(), "app", was)
    assert getattr(config, key) == getattr(was, key)
    assert all(getattr(config, other) == 0 for other in ("alarm_interval", "max_tries") if other != key)
    assert len(problems.lines("conf")) == 1


@pytest.mark.parametrize("text", ["max_tries", "max_tries 5", "max_tries\n# no sign"])
def test_a_key_without_a_value_leaves_the_one_in_force(text: str) -> None:
    assert parse(f"[global]\n{text}\n".encode(), "app", made(max_tries=7))[0].max_tries == 7


@pytest.mark.parametrize("key, value", [("alarm_mail", "-x |sh"), ("alarm_gsm", "-1")])
def test_a_list_without_a_usable_word_leaves_the_one_in_force(key: str, value: str) -> None:
    was = made(alarm_mail=("a@x",), alarm_gsm=("1",))
    assert getattr(parse(f"[global]\n{key} : {value}\n".encode(), "app", was)[0], key) == getattr(was, key)


def test_what_a_sound_file_no_longer_says_is_at_its_default_again() -> None:
    assert read("[global]\nalarm_interval : 60\n", previous=FULL_CONFIG) == made(alarm_interval=60)
    assert read("", previous=FULL_CONFIG) == Config()


def test_a_list_that_is_emptied_is_empty() -> None:
    assert read("[global]\nalarm_mail :\n", previous=FULL_CONFIG).alarm_mail == ()


@pytest.mark.parametrize("broken", ["[glob\n", "[ global ]\n", "\0\n"])
def test_a_file_whose_sections_cannot_be_told_apart_leaves_what_it_does_not_set(broken: str) -> None:
    config, problems = parse(f"{broken}max_tries : 9\n[app]\nmax_tries : 4\n".encode(), "app", FULL_CONFIG)
    assert config.max_tries == 4
    assert config.alarm_mail == FULL_CONFIG.alarm_mail
    assert config.alarm_interval == FULL_CONFIG.alarm_interval
    assert problems


def test_a_file_that_is_too_long_leaves_what_its_beginning_does_not_set() -> None:
    config, problems = parse(b"[global]\nmax_tries : 4\n", "app", FULL_CONFIG, cut=True)
    assert config.max_tries == 4
    assert config.alarm_mail == FULL_CONFIG.alarm_mail
    assert problems.lines("conf") == ["conf: longer than 1048576 bytes: the rest is not read"]


def test_the_line_in_which_a_file_is_cut_does_not_count() -> None:
    """It may have gone on: half a number is another number."""
    config, _ = parse(b"[global]\nalarm_interval : 60\nmax_tries : 1", "app", FULL_CONFIG, cut=True)
    assert config.alarm_interval == 60
    assert config.max_tries == FULL_CONFIG.max_tries


# How problems are told.


def test_problems_are_told_in_the_order_of_their_lines_and_not_without_end() -> None:
    text = "[global]\nmax_tries : x\n" + "typo : 1\n" * 1000
    lines = complaints(text)
    numbers = [int(line.split(":")[1]) for line in lines[:-1]]
    assert numbers == sorted(numbers)
    assert len(lines) == 21
    assert lines[-1] == "conf: and 981 more problems"


@pytest.mark.parametrize(
    "text",
    [
        b"[global]\n\x1b[2J : 1\n",
        b"[global]\nmax_tries : \x1b[2J\n",
        b"[global]\nalarm_mail : \xff\xfe \x1b[2J\n",
        b"[global]\n \x1b[2J\n",
        b"[\x1b[2J\n",
        b"\xff\xfe\n",
        b"[\x1b]0;x\x07 caf\xe9]\n[\x1b]0;x\x07 caf\xe9]\n[\x1b[2J\xff x\n",
        b"[global]\n" + b"x" * 2000 + b"\n",
    ],
)
def test_a_problem_is_one_short_line_that_a_terminal_can_show(text: bytes) -> None:
    for line in complaints(text, strict=True):
        assert line.isprintable()
        assert len(line) < 200


def test_a_configuration_can_be_shown() -> None:
    assert str(Config()) == "no policy: alarm_interval is 0, restarts are not limited"
    assert str(made(alarm_interval=60, max_tries=3)) == (
        "alarm_interval 60, alarm_mail (empty), alarm_gsm (empty), max_tries 3, max_tries_if_coredumped 0"
    )
    assert dict(FULL_CONFIG.items())["alarm_mail"] == "a@example.com b@example.com"


def test_equal_configurations_have_equal_hashes() -> None:
    assert hash(read(FULL)) == hash(FULL_CONFIG)
    assert read(FULL) != Config()
    assert Config() != ()
