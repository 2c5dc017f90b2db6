"""Letters that cannot be meant are refused, and nothing of them is sent."""

from __future__ import annotations

import itertools

import pytest
from pretended import Pretended

from supervise.client import BadLetters, ClientError, Service
from supervise.client.meant import LETTERS, MEANT, check
from supervise.programs.svc.main import _VERBS, _VERBS_LAST
from supervise.protocol.letters import WORDS

DOCUMENTED = ["dx", "+t", "+k=t", "=t", "ox", "ux", "dk", "tc", "+tk", "su", "sd", "nu", "re", "cu", "pd", "tt", ""]


@pytest.mark.parametrize("letters", [*LETTERS, *DOCUMENTED])
def test_what_is_documented_may_be_sent(letters: str) -> None:
    check(letters)


@pytest.mark.parametrize("word", WORDS.split())
def test_a_word_is_not_sent(played: Pretended, word: str) -> None:
    service = Service(played.path)
    for letters in (word, word.upper(), f"+{word}"):
        with pytest.raises(BadLetters, match="which is a word, letter by letter"):
            service.command(letters)
    assert played.unread() == 0


def test_all_verbs_are_words() -> None:
    assert {*_VERBS, *_VERBS_LAST, "signal", "alarm"} <= set(MEANT)
    assert sorted(MEANT) == sorted(WORDS.split())


def test_what_was_meant_is_said() -> None:
    instead = {"restart": ": the letter for that: 'R'", "exit": ": the letters for that: 'dx'", "status": ""}
    for word, letters in instead.items():
        with pytest.raises(BadLetters) as found:
            check(word)
        assert str(found.value) == f"cannot send {word!r}, which is a word, letter by letter{letters}"
        for letter in MEANT[word][0]:
            check(letter)


@pytest.mark.parametrize("pair", ["ud", "uo", "od", "dR", "oR", "xR", "sn", "pc"])
def test_what_contradicts_itself_is_not_sent(played: Pretended, pair: str) -> None:
    service = Service(played.path)
    for letters in itertools.permutations(pair + "t+"):
        with pytest.raises(BadLetters, match="contradict each other"):
            service.send("".join(letters))
    assert played.unread() == 0


def test_it_is_the_callers_fault_in_both_ways() -> None:
    with pytest.raises(ClientError) as found:
        check("uz")
    assert found.value.exit_code == 100 and isinstance(found.value, ValueError)
    assert str(found.value) == "no command has the letter 'z'"
