"""Lay out the image's root file system in a directory: `python3 rootfs.py OUT`.

The one recipe: the Containerfile runs it in its first stage, and tests/e2e/build_image.py where there is no registry of
images. It needs Debian bookworm with python3.11 (for the compiled code to be its), python3-venv, apt-get and
dpkg-deb; it changes nothing outside of OUT and of a temporary directory. The same Debian packages and the same
checkout give the same bytes: exact wheels by hash, code compiled without times in it, no name of a build directory.

What can't be fetched ends it with the client's own words and code 1.
"""

import glob
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import venv
import zipfile
from collections.abc import Iterator

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))
# What our own wheel is made from.
SOURCES = (
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "setup.cfg",
    "setup.py",
    "sidecars",
    "sscsi",
    "supervisord.conf",
)
PYTHON = "usr/bin/python3.11"
STDLIB = "usr/lib/python3.11"
PACKAGES = "usr/local/lib/python3.11/dist-packages"
SCRIPTS = "usr/local/bin"
# The Kubernetes client is thousands of modules, of which a pod needs five: packed, it takes a twentieth of the space.
ZIPPED = "kubernetes"
# Times in a zip archive begin here.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
# Where the manifests mount something: a read-only root has no place to make them.
MOUNT_POINTS = (
    "csi",
    "etc/kubernetes/secrets-store-csi-providers",
    "registration",
    "run/secrets-store-csi-providers",
    "run/sscsi",
    "secrets",
    "var/lib/kubelet/pods",
)
# PROBE_USER is 65532 by default.
_PASSWD = "root:x:0:0::/:/none\nsscsi-probe:x:65532:65532::/:/none\nnobody:x:65534:65534::/:/none\n"
_GROUP = "root:x:0:\nsscsi-probe:x:65532:\nnogroup:x:65534:\n"
_SCRIPT = "#!/{python} -sP\nimport sys\n\nfrom {module} import {function}\n\nsys.exit({function}())\n"


def lay_out(out: str) -> None:
    """Fill the directory `out`, which must not be there yet. Raises OSError, CalledProcessError."""
    os.makedirs(out)
    with tempfile.TemporaryDirectory(prefix="sscsi-rootfs.") as scratch:
        _unpack_debian(out, scratch)
        _install_wheels(out, scratch)
    _write_scripts(out)
    _leave_out(out)
    _compile(out)
    _zip_package(out)
    _write_system_files(out)
    _make_plain(out)


def listed(name: str) -> list[str]:
    """The entries of a list beside this file, without comments and empty lines."""
    with open(os.path.join(HERE, name), encoding="utf-8") as file:
        lines = [line.strip() for line in file]
    return [line for line in lines if line and not line.startswith("#")]


def _unpack_debian(out: str, scratch: str) -> None:
    """The packages' files; and what is installed, where scanners look for it in images without dpkg."""
    archives, lists, cache = (os.path.join(scratch, name) for name in ("debs", "lists", "cache"))
    for directory in (archives, os.path.join(lists, "partial"), os.path.join(cache, "archives/partial")):
        os.makedirs(directory)
    # Lists of our own: the machine's may be old, or none. As root, apt would fetch as a user who may not write here.
    settings = (f"Dir::State::lists={lists}", f"Dir::Cache={cache}", "APT::Sandbox::User=root")
    apt = ("apt-get", "-qq", *(word for setting in settings for word in ("-o", setting)))
    _run(*apt, "update")
    _run(*apt, "download", *listed("debian-packages.txt"), directory=archives)
    status = os.path.join(out, "var/lib/dpkg/status.d")
    os.makedirs(status)
    for archive in sorted(os.listdir(archives)):
        path = os.path.join(archives, archive)
        _run("dpkg-deb", "--extract", path, out)
        with open(os.path.join(status, archive.partition("_")[0]), "w", encoding="utf-8") as file:
            file.write(_output("dpkg-deb", "--field", path))


def _install_wheels(out: str, scratch: str) -> None:
    """Those of requirements.txt, and our own."""
    environment = os.path.join(scratch, "venv")
    venv.create(environment, with_pip=True)
    pip = (os.path.join(environment, "bin/python"), "-m", "pip", "--disable-pip-version-check", "--quiet")
    locked = ("--require-hashes", "--only-binary=:all:", "--no-deps")
    _run(*pip, "install", *locked, "-r", os.path.join(HERE, "build-requirements.txt"))
    source = os.path.join(scratch, "source")
    for name in SOURCES:
        _copy(os.path.join(CHECKOUT, name), os.path.join(source, name))
    wheels = os.path.join(scratch, "wheels")
    _run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", wheels, source)
    target = ("install", "--no-compile", "--upgrade", "--target", os.path.join(out, PACKAGES))
    _run(*pip, *target, *locked, "-r", os.path.join(HERE, "requirements.txt"))
    _run(*pip, *target, "--no-deps", *glob.glob(os.path.join(wheels, "*.whl")))


def _copy(source: str, target: str) -> None:
    """Links are followed: supervisord.conf is one. What Python compiled is not wanted."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isdir(source):
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


def _write_scripts(out: str) -> None:
    """Our console scripts and no others, for the image's own Python."""
    (points,) = glob.glob(os.path.join(out, PACKAGES, "sscsi-*.dist-info/entry_points.txt"))
    os.makedirs(os.path.join(out, SCRIPTS), exist_ok=True)
    with open(points, encoding="utf-8") as file:
        entries = [line.strip() for line in file if "=" in line]
    for entry in entries:
        name, _, target = entry.replace(" ", "").partition("=")
        module, _, function = target.partition(":")
        path = os.path.join(out, SCRIPTS, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(_SCRIPT.format(python=PYTHON, module=module, function=function))
        os.chmod(path, 0o755)


def _leave_out(out: str) -> None:
    for pattern in listed("leave-out.txt"):
        for path in glob.glob(pattern, root_dir=out, recursive=True, include_hidden=True):
            whole = os.path.join(out, path)
            if os.path.isdir(whole) and not os.path.islink(whole):
                shutil.rmtree(whole)
            elif os.path.lexists(whole):
                os.unlink(whole)


def _compile(out: str) -> None:
    """Compiled code beside each module, bound to no time: it is taken as it is, since nobody changes an image."""
    directories = [os.path.join(out, STDLIB), os.path.join(out, PACKAGES)]
    words = ("-m", "compileall", "-q", "--invalidation-mode=unchecked-hash", "-s", out, "-p", "/")
    # Sets in constants come in the order of their hashes.
    _run(sys.executable, *words, *directories, environment={**os.environ, "PYTHONHASHSEED": "0"})


def _zip_package(out: str) -> None:
    """The package ZIPPED as compiled code in an archive that is on the path, found after everything else."""
    packages = os.path.join(out, PACKAGES)
    archive = os.path.join(os.path.dirname(packages), f"{ZIPPED}.zip")
    root = os.path.join(packages, ZIPPED)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        for path in _files(root):
            name = os.path.relpath(path, packages)
            if name.endswith(".pyc"):
                name = name.replace("__pycache__/", "").replace(f".{sys.implementation.cache_tag}.", ".")
            elif name.endswith(".py"):
                continue
            with open(path, "rb") as file:
                zipped.writestr(zipfile.ZipInfo(name, _ZIP_TIME), file.read(), zipfile.ZIP_DEFLATED)
    shutil.rmtree(root)
    with open(os.path.join(packages, f"{ZIPPED}.pth"), "w", encoding="utf-8") as file:
        file.write(f"/{os.path.relpath(archive, out)}\n")


def _write_system_files(out: str) -> None:
    for directory in MOUNT_POINTS:
        os.makedirs(os.path.join(out, directory), exist_ok=True)
    for name, content in (("passwd", _PASSWD), ("group", _GROUP)):
        with open(os.path.join(out, "etc", name), "w", encoding="utf-8") as file:
            file.write(content)


def _make_plain(out: str) -> None:
    """Modes of nobody's umask: everybody may read, only /tmp may be written. And one time for all (SOURCE_DATE_EPOCH)."""
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
    for root, directories, names in os.walk(out, topdown=False):
        for name in (*directories, *names):
            path = os.path.join(root, name)
            status = os.lstat(path)
            if not stat.S_ISLNK(status.st_mode):
                os.chmod(path, 0o755 if status.st_mode & stat.S_IXUSR else 0o644)
            os.utime(path, (epoch, epoch), follow_symlinks=False)
    os.chmod(os.path.join(out, "tmp"), 0o1777)
    os.chmod(out, 0o755)
    os.utime(out, (epoch, epoch))


def _files(directory: str) -> Iterator[str]:
    for root, directories, names in os.walk(directory):
        directories.sort()
        for name in sorted(names):
            yield os.path.join(root, name)


def _run(*command: str, directory: str | None = None, environment: dict[str, str] | None = None) -> None:
    subprocess.run(command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, check=True)


def _output(*command: str) -> str:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    ).stdout


if __name__ == "__main__":
    lay_out(os.path.abspath(sys.argv[1]))
