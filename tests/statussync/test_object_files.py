"""Objects as files: whole or not at all, private, only below the directory, and nobody else's touched."""

import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecars.statussync.directory_cluster import DirectoryCluster
from sidecars.statussync.object_files import ObjectFiles, encode
from sscsi.core.pod_status import KIND as STATUS_KIND
from sscsi.core.secret_data import KIND as SECRET_KIND
from sscsi.errors import ClusterUnavailableError, ConfigError, ObjectNotOursError
from sscsi.ports import ObjectKey

SECRET = ObjectKey(SECRET_KIND, "default", "db")


def manifest(key: ObjectKey, value: str = "1") -> dict[str, object]:
    return {
        "kind": key.kind,
        "metadata": {"name": key.name, "namespace": key.namespace},
        "data": {"k": value},
    }


def tree(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}


def test_an_object_is_a_private_file_that_kubernetes_could_read(tmp_path: Path) -> None:
    files = ObjectFiles(str(tmp_path / "status"))
    before = os.umask(0)
    try:
        assert files.write(SECRET, manifest(SECRET))
    finally:
        os.umask(before)
    path = tmp_path / "status/secrets/default/db.yaml"
    assert yaml.safe_load(path.read_text()) == manifest(SECRET)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for directory in (path.parent, path.parent.parent, path.parent.parent.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_modes_that_were_opened_are_closed_again(tmp_path: Path) -> None:
    files = ObjectFiles(str(tmp_path / "status"))
    files.write(SECRET, manifest(SECRET))
    path = tmp_path / "status/secrets/default/db.yaml"
    path.chmod(0o644)
    path.parent.chmod(0o755)
    assert files.write(SECRET, manifest(SECRET)) is True
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_an_unchanged_object_is_not_touched(tmp_path: Path) -> None:
    files = ObjectFiles(str(tmp_path / "status"))
    files.write(SECRET, manifest(SECRET))
    path = tmp_path / "status/secrets/default/db.yaml"
    before = path.stat()
    assert files.write(SECRET, manifest(SECRET)) is False
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_an_edited_object_is_made_right(tmp_path: Path) -> None:
    files = ObjectFiles(str(tmp_path / "status"))
    files.write(SECRET, manifest(SECRET))
    path = tmp_path / "status/secrets/default/db.yaml"
    path.write_text(path.read_text().replace("1", "edited"))
    assert files.write(SECRET, manifest(SECRET)) is True
    assert yaml.safe_load(path.read_text()) == manifest(SECRET)


def test_an_empty_file_is_what_a_power_loss_leaves_and_is_replaced(tmp_path: Path) -> None:
    files = ObjectFiles(str(tmp_path / "status"))
    (tmp_path / "status/secrets/default").mkdir(parents=True)
    (tmp_path / "status/secrets/default/db.yaml").touch()
    assert files.list_ours(SECRET_KIND) == set()
    assert files.write(SECRET, manifest(SECRET)) is True


def test_the_directory_of_a_namespace_goes_with_its_last_object(tmp_path: Path) -> None:
    files = ObjectFiles(str(tmp_path / "status"))
    other = ObjectKey(SECRET_KIND, "default", "other")
    files.write(SECRET, manifest(SECRET))
    files.write(other, manifest(other))
    files.remove(SECRET)
    assert (tmp_path / "status/secrets/default").is_dir()
    files.remove(other)
    assert not (tmp_path / "status/secrets/default").exists()


@pytest.mark.parametrize("level", ["status", "status/secrets", "status/secrets/default"])
def test_a_link_in_the_way_sends_no_secret_elsewhere(tmp_path: Path, level: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / level).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / level).symlink_to(elsewhere)
    files = ObjectFiles(str(tmp_path / "status"))
    with pytest.raises(ClusterUnavailableError, match="cannot write Secret default/db in"):
        files.write(SECRET, manifest(SECRET))
    assert list(elsewhere.iterdir()) == []


def test_a_link_as_the_file_is_neither_followed_nor_taken(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    (tmp_path / "status/secrets/default").mkdir(parents=True)
    (tmp_path / "status/secrets/default/db.yaml").symlink_to(target)
    files = ObjectFiles(str(tmp_path / "status"))
    with pytest.raises(ObjectNotOursError, match="was not made by status-sync; remove it"):
        files.write(SECRET, manifest(SECRET))
    assert files.remove(SECRET) is False
    assert (tmp_path / "status/secrets/default/db.yaml").is_symlink()
    assert target.read_text() == "mine"


def test_odd_things_between_our_files_are_passed_over(tmp_path: Path) -> None:
    files = ObjectFiles(str(tmp_path / "status"))
    files.write(SECRET, manifest(SECRET))
    namespace = tmp_path / "status/secrets/default"
    (namespace / "directory.yaml").mkdir()
    os.mkfifo(namespace / "fifo.yaml")
    (namespace / "link.yaml").symlink_to("/etc/passwd")
    (namespace / "own-link.yaml").symlink_to("db.yaml")
    (namespace / "loop.yaml").symlink_to("loop.yaml")
    with socket.socket(socket.AF_UNIX) as bound:
        # Through a descriptor: a socket's path has at most 107 bytes.
        descriptor = os.open(namespace, os.O_PATH)
        bound.bind(f"/proc/self/fd/{descriptor}/socket.yaml")
        os.close(descriptor)
    (namespace / "note.txt").write_text("mine")
    (tmp_path / "status/secrets/file").write_text("mine")
    # Whoever copied our file to a name that is not its own made it theirs.
    (namespace / ("_" + "0" * 64 + ".yaml")).write_bytes((namespace / "db.yaml").read_bytes())
    assert files.list_ours(SECRET_KIND) == {SECRET}
    for name in ("directory", "fifo", "link", "own-link", "loop", "socket"):
        with pytest.raises(ObjectNotOursError):
            files.write(ObjectKey(SECRET_KIND, "default", name), manifest(SECRET))


def test_many_operations_leave_no_descriptor_open(tmp_path: Path) -> None:
    files = ObjectFiles(str(tmp_path / "status"))
    (tmp_path / "status/secrets/default/odd.yaml").mkdir(parents=True)

    def everything() -> None:
        files.write(SECRET, manifest(SECRET))
        files.list_ours(SECRET_KIND)
        files.remove(SECRET)
        files.remove_leftovers()

    everything()
    before = len(os.listdir("/proc/self/fd"))
    everything()
    assert len(os.listdir("/proc/self/fd")) == before


def test_leftovers_of_a_killed_process_are_removed_at_start(tmp_path: Path) -> None:
    DirectoryCluster(str(tmp_path)).close()
    ObjectFiles(str(tmp_path / "status")).write(SECRET, manifest(SECRET))
    leftover = tmp_path / "status/secrets/default/.sscsi-new-abc"
    leftover.write_text("half")
    DirectoryCluster(str(tmp_path)).close()
    assert tree(tmp_path) == {"status/secrets/default/db.yaml"}


WRITER = """
import sys
from sidecars.statussync.object_files import ObjectFiles
from sscsi.errors import ClusterUnavailableError
from sscsi.ports import ObjectKey
try:
    ObjectFiles(sys.argv[1]).write(ObjectKey("Secret", "default", "db"), {"data": {"k": "x" * 100000}})
except ClusterUnavailableError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_old_file_and_nothing_half_written(tmp_path: Path) -> None:
    files = ObjectFiles(str(tmp_path / "status"))
    files.write(SECRET, manifest(SECRET))

    def full_disk() -> None:
        # To a writer a file size limit is a disk that is full.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    output = subprocess.run(
        [sys.executable, "-c", WRITER, str(tmp_path / "status")],
        capture_output=True,
        check=True,
        text=True,
        preexec_fn=full_disk,
        timeout=60,
    ).stdout
    assert output == f"cannot write Secret default/db in '{tmp_path}/status': EFBIG\n"
    assert tree(tmp_path) == {"status/secrets/default/db.yaml"}
    assert files.write(SECRET, manifest(SECRET)) is False


ANY_NAME = st.one_of(
    st.sampled_from(
        ["..", ".", "", "/", "a/b", "../../x", "a\0b", "-", "A", "_x", "a" * 250, "b" * 300, ".yaml"]
    ),
    st.text(max_size=20),
    st.from_regex(r"[a-z0-9]([-.a-z0-9]{0,10}[a-z0-9])?", fullmatch=True),
)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.builds(ObjectKey, st.sampled_from([SECRET_KIND, STATUS_KIND]), ANY_NAME, ANY_NAME), max_size=4
    )
)
def test_no_name_leads_out_of_the_directory_and_no_two_share_a_file(
    tmp_path_factory: pytest.TempPathFactory, keys: list[ObjectKey]
) -> None:
    root = tmp_path_factory.mktemp("names")
    files = ObjectFiles(str(root / "status"))
    wanted = set(keys)
    for key in wanted:
        assert files.write(key, manifest(key))
    found = tree(root)
    assert len(found) == len(wanted)
    for path in found:
        assert path.startswith(("status/secrets/", "status/secretproviderclasspodstatuses/"))
        assert path.count("/") == 3
    for kind in (SECRET_KIND, STATUS_KIND):
        assert files.list_ours(kind) == {key for key in wanted if key.kind == kind}
    for key in wanted:
        assert files.remove(key)
    assert tree(root) == set()


@given(
    st.recursive(
        st.one_of(st.text(max_size=10), st.booleans()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_what_is_written_is_read_back_and_equal_manifests_are_equal_bytes(value: object) -> None:
    document: dict[str, object] = {"a": value, "b": value}
    assert yaml.safe_load(encode(document)) == document
    assert encode(document) == encode({"a": value, "b": value})


def test_a_shared_part_is_written_out_twice() -> None:
    shared = {"uid": "u"}
    assert encode({"a": [shared], "b": [shared]}) == b"a:\n- uid: u\nb:\n- uid: u\n"


def test_a_directory_that_is_missing_is_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot read the directory of --cluster=dir:.*/none \(ENOENT\); create it"
    ) as e:
        DirectoryCluster(str(tmp_path / "none"))
    assert e.value.exit_code == 1


def test_a_status_directory_that_cannot_be_made_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("in the way")
    with pytest.raises(ConfigError, match=r"cannot make the directory '.*/status' \(ENOTDIR\)") as e:
        DirectoryCluster(str(tmp_path))
    assert e.value.exit_code == 1


def test_a_directory_serves_one_process_at_a_time(tmp_path: Path) -> None:
    first = DirectoryCluster(str(tmp_path))
    with pytest.raises(ConfigError, match="another status-sync writes to"):
        DirectoryCluster(str(tmp_path))
    first.close()
    DirectoryCluster(str(tmp_path)).close()
