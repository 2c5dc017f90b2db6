"""Values of the keys that limit a service (supervise/config/limits.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limit_values import cpu_sets, numbers, ranges, size, sizes, values

from supervise.config.config import LIMITS, Config
from supervise.config.limits import BadLimit, bytes_of, cpus_of, parse_limit
from supervise.config.parser import parse
from supervise.config.values import SCALARS, BadValue
from supervise.config.written import written


@pytest.mark.parametrize(
    ("key", "text", "meant"),
    [
        ("rlimit_nofile", "1024", "1024"),
        ("rlimit_nofile", "1024:4096", "1024:4096"),
        ("rlimit_nofile", "1024 : 4096", "1024:4096"),
        ("rlimit_nofile", "0010:10", "10"),
        ("rlimit_nofile", "4096:unlimited", "4096:unlimited"),
        ("rlimit_core", "UNLIMITED", "unlimited"),
        ("rlimit_core", "infinity:infinity", "unlimited"),
        ("rlimit_core", "0", "0"),
        ("rlimit_as", "512m:1024M", "512M:1G"),
        ("rlimit_as", "1023K", "1023K"),
        ("rlimit_as", "1000000", "1000000"),
        ("rlimit_as", "1g:unlimited", "1G:unlimited"),
        ("nice", "+10", "10"),
        ("nice", "-0", "0"),
        ("ionice", "2:0", "best-effort:0"),
        ("ionice", "Best-Effort", "best-effort:4"),
        ("ionice", "rt:7", "realtime:7"),
        ("ionice", "3", "idle"),
        ("ionice", "0", "none"),
        ("oom_score_adj", "-1000", "-1000"),
        ("cpu_affinity", "5,0-3", "0-3,5"),
        ("cpu_affinity", "0 1 2 2,3-3", "0-3"),
        ("memory_max", "max", "max"),
        ("memory_max", "infinity", "max"),
        ("memory_max", "1.", None),
        ("cpu_max", "50%", "50000 100000"),
        ("cpu_max", "20000", "20000 100000"),
        ("cpu_max", "20000 50000", "20000 50000"),
        ("cpu_max", "max", "max 100000"),
        ("cpu_max", "50% 100000", None),
        ("cpu_max", "999", None),
    ],
)
def test_what_people_write(key: str, text: str, meant: str | None) -> None:
    if meant is None:
        with pytest.raises(BadValue):
            SCALARS[key](text)
    else:
        assert SCALARS[key](text) == meant


@pytest.mark.parametrize(
    ("key", "text", "why"),
    [
        ("rlimit_nofile", "many", "'many' is not a whole number"),
        ("rlimit_nofile", "-1", "'-1' is not a whole number"),
        ("rlimit_nofile", "2:1", "'2:1' has a soft limit above the hard one"),
        ("rlimit_as", "unlimited:1G", "'unlimited:1G' has a soft limit above the hard one"),
        ("rlimit_as", "9" * 19, f"'{'9' * 19}' is out of range (0 to 9223372036854775807)"),
        ("rlimit_as", "99999999T", "'99999999T' is out of range (0 to 9223372036854775807)"),
        ("nice", "20", "'20' is out of range (-20 to 19)"),
        ("nice", "-", "'-' is not a whole number"),
        ("ionice", "fast", "'fast' is neither realtime nor best-effort nor idle nor none"),
        ("ionice", "idle:0", "'idle:0' gives a level to idle, which has none"),
        ("ionice", "realtime:8", "'8' is out of range (0 to 7)"),
        ("oom_score_adj", "1001", "'1001' is out of range (-1000 to 1000)"),
        ("cpu_affinity", "3-0", "'3-0' is not a range of processors"),
        ("cpu_affinity", ",", "',' names no processor"),
        ("cgroup", "web.slice", "'web.slice' is not an absolute path"),
        ("cgroup", "/a/../b", "'/a/../b' is not a path without '..'"),
        ("cpu_max", "1 2 3", "'1 2 3' is neither max nor N% nor QUOTA PERIOD in microseconds"),
        ("cpu_max", "0%", "'0' is out of range (1 to 1000000)"),
    ],
)
def test_what_cannot_be_understood(key: str, text: str, why: str) -> None:
    with pytest.raises(BadValue) as refused:
        SCALARS[key](text)
    assert str(refused.value) == why


@given(st.data(), st.sampled_from(LIMITS))
def test_the_one_form_means_itself(data: st.DataObject, key: str) -> None:
    value = data.draw(values[key])
    assert parse_limit(key, value) == written(key, value).replace("%%", "%") == value
    config = Config()
    setattr(config, key, value)
    assert config.limited
    text = "".join(f"{name} : {said}\n" for name, said in config.items())
    read, problems = parse(f"[app]\n{text}".encode(), "app")
    assert (read, problems.lines("conf")) == (config, [])


@given(sizes)
def test_sizes(number: int) -> None:
    assert bytes_of(size(number)) == bytes_of(parse_limit("rlimit_core", str(number))) == number
    assert parse_limit("memory_max", str(number)) == size(number)


@given(numbers, numbers)
def test_pairs(soft: int, hard: int) -> None:
    try:
        assert parse_limit("rlimit_nproc", f"{soft}:{hard}") == (f"{soft}:{hard}" if soft != hard else str(soft))
    except BadLimit:
        assert soft > hard


@given(cpu_sets)
def test_processors(cpus: set[int]) -> None:
    assert parse_limit("cpu_affinity", ",".join(map(str, cpus))) == ranges(cpus)
    assert cpus_of(ranges(cpus)) == cpus


@given(st.sampled_from(LIMITS), st.text(min_size=1, max_size=12) | st.text("0123456789:-,% KMGmax", min_size=1))
def test_any_text_is_understood_or_refused_and_what_is_understood_is_in_its_one_form(key: str, text: str) -> None:
    try:
        value = parse_limit(key, text)
    except BadLimit as why:
        assert why.text in text and why.why.isprintable()
    else:
        assert parse_limit(key, value) == value
