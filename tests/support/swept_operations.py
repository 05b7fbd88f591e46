"""The operations that the kill sweep cuts short: how each is set up, what does it, what a pod may see meanwhile."""

import dataclasses
from collections.abc import Callable, Sequence

from tests.support import volume_wrecks
from tests.support.own_mounts import own_mounts
from tests.support.swept_stage import Stage
from tests.support.volume_state import View

NOTHING: View = {}
OLD: View = {
    "password": (0o644, b"old password"),
    "mode-only": (0o600, b"same content"),
    "removed": (0o644, b"old"),
    "nested/kept": (0o644, b"old"),
    "nested/deep/removed": (0o644, b"old"),
    "gone/with/its/directory": (0o644, b"old"),
    "was-a-file": (0o644, b"old"),
    "was-a-directory/inner": (0o644, b"old"),
}
NEW: View = {
    "password": (0o644, b"new password" * 1000),
    "mode-only": (0o444, b"same content"),
    "added": (0o400, b"new"),
    "nested/kept": (0o644, b"new"),
    "nested/deep/added": (0o644, b"new"),
    "fresh/in/its/directory": (0o644, b"new"),
    "was-a-file/inner": (0o644, b"new"),
    "was-a-directory": (0o644, b"new"),
}
# In a user namespace of one's own, root's group is the only one that there is.
GROUP = "4321" if own_mounts().is_root else "0"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation that is cut short.

    `prepare` runs before the trap is armed. With `spoil`, the operation is a start: the node room of `prepare` is
    killed, `spoil` changes what it left, and the trap of the next one is armed from its first moment.
    `rotation` is that of the node room with the trap. `meanwhile` judges what a pod sees after any kill. `kept`
    are views that the next publish may leave in place while rotation is off; otherwise it makes `published`.
    `unpublishes` says that kubelet's next call is an unpublish; `stacked` is how many mounts there may be.
    """

    name: str
    prepare: Callable[[Stage], None]
    perform: Callable[[Stage], None] = Stage.publish
    spoil: Callable[[Stage], None] | None = None
    rotation: bool = True
    meanwhile: Callable[[View], bool]
    kept: tuple[View, ...] = ()
    published: View = dataclasses.field(default_factory=lambda: NEW)
    unpublishes: bool = False
    stacked: int = 1
    group: str = ""


def _grouped(view: View) -> View:
    """The view in a volume with a group, which reads where the owner does (design, section 3)."""
    return {path: (mode | (mode & 0o400) >> 3, content) for path, (mode, content) in view.items()}


def _one_of(*views: View) -> Callable[[View], bool]:
    return lambda found: found in views


def _files_of(*views: View) -> Callable[[View], bool]:
    """Each file is whole and of one of the views; how many there are is not said."""
    return lambda found: all(state in [view.get(path) for view in views] for path, state in found.items())


def _nothing(stage: Stage) -> None:
    stage.provide(NEW)


def _nothing_by_itself(stage: Stage) -> None:
    stage.provide(NEW, by_itself=True)


def _old(stage: Stage) -> None:
    stage.provide(OLD)
    stage.publish()
    stage.provide(NEW)


def _old_by_itself(stage: Stage) -> None:
    stage.provide(OLD, by_itself=True)
    stage.publish()
    stage.provide(NEW, by_itself=True)


def _old_by_itself_then_files(stage: Stage) -> None:
    _old_by_itself(stage)
    stage.provide(NEW)


def _old_by_itself_without_record(stage: Stage) -> None:
    volume_wrecks.upstream_volume(stage.target_path, OLD, layout=False)
    stage.provide(NEW, by_itself=True)


def _upstream(stage: Stage) -> None:
    volume_wrecks.upstream_volume(stage.target_path, OLD)
    stage.provide(NEW)


def _old_and_another_mount(stage: Stage) -> None:
    _old(stage)
    volume_wrecks.upstream_volume(stage.target_path, OLD)


def _plain_directory(stage: Stage) -> None:
    volume_wrecks.write(stage.target_path, OLD)
    stage.provide(NEW)


def _litter(stage: Stage) -> None:
    volume_wrecks.litter_volume(stage.target_path)
    volume_wrecks.litter_records(stage.place, stage.target_path)


def _litter_by_itself(stage: Stage) -> None:
    volume_wrecks.litter_records(stage.place, stage.target_path)


def _record_of_a_version_before(stage: Stage) -> None:
    _litter(stage)
    volume_wrecks.change_record(stage.place, stage.target_path, data_directory=volume_wrecks.STALE_VERSION)


OPERATIONS: Sequence[Operation] = (
    Operation(name="first publish", prepare=_nothing, meanwhile=_one_of(NOTHING, NEW)),
    Operation(
        name="first publish by the provider itself",
        prepare=_nothing_by_itself,
        meanwhile=_one_of(NOTHING, NEW),
    ),
    Operation(
        name="first publish with a group",
        prepare=_nothing,
        meanwhile=_one_of(NOTHING, _grouped(NEW)),
        published=_grouped(NEW),
        group=GROUP,
    ),
    Operation(
        name="first publish by the provider itself with a group",
        prepare=_nothing_by_itself,
        meanwhile=_files_of(NEW, _grouped(NEW)),
        published=_grouped(NEW),
        group=GROUP,
    ),
    Operation(name="update", prepare=_old, meanwhile=_one_of(OLD, NEW), kept=(OLD,)),
    Operation(
        name="refresh by the room's own clock",
        prepare=_old,
        perform=Stage.refresh,
        meanwhile=_one_of(OLD, NEW),
        kept=(OLD,),
    ),
    Operation(
        name="refresh by the room's own clock of the provider's own files",
        prepare=_old_by_itself,
        perform=Stage.refresh,
        meanwhile=_one_of(OLD, NEW),
        kept=(OLD,),
    ),
    Operation(
        name="update by the provider itself",
        prepare=_old_by_itself,
        meanwhile=_one_of(OLD, NEW),
        kept=(OLD,),
    ),
    Operation(
        name="update from the provider's own files to ours",
        prepare=_old_by_itself_then_files,
        # Plain files become links one by one; that no publish says OK to a mixture is what `kept` checks.
        meanwhile=_files_of(OLD, NEW),
        kept=(OLD,),
    ),
    Operation(
        name="unpublish",
        prepare=_old,
        perform=Stage.unpublish,
        meanwhile=_one_of(OLD, NOTHING),
        unpublishes=True,
    ),
    Operation(
        name="unpublish of the provider's own files",
        prepare=_old_by_itself,
        perform=Stage.unpublish,
        meanwhile=_one_of(OLD, NOTHING),
        unpublishes=True,
    ),
    Operation(
        name="unpublish of two mounts on one path",
        prepare=_old_and_another_mount,
        perform=Stage.unpublish,
        meanwhile=_one_of(OLD, NOTHING),
        unpublishes=True,
        stacked=2,
    ),
    Operation(
        name="unpublish of a plain directory",
        prepare=_plain_directory,
        perform=Stage.unpublish,
        meanwhile=_files_of(OLD),
        unpublishes=True,
    ),
    Operation(
        name="adopt upstream's volume",
        prepare=_upstream,
        rotation=False,
        meanwhile=_one_of(OLD),
        kept=(OLD,),
    ),
    Operation(
        name="adopt upstream's volume and update it",
        prepare=_upstream,
        meanwhile=_one_of(OLD, NEW),
        kept=(OLD,),
    ),
    Operation(
        name="adopt upstream's volume and update it with a group",
        prepare=_upstream,
        meanwhile=_one_of(OLD, _grouped(NEW)),
        kept=(OLD,),
        published=_grouped(NEW),
        group=GROUP,
    ),
    Operation(
        name="publish over the provider's own files without a record",
        prepare=_old_by_itself_without_record,
        meanwhile=_one_of(OLD, NEW),
    ),
    Operation(
        name="start after a crash",
        prepare=_old,
        spoil=_litter,
        meanwhile=_one_of(OLD),
        kept=(OLD,),
    ),
    Operation(
        name="start after a crash with the provider's own files",
        prepare=_old_by_itself,
        spoil=_litter_by_itself,
        meanwhile=_one_of(OLD),
        kept=(OLD,),
    ),
    Operation(
        name="start with the record of a version before",
        prepare=_old,
        spoil=_record_of_a_version_before,
        meanwhile=_one_of(OLD),
        kept=(OLD,),
    ),
)
