"""A sample of chaos.py: supervise killed before a few of its system calls; `make chaos` tries all of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chaos import PHASES, Phase, points, record_calls, try_kill
from system import needs

NEVER = 10**9


def sample(kind: type[Phase], folder: Path) -> list[tuple[str, int]]:
    """Two of a phase's system calls, none from an interpreter's start; of a restart the one after the clone, too."""
    found = points(record_calls(kind, folder), NEVER, 1)[1:]
    assert len(found) > 10
    chosen = [found[len(found) // 3], found[2 * len(found) // 3]]
    return chosen + [point for point in found if kind.name == "restart" and point == ("sched_yield", 1)]


def test_a_kill_at_any_system_call_leaves_a_usable_directory(tmp_path: Path) -> None:
    needs("strace")
    kinds = list(PHASES.values())
    with ThreadPoolExecutor(4) as pool:
        chosen = list(pool.map(sample, kinds, [tmp_path] * len(kinds)))
        tries = [(kind, point) for kind, points_of_it in zip(kinds, chosen) for point in points_of_it]
        verdicts = list(pool.map(lambda one: try_kill(*one, tmp_path), tries))
    assert [str(verdict) for verdict in verdicts if verdict.wrong] == []
    # A call of another run may be missing in this one; most are there.
    assert sum(verdict.killed for verdict in verdicts) > len(verdicts) / 2
    assert list(tmp_path.iterdir()) == []
