"""Memory of the rooms: at rest, with volumes, and while many large answers arrive at once."""

import dataclasses
import os
import threading
from collections.abc import Sequence
from typing import Self

from tests.bench.processes import Process, settle
from tests.bench.sides import Side
from tests.bench.volumes import Content, Volume, make_volumes, remove_directories

_SAMPLE_SECONDS = 0.05


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HeldVolumes:
    """PSS in bytes by process, before and while `volumes` volumes are published."""

    volumes: int
    idle: dict[str, int]
    with_volumes: dict[str, int]
    errors: list[str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LargeAnswers:
    """What the node did with many large answers at once. Bytes; `tmpfs` is content, no process's memory."""

    volumes: int
    wall_seconds: float
    pss_before: int
    pss_peak: int
    pss_after: int
    peak_rss: int
    tmpfs: int
    errors: list[str]


def pss(processes: Sequence[Process]) -> dict[str, int]:
    """PSS in bytes by process."""
    return {process.name: process.memory().pss for process in processes}


def hold_volumes(side: Side, content: Content, count: int) -> HeldVolumes:
    """Publish `count` volumes, look, and take them away again."""
    settle(side.processes)
    idle = pss(side.processes)
    volumes = make_volumes(side.kubelet_root, content, count)
    errors = list(side.kubelet.publish(volumes, in_flight=8).errors)
    settle(side.processes)
    with_volumes = pss(side.processes)
    errors += _unpublish(side, volumes)
    return HeldVolumes(volumes=count, idle=idle, with_volumes=with_volumes, errors=errors)


def publish_large(side: Side, process_name: str, content: Content, count: int) -> LargeAnswers:
    """Publish `count` volumes at once. The side must be fresh: the peak is that of the process's life."""
    process = side.process(process_name)
    volumes = make_volumes(side.kubelet_root, content, count)
    settle(side.processes)
    before = process.memory().pss
    with _PeakPss(process) as peak:
        timings = side.kubelet.publish(volumes, in_flight=count)
    settle(side.processes)
    after = process.memory()
    tmpfs = sum(_used_bytes(volume.target_path) for volume in volumes)
    return LargeAnswers(
        volumes=count,
        wall_seconds=timings.wall_seconds,
        pss_before=before,
        pss_peak=max(peak.bytes, after.pss),
        pss_after=after.pss,
        peak_rss=after.peak_rss,
        tmpfs=tmpfs,
        errors=timings.errors + _unpublish(side, volumes),
    )


def _unpublish(side: Side, volumes: Sequence[Volume]) -> list[str]:
    errors = side.kubelet.unpublish(volumes, in_flight=8).errors
    if not errors:
        remove_directories(volumes)
    return errors


def _used_bytes(path: str) -> int:
    usage = os.statvfs(path)
    return (usage.f_blocks - usage.f_bfree) * usage.f_frsize


class _PeakPss:
    """The largest PSS of a process seen while the block runs, sampled."""

    def __init__(self, process: Process) -> None:
        self.bytes = 0
        self._process = process
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="peak-pss")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(_SAMPLE_SECONDS):
            self.bytes = max(self.bytes, self._process.memory().pss)
