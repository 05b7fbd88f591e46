"""The container's own memory figures, from its cgroup (v2)."""

import os

from sscsi.core.watchdog_state import ContainerMemory


def read_container_memory(
    *, proc_cgroup: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup"
) -> ContainerMemory | None:
    """What the cgroup of this process is charged and allowed; None where there is no cgroup v2 to read.

    A privileged container may see the host's whole tree, so the path of its own cgroup counts.
    """
    try:
        directory = os.path.join(root, _own_path(_read(proc_cgroup)))
        return ContainerMemory(
            current_bytes=int(_read(f"{directory}/memory.current")),
            max_bytes=_limit(_read(f"{directory}/memory.max")),
        )
    except (OSError, ValueError):
        return None


def _own_path(proc_cgroup: str) -> str:
    """The path in the line `0::/path`, relative. Raises ValueError: cgroup v1 has no such line."""
    for line in proc_cgroup.splitlines():
        if line.startswith("0::/"):
            return line.removeprefix("0::/")
    raise ValueError("no cgroup v2")


def _limit(text: str) -> int | None:
    return None if text.strip() == "max" else int(text)


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()
