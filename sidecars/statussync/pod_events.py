"""What the owners of pods are told of Secrets: each problem once, on a few of the pods that have it."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from sidecars.statussync.class_catalogue import ClassCatalogue
from sidecars.statussync.secret_plan import Conflict, find_wishes
from sidecars.statussync.volume_set import VolumeSet
from sscsi.core.pod_event import FAILED_SECRET, PodEvent
from sscsi.core.published_volume import PublishedVolume
from sscsi.ports import ClassName, ObjectKey

# A Deployment's hundred pods have one author, who looks at one of them.
MAX_PODS = 3
# What may be over with the next try, as a Secret whose owner is being written just now, is told when it lasts so long.
LASTING_SECONDS = 5.0

_Told = dict[str, frozenset[str]]
"""By problem: the uids of the pods that were told of it."""


class PodEvents:
    """Turns problems into Events. A problem that stays is told again only on a new pod in place of one that has gone.

    Threads may share it. `tell` takes the Events; it neither waits nor raises. `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        *,
        volumes: VolumeSet,
        catalogue: ClassCatalogue,
        tell: Callable[[PodEvent], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._volumes = volumes
        self._catalogue = catalogue
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._told: dict[ObjectKey, _Told] = {}
        self._failing_since: dict[ObjectKey, float] = {}

    def relay(self, notices: Iterable[PodEvent]) -> None:
        """Pass on what the node room tells."""
        for notice in notices:
            self._tell(notice)

    def of_secret(
        self, key: ObjectKey, failures: Sequence[str], conflicts: Sequence[Conflict], *, is_retried: bool
    ) -> None:
        """What is wrong with a Secret now; nothing, when both are empty. `is_retried`: the failures may pass."""
        if not self._is_lasting(key, is_passing=is_retried and bool(failures)):
            failures = ()
        if self._is_as_well_as_before(key, [*failures, *conflicts]):
            return
        users = self._users(key)
        problems = {
            f"Secret {key.name} of SecretProviderClass {name}: {failure}": [
                volume for volume in users if volume.class_name == name
            ]
            for failure in failures
            for name in sorted({volume.class_name for volume in users})
        }
        for conflict in conflicts:
            problems[conflict.text] = [
                volume for volume in users if volume.class_name == conflict.class_name[1]
            ]
        self._report(key, problems)

    def of_class(self, key: ObjectKey, problems: Sequence[str]) -> None:
        """What is wrong with the entries of a class now. A class that can't be read may ask for no Secret at all."""
        if self._is_as_well_as_before(key, problems):
            return
        if problems and not self._catalogue.view((key.namespace, key.name)).spc:
            return
        users = [
            volume for volume in self._volumes.in_namespace(key.namespace) if volume.class_name == key.name
        ]
        self._report(key, dict.fromkeys(problems, users))

    def _is_lasting(self, key: ObjectKey, *, is_passing: bool) -> bool:
        with self._lock:
            if not is_passing:
                self._failing_since.pop(key, None)
                return True
            now = self._clock()
            return now - self._failing_since.setdefault(key, now) >= LASTING_SECONDS

    def _is_as_well_as_before(self, key: ObjectKey, problems: Sequence[object]) -> bool:
        with self._lock:
            return not problems and key not in self._told

    def _users(self, key: ObjectKey) -> list[PublishedVolume]:
        """The volumes whose classes ask for the Secret."""
        volumes = self._volumes.in_namespace(key.namespace)
        names: set[ClassName] = {(volume.pod_namespace, volume.class_name) for volume in volumes}
        classes = {name: spc for name in names if (spc := self._catalogue.view(name).spc)}
        return [wish.volume for wish in find_wishes(key.name, volumes, classes)]

    def _report(self, subject: ObjectKey, problems: dict[str, list[PublishedVolume]]) -> None:
        new: list[PodEvent] = []
        with self._lock:
            before = self._told.pop(subject, {})
            told: _Told = {}
            for text, volumes in problems.items():
                pods = {volume.pod_uid: volume for volume in volumes}
                known = before.get(text, frozenset()) & pods.keys()
                chosen = [uid for uid in pods if uid not in known][: MAX_PODS - len(known)]
                new += [_event(pods[uid], text) for uid in chosen]
                told[text] = known.union(chosen)
            if told:
                self._told[subject] = told
        for event in new:
            self._tell(event)


def _event(volume: PublishedVolume, text: str) -> PodEvent:
    return PodEvent(
        pod_namespace=volume.pod_namespace,
        pod_name=volume.pod_name,
        pod_uid=volume.pod_uid,
        reason=FAILED_SECRET,
        message=text,
    )
