"""Starts that one process prepares side by side: whose descriptors are whose, and looking once for all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervise.fleet import batch
from supervise.fleet.batch import Descriptors, Prepared
from supervise.fleet.nursery_process import _BATCH, _batches
from supervise.protocol.lockfile import path_of
from supervise.protocol.options import Options
from supervise.supervisor.startup import Startup


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.integers(0, 6)), max_size=30))
def test_whose_descriptors_are_whose(steps: list[tuple[int, int, int]]) -> None:
    """Four that open some and close some of their own, in any order."""
    descriptors = Descriptors()
    true: list[set[int]] = [set() for _ in range(4)]
    told = [frozenset[int]()] * 4
    try:
        for who, opened, closed in steps:
            true[who] |= {os.open("/dev/null", os.O_RDONLY) for _ in range(opened)}
            for fd in sorted(true[who])[:closed]:
                os.close(fd)
                true[who].discard(fd)
            told[who] = descriptors.of(told[who])
            assert told[who] == true[who]
            assert all(fd < descriptors.end for fd in told[who])
    finally:
        for fds in true:
            descriptors.close(frozenset(fds))
    assert Descriptors().end <= descriptors.end


@given(st.integers(1, 5000), st.integers(64, 100_000))
def test_batches_have_the_same_size_and_enough_descriptors(count: int, descriptors: int) -> None:
    batches = _batches(count, descriptors)
    assert [first for first, _ in batches] == [0, *(last for _, last in batches[:-1])]
    assert batches[-1][1] == count
    sizes = [last - first for first, last in batches]
    assert max(sizes) - min(sizes) <= 1
    assert max(sizes) <= _BATCH and (max(sizes) * 20 <= descriptors or max(sizes) == 1)


def test_all_are_locked_before_it_is_looked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from supervise.supervisor import path_conflict

    asked = []

    def look_for(held: list[tuple[object, int, bytes]]) -> list[None]:
        asked.append([place for _, _, place in held])
        assert all(os.path.exists(os.fsdecode(place) + "/lock") for place in places)
        return [None] * len(held)

    monkeypatch.setattr(path_conflict, "look_for", look_for)
    monkeypatch.setattr(batch, "forget", lambda module: None)
    monkeypatch.setattr(Startup, "do_ahead", lambda startup: None)  # which asks a helper for watches
    paths = [str(tmp_path / f"status/{name}") for name in "abc"]
    places = [os.fsencode(path) for path in paths]
    starts = [Prepared(options, Startup(options, {}, [])) for options in (Options(path, ["true"]) for path in paths)]
    descriptors = Descriptors()
    try:
        batch.prepare(starts, descriptors, True)
        assert [start.reason for start in starts] == ["", "", ""]
        assert asked == [places]
        held = [[fd for fd in start.fds if os.readlink(f"/proc/self/fd/{fd}").endswith("/lock")] for start in starts]
        assert [path_of(fd) for (fd,) in held] == places
    finally:
        for start in starts:
            descriptors.close(start.fds)
    # What says its path already is not looked for again; and one that cannot be prepared has nothing open.
    (tmp_path / "status/b/lock").unlink()
    (tmp_path / "status/b/lock").mkdir()
    starts = [Prepared(options, Startup(options, {}, [])) for options in (Options(path, ["true"]) for path in paths)]
    before = Descriptors().end
    try:
        batch.prepare(starts, descriptors, True)
        assert asked == [places]
        assert [bool(start.reason) for start in starts] == [False, True, False]
        assert starts[1].fds == frozenset()
    finally:
        for start in starts:
            descriptors.close(start.fds)
    assert Descriptors().end <= before
