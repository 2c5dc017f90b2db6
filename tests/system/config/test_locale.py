"""Names and sections beyond ASCII, in whatever encoding: what counts is their bytes, and not what the locale says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE, SUPERVISE, Box
from system import needs

NAME = "\u8ba2\u5355"  # orders
CODINGS = ("gbk", "utf-8")


@pytest.fixture(scope="session")
def gbk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a locale whose encoding is GBK, which is made here: few systems have it."""
    needs("localedef")
    place = tmp_path_factory.mktemp("locales")
    subprocess.run(["localedef", "-i", "zh_CN", "-f", "GBK", str(place / "zh_CN.GBK")], capture_output=True)
    if not (place / "zh_CN.GBK").exists():
        pytest.skip("no locale can be made here: there are no sources of one")
    return {"LOCPATH": str(place), "LC_ALL": "zh_CN.GBK"}


@pytest.fixture(params=["zh_CN.GBK", "C.UTF-8", "C"])
def locale(request: pytest.FixtureRequest) -> dict[str, str]:
    found: dict[str, str] = request.getfixturevalue("gbk") if "GBK" in request.param else {"LC_ALL": request.param}
    return found


@pytest.fixture(params=CODINGS)
def name(request: pytest.FixtureRequest) -> bytes:
    """The service's name, as the kernel has it."""
    return NAME.encode(request.param)


@pytest.fixture
def shop(box: Box, name: bytes) -> Iterator[Box]:
    made = Box(box.folder, os.fsdecode(name))
    yield made
    made.clean()


def run(box: Box, locale: dict[str, str], *args: str | bytes) -> tuple[int, bytes]:
    done = subprocess.run(
        [SUPERVISE, *args], cwd=box.folder, env={**os.environ, **locale}, capture_output=True, timeout=PATIENCE
    )
    return done.returncode, done.stdout + done.stderr


def test_its_section_governs_it(shop: Box, name: bytes, locale: dict[str, str]) -> None:
    conf = b"[global]\n[%b]\numask : 037\nenvironment : WHO=%%(program_name)s\n" % name
    (shop.folder / "supervise.conf").write_bytes(conf)
    text = 'umask; printf %s "$WHO" > who; exec sleep 86399'
    code, said = run(shop, locale, "-u", b"status/" + name, "/bin/sh", "-c", text)
    assert (code, said) == (0, b"")
    assert shop.wait_stdout("\n") == "0037\n"
    shop.control("d")
    shop.wait_down()
    assert (shop.folder / "who").read_bytes() == name


def test_the_same_in_another_encoding_is_another_name(shop: Box, name: bytes, locale: dict[str, str]) -> None:
    (other,) = {NAME.encode(coding) for coding in CODINGS} - {name}
    (shop.folder / "supervise.conf").write_bytes(b"[%b]\numask : nonsense\n" % other)
    code, said = run(shop, locale, "-u", b"status/" + name, "sleep", "86399")
    assert (code, said) == (0, b"")


def test_what_cannot_be_understood_in_it_blocks(shop: Box, name: bytes, locale: dict[str, str]) -> None:
    (shop.folder / "supervise.conf").write_bytes(b"[%b]\numask : nonsense\n" % name)
    code, said = run(shop, locale, "-u", b"status/" + name, "sleep", "86399")
    assert code == 111
    assert b"supervise.conf:2: umask: 'nonsense' is not an octal number" in said


def test_check_finds_it_and_shows_it(shop: Box, name: bytes, locale: dict[str, str]) -> None:
    (shop.folder / "supervise.conf").write_bytes(b"[%b]\nmax_tries : 7\n" % name)
    for words in ([name], []):
        code, said = run(shop, locale, "--check", *words)
        assert code == 0
        assert b"  max_tries : 7\n" in said
        assert b"no section of its own" not in said
    fits = locale["LC_ALL"] == "zh_CN.GBK" and name == NAME.encode("gbk")
    if fits or (locale["LC_ALL"] == "C.UTF-8" and name == NAME.encode()):
        assert said.startswith(b"service %b:\n" % name)
    assert b"Traceback" not in said


def test_names_that_look_alike_are_told_apart(tmp_path: Path) -> None:
    """As sections, and as services that are there in place of the one that is not."""
    names = ("a\\nb", "a\nb", "web ", "web", "\u202eweb", "\\x20web")
    for one in names:
        (tmp_path / "status" / one).mkdir(parents=True)
        (tmp_path / "status" / one / "status").touch()
    words = [str(Path(SUPERVISE).parent / "svc"), "stop", "none"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 100
    said = done.stderr.partition(" are: ")[2].strip().split(", ")
    assert sorted(said) == sorted(["a\\\\nb", "a\\nb", "web\\x20", "web", "\\u202eweb", "\\\\x20web"])
