"""One object made right: look at volumes and classes as they are now, decide, write or remove."""

import logging
import time
from collections.abc import Sequence

from sidecars.statussync.class_catalogue import ClassCatalogue
from sidecars.statussync.metrics import SyncMetrics
from sidecars.statussync.plain_contents import PlainContents
from sidecars.statussync.secret_outcomes import SecretOutcomes
from sidecars.statussync.secret_plan import Conflict, find_wishes, plan_secret
from sidecars.statussync.volume_set import VolumeSet
from sscsi.core import log_keys, pod_status, secret_data
from sscsi.core.published_volume import PublishedVolume
from sscsi.core.secret_data import SecretRules
from sscsi.core.status_conditions import SYNCED, Condition, synced
from sscsi.errors import SecretDataError
from sscsi.ports import ClassName, Cluster, ClusterObject, ObjectKey, VolumeFiles

log = logging.getLogger(__name__)

# What stays as the cluster has it while nobody here knows better.
KEPT = frozenset({SYNCED})


def status_key(volume: PublishedVolume) -> ObjectKey:
    """The status object of a volume."""
    return ObjectKey(pod_status.KIND, volume.pod_namespace, pod_status.status_name(volume))


class Reconciler:
    """Makes objects right, whatever happened to them. Each call is complete in itself; nothing is remembered."""

    def __init__(
        self,
        *,
        volumes: VolumeSet,
        catalogue: ClassCatalogue,
        cluster: Cluster,
        files: VolumeFiles,
        rules: SecretRules,
        metrics: SyncMetrics,
        node_id: str,
    ) -> None:
        self._volumes = volumes
        self._catalogue = catalogue
        self._cluster = cluster
        self._files = files
        self._rules = rules
        self._metrics = metrics
        self._outcomes = SecretOutcomes()
        self._plain_contents = PlainContents(files)
        self._node_id = node_id

    def reconcile(self, key: ObjectKey) -> tuple[Conflict, ...]:
        """Make the object right; the wishes for it that can't be granted.

        Raises SecretDataError when nothing but another class or content can help, and other errors when
        trying again may: ClusterUnavailableError, ObjectNotOursError, TargetPathError.
        """
        return self._secret(key) if key.kind == secret_data.KIND else self._status(key)

    def secret_keys(self, class_name: ClassName) -> set[ObjectKey]:
        """The Secrets that a class asks for; none while it can't be read."""
        spc = self._catalogue.view(class_name).spc
        entries = spc.secret_objects if spc else ()
        names = {secret_data.secret_name(entry) for entry in entries} - {""}
        return {ObjectKey(secret_data.KIND, class_name[0], name) for name in names}

    def has_new_content(self, target_path: str) -> bool:
        """Whether Secrets of a volume of plain files may have to follow these."""
        volume = self._volumes.get(target_path)
        spc = self._catalogue.view((volume.pod_namespace, volume.class_name)).spc if volume else None
        if volume is None or spc is None or not spc.secret_objects:
            return False
        names: set[str] | None = set()
        for index in range(len(spc.secret_objects)):
            of_entry = secret_data.object_names(spc, index)
            names = None if names is None or of_entry is None else names | set(of_entry)
        return self._plain_contents.is_new(volume, None if names is None else sorted(names))

    def class_problems(self, class_name: ClassName) -> tuple[str, ...]:
        """Why a class makes no Secret, or not all: it can't be read, or an entry does not even tell a name."""
        view = self._catalogue.view(class_name)
        problems = [view.problem] if view.problem else []
        for index, entry in enumerate(view.spc.secret_objects if view.spc else ()):
            if view.spc and not secret_data.secret_name(entry):
                try:
                    secret_data.check_secret_object(view.spc, index, self._rules)
                except SecretDataError as error:
                    problems.append(str(error))
        return tuple(problems)

    def unwanted(self) -> set[ObjectKey]:
        """Objects of ours that no volume wants, or seems to want: `reconcile` looks again. Empty while unsure."""
        if not self._volumes.is_certain:
            return set()
        wanted = {status_key(volume) for volume in self._volumes.all()} | self._wanted_secrets()
        own = self._cluster.list_own(pod_status.KIND) | self._cluster.list_own(secret_data.KIND)
        return own - wanted

    def owned_by_status(self, volume: PublishedVolume, *, timeout_seconds: float) -> bool:
        """Whether the volume's status object must be there before its Secrets. Raises ClusterUnavailableError."""
        return self._cluster.owned_by_status(volume, timeout_seconds=timeout_seconds)

    def note_outcome(
        self, key: ObjectKey, failures: Sequence[str], conflicts: tuple[Conflict, ...]
    ) -> set[ObjectKey]:
        """Remember how it went with an object; the status objects that may have to tell it."""
        if key.kind != secret_data.KIND:
            return set()
        if key not in self._wanted_secrets():
            # A class that asks for it can't be read, perhaps: once it can, the first outcome is news.
            self._outcomes.forget(key)
            return set()
        if not self._outcomes.note(key, failure="; ".join(failures), conflicts=conflicts):
            return set()
        return {
            status_key(volume)
            for volume in self._volumes.in_namespace(key.namespace)
            if key in self.secret_keys((volume.pod_namespace, volume.class_name))
        }

    def forget_outcomes(self) -> None:
        """Forget how it went with Secrets that nobody wants any more, and what volumes held that are gone."""
        self._outcomes.forget_all_but(self._wanted_secrets())
        self._plain_contents.forget_all_but({volume.target_path for volume in self._volumes.all()})

    def _wanted_secrets(self) -> set[ObjectKey]:
        return {key for name in self._volumes.classes_in_use() for key in self.secret_keys(name)}

    def _status(self, key: ObjectKey) -> tuple[Conflict, ...]:
        volumes = [
            volume for volume in self._volumes.in_namespace(key.namespace) if status_key(volume) == key
        ]
        if volumes:
            condition = self._synced((key.namespace, pod_status.select_volume(volumes).class_name))
            manifest = pod_status.build_status(
                volumes,
                node_id=self._node_id,
                synced=condition if isinstance(condition, Condition) else None,
            )
            self._apply(key, manifest, kept_conditions=KEPT if condition is KEPT else frozenset())
        else:
            self._delete(key)
        return ()

    def _synced(self, class_name: ClassName) -> "Condition | frozenset[str] | None":
        """The condition; KEPT when it can't be told now; None when the class asks for no Secret."""
        spc = self._catalogue.view(class_name).spc
        if spc is None:
            return KEPT
        if not spc.secret_objects:
            return None
        problems = self._outcomes.problems(self.secret_keys(class_name), class_name)
        return KEPT if problems is None else synced([*self.class_problems(class_name), *problems])

    def _secret(self, key: ObjectKey) -> tuple[Conflict, ...]:
        begun = time.monotonic()
        volumes = self._volumes.in_namespace(key.namespace)
        names = {(volume.pod_namespace, volume.class_name) for volume in volumes}
        views = {name: self._catalogue.view(name) for name in names}
        classes = {name: view.spc for name, view in views.items() if view.spc}
        wishes = find_wishes(key.name, volumes, classes)
        if not wishes:
            # A class that can't be read now may be the one that wants it: its Secrets stay, as upstream's do.
            if len(classes) == len(views):
                self._delete(key)
            return ()
        plan = plan_secret(key, wishes)
        secret_data.check_secret_object(plan.spc, plan.index, self._rules)
        content = self._files.read(
            plan.source,
            secret_data.object_names(plan.spc, plan.index),
            limit_bytes=secret_data.MAX_SECRET_BYTES,
        )
        owners = [owner for user in plan.users for owner in self._cluster.owners(user, status_key(user))]
        if self._apply(key, secret_data.build_secret(plan.spc, plan.index, content, owners, self._rules)):
            self._metrics.secret_written(plan.spc.provider, time.monotonic() - begun)
        return plan.conflicts

    def _apply(
        self, key: ObjectKey, manifest: dict[str, object], *, kept_conditions: frozenset[str] = frozenset()
    ) -> bool:
        """Whether it had to be written."""
        wanted = ClusterObject(key=key, manifest=manifest, kept_conditions=kept_conditions)
        is_written = self._cluster.apply(wanted)
        if is_written:
            log.info("wrote an object", extra={log_keys.OBJECT: str(key)})
        return is_written

    def _delete(self, key: ObjectKey) -> None:
        # A volume that the node room does not know may be the one that wants it; a status object takes its Secrets
        # along. The sweep comes back when all are known.
        if self._volumes.is_certain and self._cluster.delete(key):
            log.info("removed an object", extra={log_keys.OBJECT: str(key)})
