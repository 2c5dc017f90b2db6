"""The format of `state`: what is written is read back, and nothing else is ever taken for a state."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import rounds
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from samples import LAST_EXIT, SAMPLE, TOTALS, known

from supervise.protocol.state import VERSION, encode
from supervise.protocol.state_reader import SIZE_LIMIT, StateError, decode

STEADY = settings(max_examples=rounds(50, 150), deadline=None, suppress_health_check=[HealthCheck.too_slow])

COUNT = st.integers(0, 2**63 - 1)
TIME = st.one_of(st.integers(0, 2**40), st.floats(0, 2**40, allow_nan=False))
TEXT = st.text(st.characters(), max_size=20)  # surrogates, too: what os.fsdecode makes of bytes that are not UTF-8
MAYBE_TIME = st.one_of(st.none(), TIME)
GROUP: dict[str, Any] = {name: st.one_of(st.none(), COUNT) for name in ("group", "session")}

PROCESS = st.fixed_dictionaries(
    {"pid": COUNT, "start_ticks": COUNT, "pidfd_inode": st.one_of(st.none(), COUNT), **GROUP}
)

states = st.fixed_dictionaries(
    {
        "version": st.just(VERSION),
        "supervise_version": TEXT,
        "supervise_pid": COUNT,
        "session": COUNT,
        "boot_id": TEXT,
        "command": st.lists(TEXT, min_size=1, max_size=4),
        "machine": TEXT,
        "wanted": st.sampled_from(["up", "down", "once"]),
        "paused": st.booleans(),
        "alarms": st.booleans(),
        "leaving": st.booleans(),
        "service": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {
                    "pid": COUNT,
                    "start_ticks": COUNT,
                    "pidfd_inode": st.one_of(st.none(), COUNT),
                    "start_time": TIME,
                    **GROUP,
                }
            ),
        ),
        "remains": st.one_of(st.none(), st.fixed_dictionaries(GROUP)),
        "started_at": MAYBE_TIME,
        "exited_at": MAYBE_TIME,
        "script_exits": COUNT,
        "window": st.fixed_dictionaries({"opened_at": MAYBE_TIME, "exits": COUNT, "cores": COUNT}),
        "totals": st.fixed_dictionaries(
            {name: COUNT for name in (*TOTALS, "expected", "hangs")}
        ),
        "last_exit": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {
                    "code": st.one_of(st.none(), st.integers(0, 255)),
                    "signal": st.one_of(st.none(), st.integers(1, 64)),
                    "core": st.booleans(),
                    "failure": st.one_of(st.none(), TEXT),
                    "planned": st.booleans(),
                    "uptime": TIME,
                    "time": TIME,
                    "fault": st.one_of(st.none(), TEXT),
                    "fault_kind": st.one_of(st.none(), TEXT),
                    "boottime": MAYBE_TIME,
                    "expected": st.sampled_from([None, True, False]),
                }
            ),
        ),
        "gave_up": st.booleans(),
        "deadline_at": MAYBE_TIME,
        "directory": st.one_of(st.none(), st.fixed_dictionaries({"device": COUNT, "inode": COUNT})),
        "next_mark": st.one_of(st.none(), COUNT),
        "pid_namespace": st.one_of(st.none(), st.fixed_dictionaries({"device": COUNT, "inode": COUNT})),
        "upgrades": COUNT,
        "upgrades_refused": COUNT,
        "control_obeyed": st.one_of(st.none(), COUNT),
        "phase": st.sampled_from([None, "starting", "ready", "reloading", "stopping"]),
        "phase_time": MAYBE_TIME,
        "phase_boottime": MAYBE_TIME,
        "changed_boottime": MAYBE_TIME,
        "health": st.one_of(
            st.none(),
            st.fixed_dictionaries(
                {
                    "failures": COUNT,
                    "limit": COUNT,
                    "starting": st.booleans(),
                    "failure": st.one_of(st.none(), TEXT),
                    "output": TEXT,
                    "failing_time": MAYBE_TIME,
                    "failing_boottime": MAYBE_TIME,
                    "problem": st.one_of(st.none(), TEXT),
                }
            ),
        ),
        "loggers": st.one_of(
            st.none(),
            st.lists(
                st.fixed_dictionaries(
                    {
                        "stream": st.sampled_from(["stdout", "stderr"]),
                        "process": st.one_of(st.none(), PROCESS),
                        "start_time": TIME,
                        "retired": st.booleans(),
                        "ends": COUNT,
                        "failure": st.one_of(st.none(), TEXT),
                        "waiting": COUNT,
                    }
                ),
                max_size=2,
            ),
        ),
        "status_text": st.one_of(st.none(), TEXT),
        "quick_exits": COUNT,
        "watchdog": MAYBE_TIME,
        "fault": st.one_of(st.none(), TEXT),
        "fault_kind": st.one_of(st.none(), TEXT),
        "notify_address": st.one_of(st.none(), TEXT),
        "restrictions": st.one_of(st.none(), st.dictionaries(TEXT, TEXT, max_size=3)),
        "startsecs": st.one_of(st.none(), COUNT),
        "config_problems": st.one_of(st.none(), st.lists(TEXT, max_size=3)),
    }
)

# Fields that earlier releases did not write: what came with adoption, with readiness and backoff, with restrictions,
# with kinds and counts beside words, with clocks that nobody sets and what checks have found, with what tells whether a
# start or a reload was a success, with loggers.
ADOPTION = {"gave_up", "deadline_at", "directory", "next_mark", "upgrades", "upgrades_refused"}
READINESS = {"remains", "phase", "phase_time", "status_text", "quick_exits", "watchdog", "fault", "notify_address"}
TRUST = {"restrictions", "pid_namespace"}
PROTOCOL = {"control_obeyed", "fault_kind"}
CLOCKS = {"changed_boottime", "phase_boottime", "health"}
VERDICTS = {"startsecs", "config_problems"}
LOGGING = {"loggers"}
NEWER = ADOPTION | READINESS | TRUST | PROTOCOL | CLOCKS | VERDICTS | LOGGING
# The same within objects.
NEWER_INSIDE = {
    "totals": {"expected", "hangs"},
    "last_exit": {"fault", "fault_kind", "boottime", "expected"},
    "service": {"group", "session"},
}
# Other values than a field may have: a type that it never is, out of range, not finite.
WRONG = [True, None, "x", -1, 2**63, 1.5, [], {}, [1], {"pid": 1}]


def raw(**changes: Any) -> bytes:
    return json.dumps({**SAMPLE, **changes}).encode()


def read_or_refuse(data: bytes) -> dict[str, Any] | None:
    try:
        return decode(data)
    except StateError as why:
        assert str(why)
        return None


@STEADY
@given(states)
def test_what_is_written_is_read_back(fields: dict[str, Any]) -> None:
    found = decode(encode(fields))
    assert known(found) == fields
    assert decode(encode(found)) == found


@STEADY
@given(states)
def test_it_is_json_for_others_a_field_a_line(fields: dict[str, Any]) -> None:
    data = encode(fields)
    assert json.loads(data) == fields
    assert len(data.splitlines()) == len(fields) + 2


@STEADY
@given(st.binary(max_size=200))
@example(b"")
@example(b"\0" * 4096)
@example(b"[" * 100_000)
@example(b'{"version":' * 50_000)
@example(b"1" * 100_000)
@example(b'{"version": ' + b"9" * 5000 + b"}")
@example(b'{"version": NaN}')
@example(b'{"version": 1e999}')
@example(b'{"version": "1"}')
@example(b'{"version": true}')
@example(b"-")
@example(b'{"a')
@example(b'{"a"')
@example(b'{"a":')
@example(b"{,}")
@example(b'{"a": 1,}')
@example(b'{"\\u12"}')
@example(b'{"a": "\x01"}')
@example(b'"\\ud800"')
@example(b"nul")
@example(b"\xef\xbb\xbf{}")
def test_no_bytes_are_an_error_of_another_kind(data: bytes) -> None:
    assert read_or_refuse(data) is None


@STEADY
@given(states, st.data())
def test_no_damage_is_an_error_of_another_kind(fields: dict[str, Any], data: st.DataObject) -> None:
    whole = bytearray(encode(fields))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] ^= data.draw(st.integers(1, 255))
    read_or_refuse(bytes(whole))


@STEADY
@given(states, st.data())
def test_a_torn_state_is_refused(fields: dict[str, Any], data: st.DataObject) -> None:
    whole = encode(fields)
    length = data.draw(st.integers(0, len(whole.rstrip()) - 1))
    assert read_or_refuse(whole[:length]) is None


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@STEADY
@given(st.sampled_from(sorted(SAMPLE)), JSON)
def test_a_field_of_any_value_is_an_error_of_no_other_kind(name: str, value: Any) -> None:
    fields = read_or_refuse(raw(**{name: value}))
    if fields:
        # What was let through can be written again, and used: these are what is calculated with.
        assert read_or_refuse(encode(fields)) == fields
        assert fields["service"] is None or fields["service"]["pid"] >= 0
        assert all(total >= 0 for total in fields["totals"].values())


@pytest.mark.parametrize("name", sorted(set(SAMPLE) - NEWER))
def test_a_missing_field_is_named(name: str) -> None:
    fields = {**SAMPLE}
    del fields[name]
    with pytest.raises(StateError, match="version" if name == "version" else rf"^{name} is missing$"):
        decode(encode(fields))


@pytest.mark.parametrize("outer", ["service", "window", "totals", "last_exit"])
def test_a_missing_inner_field_is_named(outer: str) -> None:
    whole = LAST_EXIT if outer == "last_exit" else SAMPLE[outer]
    for inner in set(whole) - NEWER_INSIDE.get(outer, set()):
        part = {name: value for name, value in whole.items() if name != inner}
        with pytest.raises(StateError, match=rf"^{outer}\.{inner} is missing$"):
            decode(raw(**{outer: part}))


@pytest.mark.parametrize("name", ["supervise_pid", "session", "script_exits", "quick_exits"])
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_what_is_not_a_count_is_refused(name: str, value: Any) -> None:
    with pytest.raises(StateError, match=f"^{name} "):
        decode(raw(**{name: value}))


@pytest.mark.parametrize("value", [value for value in WRONG if value is not True], ids=repr)
def test_what_is_not_a_flag_is_refused(value: Any) -> None:
    with pytest.raises(StateError, match="^paused "):
        decode(raw(paused=value))


@pytest.mark.parametrize("pid", [*(value for value in WRONG if value != []), []], ids=repr)
def test_what_is_not_a_pid_is_refused(pid: Any) -> None:
    with pytest.raises(StateError, match=r"^service\.pid "):
        decode(raw(service={**SAMPLE["service"], "pid": pid}))


@pytest.mark.parametrize("wanted", ["", "u", "Up", "once "])
def test_what_is_wanted_is_one_of_three(wanted: str) -> None:
    with pytest.raises(StateError, match="wanted"):
        decode(raw(wanted=wanted))


@pytest.mark.parametrize("command", [[], [1], [None], ["sleep", 1], [["sleep"]]], ids=repr)
def test_a_command_is_words(command: Any) -> None:
    with pytest.raises(StateError, match="command"):
        decode(raw(command=command))


@pytest.mark.parametrize(
    "missing",
    [CLOCKS, CLOCKS | TRUST, CLOCKS | READINESS | TRUST, NEWER],
    ids=["newest", "newer", "new", "oldest"],
)
def test_an_older_release_lacks_the_newer_fields(missing: set[str]) -> None:
    old = {name: value for name, value in SAMPLE.items() if name not in missing}
    old["totals"] = {name: SAMPLE["totals"][name] for name in TOTALS}
    assert known(decode(encode(old))) == SAMPLE


def test_it_lacks_them_inside_its_objects_too() -> None:
    old = {name: value for name, value in LAST_EXIT.items() if name not in NEWER_INSIDE["last_exit"]}
    assert decode(raw(last_exit=old))["last_exit"] == LAST_EXIT


def test_what_it_has_is_not_replaced_by_what_is_assumed_otherwise() -> None:
    fields = {"phase": "ready", "status_text": "serving", "quick_exits": 7, "fault": "hung", "watchdog": 2.5}
    found = decode(raw(**fields, totals={**SAMPLE["totals"], "hangs": 3}, last_exit={**LAST_EXIT, "fault": "hung"}))
    assert {name: found[name] for name in fields} == fields
    assert (found["totals"]["hangs"], found["totals"]["expected"]) == (3, 0)
    assert found["last_exit"]["fault"] == "hung"


@pytest.mark.parametrize("name", ["phase", "status_text", "fault", "notify_address"])
@pytest.mark.parametrize("value", [True, -1, 2**63, 1.5, [], {}], ids=repr)
def test_what_is_not_a_text_is_refused(name: str, value: Any) -> None:
    with pytest.raises(StateError, match=f"^{name} "):
        decode(raw(**{name: value}))


@pytest.mark.parametrize("name", ["phase_time", "phase_boottime", "changed_boottime", "watchdog", "deadline_at"])
@pytest.mark.parametrize("value", [True, "x", -1, 2**63, [], {}], ids=repr)
def test_what_is_not_a_time_is_refused(name: str, value: Any) -> None:
    with pytest.raises(StateError, match=f"^{name} "):
        decode(raw(**{name: value}))


def test_fields_of_a_newer_release_are_kept() -> None:
    assert decode(raw(colour="green"))["colour"] == "green"


@pytest.mark.parametrize("version", [VERSION + 1, 2**62])
def test_a_newer_version_is_refused_with_both_numbers(version: int) -> None:
    # Even where nothing else in it makes sense to this one.
    for data in (raw(version=version), json.dumps({"version": version}).encode()):
        with pytest.raises(StateError, match=rf"version {version}\b.* {VERSION}$"):
            decode(data)


@pytest.mark.parametrize("version", [0, -1, "1", None, True, 1.0, [], {}], ids=repr)
def test_no_version_at_all(version: Any) -> None:
    with pytest.raises(StateError, match="version"):
        decode(raw(version=version))


def test_what_is_too_long_is_refused() -> None:
    assert known(decode(encode(SAMPLE) + b" " * 1000)) == SAMPLE
    with pytest.raises(StateError, match="long"):
        decode(encode(SAMPLE) + b" " * SIZE_LIMIT)
