"""Values of the keys that limit a service, each in the one form that it is kept in."""

from __future__ import annotations

from typing import Callable

from hypothesis import strategies as st

_MOST = 2**63 - 1
_UNITS = {"K": 10, "M": 20, "G": 30, "T": 40}


def size(number: int) -> str:
    """A number of bytes in the greatest unit that divides it."""
    for unit, bits in reversed(_UNITS.items()):
        if number and number % (1 << bits) == 0:
            return f"{number >> bits}{unit}"
    return str(number)


def ranges(cpus: set[int]) -> str:
    """Processors as ranges."""
    said: list[str] = []
    for first in sorted(cpu for cpu in cpus if cpu - 1 not in cpus):
        last = first
        while last + 1 in cpus:
            last += 1
        said.append(str(first) if first == last else f"{first}-{last}")
    return ",".join(said)


numbers = st.integers(0, 70) | st.integers(0, _MOST)
sizes = numbers | st.sampled_from(list(_UNITS.values())).flatmap(
    lambda bits: st.integers(1, 999).map(lambda n: n << bits)
)
cpu_sets = st.sets(st.integers(0, 12) | st.integers(0, 8191), min_size=1, max_size=9)


def _pairs(kind: st.SearchStrategy[int], make: Callable[[int], str]) -> st.SearchStrategy[str]:
    """SOFT and HARD, either may be unlimited."""

    def said(pair: tuple[int, int], infinite: int) -> str:
        soft, hard = make(min(pair)), make(max(pair))
        soft, hard = (soft, hard) if infinite == 0 else (soft, "unlimited") if infinite == 1 else ("unlimited",) * 2
        return soft if soft == hard else f"{soft}:{hard}"

    return st.builds(said, st.tuples(kind, kind), st.integers(0, 2))


counted, sized = _pairs(numbers, str), _pairs(sizes, size)
values: dict[str, st.SearchStrategy[str]] = {
    "rlimit_nofile": counted,
    "rlimit_core": sized,
    "rlimit_nproc": counted,
    "rlimit_as": sized,
    "nice": st.integers(-20, 19).map(str),
    "ionice": st.sampled_from(
        ["none", "idle", *(f"{name}:{n}" for name in ("realtime", "best-effort") for n in range(8))]
    ),
    "oom_score_adj": st.integers(-1000, 1000).map(str),
    "cpu_affinity": cpu_sets.map(ranges),
    "cgroup": st.sampled_from(["/sys/fs/cgroup/web", "/sys/fs/cgroup/100% of it", "/"]),
    "memory_max": st.just("max") | sizes.map(size),
    "cpu_max": st.builds(
        lambda quota, period: f"{quota} {period}",
        st.just("max") | st.integers(1000, 10**12).map(str),
        st.integers(1000, 10**6),
    ),
}
