"""The appliance itself: its run directory, sockets, registration, and the providers beside it."""

import os
import stat
from collections.abc import Iterator
from concurrent import futures

from sidecars.registrar.namesakes import registration_sockets, twice_word, who_tells
from sscsi.cli import status_sources
from sscsi.cli.doctor_place import Place
from sscsi.cli.status_observation import Silence
from sscsi.cli.status_report import judge
from sscsi.core import run_files
from sscsi.core.finding import Word, fail, ok, skip, warn
from sscsi.core.room_status import RoomStatus
from sscsi.edges.provider_sockets import ProviderSockets
from sscsi.errors import ProviderCallError, ProviderNotFoundError
from sscsi.node import node_state

_NOTHING_RUNS = "no appliance runs here; see run-directory"
_ONE_DRIVER = "two drivers on one node need a plugin directory each, and a name; remove one"
_PRIVATE = frozenset({run_files.NODE, run_files.STATUSSYNC})
_OTHERS = 0o007
_ALL_OTHERS = 0o077
_GROUP_WRITES = 0o020
_MAX_ANSWER_BYTES = 64 * 1024


def check_run_directory(place: Place) -> Iterator[Word]:
    """Whether there is an appliance, in a directory that is its own."""
    path = place.run_directory
    if place.observation.directory_trouble:
        found, _, cure = place.observation.directory_trouble.partition("; ")
        yield fail(found, cure)
        return
    status = os.stat(path)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid not in {0, os.geteuid()}:
        yield fail(
            f"{path} belongs to user {status.st_uid}, who may replace its sockets",
            "remove it, and start anew",
        )
    elif mode & (_OTHERS | _GROUP_WRITES):
        yield fail(
            f"{path} has mode {mode:04o}: others get in", f"chmod 0750 {path}, and restart the appliance"
        )
    else:
        yield ok(f"{path} has mode {mode:04o}, of user {status.st_uid}")


def check_sockets(place: Place) -> Iterator[Word]:
    """Whether every program that has a socket answers, and whether only those may ask who shall."""
    if place.observation.directory_trouble:
        yield skip(_NOTHING_RUNS)
        return
    answering = []
    for program, seen in sorted(place.observation.rooms.items()):
        if isinstance(seen, RoomStatus):
            answering.append(program)
            if program == "node" and seen.state == node_state.WAITING:
                yield from _waiting_word(seen)
        elif _is_expected(place, program):
            cure = "ask as root" if seen is Silence.FORBIDDEN else f"sscsi status, and the log of {program}"
            yield fail(f"{program} {seen}", cure)
    for name in sorted({*_PRIVATE, *run_files.STATE_SOCKETS.values()}):
        yield from _mode(os.path.join(place.run_directory, name), is_private=name in _PRIVATE)
    if answering:
        yield ok(f"{', '.join(answering)}: each answers")


def _waiting_word(node: RoomStatus) -> Iterator[Word]:
    """What node's socket waits for; its other problems are no matter of the socket."""
    if obstacle := node.facts.get("waits_for"):
        found, _, cure = obstacle.partition("; ")
        yield fail(f"node waits for a socket: {found}", f"{cure}; {_ONE_DRIVER}" if cure else _ONE_DRIVER)


def _is_expected(place: Place, program: str) -> bool:
    variables = place.settings.variables
    return {
        "registrar": bool(place.settings.registration_directory),
        "provider-file": bool(variables["SSCSI_FILE_PROVIDER_ROOT"]),
    }.get(program, program in status_sources.ROOM_SOCKETS)


def _mode(path: str, *, is_private: bool) -> Iterator[Word]:
    try:
        status = os.lstat(path)
    except OSError:
        # Who has none does not answer, which was told.
        return
    cure = f"remove {path}, and restart the appliance, which makes it anew"
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISSOCK(status.st_mode):
        yield fail(f"{path} is no socket", cure)
    elif status.st_uid not in {0, os.geteuid()}:
        yield fail(f"{path} belongs to user {status.st_uid}", cure)
    elif mode & (_ALL_OTHERS if is_private else _OTHERS):
        yield fail(f"{path} has mode {mode:04o}: it may be asked by others", cure)


def check_registration(place: Place) -> Iterator[Word]:
    """Whether kubelet knows the driver."""
    if not place.settings.registration_directory:
        yield skip("the driver is not to be registered: SSCSI_KUBELET_REGISTRATION_PATH is not set")
        return
    if place.observation.directory_trouble:
        yield skip(_NOTHING_RUNS)
        return
    registration = judge(place.observation).registration
    if registration.registered:
        yield ok(f"kubelet confirmed {registration.driver} at {registration.endpoint}")
        return
    room = place.observation.rooms.get("registrar")
    problems = "; ".join(room.problems) if isinstance(room, RoomStatus) else f"registrar {room}"
    cure = "docs/registration.md; SSCSI_KUBELET_REGISTRATION_PATH must be the CSI socket's path on the host"
    yield fail(f"kubelet has not confirmed the driver: {problems or registration.state}", cure)


def check_same_driver(place: Place) -> Iterator[Word]:
    """Whether another driver on this node tells kubelet our name."""
    directory = place.settings.registration_directory
    if not directory:
        yield skip("there is no registrar, and so no directory of registrations")
        return
    try:
        names = registration_sockets(directory)
    except OSError as error:
        cure = "mount kubelet's plugins_registry there; SSCSI_REGISTRATION_DIR"
        yield fail(f"{directory}: {error.strerror}", cure)
        return
    driver = place.settings.node.driver_name
    ours = who_tells(directory, names, driver, place.timeout_seconds)
    if len(ours) > 1:
        yield twice_word(driver, ours)
    else:
        yield ok(f"of {len(names)} registrations {len(ours)} is {driver}")


def check_providers(place: Place) -> Iterator[Word]:
    """Whether each provider whose socket is there answers."""
    directories = place.settings.node.provider_directories
    sockets = ProviderSockets(directories, max_answer_bytes=_MAX_ANSWER_BYTES)
    try:
        names = sockets.names()
        if not names:
            cure = "install a provider, or set SSCSI_FILE_PROVIDER_ROOT; see --provider-volume, SSCSI_PROVIDER_DIRS"
            yield warn(f"no provider in {', '.join(directories)}", cure)
        with futures.ThreadPoolExecutor(8) as pool:
            yield from pool.map(lambda name: _provider(sockets, name, place.timeout_seconds), names)
    finally:
        sockets.close()


def _provider(sockets: ProviderSockets, name: str, timeout_seconds: float) -> Word:
    try:
        version = sockets.version(name, timeout_seconds=timeout_seconds)
    except (ProviderCallError, ProviderNotFoundError) as error:
        cure = f"look at the log of the pod of provider {name}; a socket that nobody serves may be removed"
        return fail(f"{name}: {error}", cure)
    return ok(f"{name}: {version.runtime_name} {version.runtime_version}".rstrip())
