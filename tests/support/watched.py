"""A supervise that follows its configuration: what it has read, and when its watches are set."""

from __future__ import annotations

import os
import re
from pathlib import Path

from box import Box, wait_for
from system import children

CONF = "supervise.conf"


def kinds(where: Path, plan: tuple[tuple[str, str, int, int], ...]) -> dict[str, str]:
    """What is watched below `where`, and what for."""
    return {os.path.relpath(path, where): kind for path, kind, _, _ in plan if path.startswith(str(where))}


def policy(tries: int) -> str:
    """A configuration that is told from another by one number."""
    return f"[global]\nalarm_interval : 60\nmax_tries : {tries}\n"


def readings(box: Box, path: str = CONF) -> list[str]:
    """What supervise has read so far, one entry for each reading: the number, `absent`, or `none` (no policy)."""
    found = []
    for line in (box.log() + box.warnings).splitlines():
        _, _, said = line.partition(f" configuration {path}")
        if said:
            number = re.search(r"max_tries (\d+),", said)
            found.append(number[1] if number else "absent" if " is absent" in said else "none")
    return found


def wait_reading(box: Box, tries: int, path: str = CONF) -> None:
    wait_for(f"max_tries {tries} to be read", lambda: str(tries) in readings(box, path))


def wait_watching(box: Box) -> None:
    """Wait until the watches are set and the helper that did it is gone."""

    def watching() -> bool:
        supervisor = box.supervisor
        try:
            descriptors = [os.readlink(entry) for entry in Path(f"/proc/{supervisor}/fd").iterdir()]
        except FileNotFoundError:  # one was closed meanwhile
            return False
        return "anon_inode:inotify" in descriptors and [*children(supervisor)] == [box.pid]

    wait_for("the watches to be set", watching)


def move_over(box: Box, text: str, path: str = CONF) -> None:
    """What most editors do: write another file and rename it."""
    (box.folder / "new").write_text(text)
    (box.folder / "new").rename(box.folder / path)
