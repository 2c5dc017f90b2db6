"""The bytes of the control FIFO: which commands they are, and to whom what follows a `+` goes."""

from __future__ import annotations

import pytest
from conftest import rounds
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from samples import SIGNAL_LETTERS

from supervise.protocol.letters import COMMANDS, SIGNAL_LETTER, SIGNALS, WORDS, Reader, words_in

STEADY = settings(max_examples=rounds(60, 120), deadline=None, suppress_health_check=[HealthCheck.too_slow])

DOCUMENTED = b"udoxRpcsnre" + "".join(SIGNAL_LETTERS).encode()
IGNORED = b"\n \t\r"

# Every byte alike, or mostly bytes that mean something.
controls = st.one_of(st.binary(max_size=40), st.lists(st.sampled_from(DOCUMENTED + b"+=\n ")).map(bytes))


def read(data: bytes) -> list[tuple[str, object]]:
    """The commands in one write."""
    commands, unknown = Reader().feed(data)
    assert unknown == b""
    return commands


@pytest.mark.parametrize("letter", "udoxRpcsnre")
def test_a_command_letter_is_an_event_by_its_own_name(letter: str) -> None:
    assert letter in COMMANDS
    assert read(letter.encode()) == [(letter, False)]


@pytest.mark.parametrize("letter", SIGNAL_LETTERS)
def test_a_signal_letter_names_its_signal(letter: str) -> None:
    assert read(letter.encode()) == [(SIGNAL_LETTER, (letter, SIGNAL_LETTERS[letter], False))]


def test_there_are_no_other_signal_letters() -> None:
    assert SIGNALS == SIGNAL_LETTERS


def test_letters_of_one_write_are_obeyed_in_order() -> None:
    assert read(b"dx\n") == [("d", False), ("x", False)]


def test_newlines_and_blanks_are_ignored() -> None:
    assert read(b" d\tx\r\n\n") == read(b"dx")
    assert read(IGNORED) == []


def test_an_unknown_byte_is_reported_and_keeps_nothing_else_from_being_obeyed() -> None:
    assert Reader().feed(b"?u\xff\0dU") == ([("u", False), ("d", False)], b"?\xff\0U")


def test_plus_sends_what_follows_to_the_process_group() -> None:
    assert read(b"t+td") == [
        (SIGNAL_LETTER, ("t", "TERM", False)),
        (SIGNAL_LETTER, ("t", "TERM", True)),
        ("d", True),
    ]


def test_equals_sends_what_follows_to_the_service_alone() -> None:
    assert read(b"+p=c") == [("p", True), ("c", False)]


def test_blanks_and_unknown_bytes_do_not_end_what_plus_began() -> None:
    assert Reader().feed(b"+ ?\td") == ([("d", True)], b"?")


def test_plus_holds_for_its_own_write_only() -> None:
    reader = Reader()
    assert reader.feed(b"+t") == ([(SIGNAL_LETTER, ("t", "TERM", True))], b"")
    assert reader.feed(b"t") == ([(SIGNAL_LETTER, ("t", "TERM", False))], b"")


def test_a_newline_ends_a_write_for_two_writes_can_be_read_as_one() -> None:
    assert read(b"+t\nt\n") == [(SIGNAL_LETTER, ("t", "TERM", True)), (SIGNAL_LETTER, ("t", "TERM", False))]


def test_a_write_longer_than_a_read_is_one_write() -> None:
    reader = Reader()
    reader.feed(b"+", more=True)
    assert reader.feed(b"t", more=True) == ([(SIGNAL_LETTER, ("t", "TERM", True))], b"")
    assert reader.feed(b"k") == ([(SIGNAL_LETTER, ("k", "KILL", True))], b"")
    assert reader.feed(b"k") == ([(SIGNAL_LETTER, ("k", "KILL", False))], b"")


@STEADY
@given(controls)
@example(bytes(range(256)))
def test_every_byte_is_a_command_or_a_mark_or_ignored_or_unknown(data: bytes) -> None:
    commands, unknown = Reader().feed(data)
    marks = sum(data.count(byte) for byte in IGNORED + b"+=")
    assert len(commands) + len(unknown) + marks == len(data)
    meant = bytes(byte for byte in data if byte not in IGNORED + b"+=" and byte not in unknown)
    assert [ord(value[0] if event == SIGNAL_LETTER else event) for event, value in commands] == list(meant)


@STEADY
@given(controls)
def test_only_undocumented_bytes_are_unknown(data: bytes) -> None:
    _, unknown = Reader().feed(data)
    assert unknown == bytes(byte for byte in data if byte not in DOCUMENTED + IGNORED + b"+=")


@STEADY
@given(st.lists(controls, min_size=1, max_size=6))
def test_where_reads_split_a_write_does_not_matter(pieces: list[bytes]) -> None:
    reader = Reader()
    commands: list[tuple[str, object]] = []
    unknown = b""
    for number, piece in enumerate(pieces, 1):
        found, strange = reader.feed(piece, more=number < len(pieces))
        commands += found
        unknown += strange
    assert (commands, unknown) == Reader().feed(b"".join(pieces))


@STEADY
@given(controls, controls)
def test_writes_do_not_disturb_each_other(first: bytes, second: bytes) -> None:
    reader = Reader()
    reader.feed(first)
    assert reader.feed(second) == Reader().feed(second)


# Words.


@pytest.mark.parametrize("word", WORDS.split())
def test_a_write_that_is_a_word_is_told_from_letters(word: str) -> None:
    for data in (word, f"{word}\n", f" {word.capitalize()}\r\n"):
        assert words_in(data.encode()) == [data.strip()]


@pytest.mark.parametrize(
    "data", [b"dx\n", b"d\nx\n", b"st op\n", b"s\nt\no\np\n", b"stopp\n", b"start stop\n", b"\xff\xfe\n"]
)
def test_anything_else_is_none(data: bytes) -> None:
    assert words_in(data) == []


def test_each_word_is_named_once() -> None:
    assert words_in(b"stop\n" * 100 + b"d\nrestart\nSTOP") == ["stop", "restart", "STOP"]
