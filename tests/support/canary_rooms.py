"""The rooms that stand beside a node room while canaries are looked for, as processes, and what they leave."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping

from tests.support import canaries
from tests.support.node_place import NodePlace
from tests.support.node_room import clean_environ


@contextlib.contextmanager
def program(place: NodePlace, module: str, *flags: str) -> Iterator["subprocess.Popen[bytes]"]:
    """`python -m MODULE` at verbosity 10, its log beside the node room's, until the block ends."""
    name = module.rpartition(".")[2]
    with open(f"{place.base}/{name}.log", "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *flags, f"--run-dir={place.run_directory}", "-v=10"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=clean_environ({}),
        )
    try:
        yield process
    finally:
        process.terminate()
        assert process.wait(60) == 0


@contextlib.contextmanager
def status_sync(
    place: NodePlace, *flags: str, classes: Mapping[str, str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """The real status-sync on a directory with `classes`, by the names of their files."""
    directory = f"{place.base}/classes"
    os.mkdir(directory)
    for name, text in classes.items():
        with open(f"{directory}/{name}.yaml", "w", encoding="utf-8") as file:
            file.write(text)
    with program(place, "sidecars.statussync", f"--cluster=dir:{directory}", *flags) as process:
        yield process


def status_objects(place: NodePlace, kind: str = "secretproviderclasspodstatuses") -> dict[str, bytes]:
    """The objects of a kind that status-sync wrote, by path."""
    texts = canaries.files_below(f"{place.base}/classes/status/{kind}")
    return {path: text for path, text in texts.items() if path.endswith(".yaml")}


def logs(place: NodePlace) -> dict[str, bytes]:
    """The logs of all programs, by path."""
    texts = {}
    for name in os.listdir(place.base):
        if name.endswith(".log"):
            with open(f"{place.base}/{name}", "rb") as file:
                texts[file.name] = file.read()
    return texts
