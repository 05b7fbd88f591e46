"""Whether a mount at a target path may be this driver's: nothing else is ever filled, emptied or unmounted.

The path comes with the call. Where it has kubelet's shape, or a record stands for it, that is enough. Any other
path must be a tmpfs that holds nothing but what this driver writes: versions and links, or nothing yet.
"""

from sscsi.core.file_plan import EntryKind, visible_target
from sscsi.core.target_path import kubelet_volume
from sscsi.errors import TargetPathError
from sscsi.ports import FileTrees, PathState, VolumeTree


def check_may_be_ours(path: str, tree: VolumeTree) -> None:
    """Raise TargetPathError for a tmpfs without a record that is somebody else's."""
    if kubelet_volume(path) is not None:
        return
    for name, entry in tree.read_root().items():
        is_link = entry.kind is EntryKind.LINK and entry.target == visible_target(name)
        if not is_link and not name.startswith(".."):
            raise TargetPathError(
                f"target path {path} is a mount with files of somebody else in it ({name!r}); unmount it, or choose another path"
            )


def check_may_unmount(path: str, state: PathState, trees: FileTrees, *, recorded: bool) -> None:
    """Raise TargetPathError unless the mount at `path`, whose state is `state`, may be this driver's."""
    if recorded or kubelet_volume(path) is not None:
        return
    if not state.is_tmpfs:
        raise TargetPathError(
            f"target path {path} is a mount of another file system, and no volume of this driver"
        )
    with trees.open(path) as tree:
        check_may_be_ours(path, tree)
