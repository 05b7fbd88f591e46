"""Memory of all processes of one tree, read in one go."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence

import psutil

from tests.bench import page_map
from tests.bench.errors import BenchError

SUPERVISOR = "supervisord"
_SCRIPT = "sscsi-"
_ROLLUP_LINE = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProgramMemory:
    """Of one process, in bytes. The last two are None where the kernel tells no page's number."""

    pss: int
    """As the kernel has it: a page that n processes of the machine map counts as 1/n."""
    private: int
    """What no other process of the machine maps (USS)."""
    share: int | None
    """As `pss`, where only the processes of the tree count."""
    alone: int | None
    """What no other process of the tree maps."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TreeMemory:
    """Of every process of a tree, by program."""

    programs: Mapping[str, ProgramMemory]

    @property
    def pss(self) -> int:
        return sum(each.pss for each in self.programs.values())

    @property
    def private(self) -> int:
        return sum(each.private for each in self.programs.values())

    @property
    def unique(self) -> int | None:
        """Every page of the tree once, whoever else maps it: what the tree costs a machine where nobody else runs."""
        shares = [each.share for each in self.programs.values() if each.share is not None]
        return sum(shares) if shares else None

    @property
    def cost(self) -> int:
        """What is held against a target: `unique` where it is known, which is the larger one, else `pss`."""
        return self.pss if self.unique is None else self.unique


def read_tree(root: int) -> TreeMemory:
    """Memory of the process `root` and of all below it. Raises BenchError when one of them can't be read."""
    try:
        pids = tree(root)
        rollups = {name: _rollup(pid) for name, pid in pids.items()}
        pages = {name: page_map.pages_of(pid) for name, pid in pids.items()}
    except (OSError, psutil.Error) as error:
        raise BenchError(f"cannot read the memory of the appliance: {error}") from error
    share, alone = page_map.shares(pages)
    told = all(pages.values())
    return TreeMemory(
        programs={
            name: ProgramMemory(
                pss=rollup["Pss"],
                private=rollup["Private_Clean"] + rollup["Private_Dirty"],
                share=share[name] if told else None,
                alone=alone[name] if told else None,
            )
            for name, rollup in rollups.items()
        }
    )


def tree(root: int) -> dict[str, int]:
    """Process ids by program, `root` first. Raises psutil.Error when one of them ends meanwhile."""
    top = psutil.Process(root)
    found = {SUPERVISOR: root}
    for child in top.children(recursive=True):
        name = program_name(child.cmdline())
        # Nobody is left out of the sum, not even who has no name or one that is taken.
        found[name if name and name not in found else f"{name or 'process'} {child.pid}"] = child.pid
    return found


def program_name(command_line: Sequence[str]) -> str:
    """`node` for a process that runs `sscsi-node`, as a script of an interpreter or under a title; else empty."""
    for word in command_line[:2]:
        base = os.path.basename(word)
        if base.startswith(_SCRIPT):
            return base.removeprefix(_SCRIPT)
    return ""


def _rollup(pid: int) -> dict[str, int]:
    """Bytes by key."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as file:
        return {key: int(kib) * 1024 for key, kib in _ROLLUP_LINE.findall(file.read())}
