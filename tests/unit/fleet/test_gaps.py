"""Which descriptors a copy closes, and what it shows of itself."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from supervise.fleet.nursery import _gaps
from supervise.fleet.title import Title


@given(st.sets(st.integers(3, 200)), st.integers(0, 250))
def test_all_but_those_are_closed_up_to_the_highest_and_the_next(kept: set[int], highest: int) -> None:
    kept |= {0, 1, 2}
    closed = {fd for first, last in _gaps(kept, highest) for fd in range(first, last)}
    assert closed.isdisjoint(kept)
    assert closed >= set(range(highest + 2)) - kept


def in_a_copy(words: list[str]) -> bytes:
    """What /proc shows of a copy of this process that shows these words."""
    title = Title()
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            title.show(title.of(words))
            os.write(writing, Path("/proc/self/cmdline").read_bytes())
        finally:
            os._exit(0)
    os.close(writing)
    shown = b""
    while part := os.read(reading, 65536):
        shown += part
    os.close(reading)
    os.waitpid(pid, 0)
    return shown


def test_a_copy_shows_other_words_and_the_first_process_its_own() -> None:
    own = Path("/proc/self/cmdline").read_bytes()
    assert in_a_copy(["a", "gr\udcfcn"]).rstrip(b"\0") == b"a\0gr\xfcn"
    assert Path("/proc/self/cmdline").read_bytes() == own


def test_words_for_which_there_is_no_room_are_not_shown() -> None:
    own = Path("/proc/self/cmdline").read_bytes()
    assert in_a_copy(["x" * (len(own) + 1)]) == own
