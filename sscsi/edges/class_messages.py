"""Values of the core as messages of `sscsi.v1`, and back: the two rooms that talk must agree on every field."""

from sscsi.core.pod_event import PodEvent
from sscsi.core.provider_class import SecretObject, SecretObjectData, SecretProviderClass
from sscsi.core.published_volume import PublishedVolume
from sscsi.core.refresh_ask import RefreshAsk
from sscsi.core.volume_record import VolumeRecord
from sscsi.pb import sscsi_pb2


def class_to_message(spc: SecretProviderClass) -> sscsi_pb2.SecretProviderClass:
    """The class as `Classes.Get` answers it."""
    return sscsi_pb2.SecretProviderClass(
        namespace=spc.namespace,
        name=spc.name,
        uid=spc.uid,
        generation=spc.generation,
        annotations=spc.annotations,
        provider=spc.provider,
        parameters=spc.parameters,
        secret_objects=[_secret_object_to_message(secret_object) for secret_object in spc.secret_objects],
    )


def class_from_message(message: sscsi_pb2.SecretProviderClass) -> SecretProviderClass:
    """The class as the node room works with it."""
    return SecretProviderClass(
        namespace=message.namespace,
        name=message.name,
        uid=message.uid,
        generation=message.generation,
        annotations=dict(message.annotations),
        provider=message.provider,
        parameters=dict(message.parameters),
        secret_objects=tuple(_secret_object_from_message(entry) for entry in message.secret_objects),
    )


def record_to_message(record: VolumeRecord) -> sscsi_pb2.Volume:
    """The record as `Volumes.Watch` and `Classes.EnsureSecrets` carry it."""
    return sscsi_pb2.Volume(
        target_path=record.target_path,
        volume_id=record.volume_id,
        pod_name=record.pod_name,
        pod_namespace=record.pod_namespace,
        pod_uid=record.pod_uid,
        service_account=record.service_account,
        class_name=record.class_name,
        class_uid=record.class_uid,
        class_generation=record.class_generation,
        provider=record.provider,
        object_versions=[
            sscsi_pb2.ObjectVersion(id=identifier, version=version)
            for identifier, version in record.object_versions
        ],
        data_directory=record.data_directory,
        adopted=record.adopted,
        last_attempt_time=record.attempt_time,
        last_success_time=record.success_time,
        last_error=record.last_error,
        failure_reason=record.failure_reason,
        failing_since=record.failing_since,
    )


def volume_from_message(message: sscsi_pb2.Volume) -> PublishedVolume:
    """What status-sync needs of a volume."""
    return PublishedVolume(
        target_path=message.target_path,
        pod_name=message.pod_name,
        pod_namespace=message.pod_namespace,
        pod_uid=message.pod_uid,
        class_name=message.class_name,
        object_versions=tuple((entry.id, entry.version) for entry in message.object_versions),
        data_directory=message.data_directory,
        last_attempt_time=message.last_attempt_time,
        last_success_time=message.last_success_time,
        last_error=message.last_error,
        adopted=message.adopted,
        failure_reason=message.failure_reason,
        failing_since=message.failing_since,
    )


def event_to_notice(event: PodEvent) -> sscsi_pb2.Notice:
    """The Event as `Volumes.Watch` carries it."""
    return sscsi_pb2.Notice(
        pod_namespace=event.pod_namespace,
        pod_name=event.pod_name,
        pod_uid=event.pod_uid,
        reason=event.reason,
        message=event.message,
    )


def event_from_notice(notice: sscsi_pb2.Notice) -> PodEvent:
    """What status-sync tells the pod."""
    return PodEvent(
        pod_namespace=notice.pod_namespace,
        pod_name=notice.pod_name,
        pod_uid=notice.pod_uid,
        reason=notice.reason,
        message=notice.message,
    )


def ask_to_message(ask: RefreshAsk) -> sscsi_pb2.RefreshAsk:
    """The wish as `Volumes.AskRefresh` carries it."""
    return sscsi_pb2.RefreshAsk(
        namespace=ask.namespace,
        class_name=ask.class_name,
        pod_name=ask.pod_name,
        pod_uid=ask.pod_uid,
        value=ask.value,
    )


def ask_from_message(message: sscsi_pb2.RefreshAsk) -> RefreshAsk:
    """What the node room is asked for."""
    return RefreshAsk(
        namespace=message.namespace,
        class_name=message.class_name,
        pod_name=message.pod_name,
        pod_uid=message.pod_uid,
        value=message.value,
    )


def _secret_object_to_message(secret_object: SecretObject) -> sscsi_pb2.SecretObject:
    return sscsi_pb2.SecretObject(
        secret_name=secret_object.secret_name,
        type=secret_object.type,
        labels=secret_object.labels,
        annotations=secret_object.annotations,
        data=[
            sscsi_pb2.SecretObjectData(object_name=entry.object_name, key=entry.key, json_key=entry.json_key)
            for entry in secret_object.data
        ],
    )


def _secret_object_from_message(message: sscsi_pb2.SecretObject) -> SecretObject:
    return SecretObject(
        secret_name=message.secret_name,
        type=message.type,
        labels=dict(message.labels),
        annotations=dict(message.annotations),
        data=tuple(
            SecretObjectData(object_name=entry.object_name, key=entry.key, json_key=entry.json_key)
            for entry in message.data
        ),
    )
