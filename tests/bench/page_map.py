"""Which physical pages a process has, by their numbers: what several processes share is counted once.

The kernel's own PSS divides a page by all who map it, also by processes that have nothing to do with the matter:
the benchmark is a Python with gRPC itself, and other Pythons run beside it. Numbers are told to who has
CAP_SYS_ADMIN in the first user namespace (proc_pid_pagemap(5)).
"""

import array
import collections
import os
from collections.abc import Iterator, Mapping

PAGE_BYTES = os.sysconf("SC_PAGESIZE")
_ENTRY_BYTES = 8
_PRESENT = 1 << 63
_FRAME = (1 << 55) - 1
_READ_ENTRIES = 1 << 15


def pages_of(pid: int) -> frozenset[int]:
    """Numbers of the pages that the process has in memory; empty where the kernel does not tell.

    Raises OSError for a process that is gone, or one that we may not look into.
    """
    descriptor = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY)
    try:
        return frozenset(
            entry & _FRAME
            for begin, end in _mappings(pid)
            for entry in _entries(descriptor, begin // PAGE_BYTES, end // PAGE_BYTES)
            if entry & _PRESENT and entry & _FRAME
        )
    finally:
        os.close(descriptor)


def shares(pages: Mapping[str, frozenset[int]]) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes by process: its share, where a page that n of these processes have counts as 1/n; what it alone has.

    The shares add up to what would come free if all of them were gone.
    """
    users = collections.Counter(number for each in pages.values() for number in each)
    share = {
        name: round(PAGE_BYTES * sum(1 / users[number] for number in each)) for name, each in pages.items()
    }
    alone = {name: PAGE_BYTES * sum(users[number] == 1 for number in each) for name, each in pages.items()}
    return share, alone


def _mappings(pid: int) -> Iterator[tuple[int, int]]:
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        for line in file:
            begin, end = (int(number, 16) for number in line.split(maxsplit=1)[0].split("-"))
            # Above what pagemap covers: the vsyscall page, which is the kernel's.
            if end < 1 << 63:
                yield begin, end


def _entries(descriptor: int, begin: int, end: int) -> Iterator[int]:
    for first in range(begin, end, _READ_ENTRIES):
        count = min(_READ_ENTRIES, end - first)
        chunk = os.pread(descriptor, count * _ENTRY_BYTES, first * _ENTRY_BYTES)
        yield from array.array("Q", chunk[: len(chunk) // _ENTRY_BYTES * _ENTRY_BYTES])
