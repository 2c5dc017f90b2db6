"""Reading the last lines of a log and following it: rotations, truncations, what may be planted."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, rounds
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervise.client import logfiles
from supervise.client.inotify import Changes
from supervise.client.logfiles import LogError
from supervise.client.tail import Follower, exists, last_blocks, last_lines

LOG = "__stdout"
STEADY = settings(max_examples=rounds(60, 300), deadline=None, suppress_health_check=[HealthCheck.too_slow])

pieces = st.sampled_from([b"\n", b"a", b"bc\n", b"\r", b"\0", b"\xff", b"long " * 9])
contents = st.lists(pieces, max_size=12).map(b"".join)
histories = st.lists(st.tuples(contents, st.booleans()), min_size=1, max_size=5)  # the oldest first; compressed?


def naive(files: list[bytes], lines: int) -> list[bytes]:
    """What last_lines must give for files, the oldest first."""
    found = io.BytesIO(b"".join(files)).readlines()
    return found[max(len(found) - lines, 0) :]


@STEADY
@given(histories, st.integers(0, 30), st.sampled_from([1, 3, 1 << 16]))
def test_last_lines_are_those_of_the_files_joined(files: list[tuple[bytes, bool]], lines: int, block: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(logfiles, "BLOCK", block)
        for age, (data, compressed) in enumerate(reversed(files)):
            name = Path(folder, f"{LOG}.{age}" if age else LOG)
            if age and compressed:
                Path(f"{name}.gz").write_bytes(gzip.compress(data, 1))
            else:
                name.write_bytes(data)
        assert last_lines(folder, LOG, lines) == naive([data for data, _ in files], lines)


def test_a_log_that_is_larger_than_memory_may_be_is_read_from_its_end(tmp_path: Path) -> None:
    with open(tmp_path / LOG, "wb") as log:
        log.truncate(1 << 40)  # a hole of a terabyte
        log.seek(0, os.SEEK_END)
        log.write(b"\none\ntwo")
    assert last_lines(str(tmp_path), LOG, 2) == [b"one\n", b"two"]


def test_lines_that_are_many_are_given_in_pieces(tmp_path: Path) -> None:
    line = b"x" * 99 + b"\n"
    (tmp_path / LOG).write_bytes(line * 100_000)
    pieces = list(last_blocks(str(tmp_path), LOG, 50_000))
    assert sum(map(len, pieces)) == 5_000_000
    assert max(map(len, pieces)) <= logfiles.BLOCK


def test_numbers_count_not_the_order_of_names(tmp_path: Path) -> None:
    for number in range(1, 13):
        (tmp_path / f"{LOG}.{number}").write_text(f"{number}\n")
    (tmp_path / LOG).write_text("now\n")
    expected = [b"%d\n" % number for number in range(12, 0, -1)] + [b"now\n"]
    assert last_lines(str(tmp_path), LOG, 99) == expected


def test_names_that_are_no_rotation_of_this_log_are_not_read(tmp_path: Path) -> None:
    for suffix in (".wf", ".wf.1", ".01", ".1.bz2", ".1~", ".-1", ".1.gz.gz", "x1"):
        (tmp_path / f"supervise.log{suffix}").write_text("no\n")
    (tmp_path / "supervise.log").write_text("yes\n")
    assert last_lines(str(tmp_path), "supervise.log", 99) == [b"yes\n"]


def test_where_gzip_is_at_work_the_plain_file_counts(tmp_path: Path) -> None:
    (tmp_path / f"{LOG}.1").write_text("plain\n")
    (tmp_path / f"{LOG}.1.gz").write_bytes(gzip.compress(b"half")[:-6])
    assert last_lines(str(tmp_path), LOG, 9) == [b"plain\n"]


def test_a_damaged_compressed_file_ends_the_log(tmp_path: Path) -> None:
    (tmp_path / LOG).write_text("new\n")
    (tmp_path / f"{LOG}.1.gz").write_bytes(gzip.compress(b"half\n" * 99)[:-9])
    (tmp_path / f"{LOG}.2").write_text("old\n")
    assert last_lines(str(tmp_path), LOG, 9) == [b"new\n"]


def test_no_log_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(str(tmp_path), LOG, 9) == []
    assert not exists(str(tmp_path), LOG)


def test_a_directory_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="read .*gone: No such file or directory"):
        last_lines(str(tmp_path / "gone"), LOG, 9)


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory", "socket", "device"])
def test_what_is_planted_for_a_log_is_not_read(tmp_path: Path, kind: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret\n")
    planted = tmp_path / LOG
    if kind == "symlink":
        planted.symlink_to(secret)
    elif kind == "fifo":
        os.mkfifo(planted)
    elif kind == "directory":
        planted.mkdir()
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(str(planted))
    elif os.geteuid() == 0:
        try:
            os.mknod(planted, 0o020600, os.makedev(1, 5))  # /dev/zero
        except PermissionError:
            pytest.skip("devices cannot be made here")
    else:
        pytest.skip("only root can make a device")
    with pytest.raises(LogError, match="not a regular file"):
        last_lines(str(tmp_path), LOG, 9)


def test_a_planted_rotation_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / f"{LOG}.1").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / f"{LOG}.2")
    (tmp_path / LOG).write_text("mine\n")
    assert last_lines(str(tmp_path), LOG, 9) == [b"mine\n"]


class Following:
    """A log that is followed, and a writer that appends to it as a service does."""

    def __init__(self, folder: Path, lines: int = 10) -> None:
        self.folder = folder
        self.changes = Changes()
        self.follower = Follower(str(folder), LOG, lines, self.changes)
        self.got = b"".join(self.follower.read())

    def append(self, data: bytes, name: str = LOG) -> None:
        with open(self.folder / name, "ab") as log:
            log.write(data)

    def rotate(self, backups: int = 9) -> None:
        for number in range(backups, 0, -1):
            old = self.folder / (f"{LOG}.{number - 1}" if number > 1 else LOG)
            if old.exists():
                old.rename(self.folder / f"{LOG}.{number}")

    def copytruncate(self) -> None:
        shutil.copy(self.folder / LOG, self.folder / f"{LOG}.1")
        os.truncate(self.folder / LOG, 0)

    def look(self) -> bytes:
        """What one look finds."""
        new = b"".join(self.follower.read())
        self.got += new
        return new

    def expect(self, data: bytes) -> None:
        """Look each time that inotify tells, until all of it was found, and nothing else."""
        found = b""
        while len(found) < len(data):
            assert self.changes.wait(PATIENCE) & self.follower.watched, f"nothing after {found!r}, not {data!r}"
            found += self.look()
        assert found == data


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Following]:
    folder = tmp_path / "status" / "app"
    folder.mkdir(parents=True)
    (folder / LOG).write_bytes(b"one\ntwo\n")
    following = Following(folder, 1)
    yield following
    following.follower.close()
    following.changes.close()


def test_the_last_lines_come_first_then_what_is_added(made: Following) -> None:
    assert made.got == b"two\n"
    made.append(b"thr")
    made.expect(b"thr")
    made.append(b"ee\nfour\n")
    made.expect(b"ee\nfour\n")


def test_nothing_new_is_nothing(made: Following) -> None:
    assert made.look() == b""


def test_a_rotation_by_renaming(made: Following) -> None:
    made.append(b"three\n")
    made.rotate()
    made.append(b"still to the old file\n", f"{LOG}.1")
    made.append(b"new\n")
    made.expect(b"three\nstill to the old file\nnew\n")


def test_the_old_file_is_read_as_long_as_the_service_writes_to_it(made: Following) -> None:
    with open(made.folder / LOG, "ab", buffering=0) as service:
        made.rotate()
        (made.folder / LOG).touch()
        assert made.look() == b""
        service.write(b"late\n")
        made.expect(b"late\n")
        made.append(b"new\n")
        made.expect(b"new\n")
        service.write(b"later\n")
        made.expect(b"later\n")


def test_several_rotations_between_two_looks(made: Following) -> None:
    for number in range(5):
        made.rotate()
        made.append(b"%d\n" % number)
    made.expect(b"0\n1\n2\n3\n4\n")


def test_a_rotation_that_has_compressed_already(made: Following) -> None:
    made.rotate()
    made.append(b"three\n")
    made.rotate()
    data = (made.folder / f"{LOG}.1").read_bytes()
    (made.folder / f"{LOG}.1.gz").write_bytes(gzip.compress(data))
    (made.folder / f"{LOG}.1").unlink()
    made.append(b"four\n")
    assert made.look() == b"three\nfour\n"


def test_the_file_is_moved_away_and_comes_back_later(made: Following) -> None:
    (made.folder / LOG).rename(made.folder.parent / "elsewhere")
    assert made.look() == b""
    made.append(b"new\n")
    made.expect(b"new\n")


def test_the_file_is_deleted_and_made_again(made: Following) -> None:
    (made.folder / LOG).unlink()
    made.append(b"new\n")
    made.expect(b"new\n")


def test_a_truncation(made: Following) -> None:
    os.truncate(made.folder / LOG, 0)
    made.append(b"new\n")
    made.expect(b"new\n")


def test_a_truncation_after_which_the_file_has_grown_beyond_its_old_length(made: Following) -> None:
    os.truncate(made.folder / LOG, 0)
    made.append(b"very much longer than it was\n")
    made.expect(b"very much longer than it was\n")


def test_what_was_not_read_before_a_copytruncate_is_in_the_copy(made: Following) -> None:
    made.append(b"three\n")
    made.copytruncate()
    made.append(b"four, which is long enough to be longer\n")
    made.expect(b"three\nfour, which is long enough to be longer\n")


def test_an_older_rotation_is_not_taken_for_the_copy(made: Following) -> None:
    made.append(b"three\n", f"{LOG}.1")
    os.truncate(made.folder / LOG, 0)
    made.append(b"new\n")
    made.expect(b"new\n")


def test_an_older_rotation_that_began_alike_is_not_taken_for_the_copy(made: Following) -> None:
    made.append(b"one\ntwo\nof old\n", f"{LOG}.1")
    made.append(b"three\n")
    made.expect(b"three\n")
    os.truncate(made.folder / f"{LOG}.1", 0)
    made.append(b"one\ntwo\nthree\nof old\n", f"{LOG}.1")
    assert made.look() == b""
    os.truncate(made.folder / LOG, 0)
    made.append(b"new\n")
    made.expect(b"new\n")


@pytest.mark.parametrize("hours", [-1, 1])
def test_setting_the_clock_hides_no_copy(made: Following, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
    """To a program that has looked before, files are of another time then."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + hours * 3600 * 10**9)
    for number in range(3):
        made.append(b"one more %d\n" % number)
        made.look()
        made.append(b"three\n")
        made.copytruncate()
        made.append(b"four, which is long enough to be longer\n")
        assert made.look() == b"three\nfour, which is long enough to be longer\n"


def test_the_log_comes_later(tmp_path: Path) -> None:
    made = Following(tmp_path)
    assert made.got == b""
    made.append(b"one\n")
    made.expect(b"one\n")
    made.follower.close()
    made.changes.close()


def test_only_a_rotated_file_is_there_at_first(tmp_path: Path) -> None:
    (tmp_path / f"{LOG}.1").write_bytes(b"old\n")
    made = Following(tmp_path)
    assert made.got == b"old\n"
    made.append(b"late\n", f"{LOG}.1")
    made.append(b"new\n")
    made.expect(b"late\nnew\n")
    made.follower.close()
    made.changes.close()


@pytest.mark.parametrize("depth", [1, 2])
def test_the_directory_is_removed_and_made_again(made: Following, depth: int) -> None:
    shutil.rmtree(made.folder if depth == 1 else made.folder.parent)
    assert made.look() == b""
    made.folder.mkdir(parents=True)
    made.append(b"new\n")
    made.expect(b"new\n")
    shutil.rmtree(made.folder)
    made.folder.mkdir()
    made.append(b"again\n")
    made.expect(b"again\n")


def test_a_symlink_that_is_planted_while_the_log_is_followed_is_an_error(made: Following) -> None:
    (made.folder / LOG).unlink()
    (made.folder / LOG).symlink_to("/etc/passwd")
    with pytest.raises(LogError, match="not a regular file"):
        made.look()


steps = st.one_of(
    st.tuples(st.just("append"), st.binary(min_size=1, max_size=40)),
    st.tuples(st.sampled_from(["rotate", "look"]), st.just(b"")),
)


@STEADY
@given(st.lists(steps, max_size=15))
def test_nothing_is_lost_or_repeated_through_rotations(todo: list[tuple[str, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        written = b"begin\n"
        Path(folder, LOG).write_bytes(written)
        made = Following(Path(folder))
        for what, data in todo:
            if what == "append":
                made.append(data)
                written += data
            elif what == "rotate":
                made.rotate(99)
            else:
                made.look()
        made.append(b"end\n")
        made.look()
        assert made.got == written + b"end\n"
        made.follower.close()
        made.changes.close()
