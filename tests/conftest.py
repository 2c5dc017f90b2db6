"""What every test has: the fixtures, and the order in which tests begin; the rest is of support/box.py."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from all_services import Services, some_services
from box import PATIENCE, ROOT, SUPERVISE, THOROUGH, Box, alive, in_session, processes, rounds, wait_for
from heirs import Private
from hypothesis import settings
from pretended import Pretended, pretended
from privileges import exhausted, nobody_else, stranger, unprivileged
from speaking import Speaker, speaking

__all__ = [
    "PATIENCE",
    "ROOT",
    "SUPERVISE",
    "THOROUGH",
    "Box",
    "alive",
    "exhausted",
    "in_session",
    "nobody_else",
    "processes",
    "rounds",
    "stranger",
    "unprivileged",
    "wait_for",
]

# They take long, most of it waiting, and so begin first.
LONG = {
    "test_a_hanging_mailer",
    "test_a_kill_at_any_system_call_leaves_a_usable_directory",
    "test_a_race_of_both",
    "test_a_system_call_that_fails_for_a_moment_leaves_everything_in_order",
    "test_an_idle_supervise_never_wakes_up",
    "test_any_number",
    "test_each_module_is_needed",
    "test_little_memory",
    "test_many_upgrades_leave_nothing_behind",
    "test_nothing_is_lost_by_an_upgrade",
    "test_restarts_leave_no_descriptor_and_no_process",
    "TestAnyOrder",
}

# What a machine is busy with says nothing about an example.
settings.register_profile("supervise", deadline=None)
settings.load_profile("supervise")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Have each worker begin with its share of the long ones, then of the files that wait for processes, then the rest.

    The whole is cut into as many equal pieces as there are workers; what is left at the end is short, to be shared.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    first: list[pytest.Item] = []
    waiting: dict[Path, list[pytest.Item]] = {}
    rest: list[pytest.Item] = []
    for item in items:
        if LONG.intersection((item.name.partition("[")[0], item.parent.name if item.parent else "")):
            first.append(item)
        elif "unit" in item.path.parts:
            rest.append(item)
        else:
            waiting.setdefault(item.path, []).append(item)
    shares = [first[number::workers] for number in range(workers)]
    for of_a_file in waiting.values():
        min(shares, key=len).extend(of_a_file)
    size = len(items) / workers
    sorted_ones: list[pytest.Item] = []
    for number, share in enumerate(shares):
        sorted_ones += share
        wanted = max(round(size * (number + 1)) - len(sorted_ones), 0)
        sorted_ones, rest = sorted_ones + rest[:wanted], rest[wanted:]
    items[:] = sorted_ones + rest


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Of what is long, where it differs: pytest's own comparison of two logs takes minutes where CI is set."""
    if op != "==" or type(left) is not type(right) or not isinstance(left, (bytes, str)):
        return None
    assert isinstance(right, (bytes, str))
    if max(len(left), len(right)) < 20_000:
        return None
    at = next((at for at, (one, other) in enumerate(zip(left, right)) if one != other), min(len(left), len(right)))
    around = slice(max(at - 40, 0), at + 40)
    lengths = f"{len(left):,} and {len(right):,} long, different from {at:,} on"
    return [lengths, f"left:  {left[around]!r}", f"right: {right[around]!r}"]


@contextmanager
def boxed(folder: Path) -> Iterator[Box]:
    """A box in a folder, and nothing left of either afterwards."""
    made = Box(folder)
    yield made
    made.clean()
    for pid in [pid for pid in processes() if made.owns(pid)]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A folder with nothing in it, and nothing left of it afterwards."""
    with boxed(tmp_path) as made:
        yield made


@pytest.fixture
def open_box() -> Iterator[Box]:
    """The same, but other users may enter it; not pytest's, which each session closes to them, also if others run."""
    folder = Path(tempfile.mkdtemp(prefix="supervise-"))
    folder.chmod(0o755)
    with boxed(folder) as made:
        yield made


@pytest.fixture
def private(box: Box) -> Private:
    """The box with an installation of its own, which the test may change."""
    return Private(box)


@pytest.fixture
def played(box: Box) -> Iterator[Pretended]:
    """A supervise that the test plays."""
    with pretended(box) as made:
        yield made


@pytest.fixture
def speaker(box: Box) -> Iterator[Speaker]:
    """A service that does what the test tells it."""
    with speaking(box) as made:
        yield made


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """A folder without services of svall, and nothing left of them afterwards."""
    with some_services(tmp_path) as made:
        yield made
