"""The image: made by its own recipe on this machine, small, without a shell, and at work on a read-only root.

Where the root file system can't be made (another system than Debian bookworm, no registries), the tests that need it are
skipped, and say so. SSCSI_FULL_SWEEP=1 makes it twice, to see that it is the same.
"""

import importlib.metadata
import os
import re
import stat
import subprocess
import sys

import pytest

import sscsi
from tests.e2e import build_image, containerfile
from tests.e2e.conftest import laid_out
from tests.support.checkout import ROOT, console_scripts, setup_cfg

MEBIBYTE = 1 << 20
# On top of the base, which is Debian's part.
TARGET_MIB = 120
IMAGE = os.path.join(ROOT, "deploy", "image")
DIST_PACKAGES = "usr/local/lib/python3.11/dist-packages"
_FULL = os.environ.get("SSCSI_FULL_SWEEP") == "1"

pytestmark = pytest.mark.timeout(400)

_LOAD_ALL = """
import ctypes, os
count = 0
for top in ("/usr/lib", "/usr/local/lib"):
    for root, _, names in os.walk(top):
        for name in names:
            if ".so" in name:
                ctypes.CDLL(os.path.join(root, name))
                count += 1
print(count)
"""


def read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def files(directory: str) -> list[str]:
    return [os.path.join(root, name) for root, _, names in os.walk(directory) for name in names]


def in_root(rootfs: str, *command: str) -> str:
    """What a command of the image prints, with the image as its root."""
    result = subprocess.run(
        ["/usr/sbin/chroot", rootfs, *command],
        env={"PATH": "/usr/local/bin:/usr/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


class TestRecipe:
    def test_both_builds_run_the_same_program(self) -> None:
        text = read(build_image.CONTAINERFILE)
        runs = [rest for instruction, rest in containerfile.instructions(text) if instruction == "RUN"]
        assert runs[-1].endswith("python3.11 /checkout/deploy/image/rootfs.py /rootfs")
        assert os.path.relpath(build_image.RECIPE, ROOT) == "deploy/image/rootfs.py"

    def test_the_containerfile_copies_what_the_program_reads(self) -> None:
        (line,) = re.findall(r"SOURCES = \((.*?)\)", read(build_image.RECIPE), re.DOTALL)
        text = read(build_image.CONTAINERFILE)
        copied = [
            word
            for instruction, rest in containerfile.instructions(text)
            if instruction == "COPY" and not rest.startswith("--from")
            for word in rest.split()[:-1]
        ]
        assert sorted(copied) == sorted([*re.findall(r'"(.*?)"', line), "deploy/image"])

    def test_the_last_stage_starts_the_appliance(self) -> None:
        config = containerfile.image_config(read(build_image.CONTAINERFILE))
        assert config["Entrypoint"] == ["/usr/local/bin/sscsi", "run"]
        assert config["Labels"]["org.opencontainers.image.version"] == sscsi.__version__
        assert config["User"] == "0:0"
        assert build_image.NAME.endswith(f":{sscsi.__version__}")

    @pytest.mark.parametrize(
        "line", ["RUN true", "ADD x /", "COPY --from=other / /", "VOLUME /x", "FROM debian"]
    )
    def test_an_instruction_that_only_one_build_would_follow_is_refused(self, line: str) -> None:
        text = f"{read(build_image.CONTAINERFILE)}\n{line}\n"
        with pytest.raises(ValueError, match="not understood"):
            containerfile.image_config(text)

    def test_what_setup_cfg_asks_for_is_locked(self) -> None:
        locked = dict(
            re.findall(r"^([\w-]+)==(\S+) ", read(os.path.join(IMAGE, "requirements.txt")), re.MULTILINE)
        )
        wanted = re.findall(r"^(\w+)", setup_cfg()["options"]["install_requires"], re.MULTILINE)
        assert {name.lower() for name in wanted} <= set(locked)
        installed = {name: importlib.metadata.version(name).split(".")[0] for name in wanted}
        assert {name: locked[name.lower()].split(".")[0] for name in wanted} == installed


class TestContent:
    def test_it_is_small(self, rootfs: str) -> None:
        ours = sum(os.lstat(path).st_size for path in files(f"{rootfs}/usr/local"))
        assert ours < TARGET_MIB * MEBIBYTE

    @pytest.mark.parametrize(("row", "part"), [("on top of the base", "usr/local"), ("all", ".")])
    def test_the_documented_sizes_are_of_this_image(self, rootfs: str, row: str, part: str) -> None:
        (documented,) = re.findall(
            rf"\| \*\*{row}\*\* \| \*\*(.*?)\*\*", read(os.path.join(ROOT, "docs/image.md"))
        )
        measured = sum(os.lstat(path).st_size for path in files(os.path.join(rootfs, part))) / MEBIBYTE
        # Other releases of Debian's packages, and lines of ours, are a little larger or smaller.
        assert measured == pytest.approx(float(documented), abs=3.0)

    def test_nothing_can_be_run_but_python_and_our_programs(self, rootfs: str) -> None:
        found = [
            os.path.relpath(path, rootfs)
            for directory in ("bin", "usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")
            for path in files(os.path.join(rootfs, directory))
        ]
        assert sorted(found) == sorted(
            ["usr/bin/python3.11", *(f"usr/local/bin/{name}" for name in console_scripts())]
        )
        assert not [
            name for name in ("pip", "setuptools") if os.path.exists(f"{rootfs}/{DIST_PACKAGES}/{name}")
        ]

    def test_nobody_gains_rights_and_nobody_may_write(self, rootfs: str) -> None:
        for path in files(rootfs):
            mode = os.lstat(path).st_mode
            if stat.S_ISREG(mode):
                assert stat.S_IMODE(mode) in {0o644, 0o755}, path

    def test_every_module_is_compiled_and_bound_to_no_time(self, rootfs: str) -> None:
        for path in files(rootfs):
            if path.endswith(".py"):
                directory, name = os.path.split(path)
                compiled = os.path.join(directory, "__pycache__", name[:-3] + ".cpython-311.pyc")
                with open(compiled, "rb") as file:
                    # PEP 552: by hash, and not checked.
                    assert file.read(8)[4:] == b"\x01\x00\x00\x00", path

    def test_no_build_directory_is_named(self, rootfs: str, away: str) -> None:
        for path in files(f"{rootfs}/usr/local"):
            with open(path, "rb") as file:
                assert away.encode() not in file.read(), path

    def test_scanners_find_what_is_installed_and_readers_the_licences(self, rootfs: str) -> None:
        names = os.listdir(f"{rootfs}/var/lib/dpkg/status.d")
        assert "libssl3" in names
        assert "python3.11-minimal" in names
        missing = [name for name in names if not os.path.exists(f"{rootfs}/usr/share/doc/{name}/copyright")]
        assert missing == []

    @pytest.mark.root
    def test_every_shared_object_finds_what_it_links_to(self, rootfs: str) -> None:
        assert int(in_root(rootfs, "/usr/bin/python3.11", "-c", _LOAD_ALL)) > 40

    @pytest.mark.root
    def test_a_kubeconfig_can_be_read(self, rootfs: str) -> None:
        """For that all of the packed Kubernetes client is imported."""
        program = "from kubernetes import client, config; print(config.load_kube_config.__name__)"
        assert in_root(rootfs, "/usr/bin/python3.11", "-c", program) == "load_kube_config\n"


class TestArchive:
    def test_the_same_directory_gives_the_same_bytes(self, rootfs: str, away: str) -> None:
        digests = {build_image.pack(f"{away}/{name}.tar", rootfs=rootfs) for name in ("a", "b")}
        assert len(digests) == 1
        assert subprocess.run(["cmp", f"{away}/a.tar", f"{away}/b.tar"], check=False).returncode == 0

    @pytest.mark.skipif(not _FULL, reason="takes half a minute: SSCSI_FULL_SWEEP=1")
    def test_the_same_checkout_gives_the_same_bytes(self, rootfs: str, away: str) -> None:
        again = laid_out(f"{away}/elsewhere/under/another/name")
        digests = {build_image.pack(f"{away}/x.tar", rootfs=directory) for directory in (rootfs, again)}
        assert len(digests) == 1


@pytest.mark.root
def test_it_runs_on_a_read_only_root(rootfs: str) -> None:
    """Only what the manifests mount can be written; the programs come up, the probe as its own user, and stop in order."""
    result = subprocess.run(
        [sys.executable, os.path.join(os.path.dirname(__file__), "read_only_run.py"), rootfs],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
