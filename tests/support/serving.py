"""Web servers as services: an address of their own, load on them, and nothing left of them.

Load: every request opens a connection of its own, and every one that is not answered in full is a failed one.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest
from box import PATIENCE, Box, alive, wait_for
from heirs import state

PAUSE = 0.02  # seconds between two requests of one thread: enough of them, and ports left for the others


def new_address() -> tuple[str, int]:
    """Where no other test listens: below the ports that connections get, and on a loopback address of its own."""
    for _ in range(100):
        address = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.{random.randint(1, 254)}"
        port = random.randint(10000, 19999)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                continue
            return address, port
    pytest.fail("no address is free")


def get(address: tuple[str, int], path: str = "/") -> str:
    """The answer to one request; raises OSError or HTTPException if there is none."""
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            raise http.client.HTTPException(f"status {answer.status}: {text[:200]}")
        return text
    finally:
        connection.close()


def wait_served(address: tuple[str, int], path: str = "/") -> str:
    """Wait until requests are answered; the answer."""

    def answer() -> str:
        try:
            return get(address, path) or " "
        except (OSError, http.client.HTTPException):
            return ""

    return wait_for(f"an answer at {address}", answer)


class Load:
    """Requests from several threads at once.  On leaving, no request may have failed.

    `answers`: how many times each text was the answer.
    """

    def __init__(self, address: tuple[str, int], threads: int = 4) -> None:
        self.address = address
        self.answers: dict[str, int] = {}
        self.failures: list[str] = []
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(threads)]

    def _ask(self) -> None:
        while not self._over.is_set():
            begun = time.monotonic()
            try:
                answer = get(self.address)
                with self._lock:
                    self.answers[answer] = self.answers.get(answer, 0) + 1
            except (OSError, http.client.HTTPException) as why:
                with self._lock:
                    self.failures.append(f"{why!r} after {time.monotonic() - begun:.3f} seconds")
                self._over.wait(0.05)
            self._over.wait(PAUSE)

    @property
    def count(self) -> int:
        """Requests that have ended, one way or the other."""
        with self._lock:
            return sum(self.answers.values()) + len(self.failures)

    def some_more(self, number: int = 20) -> None:
        """Wait for so many requests from now on."""
        wanted = self.count + number
        wait_for(f"{number} more requests", lambda: self.count >= wanted)

    def wait_answer(self, answer: str, number: int = 5) -> None:
        """Wait until a text has been the answer so many more times."""

        def times() -> int:
            with self._lock:
                return self.answers.get(answer, 0)

        wanted = times() + number
        wait_for(f"the answer {answer!r}; there were {self.answers}", lambda: times() >= wanted)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        if kind is None:
            assert self.failures == [], f"{len(self.failures)} of {self.count} requests failed"


def wait_totals(box: Box, **expected: int) -> None:
    """Wait until so much has happened, by the state, and nothing else ever has."""

    def found() -> dict[str, int]:
        return {name: count for name, count in state(box)["totals"].items() if count}

    wait_for(f"{expected} in the state", lambda: found() == expected)


def wait_state(box: Box, pid: int) -> dict[str, Any]:
    """Wait until the state names a main process, for it is written after the record; the state."""
    wait_for(f"pid {pid} in the state", lambda: (state(box)["service"] or {}).get("pid") == pid)
    return state(box)


@contextmanager
def swept(box: Box) -> Iterator[None]:
    """Nothing that has its current directory in the box's folder outlives the test.

    A server that overwrites its environment with its title, or makes a session of its own, is not found otherwise.
    """
    try:
        yield
    finally:
        print(box.log(), box.warnings)  # is shown if the test has failed
        box.clean()
        wait_for("what is left to end", lambda: not _killed(box.folder))


def _killed(folder: Path) -> list[int]:
    """Whom in a folder there was to kill."""
    found = [pid for pid in inhabitants(folder) if alive(pid)]
    for pid in found:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return found


def inhabitants(folder: Path) -> list[int]:
    """The processes that have their current directory in a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                place = os.readlink(entry / "cwd")
            except OSError:
                continue
            if place == str(folder) or place.startswith(f"{folder}/"):
                found.append(int(entry.name))
    return found
