"""The sdist and the wheel: built offline from what is here, unpacked, installed, used."""

from __future__ import annotations

import email
import os
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.message import Message
from importlib.util import find_spec
from pathlib import Path

import pytest
from box import Box
from conftest import PATIENCE, ROOT
from installing import PROGRAMS, install_others

from supervise import __version__

NAME = "supervise_daemon"
# Whatever else lies about in a checkout.
NOT_OURS = (".git", ".venv", "build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")

pytestmark = pytest.mark.skipif(
    not (find_spec("setuptools") and find_spec("wheel") and find_spec("pip")),
    reason="setuptools, wheel and pip are not all here, and nothing is fetched",
)


def run(*words: str | Path, cwd: Path, **env: str) -> str:
    done = subprocess.run(
        [*words],
        cwd=cwd,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE * 3,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def build(kind: str, source: Path, into: Path) -> Path:
    """Build as pip does, without the network; the file."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    run(sys.executable, "-W", "error::DeprecationWarning:setuptools", "-c", code, into, cwd=source)
    (found,) = into.iterdir()
    return found


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("checkout") / "source"
    shutil.copytree(ROOT, source, ignore=lambda folder, names: ignored(Path(folder), names), symlinks=True)
    return build("sdist", source, tmp_path_factory.mktemp("sdist"))


def ignored(folder: Path, names: list[str]) -> set[str]:
    found = set(shutil.ignore_patterns(*NOT_OURS)(str(folder), names))
    return found | ({name for name in names if name != ".gitkeep"} if folder == ROOT / "status" else set())


@pytest.fixture(scope="module")
def unpacked(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the sdist unpacks to."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the sdist: so that has all that it takes."""
    source = tmp_path_factory.mktemp("source") / "source"
    shutil.copytree(unpacked, source)
    return build("wheel", source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def prefix(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel in it."""
    prefix = tmp_path_factory.mktemp("installed") / "env"
    venv.create(prefix, symlinks=True)
    words = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", prefix / "bin" / "python"]
    run(*words, "install", "-q", "--no-deps", "--no-index", "--no-compile", wheel, cwd=prefix)
    install_others(modules_of(prefix))
    return prefix


def modules_of(prefix: Path) -> Path:
    return prefix / "lib" / "python{}.{}".format(*sys.version_info[:2]) / "site-packages"


def files(folder: Path) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and not any(path.match(pattern) or pattern in path.parts for pattern in NOT_OURS)
    }


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        return email.message_from_bytes(archive.read(f"{NAME}-{__version__}.dist-info/METADATA"))


def test_the_sdist_has_all_that_there_is(unpacked: Path) -> None:
    wanted = ("bench", "conf", "docs", "supervise", "tests")
    there = {f"{folder}/{name}" for folder in wanted for name in files(ROOT / folder)}
    top = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "SECURITY.md", "setup.cfg"}
    missing = (there | top | {".ci/run", ".ruff.toml", "pyproject.toml", "status/.gitkeep"}) - files(unpacked)
    assert missing == set(), "not in the sdist: see MANIFEST.in"


def test_a_part_of_the_suite_runs_from_the_sdist(unpacked: Path) -> None:
    tests = ("tests/unit/protocol/test_letters.py", "tests/system/programs/test_svok.py")
    words = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist")
    printed = run(*words, *tests, cwd=unpacked)
    assert " passed" in printed and " failed" not in printed and " error" not in printed


def test_what_the_wheel_says_of_itself(wheel: Path) -> None:
    said = metadata(wheel)
    assert (said["Name"], said["Version"]) == ("supervise-daemon", __version__)
    assert said["Author"] == "the supervise developers"
    assert said["License"] == "MIT" or said["License-Expression"] == "MIT"
    assert "daemontools" in said["Keywords"]
    assert "Typing :: Typed" in said.get_all("Classifier", [])
    assert not said["Home-page"] and not said.get_all("Project-URL")
    needed = {need.replace(" ", "") for need in said.get_all("Requires-Dist", []) if "extra" not in need}
    assert {"docopt<0.7,>=0.6.2", "pyinotify>=0.9.6"} <= needed and len(needed) == 3
    assert "do not `pip install supervise`" in str(said.get_payload()).lower()


def test_what_the_wheel_installs(prefix: Path) -> None:
    there = files(prefix)
    modules = modules_of(prefix).relative_to(prefix)
    assert {file for file in files(ROOT / "supervise") if file.endswith((".py", "py.typed"))} <= {
        file[len(f"{modules}/supervise/") :] for file in there
    }
    assert {f"bin/{name}" for name in (*PROGRAMS, "supervise-python")} <= there
    for name in ("supervise.conf", "supervise.openrc", "supervise.service", "supervise@.service"):
        assert (prefix / "share" / "supervise" / name).read_text() == (ROOT / "conf" / name).read_text()
    share = {f"share/man/man{page.suffix[1:]}/{page.name}" for page in (ROOT / "docs" / "man").iterdir()}
    share |= {f"share/bash-completion/completions/{path.name}" for path in (ROOT / "docs/completion/bash").iterdir()}
    share |= {f"share/fish/vendor_completions.d/{path.name}" for path in (ROOT / "docs/completion/fish").iterdir()}
    assert share <= there


def test_nothing_else_is_installed_at_the_top(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
    assert tops == {"supervise", f"{NAME}-{__version__}.dist-info", f"{NAME}-{__version__}.data"}


def test_what_was_installed_supervises(prefix: Path, box: Box) -> None:
    box.program = str(prefix / "bin" / "supervise")
    shipped = str(prefix / "share" / "supervise" / "supervise.conf")
    assert box.run("--version").stdout == f"supervise {__version__}\n"
    box.start("sleep", "1000", options=("-F", shipped))
    for words, said in (
        (("svstat", "app"), f"status/app: up (pid {box.pid}) "),
        (("svc", "exit", "app"), "status/app: supervise has ended\n"),
    ):
        done = box.run_words(str(prefix / "bin" / words[0]), *words[1:])
        assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith(said)


def test_its_import_is_supervise(prefix: Path) -> None:
    code = "from importlib.metadata import version; import supervise; print(version('supervise-daemon'))"
    assert run(prefix / "bin" / "python", "-I", "-c", code, cwd=prefix) == f"{__version__}\n"
