from pathlib import Path

import pytest

from sidecars.watchdog.container_memory import read_container_memory
from sscsi.core.watchdog_state import ContainerMemory


def look(root: Path, proc_cgroup: str) -> ContainerMemory | None:
    (root / "cgroup").write_text(proc_cgroup)
    return read_container_memory(proc_cgroup=str(root / "cgroup"), root=str(root / "fs"))


def make(directory: Path, current: str, limit: str) -> None:
    directory.mkdir(parents=True)
    (directory / "memory.current").write_text(current)
    (directory / "memory.max").write_text(limit)


def test_a_container_that_sees_its_own_cgroup_only(tmp_path: Path) -> None:
    make(tmp_path / "fs", "41943040\n", "268435456\n")
    assert look(tmp_path, "0::/\n") == ContainerMemory(current_bytes=41943040, max_bytes=268435456)


def test_a_privileged_one_sees_the_hosts_tree_and_its_own_place_in_it(tmp_path: Path) -> None:
    make(tmp_path / "fs", "1\n", "2\n")
    make(tmp_path / "fs" / "kubepods.slice" / "pod:1", "41943040\n", "max\n")
    found = look(tmp_path, "1:name=systemd:/\n0::/kubepods.slice/pod:1\n")
    assert found == ContainerMemory(current_bytes=41943040, max_bytes=None)


@pytest.mark.parametrize("proc_cgroup", ["", "5:memory:/docker/1\n4:cpu:/\n", "0::/not/there\n"])
def test_where_there_is_no_cgroup_v2_there_is_nothing_to_tell(tmp_path: Path, proc_cgroup: str) -> None:
    assert look(tmp_path, proc_cgroup) is None


def test_a_file_that_is_no_number_is_nothing_to_tell(tmp_path: Path) -> None:
    make(tmp_path / "fs", "many\n", "max\n")
    assert look(tmp_path, "0::/\n") is None
