"""Values for the tests of status-sync: each complete, and a test says only what matters to it."""

import dataclasses
from typing import Any

from sidecars.statussync.key_store import read_key_store
from sscsi.core.pod_event import FAILED_MOUNT, PodEvent
from sscsi.core.provider_class import SecretObject, SecretObjectData, SecretProviderClass
from sscsi.core.published_volume import PublishedVolume
from sscsi.core.secret_data import SecretRules

RULES = SecretRules(allow_privileged_types=False, read_key_store=read_key_store)
VERSION = "..2025_11_24_01_02_03.1"


def make_volume(**changes: Any) -> PublishedVolume:
    """A volume of pod `web` with class `app`; its target path follows from `pod_uid`."""
    volume = PublishedVolume(
        target_path="",
        pod_name="web",
        pod_namespace="default",
        pod_uid="uid-1",
        class_name="app",
        object_versions=(("password", "v1"),),
        data_directory=VERSION,
        last_attempt_time=1000.0,
        last_success_time=1000.0,
        last_error="",
        adopted=False,
    )
    volume = dataclasses.replace(volume, **changes)
    target_path = f"/pods/{volume.pod_uid}/volumes/kubernetes.io~csi/{volume.class_name}/mount"
    return volume if volume.target_path else dataclasses.replace(volume, target_path=target_path)


def make_secret_object(name: str = "db", secret_type: str = "Opaque", /, **keys: str) -> SecretObject:
    """A `secretObjects` entry: each key of the Secret from the object that is its value."""
    data = tuple(SecretObjectData(object_name=value, key=key) for key, value in keys.items())
    return SecretObject(secret_name=name, type=secret_type, labels={}, annotations={}, data=data)


def make_class(*secret_objects: SecretObject, **changes: Any) -> SecretProviderClass:
    """Class `app` in namespace `default`."""
    spc = SecretProviderClass(
        namespace="default",
        name="app",
        uid="uid-app",
        generation=1,
        annotations={},
        provider="file",
        parameters={},
        secret_objects=secret_objects,
    )
    return dataclasses.replace(spc, **changes)


def make_event(**changes: Any) -> PodEvent:
    """A failed mount of pod `web`."""
    event = PodEvent(
        pod_namespace="default", pod_name="web", pod_uid="uid-1", reason=FAILED_MOUNT, message="no"
    )
    return dataclasses.replace(event, **changes)
