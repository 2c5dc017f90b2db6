"""The 20-byte status record: what is written can be read, by us and by od, and nothing else is taken for one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import rounds
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from supervise.protocol.record import DOWN, ONCE, SIZE, UP, Record, RecordError, decode

STEADY = settings(max_examples=rounds(75, 150), deadline=None, suppress_health_check=[HealthCheck.too_slow])

BORN = 1_700_000_000_123_456_789  # nanoseconds
LAST_SECOND = 2**63 - 1 - (2**62 + 10)  # the label has 63 bits

records = st.builds(
    Record,
    st.integers(0, (LAST_SECOND + 1) * 10**9 - 1),
    st.booleans(),
    st.sampled_from([UP, DOWN, ONCE]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)


@st.composite
def nearly_records(draw: st.DrawFn) -> bytes:
    """20 bytes, every field right or nearly so: what tells a good decoder from a lax one."""
    label = draw(st.one_of(st.integers(2**62 - 3, 2**62 + 13), st.integers(2**63 - 3, 2**63 + 3)))
    nanoseconds = draw(st.one_of(st.integers(0, 3), st.integers(10**9 - 3, 10**9 + 3)))
    flags = bytes(draw(st.sampled_from(choices)) for choices in (b"\0\1\2\xff", b"ud\0\1oU", b"oxu\0", b"\0\0\0\1"))
    pid = draw(st.integers(0, 2**32 - 1))
    return label.to_bytes(8, "big") + nanoseconds.to_bytes(4, "big") + flags + pid.to_bytes(4, "little")


@STEADY
@given(records)
def test_what_is_written_is_read_back(record: Record) -> None:
    data = record.encode()
    assert len(data) == SIZE == 20
    assert decode(data) == record
    assert hash(decode(data)) == hash(record)


@STEADY
@given(st.one_of(st.binary(min_size=20, max_size=20), nearly_records(), records.map(Record.encode)))
@example(bytes(20))
@example(b"\xff" * 20)
def test_any_20_bytes_are_a_record_to_the_last_bit_or_none(data: bytes) -> None:
    try:
        record = decode(data)
    except RecordError:
        return
    assert record.encode() == data


@STEADY
@given(records, st.integers(0, 19), st.integers(1, 255))
def test_a_changed_byte_is_another_record_or_none(record: Record, at: int, flip: int) -> None:
    data = bytearray(record.encode())
    data[at] ^= flip
    try:
        assert decode(bytes(data)) != record
    except RecordError:
        pass


@STEADY
@given(st.binary(max_size=64).filter(lambda data: len(data) != 20))
@example(b"")
@example(bytes(19))
@example(bytes(21))
def test_any_other_length_is_refused(data: bytes) -> None:
    with pytest.raises(RecordError, match=f"^{len(data)} bytes long"):
        decode(data)


@STEADY
@given(records, st.integers(0, 19))
def test_a_torn_record_is_refused(record: Record, length: int) -> None:
    with pytest.raises(RecordError):
        decode(record.encode()[:length])


def test_where_each_field_is() -> None:
    data = Record(BORN, False, UP, True, 0x01020304).encode()
    assert int.from_bytes(data[0:8], "big") == 2**62 + 10 + 1_700_000_000
    assert int.from_bytes(data[8:12], "big") == 123_456_789
    assert data[12:16] == b"\0uo\0"
    assert data[16:20] == b"\4\3\2\1"


def test_the_epoch_is_labelled_as_daemontools_labels_it() -> None:
    assert Record(0, False, UP, True, 0).encode()[:12] == bytes.fromhex("400000000000000a 00000000")


@pytest.mark.parametrize("paused, byte", [(True, 1), (False, 0)])
def test_byte_12_is_1_while_paused(paused: bool, byte: int) -> None:
    assert Record(BORN, paused, UP, True, 1).encode()[12] == byte


@pytest.mark.parametrize("want, byte", [(UP, b"u"), (DOWN, b"d"), (ONCE, b"\0")])
def test_byte_13_is_what_is_wanted(want: str, byte: bytes) -> None:
    assert Record(BORN, False, want, True, 1).encode()[13:14] == byte


@pytest.mark.parametrize("alarms, byte", [(True, b"o"), (False, b"x")])
def test_byte_14_is_whether_alarms_are_on(alarms: bool, byte: bytes) -> None:
    assert Record(BORN, False, UP, alarms, 1).encode()[14:15] == byte


@pytest.mark.parametrize(
    "label, nanoseconds",
    [(2**62 + 9, 0), (2**63, 0), (2**64 - 1, 0), (2**62 + 10, 10**9), (2**62 + 10, 2**32 - 1)],
)
def test_what_is_no_tai64n_label_is_refused(label: int, nanoseconds: int) -> None:
    rest = Record(BORN, False, UP, True, 1).encode()[12:]
    with pytest.raises(RecordError, match="bytes 0-11 are not a TAI64N label"):
        decode(label.to_bytes(8, "big") + nanoseconds.to_bytes(4, "big") + rest)


@pytest.mark.parametrize("label, nanoseconds", [(2**62 + 10, 0), (2**63 - 1, 10**9 - 1)])
def test_the_first_and_the_last_label_are_read(label: int, nanoseconds: int) -> None:
    data = label.to_bytes(8, "big") + nanoseconds.to_bytes(4, "big") + Record(0, False, UP, True, 1).encode()[12:]
    assert decode(data).encode() == data


@pytest.mark.parametrize(
    "at, value, said",
    [
        (0, 0x3F, "bytes 0-11"),  # a label from before 1970
        (0, 0x80, "bytes 0-11"),  # the labels from 2^63 on are reserved
        (8, 0xFF, "bytes 0-11"),  # more than 999,999,999 nanoseconds
        (12, 2, "byte 12"),
        (13, ord("o"), "byte 13"),
        (14, 0, "byte 14"),
        (15, 1, "byte 15"),
    ],
)
def test_the_error_says_which_byte_is_wrong(at: int, value: int, said: str) -> None:
    data = bytearray(Record(BORN, False, UP, True, 1).encode())
    data[at] = value
    with pytest.raises(RecordError, match=f"^{said}"):
        decode(bytes(data))


def test_a_clock_before_1970_is_written_as_1970() -> None:
    record = Record(-1, False, UP, True, 1)
    assert decode(record.encode()).changed_ns == 0


def test_records_are_equal_when_every_field_is() -> None:
    record = Record(BORN, False, UP, True, 1)
    assert record == Record(BORN, False, UP, True, 1)
    others = [
        Record(BORN + 1, False, UP, True, 1),
        Record(BORN, True, UP, True, 1),
        Record(BORN, False, ONCE, True, 1),
        Record(BORN, False, UP, False, 1),
        Record(BORN, False, UP, True, 2),
    ]
    assert record not in others
    assert record != record.encode()
    assert repr(record) == f"Record(changed_ns={BORN}, paused=False, want='up', alarms=True, pid=1)"


# The od lines that scripts are full of.


def od(folder: Path, pid: int, *options: str) -> list[str]:
    path = folder / "status"
    path.write_bytes(Record(BORN, False, UP, True, pid).encode())
    return subprocess.run(["od", *options, str(path)], capture_output=True, text=True, check=True).stdout.split()


@pytest.mark.parametrize("pid", [0, 1, 11573, 65535, 65536, 4194304])
def test_od_prints_the_pid(tmp_path: Path, pid: int) -> None:
    assert od(tmp_path, pid, "-An", "-j16", "-N4", "-tu4") == [str(pid)]


@pytest.mark.parametrize("pid", [1, 11573, 65535])
def test_od_d_prints_a_pid_of_16_bits_as_its_second_word(tmp_path: Path, pid: int) -> None:
    assert od(tmp_path, pid, "-d", "--skip-bytes=16")[1] == str(pid)


def test_od_prints_the_flags(tmp_path: Path) -> None:
    assert od(tmp_path, 1, "-An", "-j12", "-N4", "-tc") == ["\\0", "u", "o", "\\0"]
