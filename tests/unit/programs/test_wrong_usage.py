"""Usage errors: which word is wrong, and which was probably meant."""

from __future__ import annotations

import pytest

from supervise.programs import command_line, svlog, svok, svwait
from supervise.programs.svall import main as svall
from supervise.programs.svall.misspelt import wrong_words
from supervise.programs.svc import main as svc
from supervise.programs.svc.misspelt import wrong_group, wrong_verb
from supervise.programs.svstat import main as svstat
from supervise.programs.wrong_usage import Words, hint, nearest

VERBS = (*svc._VERBS, "signal", "alarm")


def words(usage: str, line: str, options_first: bool = False) -> Words:
    return Words(usage, line.split(), options_first)


def test_a_command_line_is_taken_apart_as_docopt_does() -> None:
    found = words(str(svwait.__doc__), "-ot 5 app -u -- -d")
    assert (found.options, found.words, found.problem) == (["-o", "-t", "-u"], ["app", "-d"], "")
    assert words(str(svwait.__doc__), "-t5 --vers - -h").options == ["-t", "--version", "--help"]
    assert words(str(svc.__doc__), "--wait=5 stop --no app").words == ["stop", "app"]
    found = words(str(command_line.__doc__), "-p x --fore sleep -f 9", True)
    assert (found.options, found.words) == (["-p", "--foreground"], ["sleep", "-f", "9"])


@pytest.mark.parametrize("usage", [command_line, svlog, svok, svwait, svall, svc, svstat])
def test_all_options_of_a_usage_are_known(usage: object) -> None:
    text = str(usage.__doc__)
    for option in ("--help", "--version"):
        assert words(text, option).options == [option]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--hlep", "there is no option --hlep, the nearest is --help"),
        ("--frobnicate", "there is no option --frobnicate"),
        ("--only", "there is no option --only, the nearest is -o"),
        ("-help", "there is no option -help, the nearest is --help"),
        ("-T 5", "there is no option -T, the nearest is -t"),
        ("-z", "there is no option -z"),
        ("-uoz app", "there is no option -uoz"),
        ("-t", "-t takes a value, SECONDS"),
        ("-u -u app", "-u is there twice"),
        ("-h --help", "--help is there twice"),
        ("--help=5", "--help takes no value, such as '5'"),
        ("-u -d app", "-u and -d exclude each other"),
        ("app", "one of -u -U -d -r -x is missing"),
        ("-u", "no service is named"),
        ("-u app", ""),
    ],
)
def test_what_is_wrong_with_options(line: str, said: str) -> None:
    found = words(str(svwait.__doc__), line).wrong(("-u", "-U", "-d", "-r", "-x"), True, (1, 0))
    assert found == said


def test_a_word_too_many() -> None:
    assert words(str(svok.__doc__), "a b c").wrong(services=(1, 1)) == "'b' is one word too many"


def test_a_prefix_of_several() -> None:
    assert words("Options:\n  --wait  x\n  --why N  y\n", "--w").problem == "--w may be --wait or --why"


def test_the_nearest_word() -> None:
    assert nearest("SOTP", ["start", "stop"]) == "stop"
    assert nearest("frob", ["start", "stop"]) == ""
    assert nearest("pu", ["up", "down"]) == "up"
    assert hint("--jsno", ["--json", "--long"]) == ", the nearest is --json"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sotp web", "there is no verb 'sotp', the nearest is 'stop'"),
        ("web sotp", "there is no verb 'sotp', the nearest is 'stop'"),
        ("Restart web db", "there is no verb 'Restart', the nearest is 'restart'"),
        ("up web", "there is no verb 'up', the nearest is 'start'"),
        ("web down", "there is no verb 'down', the nearest is 'stop'"),
        ("hup web", "there is no verb 'hup', the nearest is 'signal HUP'"),
        ("start", "no service is named"),
        ("web", "what is to be done with 'web': no verb"),
        ("web pause", "the verb comes first: svc pause web"),
        ("web db stop", "the verb comes first: svc stop web db"),
        ("web status db", "'status' takes one service, the one before it"),
        ("signal", "no signal and no service"),
        ("signal TERM", "no service is named"),
        ("signal web", "the signal is missing"),
        ("alarm", "alarm is to be on or off"),
        ("alarm on", "no service is named"),
        ("alarm loud web", "alarm is to be on or off, not 'loud'"),
        ("web alarm loud", "alarm is to be on or off, not 'loud'"),
        ("web alarm", "alarm is to be on or off"),
    ],
)
def test_what_is_wrong_with_the_words_of_svc(line: str, said: str) -> None:
    assert wrong_verb(line.split(), VERBS, svc._VERBS_LAST) == said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "no verb: up, down, restart, update, status, diff, order or run"),
        ("-p status", "no verb: up, down, restart, update, status, diff, order or run"),
        ("pu", "there is no verb 'pu', the nearest is 'up'"),
        ("Up web", "there is no verb 'Up', the nearest is 'up'"),
        ("udpate", "there is no verb 'udpate', the nearest is 'update'"),
        ("stop", "there is no verb 'stop', the nearest is 'down'"),
        ("reload web", "there is no verb 'reload', the nearest is 'update'"),
        ("web down", "the verb comes first: svall down web"),
        ("-F x web db:* restart", "the verb comes first: svall restart web db:*"),
        ("-- -x up", "the verb comes first: svall up -- -x"),
        ("web", "there is no verb 'web', only up, down, restart, update, status, diff, order or run"),
        ("--configure x up", "there is no option --configure"),
        ("up -f", "there is no option -f, the nearest is -F"),
        ("up web", ""),
    ],
)
def test_what_is_wrong_with_the_words_of_svall(line: str, said: str) -> None:
    assert wrong_words(words(str(svall.__doc__), line), svall.VERBS) == said


def test_where_no_verb_is_near_all_are_named(tmp_path: object) -> None:
    assert wrong_verb(["frob", "web"], VERBS, svc._VERBS_LAST).endswith("kill, signal or alarm")
    assert wrong_verb([str(tmp_path), "frob"], VERBS, svc._VERBS_LAST) == (
        "there is no verb 'frob', only start, stop, restart, status, exit or reconf"
    )


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("stop", "-stop is the letters s, t, o, p; the verb is: svc stop web"),
        ("STOP", "-STOP is the letters S, T, O, P; the verb is: svc stop web"),
        ("hup", "-hup is the letters h, u, p; the verb is: svc signal HUP web"),
        ("up", "-up is the letters u, p; the verb is: svc start web"),
        ("wait", "-wait is the letters w, a, i, t; the option is --wait"),
        ("help", "-help is the letters h, e, l, p; the option is --help"),
        ("hlep", "no command has the letter 'l', the nearest to -hlep is --help"),
        ("relaod", "no command has the letter 'l', the nearest to -relaod is reload"),
        ("z", "no command has the letter 'z'"),
        ("dx", ""),
        ("+tk", ""),
    ],
)
def test_what_is_wrong_with_letters(group: str, said: str) -> None:
    assert wrong_group(group, ["web"], svc._VERBS) == said
