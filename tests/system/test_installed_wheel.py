"""The package as users get it: a wheel, installed into a fresh virtual environment, away from the checkout."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator

import pytest

from tests.support.checkout import ROOT, console_scripts
from tests.support.node_room import clean_environ
from tests.support.require import lacking

# What a build leaves in a tree, and what is no source: a wheel must not be made from yesterday's files.
NO_SOURCE = (".*", "build", "dist", "*.egg-info", "__pycache__")

pytestmark = pytest.mark.timeout(400)


def run(*command: str, directory: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environ = clean_environ(variables)
    environ.pop("PYTHONPATH")
    return subprocess.run(
        command,
        cwd=directory,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def away() -> Iterator[str]:
    """A directory that is not the checkout, with a short path."""
    with tempfile.TemporaryDirectory(prefix="sscsi-", dir="/tmp") as directory:
        yield directory


@pytest.fixture(scope="module")
def wheel(away: str) -> str:
    """The wheel, built from a copy of the source tree."""
    shutil.copytree(ROOT, f"{away}/source", symlinks=True, ignore=shutil.ignore_patterns(*NO_SOURCE))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
    result = run(*pip, "wheel", "--no-deps", f"--wheel-dir={away}", f"{away}/source", directory=away)
    if result.returncode:
        lacking("pypi", reason=f"no wheel can be built: {result.stderr[-500:]}")
    (name,) = (name for name in os.listdir(away) if name.endswith(".whl"))
    return f"{away}/{name}"


@pytest.fixture(scope="module")
def installed(away: str, wheel: str) -> str:
    """The `bin` directory of an environment with the wheel and what it asks for, and nothing else."""
    made = run(sys.executable, "-m", "venv", f"{away}/venv", directory=away)
    assert made.returncode == 0, made.stderr
    bin_directory = f"{away}/venv/bin"
    pip = (f"{bin_directory}/python", "-m", "pip", "--disable-pip-version-check")
    result = run(*pip, "install", "--quiet", wheel, directory=away)
    if result.returncode:
        lacking("pypi", reason=f"the wheel can't be installed: {result.stderr[-500:]}")
    return bin_directory


def test_the_wheel_holds_every_module_and_no_test(wheel: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {
        os.path.relpath(os.path.join(directory, name), ROOT)
        for package in ("sscsi", "sidecars")
        for directory, _, files in os.walk(f"{ROOT}/{package}")
        for name in files
        if name.endswith((".py", ".typed", ".conf"))
    }
    assert modules <= names
    assert {name.partition("/")[0] for name in names} == {"sscsi", "sidecars"}


@pytest.mark.parametrize("script", console_scripts())
def test_an_installed_console_script_answers_help(installed: str, away: str, script: str) -> None:
    result = run(f"{installed}/{script}", "--help", directory=away)
    assert (result.returncode, result.stderr) == (0, "")
    assert script in result.stdout


def test_the_installed_package_has_its_data_files(installed: str, away: str) -> None:
    program = """
from importlib.resources import files
import sscsi
assert "/venv/" in sscsi.__file__, sscsi.__file__
assert "[supervisord]" in (files("sscsi") / "supervisord.conf").read_text()
def walk(directory):
    for entry in directory.iterdir():
        yield from walk(entry) if entry.is_dir() else [entry]
for sample in sorted(map(str, walk(files("sscsi.cli") / "samples"))):
    print(sample.partition("/samples/")[2])
"""
    result = run(f"{installed}/python", "-c", program, directory=away)
    assert result.returncode == 0, result.stderr
    samples = f"{ROOT}/sscsi/cli/samples"
    expected = {
        os.path.relpath(os.path.join(directory, name), samples)
        for directory, _, files in os.walk(samples)
        for name in files
    }
    assert expected
    assert set(result.stdout.split()) == expected


@pytest.mark.root
def test_the_demonstration_runs_from_the_installed_package_and_leaves_nothing(
    installed: str, away: str
) -> None:
    scratch = f"{away}/t"
    os.mkdir(scratch)
    result = run(f"{installed}/sscsi", "demo", directory=away, TMPDIR=scratch)
    assert result.returncode == 0, result.stdout + result.stderr
    assert os.listdir(scratch) == []
