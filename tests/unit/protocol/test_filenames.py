"""Every function does what the one of that name in os or os.path does."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from supervise.protocol import filenames

paths = st.one_of(st.text("ab/.\udcff"), st.text("/", max_size=4), st.text("a/"))


@given(paths, paths)
def test_paths_are_put_together_and_taken_apart_as_by_os_path(above: str, name: str) -> None:
    assert filenames.join(above, name) == os.path.join(above, name)
    assert filenames.split(name) == os.path.split(name)
    assert filenames.dirname(name) == os.path.dirname(name)
    assert filenames.basename(name) == os.path.basename(name)


@given(paths, paths)
def test_paths_of_bytes_too(above: str, name: str) -> None:
    one, other = filenames.fsencode(above), filenames.fsencode(name)
    assert (one, other) == (os.fsencode(above), os.fsencode(name))
    assert filenames.join(one, other) == os.path.join(one, other)
    assert filenames.split(other) == os.path.split(other)


@given(st.binary())
def test_names_of_any_bytes_are_read_and_written_as_by_os(name: bytes) -> None:
    assert filenames.fsdecode(name) == os.fsdecode(name)
    assert filenames.fsencode(filenames.fsdecode(name)) == name


def test_the_constants_are_those_of_os() -> None:
    assert (os.devnull, os.defpath) == (filenames.DEVNULL, filenames.DEFPATH)
