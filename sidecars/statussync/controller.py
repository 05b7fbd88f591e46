"""What is worked on, and when: changes of volumes and classes become keys, and keys become right objects.

Beside objects, three more keys are queued, so that a hundred causes for the same look around become one: a class
(look which Secrets it asks for), the plain files of a volume (look whether they are others) and SWEEP (look for objects that
nobody wants).
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from sidecars.statussync.class_catalogue import ClassCatalogue
from sidecars.statussync.pod_events import PodEvents
from sidecars.statussync.problems import ProblemBoard
from sidecars.statussync.reconcile import Reconciler, status_key
from sidecars.statussync.secret_plan import Conflict
from sidecars.statussync.volume_set import VolumeSet
from sidecars.statussync.work_queue import WorkQueue
from sscsi.core import log_keys, provider_class, secret_data
from sscsi.core.published_volume import PublishedVolume, VolumeChange
from sscsi.errors import ClusterUnavailableError, SecretDataError, SscsiError
from sscsi.ports import ClassName, ObjectKey

log = logging.getLogger(__name__)

SWEEP = ObjectKey("Sweep", "", "")
_PLAIN_FILES = "PlainFiles"
# How long EnsureSecrets waits at a start for the first snapshot: without it, a Secret would lose its other owners.
_SNAPSHOT_SECONDS = 0.5


class Controller:
    """The room's decisions about order. Safe to call from every thread."""

    def __init__(
        self,
        *,
        volumes: VolumeSet,
        catalogue: ClassCatalogue,
        reconciler: Reconciler,
        queue: WorkQueue[ObjectKey],
        problems: ProblemBoard,
        events: PodEvents,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._volumes = volumes
        self._catalogue = catalogue
        self._reconciler = reconciler
        self._queue = queue
        self._problems = problems
        self._events = events
        self._clock = clock

    def on_change(self, change: VolumeChange) -> None:
        """Take in what the node room tells."""
        was_certain = self._volumes.is_certain
        for volume in self._volumes.apply(change):
            self._queue.add(status_key(volume))
            self._queue.add(_class_key((volume.pod_namespace, volume.class_name)))
        for volume in change.volumes:
            if not volume.data_directory:
                self._queue.add(ObjectKey(_PLAIN_FILES, volume.pod_namespace, volume.target_path))
        if change.snapshot or change.removed_target_paths or self._volumes.is_certain != was_certain:
            self._queue.add(SWEEP)
        self._events.relay(change.notices)

    def object_changed(self, key: ObjectKey) -> None:
        """Somebody else may have changed the object."""
        self._queue.add(key)

    def cluster_returned(self) -> None:
        """What failed while the cluster was away need not wait for its next try."""
        self._queue.hurry()

    def poll_classes(self) -> None:
        """Look for classes that changed. Raises ClusterUnavailableError."""
        changed = self._catalogue.poll(self._volumes.classes_in_use())
        for class_name in changed:
            self._class_changed(class_name)

    def ensure_secrets(self, volume: PublishedVolume, *, timeout_seconds: float) -> list[str]:
        """Make the Secrets of the volume's class now; what could not be done, one line each."""
        deadline = self._clock() + timeout_seconds
        class_name = (volume.pod_namespace, volume.class_name)
        self._volumes.merge(volume)
        with self._status_after_secrets(volume, timeout_seconds=timeout_seconds / 2):
            if not self._volumes.is_complete:
                self._volumes.wait_complete(min(_SNAPSHOT_SECONDS, timeout_seconds / 2))
            if self._catalogue.load(class_name):
                self._class_changed(class_name)
            problems = list(self._reconciler.class_problems(class_name))
            for key in sorted(self._reconciler.secret_keys(class_name)):
                problems += self._ensure(key, class_name, deadline - self._clock())
        return problems

    def run_worker(self) -> None:
        """Work the queue off until it is closed."""
        while (key := self._queue.take()) is not None:
            self.work(key)

    def work(self, key: ObjectKey) -> None:
        """Work on one key that was taken from the queue."""
        try:
            if key == SWEEP:
                self._attempt(key, self._sweep)
            elif key.kind == provider_class.KIND:
                self._attempt(key, lambda: self._expand(key))
            elif key.kind == _PLAIN_FILES:
                self._attempt(key, lambda: self._compare_files(key))
            else:
                self._reconcile(key)
        finally:
            self._queue.done(key)

    @contextlib.contextmanager
    def _status_after_secrets(self, volume: PublishedVolume, *, timeout_seconds: float) -> Iterator[None]:
        """Have the status object written after the block, with what became of the Secrets: one write and not two.

        Unless a Secret has the status object for its owner: then that goes first.
        """
        key = status_key(volume)
        try:
            goes_first = self._reconciler.owned_by_status(volume, timeout_seconds=timeout_seconds)
        except ClusterUnavailableError:
            goes_first = True
        is_held = not goes_first and self._queue.claim(key, 0)
        if not is_held:
            self._queue.add(key)
        try:
            yield
        finally:
            if is_held:
                self._queue.done(key)
            self._queue.add(key)

    def _ensure(self, key: ObjectKey, class_name: ClassName, timeout_seconds: float) -> list[str]:
        if timeout_seconds <= 0 or not self._queue.claim(key, timeout_seconds):
            self._queue.add(key)
            return [f"{key} was not made in time; it is being made in the background"]
        try:
            failures, conflicts = self._reconcile(key)
        finally:
            self._queue.done(key)
        return failures or _texts([conflict for conflict in conflicts if conflict.class_name == class_name])

    def _reconcile(self, key: ObjectKey) -> tuple[list[str], list[Conflict]]:
        """Make the object right; the failures, and the wishes for it that can't be granted."""
        conflicts: list[Conflict] = []

        def act() -> list[str]:
            conflicts.extend(self._reconciler.reconcile(key))
            return _texts(conflicts)

        failures = self._attempt(key, act)
        for shown in self._reconciler.note_outcome(key, failures, tuple(conflicts)):
            self._queue.add(shown)
        if key.kind == secret_data.KIND:
            self._events.of_secret(key, failures, conflicts, is_retried=self._queue.is_retried(key))
        return failures, conflicts

    def _attempt(self, key: ObjectKey, act: Callable[[], list[str]]) -> list[str]:
        """Do what the key asks for, report how it went, and have it tried again if that can help; the failures."""
        try:
            self._problems.report(key, act())
        except SecretDataError as error:
            failure = str(error)
            self._queue.forget(key)
        except SscsiError as error:
            failure = str(error)
            self._queue.retry(key)
        except Exception as error:
            log.error("a fault while working on an object", extra={log_keys.OBJECT: str(key)}, exc_info=error)
            failure = f"{key}: internal error; the log of status-sync has the place"
            self._queue.retry(key)
        else:
            self._queue.forget(key)
            return []
        self._problems.report(key, [failure])
        return [failure]

    def _sweep(self) -> list[str]:
        # What has a problem is looked at again, too: its volumes and class may be gone, and the problem with them.
        for key in self._reconciler.unwanted() | self._problems.subjects():
            # SWEEP itself, and what is no object of the cluster, have no name.
            if key.name:
                self._queue.add(key)
        self._reconciler.forget_outcomes()
        return []

    def _expand(self, key: ObjectKey) -> list[str]:
        class_name = (key.namespace, key.name)
        for secret in self._reconciler.secret_keys(class_name):
            self._queue.add(secret)
        in_use = class_name in self._volumes.classes_in_use()
        problems = list(self._reconciler.class_problems(class_name)) if in_use else []
        self._events.of_class(key, problems)
        return problems

    def _compare_files(self, key: ObjectKey) -> list[str]:
        volume = self._volumes.get(key.name)
        if volume and self._reconciler.has_new_content(key.name):
            self._queue.add(_class_key((volume.pod_namespace, volume.class_name)))
        return []

    def _class_changed(self, class_name: ClassName) -> None:
        self._queue.add(_class_key(class_name))
        self._queue.add(SWEEP)


def _class_key(class_name: ClassName) -> ObjectKey:
    return ObjectKey(provider_class.KIND, *class_name)


def _texts(conflicts: list[Conflict] | tuple[Conflict, ...]) -> list[str]:
    return [conflict.text for conflict in conflicts]
