"""`sscsi-node`: the node room with the real kernel and the real disk behind it."""

import logging
import os
import sys
import threading

from sscsi.core import log_keys
from sscsi.edges.file_trees import LinuxFileTrees
from sscsi.edges.linux_mounts import LinuxMounter, check_mount_rights
from sscsi.edges.pods_directory import certain_problems
from sscsi.edges.record_files import RecordFiles
from sscsi.edges.run_directory import make_run_directory
from sscsi.node.config import NodeConfig, parse
from sscsi.node.room import NodeRoom
from sscsi.process.run import room

log = logging.getLogger(__name__)


def serve(config: NodeConfig, stop: threading.Event) -> int:
    """Wire the room and run it."""
    check_mount_rights()
    make_run_directory(config.run_directory)
    node = NodeRoom(
        config,
        mounter=LinuxMounter(
            require_shared=config.require_shared_propagation,
            refuses_doubtful=config.refuses_doubtful_propagation,
        ),
        trees=LinuxFileTrees(),
        store=RecordFiles(config.state_directory, os.path.join(config.run_directory, "records")),
        place_problems=_place_problems(config),
    )
    return node.serve(stop)


def _place_problems(config: NodeConfig) -> list[str]:
    """What certainly keeps pods from seeing what is mounted for them; logged, once."""
    if not config.require_shared_propagation or not config.kubelet_root:
        return []
    problems = [f"{word.found}; {word.cure}" for word in certain_problems(config.kubelet_root)]
    for problem in problems:
        log.warning(
            "pods will not see their volumes",
            extra={log_keys.PATH: config.kubelet_root, log_keys.REASON: problem},
        )
    return problems


def main() -> int:
    """The console script."""
    return room("node", parse, serve)


if __name__ == "__main__":
    sys.exit(main())
